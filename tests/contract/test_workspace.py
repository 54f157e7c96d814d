"""Private places on a real file system."""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from handler import workspace
from handler.errors import ConfigurationError, Conflict, ToolFailed
from handler.workspace import locked, new_file, private, sweep, write_atomic, write_private
from tests.support.rights import powerless

pytestmark = pytest.mark.contract

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def no_shared_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """Secrets below TMPDIR too: /dev/shm is everybody's."""
    monkeypatch.setattr(workspace, "_TMPFS_CANDIDATES", ())


@pytest.fixture
def base() -> Iterator[Path]:
    """A TMPDIR on a path that is short enough for gpg."""
    path = Path(subprocess.check_output(["mktemp", "-d", "/tmp/ws-XXXXXX"], text=True).strip())
    yield path
    subprocess.run(["rm", "-rf", str(path)], check=True)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


def left(base: Path) -> list[str]:
    return sorted(path.name for path in base.iterdir())


def test_places_are_private_and_go(base: Path) -> None:
    old = os.umask(0)
    try:
        with private(str(base)) as place:
            assert place.secrets != place.bulk
            for path in (place.secrets, place.bulk, place.home, place.gnupg, place.ssh):
                assert mode(path) == 0o700
            file = write_private(place.secrets / "key", "secret")
            assert mode(file) == 0o600
            (place.bulk / "deep" / "er").mkdir(parents=True)
            (place.bulk / "link").symlink_to("/etc")
    finally:
        os.umask(old)
    assert left(base) == []
    assert Path("/etc/passwd").exists()


def test_places_go_after_an_error_and_by_wipe(base: Path) -> None:
    with pytest.raises(ValueError, match="x"), private(str(base)):
        raise ValueError("x")
    assert left(base) == []
    with private(str(base)) as place:
        place.wipe()
        assert left(base) == []
    assert left(base) == []


def test_secrets_live_on_tmpfs_where_there_is_one(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if not os.path.ismount("/dev/shm") or not os.access("/dev/shm", os.W_OK):
        pytest.skip("there is no writable /dev/shm here")
    monkeypatch.undo()
    with private(str(base)) as place:
        assert place.secrets.parent == Path("/dev/shm")
        assert place.bulk.parent == base
        secrets = place.secrets
    assert not secrets.exists()


# --- sweeping ----------------------------------------------------------------------------------------------------


def test_a_killed_runs_places_are_swept(base: Path) -> None:
    code = (
        "import sys, time; from handler import workspace; workspace._TMPFS_CANDIDATES = ()\n"
        "with workspace.private(sys.argv[1]) as place:\n"
        "    (place.secrets / 'key').write_text('x'); print('ready', flush=True); time.sleep(60)\n"
    )
    with subprocess.Popen([sys.executable, "-c", code, str(base)], stdout=subprocess.PIPE, cwd=ROOT) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        living = left(base)
        assert len(living) == 2
        with private(str(base)):
            assert set(living) < set(left(base))  # a living run's are left alone
        assert left(base) == living
        process.send_signal(signal.SIGKILL)
    with private(str(base)):
        assert not set(living) & set(left(base))
    assert left(base) == []


def test_an_inherited_descriptor_does_not_keep_a_killed_runs_place(base: Path) -> None:
    """A child of a killed run must not make its place look alive."""
    code = (
        "import os, sys, time, subprocess; from handler import workspace; workspace._TMPFS_CANDIDATES = ()\n"
        "with workspace.private(sys.argv[1]) as place:\n"
        "    child = subprocess.Popen(['sleep', '30'], close_fds=False, stdout=subprocess.DEVNULL)\n"
        "    print(child.pid, flush=True); time.sleep(60)\n"
    )
    with subprocess.Popen([sys.executable, "-c", code, str(base)], stdout=subprocess.PIPE, cwd=ROOT) as process:
        assert process.stdout is not None
        child = int(process.stdout.readline())
        process.send_signal(signal.SIGKILL)
    try:
        sweep(base)
        assert left(base) == []
    finally:
        os.kill(child, signal.SIGKILL)


def test_what_was_just_being_made_is_left_alone(base: Path) -> None:
    fresh, old = base / ".k0sctl-handler-new-fresh", base / ".k0sctl-handler-new-old"
    fresh.mkdir()
    old.mkdir()
    os.utime(old, (time.time() - 3600,) * 2)
    sweep(base)
    assert left(base) == [fresh.name]


def test_sweeping_follows_no_links_and_touches_nothing_else(base: Path) -> None:
    outside = base / "outside"
    outside.mkdir()
    (outside / "precious").touch()
    (base / "k0sctl-handler-link").symlink_to(outside)
    (base / "k0sctl-handler-file").touch()
    (base / "other").mkdir()
    swept = base / "k0sctl-handler-mine"
    swept.mkdir()
    (swept / "link").symlink_to(outside)
    sweep(base)
    assert left(base) == ["k0sctl-handler-file", "k0sctl-handler-link", "other", "outside"]
    assert (outside / "precious").exists()
    sweep(base / "absent")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make another user's directory")
def test_another_users_directory_is_left_alone(base: Path) -> None:
    theirs = base / "k0sctl-handler-theirs"
    theirs.mkdir()
    os.chown(theirs, 12345, 12345)
    sweep(base)
    assert theirs.exists()


# --- TMPDIR ------------------------------------------------------------------------------------------------------


def test_a_long_tmpdir_is_for_archives_only(base: Path) -> None:
    """gpg's sockets need a short path."""
    long = base / ("x" * 100)
    long.mkdir()
    with private(str(long)) as place:
        assert place.bulk.parent == long
        assert len(str(place.gnupg)) < 87
        places = [place.secrets, place.bulk]
    assert not any(path.exists() for path in places)


def test_a_tmpdir_that_is_not_there(base: Path) -> None:
    with (
        pytest.raises(ConfigurationError, match="no private directory can be made in") as caught,
        private(f"{base}/no"),
    ):
        pytest.fail("went on")
    assert "TMPDIR" in caught.value.resolution
    with pytest.raises(ConfigurationError), private("/proc"):
        pytest.fail("went on")


def test_a_tmpdir_that_cannot_be_written(base: Path) -> None:
    base.chmod(0o500)
    code = (
        "import sys; from handler import workspace; workspace._TMPFS_CANDIDATES = ()\n"
        "from handler.errors import ConfigurationError\n"
        "try:\n    workspace.private(sys.argv[1]).__enter__()\n"
        "except ConfigurationError as error: print(error.message)\n"
    )
    done = powerless(code, str(base))
    base.chmod(0o700)
    assert "no private directory can be made" in done.stdout, done.stderr


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount a small file system")
def test_a_full_tmpdir(base: Path) -> None:
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k,nr_inodes=4", "none", str(base)], check=True)
    try:
        for number in range(3):
            (base / str(number)).touch()
        with pytest.raises(ToolFailed, match="no space left") as caught, private(str(base)):
            pytest.fail("went on")
        assert caught.value.exit_code == 4
    finally:
        subprocess.run(["umount", "-l", str(base)], check=True)


# --- files -------------------------------------------------------------------------------------------------------


@pytest.fixture(params=["unnamed", "named"])
def either_way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """With O_TMPFILE, and on a file system that does not have it."""
    if request.param == "named":
        real = os.open

        def refuse(path: str | Path, flags: int, *args: int, **more: int) -> int:
            if flags & os.O_TMPFILE == os.O_TMPFILE:
                raise OSError(errno.EOPNOTSUPP, "Operation not supported")
            return real(path, flags, *args, **more)

        monkeypatch.setattr(os, "open", refuse)
    return str(request.param)


def test_a_new_file(base: Path, either_way: str) -> None:
    target = base / "target"
    old = os.umask(0)
    try:
        with new_file(target) as file:
            assert not target.exists()
            if either_way == "unnamed":
                assert left(base) == []
            file.write(b"content")
            file.seek(0)
            assert file.read() == b"content"
    finally:
        os.umask(old)
    assert target.read_bytes() == b"content"
    assert mode(target) == 0o600
    assert left(base) == ["target"]


def test_a_new_file_is_never_written_over_another(base: Path, either_way: str) -> None:
    target = base / "target"
    for make in (lambda: target.write_bytes(b"old"), lambda: target.symlink_to("/nowhere"), target.mkdir):
        make()
        before = target.lstat().st_mode
        with pytest.raises(FileExistsError), new_file(target) as file:
            file.write(b"new")
        assert target.lstat().st_mode == before
        assert left(base) == ["target"]
        target.rmdir() if target.is_dir() and not target.is_symlink() else target.unlink()
    assert not Path("/nowhere").exists()


def test_a_file_that_comes_meanwhile_stays(base: Path, either_way: str) -> None:
    target = base / "target"

    def write() -> None:
        with new_file(target) as file:
            target.write_bytes(b"came meanwhile")
            file.write(b"new")

    with pytest.raises(FileExistsError):
        write()
    assert left(base) == ["target"]
    assert target.read_bytes() == b"came meanwhile"


def test_nothing_is_left_of_a_new_file_after_an_error(base: Path, either_way: str) -> None:

    def write() -> None:
        with new_file(base / "target") as file:
            file.write(b"half")
            raise ValueError("x")

    with pytest.raises(ValueError, match="x"):
        write()
    assert left(base) == []
    with pytest.raises(FileNotFoundError), new_file(base / "no" / "target"):
        pytest.fail("went on")


def test_nothing_is_left_of_a_new_file_after_a_kill(base: Path) -> None:
    code = (
        "import sys, time; from pathlib import Path; from handler.workspace import new_file\n"
        "with new_file(Path(sys.argv[1]) / 'target') as file:\n"
        "    file.write(b'half' * 100000); file.flush(); print('ready', flush=True); time.sleep(60)\n"
    )
    with subprocess.Popen([sys.executable, "-c", code, str(base)], stdout=subprocess.PIPE, cwd=ROOT) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        process.send_signal(signal.SIGKILL)
    assert left(base) == []


def test_write_private(base: Path) -> None:
    target = base / "key"
    write_private(target, "sécret")
    assert target.read_text() == "sécret"
    assert mode(target) == 0o600
    with pytest.raises(FileExistsError):
        write_private(target, b"other")
    (base / "link").symlink_to(base / "elsewhere")
    with pytest.raises(FileExistsError):
        write_private(base / "link", b"other")
    assert not (base / "elsewhere").exists()


def test_write_atomic(base: Path) -> None:
    target = base / "file"
    write_atomic(target, b"one")
    assert (target.read_bytes(), mode(target)) == (b"one", 0o644)
    write_atomic(target, b"two", mode=0o600)
    assert (target.read_bytes(), mode(target)) == (b"two", 0o600)
    elsewhere = base / "elsewhere"
    elsewhere.write_bytes(b"precious")
    (base / "link").symlink_to(elsewhere)
    write_atomic(base / "link", b"three")
    assert elsewhere.read_bytes() == b"precious"
    (base / "directory").mkdir()
    with pytest.raises(OSError):  # noqa: PT011
        write_atomic(base / "directory", b"x")
    assert left(base) == ["directory", "elsewhere", "file", "link"]


def test_one_at_a_time(base: Path) -> None:
    with locked(base):
        with pytest.raises(Conflict, match="another run") as caught, locked(base):
            pytest.fail("went on")
        assert caught.value.exit_code == 7
        code = "import fcntl, os, sys; fcntl.flock(os.open(sys.argv[1], 0), fcntl.LOCK_EX | fcntl.LOCK_NB)"
        done = subprocess.run([sys.executable, "-c", code, str(base)], capture_output=True, check=False)
        assert b"BlockingIOError" in done.stderr
    with locked(base):
        pass
    assert left(base) == []


def test_a_child_does_not_inherit_the_lock(base: Path) -> None:
    with locked(base):
        child = subprocess.Popen(["sleep", "30"], close_fds=False)
    try:
        fd = os.open(base, os.O_RDONLY)
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.close(fd)
    finally:
        child.kill()
        child.wait()
