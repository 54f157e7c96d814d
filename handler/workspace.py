"""Private places on disk: made for one run, gone on every way out, swept when a run was killed.

Secrets (keys, the children's HOME) live on a tmpfs where there is one; archives live under TMPDIR, because
docker's /dev/shm is small. A place is locked by its own directory for as long as its run lives, so the next run
can tell what a killed one left behind.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

from handler.errors import ConfigurationError, Conflict, disk_full

_PREFIX: Final = "k0sctl-handler-"
_NEW: Final = ".k0sctl-handler-new-"
#: Seconds after which a place that was never finished counts as abandoned.
_ABANDONED: Final = 60
#: gpg-agent's sockets live in GNUPGHOME and their path may not exceed 108 bytes: longer homes fail (gnupg T2964).
_LONGEST_BASE: Final = 40
_TMPFS_CANDIDATES: Final = ("/dev/shm", "/run/shm")  # noqa: S108


@dataclass(frozen=True, kw_only=True)
class Workspace:
    """The private directories of one run, mode 0700.

    Attributes:
        secrets: on tmpfs where there is one.
        bulk: under TMPDIR, for archives.
        home: HOME of all children, inside ``secrets``.
        gnupg: GNUPGHOME, inside ``secrets``.
    """

    secrets: Path
    bulk: Path

    @property
    def home(self) -> Path:
        return self.secrets / "home"

    @property
    def gnupg(self) -> Path:
        return self.secrets / "gnupg"

    @property
    def ssh(self) -> Path:
        return self.home / ".ssh"

    def wipe(self) -> None:
        """Remove everything; never raises, since it runs on every way out."""
        for place in (self.secrets, self.bulk):
            shutil.rmtree(place, ignore_errors=True)


@contextlib.contextmanager
def private(tmpdir: str) -> Iterator[Workspace]:
    """Make the private places, sweep those of killed runs, and remove ours at the end.

    Raises:
        ConfigurationError: no place can be written.
    """
    secret_base, bulk_base = _secret_base(tmpdir), Path(tmpdir)
    for base in {secret_base, bulk_base}:
        sweep(base)
    with contextlib.ExitStack() as stack:
        workspace = Workspace(
            secrets=stack.enter_context(_place(secret_base)), bulk=stack.enter_context(_place(bulk_base))
        )
        for directory in (workspace.home, workspace.gnupg, workspace.ssh):
            directory.mkdir(mode=0o700)
        yield workspace


def sweep(base: Path) -> None:
    """Remove the places that a killed run left in ``base``: ours by owner and name, and locked by nobody."""
    for place in [*base.glob(_PREFIX + "*"), *base.glob(_NEW + "*")]:
        with contextlib.suppress(OSError):
            status = place.lstat()
            new = place.name.startswith(_NEW) and time.time() - status.st_mtime < _ABANDONED
            if status.st_uid == os.geteuid() and not new and place.is_dir() and not place.is_symlink():
                _remove_unlocked(place)


def _remove_unlocked(place: Path) -> None:
    fd = os.open(place, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(place, ignore_errors=True)
    finally:
        os.close(fd)


def _secret_base(tmpdir: str) -> Path:
    for candidate in map(Path, _TMPFS_CANDIDATES):
        if os.path.ismount(candidate) and os.access(candidate, os.W_OK | os.X_OK):
            return candidate
    for candidate in (Path(tmpdir), Path("/tmp")):  # noqa: S108
        if len(os.fsencode(candidate)) <= _LONGEST_BASE and os.access(candidate, os.W_OK | os.X_OK):
            return candidate
    raise ConfigurationError(
        f"no private directory can be made: {tmpdir} cannot be written or its path is too long for gpg",
        resolution=f"set TMPDIR to a writable directory whose path has at most {_LONGEST_BASE} bytes",
    )


@contextlib.contextmanager
def _place(base: Path) -> Iterator[Path]:
    """A new private directory, locked while it lives."""
    try:
        # Locked before it gets its final name: a sweep of another run never sees it unlocked.
        new = Path(tempfile.mkdtemp(prefix=_NEW, dir=base))
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise disk_full(f"making a private directory in {base}") from error
        raise ConfigurationError(
            f"no private directory can be made in {base}: {error.strerror}",
            resolution="set TMPDIR to a directory that this user can write",
        ) from error
    with locked(new):
        place = new.rename(base / (_PREFIX + new.name.removeprefix(_NEW)))
        try:
            yield place
        finally:
            shutil.rmtree(place, ignore_errors=True)


@contextlib.contextmanager
def opened_directory(directory: Path) -> Iterator[int]:
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield fd
    finally:
        os.close(fd)


@contextlib.contextmanager
def locked(directory: Path) -> Iterator[None]:
    """Hold the kernel's lock on a directory itself: no lock file is left, and no child inherits it.

    Raises:
        Conflict: another run holds it.
    """
    with opened_directory(directory) as fd:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Conflict(
                f"another run of k0sctl-handler works in {directory}",
                resolution="wait for it to end, then run again",
            ) from None
        yield


def write_private(path: Path, data: bytes | str) -> Path:
    """Write a new file that only this user can read, from its first moment on."""
    raw = data.encode() if isinstance(data, str) else data
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "wb") as file:  # noqa: PTH123
        file.write(raw)
    return path


def write_atomic(path: Path, data: bytes, *, mode: int = 0o644) -> None:
    """Write a file so that a reader sees the old content or the new, never a part."""
    fd, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with open(fd, "wb") as file:  # noqa: PTH123
            file.write(data)
            file.flush()
            os.fchmod(fd, mode)
            os.fsync(fd)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


@contextlib.contextmanager
def new_file(target: Path) -> Iterator[BinaryIO]:
    """A private file (mode 0600) that gets its name when the block ends well, never over an existing one.

    Until then it has no name where the file system can do that (``O_TMPFILE``), so that nothing is left of it
    when the process is killed.

    Raises:
        FileExistsError: there is such a file.
    """
    with contextlib.ExitStack() as stack:
        try:
            fd = os.open(target.parent, os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o600)
            source = f"/proc/self/fd/{fd}"
        except OSError as error:
            if error.errno not in {errno.EOPNOTSUPP, errno.EISDIR, errno.ENOENT, errno.EINVAL}:
                raise
            fd, source = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
            stack.callback(Path(source).unlink, missing_ok=True)
        file = stack.enter_context(open(fd, "w+b"))  # noqa: PTH123
        yield file
        file.flush()
        os.fsync(fd)
        with opened_directory(target.parent) as directory:
            # Only with a directory descriptor does Python call linkat(2), which follows the link in /proc.
            os.link(source, target, src_dir_fd=directory, follow_symlinks=True)
