"""The stand-in k0sctl against the recorded runs of the real one: backup."""

import gzip
import hashlib
import io
import signal
import tarfile
import time

import pytest

from tests.practice.client import Client
from tests.practice.host import PracticeHost
from tests.practice.k0s.store import ARCHIVES

pytestmark = pytest.mark.e2e

BEFORE = [
    "Connect to hosts",
    "Detect host operating systems",
    "Acquire exclusive host lock",
    "Prepare hosts",
    "Gather host facts",
    "Gather k0s facts",
]
AFTER = ["Release exclusive host lock", "Disconnect from hosts"]
LOCK_CLEANED = "* Running clean-up for phase: Acquire exclusive host lock"
DRY_BACKUP = "/usr/local/bin/k0s backup --save-path /tmp/k0s_backup.dryrun --data-dir /var/lib/k0s"
CANCELED = 'backup failed: context canceled before entering phase \\"Release exclusive host lock\\": context canceled'


@pytest.fixture(autouse=True)
def installed(host: PracticeHost) -> None:
    host.install()


def names(data: bytes) -> list[tuple[str, str]]:
    """Names and owners of the members of an archive."""
    with tarfile.open(fileobj=io.BytesIO(data), mode="r:gz") as archive:
        return [(member.name, member.uname) for member in archive]


def test_good_backup(client: Client, host: PracticeHost) -> None:
    """Run c1: phases, the warning of every good backup, and an archive in the layout of a real one."""
    outcome = client.run("backup", "--output", "out.tar.gz")
    assert outcome.status == 0
    assert outcome.phases == [*BEFORE, "Take backup", *AFTER]
    assert outcome.messages("info")[-4:-2] == ["H: backing up", "==> Running phase: Release exclusive host lock"]
    (warning,) = outcome.messages("warning")
    assert warning.startswith("H: failed to clean up backup temp directory /tmp/")
    assert warning.endswith(
        "Process exited with status 1 (rm: cannot remove '" + warning.split()[8][:-1] + "': Is a directory)"
    )
    output = client.work / "out.tar.gz"
    assert output.stat().st_mode & 0o777 == 0o600
    real = [entry for entry in names(ARCHIVES["etcd"].read_bytes()) if not entry[0].startswith("images")]
    assert names(output.read_bytes()) == real
    with tarfile.open(output) as archive:
        member = archive.extractfile("etcd-snapshot.db")
        assert member is not None
        snapshot = member.read()
    assert len(snapshot) % 512 == 32
    assert hashlib.sha256(snapshot[:-32]).digest() == snapshot[-32:]
    assert host.calls()[-1].startswith("k0s backup --save-path /tmp/")
    assert not any(name.endswith((".tar.gz", ".lock")) for name in host.files())


def test_output_that_exists(client: Client, host: PracticeHost) -> None:
    """Runs c2, c2b and c5b: not truncated when it works, deleted when it fails."""
    output = client.work / "out"
    output.write_bytes(b"x" * 200_000)
    assert client.run("backup", "-o", "out").status == 0
    assert output.stat().st_size == 200_000
    assert output.read_bytes().endswith(b"xxx")
    host.fault("fail-backup")
    failed = client.run("backup", "-o", "out")
    assert failed.status == 1
    assert not output.exists()
    missing = client.run("backup", "-o", "nodir/out")
    assert missing.status == 1
    assert missing.fatal == "open local file for writing: open nodir/out: no such file or directory"


def test_dry_run(client: Client, host: PracticeHost) -> None:
    """Runs c3 and i1c: an empty output, and the UID in the log."""
    for words, environment in ((["--dry-run"], {}), ([], {"DRY_RUN": "1"})):
        output = client.work / f"o{len(words)}"
        outcome = client.run("backup", *words, "--output", output.name, **environment)
        assert outcome.status == 0
        assert outcome.phases == [*BEFORE, "Take backup", *AFTER]
        assert outcome.stdout.splitlines()[-9:-1] == [
            "dry-run: cluster state altering actions would be performed:",
            "dry-run: * H :",
            "dry-run:  - reuse existing k0s v1.34.2+k0s.0; skip downloads/uploads/upgrades",
            "dry-run:  - create a tempdir using `mktemp -d`",
            f"dry-run:  - create backup using `{DRY_BACKUP}`",
            "dry-run:  - delete the tempdir",
            "dry-run: * local :",
            "dry-run:  - download the backup file to local host",
        ]
        assert output.read_bytes() == b""
    assert f"msg={host.uid()} " in client.log


def test_k0s_fails(client: Client, host: PracticeHost) -> None:
    """Run c5."""
    host.fault("fail-backup")
    outcome = client.run("backup", "--output", "out")
    assert outcome.status == 1
    assert outcome.phases == [*BEFORE, "Take backup"]
    assert outcome.messages("info")[-1] == LOCK_CLEANED
    reason = "Error: failed to create backup on step `etcd`: context deadline exceeded"
    ended = f"process finished with error: Process exited with status 1 ({reason})"
    assert outcome.fatal == f"backup failed: command result: {ended}"
    assert len([name for name in host.files() if name.startswith("/tmp/")]) == 1


def test_lies(client: Client, host: PracticeHost) -> None:
    """Runs c6 and c6b: an archive of 0 bytes counts as a backup, none at all does not."""
    host.fault("empty-backup")
    assert client.run("backup", "-o", "out").status == 0
    assert (client.work / "out").read_bytes() == b""
    host.fault("no-backup-file")
    outcome = client.run("backup", "-o", "out")
    assert outcome.status == 1
    assert outcome.fatal.startswith("backup failed: no backup file found in /tmp/")


@pytest.mark.parametrize(
    ("fault", "problem"),
    [
        ("cut-backup", EOFError),
        ("cut-trailer", EOFError),
        ("wrong-crc", gzip.BadGzipFile),
        ("tail", gzip.BadGzipFile),
    ],
)
def test_bad_gzip(host: PracticeHost, fault: str, problem: type[Exception]) -> None:
    """Archives that are taken as good."""
    host.fault(fault)
    with pytest.raises(problem):
        gzip.decompress(archive_of(host))


def archive_of(host: PracticeHost) -> bytes:
    """What k0s backup writes, straight from the host."""
    host.run("rm -f k0s_backup_*; k0s backup --save-path /var/tmp && mv /var/tmp/k0s_backup_* .")
    (archive,) = (host.root / "root").glob("k0s_backup_*")
    return archive.read_bytes()


def test_bad_content(host: PracticeHost) -> None:
    """Archives that are taken as good and have a whole gzip."""
    etcd, kine = "etcd-snapshot.db", "kine-state-backup.db"
    for fault, stores in (("no-datastore", []), ("two-datastores", [etcd, kine]), ("wrong-datastore", [kine])):
        host.fault(fault)
        found = [name for name, _ in names(archive_of(host))]
        assert [name for name in found if name.endswith(".db")] == stores
        assert found[-1] == "k0s.yaml"
        host.clear_fault(fault)
    host.fault("no-tar-end")
    host.fault("big-backup", "9")
    data = gzip.decompress(archive_of(host))
    assert len(data) > 9_000_000
    assert not data.endswith(bytes(1024))


def test_hooks(client: Client) -> None:
    """Run c8: the archive is complete, but a hook fails and the output is gone."""
    hooks = '    hooks: {backup: {before: [echo before-hook], after: ["echo after-hook; exit 3"]}}\n'
    text = client.config.read_text(encoding="utf-8").replace("    useExistingK0s", f"{hooks}    useExistingK0s")
    client.config.write_text(text, encoding="utf-8")
    outcome = client.run("backup", "-o", "out")
    assert outcome.status == 1
    assert 'H: running before backup hook: \\"echo before-hook\\"' in outcome.messages("info")
    assert outcome.fatal == (
        "backup failed: running hooks failed: failed on 1 hosts:\\n - H: running hooks failed: failed to execute hook "
        '\\"echo after-hook; exit 3\\" for action \\"backup\\" stage \\"after\\" on host 127.0.0.1: '
        "command result: process finished with error: Process exited with status 3"
    )
    assert not (client.work / "out").exists()


def wait_for_backup(host: PracticeHost) -> None:
    """Waits until k0s backup runs."""
    deadline = time.monotonic() + 20
    while not host.calls()[-1].startswith("k0s backup"):
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_signals(client: Client, host: PracticeHost) -> None:
    """Runs h2 and h2b: a SIGTERM waits for the remote command and gives the lock back at once; a second one is lost."""
    host.fault("slow-backup", "1.5")
    process = client.start("backup", "--output", "out")
    wait_for_backup(host)
    assert "/tmp/k0sctl.lock" in host.files()
    process.send_signal(signal.SIGTERM)
    time.sleep(0.5)
    assert "/tmp/k0sctl.lock" not in host.files()
    assert process.poll() is None
    process.send_signal(signal.SIGTERM)
    outcome = client.end(process)
    assert outcome.status == 1
    assert outcome.messages("warning")[0] == "Aborting... Press Ctrl-C again to exit now."
    assert "failed to clean up backup temp directory" in outcome.messages("warning")[1]
    assert outcome.messages("info")[-1] == LOCK_CLEANED
    assert outcome.fatal == CANCELED
    assert not (client.work / "out").exists()


def test_kill_leaks(client: Client, host: PracticeHost) -> None:
    """Runs h2c and j5: the remote backup goes on and its cleartext stays, as does the lock, for 30 seconds."""
    client.faults.set("hurry", "30")
    host.fault("slow-backup", "1")
    process = client.start("backup", "--output", "out")
    wait_for_backup(host)
    process.kill()
    assert client.end(process).status == -signal.SIGKILL
    assert (client.work / "out").read_bytes() == b""
    assert "/tmp/k0sctl.lock" in host.files()
    time.sleep(1.5)
    assert any(name.endswith(".tar.gz") for name in host.files())
    host.clear_fault("slow-backup")
    assert client.run("backup", "--output", "out").status == 0


def test_timeout_does_not_cut(client: Client, host: PracticeHost) -> None:
    """Run h2d."""
    host.fault("slow-backup", "3")
    started = time.monotonic()
    outcome = client.run("backup", "--output", "out", "--timeout", "2500ms")
    assert time.monotonic() - started > 3
    assert outcome.status == 1
    assert outcome.fatal.endswith("context deadline exceeded")


def test_lock(client: Client, host: PracticeHost) -> None:
    """Run j4."""
    client.faults.set("hurry", "100")
    host.fault("locked")
    outcome = client.run("backup", "--output", "out")
    assert outcome.status == 1
    assert outcome.phases == BEFORE[:3]
    assert outcome.fatal == (
        "backup failed: failed on 1 hosts:\\n - H: retry limit exceeded after 10 attempts: another instance of k0sctl "
        "is currently operating on the host, delete /tmp/k0sctl.lock or wait 30 seconds for it to expire"
    )
    host.clear_fault("locked")


def test_no_uid(client: Client, host: PracticeHost) -> None:
    """The UID cannot be read: nobody but the log says so."""
    host.fault("no-uid")
    assert client.run("backup", "--dry-run", "-o", "out").status == 0
    assert f"msg={host.uid()}" not in client.log.rpartition("New session")[2]
