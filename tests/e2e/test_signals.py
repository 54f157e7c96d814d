"""SIGTERM and SIGINT at any moment: the right exit code within seven seconds, and nothing left behind."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.e2e.conftest import Site
from tests.practice.choice import practice_host
from tests.support.keys import KeyPair
from tests.support.lab import Ended, Lab, ssh_to
from tests.support.plain import PlainTools
from tests.support.watcher import descendants, read, wait_for, with_mark

pytestmark = pytest.mark.e2e

LIMIT = 7.0
CODES = {signal.SIGTERM: 143, signal.SIGINT: 130}
NAMES = {signal.SIGTERM: "SIGTERM", signal.SIGINT: "SIGINT"}


def stop(lab: Lab, process: subprocess.Popen[str], signum: signal.Signals = signal.SIGTERM) -> Ended:
    """Send a signal and check everything that holds for every moment."""
    began = time.monotonic()
    process.send_signal(signum)
    done = lab.end(process, timeout=20)
    assert time.monotonic() - began < LIMIT, done.stderr
    assert done.code == CODES[signum], done.stderr
    assert f"stopped by {NAMES[signum]}" in done.last
    report = lab.report()
    assert (report["exit_code"], report["outcome"]) == (done.code, "interrupted")
    nothing_is_left(lab)
    return done


def nothing_is_left(lab: Lab) -> None:
    assert not lab.leftovers()
    assert not list((lab.backup / ".git").glob("*k0sctl-handler*"))
    assert not list((lab.backup / ".git").rglob("*.lock"))
    assert not list((lab.backup / ".git").rglob("tmp_obj_*"))
    assert not with_mark(f"PATH={lab.bin}")


def slowed(lab: Lab, tool: str, number: int) -> Path:
    """Make the n-th call of a tool wait, deaf to SIGTERM as a stuck one is; returns the file that tells it does."""
    count, mark = lab.directory / f"{tool}-calls", lab.directory / f"{tool}-waits"
    lab.tool(
        tool, f"echo >> {count}\n[ $(wc -l < {count}) -ne {number} ] || {{ trap '' TERM; touch {mark}; sleep 60; }}"
    )
    return mark


def kill(lab: Lab, process: subprocess.Popen[str]) -> None:
    """End a run by SIGKILL, as a machine or a CI system does, and what it started with it."""
    process.kill()
    process.communicate()
    while left := with_mark(f"PATH={lab.bin}"):
        for pid in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


# gpg: 1 to 3 are the look at its version and the import, the following ones verify and open; git: reading, later
# writing objects, the last ones (see below) the commit
@pytest.mark.parametrize(
    ("tool", "number", "command"),
    [
        ("gpg", 1, "restore"), ("gpg", 2, "restore"), ("gpg", 4, "restore"), ("gpg", 6, "restore"),
        ("git", 1, "restore"), ("git", 8, "restore"), ("git", 13, "init"), ("git", 18, "init"),
        ("openssl", 1, "restore"), ("ssh-keyscan", 1, "backup"), ("ssh-keygen", 1, "backup"),
        ("k0sctl", 1, "version"),
    ],
)  # fmt: skip
def test_while_a_tool_works(running: Lab, tool: str, number: int, command: str) -> None:
    mark = slowed(running, tool, number)
    signum = signal.SIGINT if number % 2 else signal.SIGTERM
    with running.repository_unchanged():
        process = running.start(
            command, *(["--to", "../out"] if command == "restore" else []), K0SCTL_CONFIRM_INIT="prod"
        )
        wait_for(lambda: mark.exists() or process.poll() is not None)
        assert process.poll() is None, process.communicate()
        if command == "version":  # it leaves no report
            process.send_signal(signum)
            assert running.end(process).code == CODES[signum]
            nothing_is_left(running)
        else:
            stop(running, process, signum)
    assert not (running.directory / "out").exists()


def test_while_openssl_encrypts(running: Lab) -> None:
    """The real openssl, in the middle of an archive, because nobody takes its output."""
    running.host.fault("big-backup", "1")
    mark = running.directory / "openssl-waits"
    running.tool("openssl", f'[ "$1" != enc ] || {{ "$real" "$@" | {{ touch {mark}; sleep 60; cat; }}; exit; }}')
    with running.repository_unchanged():
        process = running.start("backup")
        wait_for(mark.exists)
        assert any(read(pid, "comm").startswith(b"openssl") for pid in descendants(process.pid))
        done = stop(running, process)
    assert "k0sctl backup: ok" in done.stderr


def test_while_k0s_backs_up(running: Lab) -> None:
    """k0sctl is told once and may wait for its remote command; then it is killed, and what it leaves is named."""
    running.host.fault("hang-backup", "30")
    before = len(running.host.calls())
    with running.repository_unchanged():
        process = running.start("backup")
        wait_for(lambda: any(call.startswith("k0s backup") for call in running.host.calls()[before:]))
        began = time.monotonic()
        done = stop(running, process)
        assert time.monotonic() - began > 5  # it had its time
    log = next(running.auditlog.glob("*-backup.log"))
    assert "Aborting..." in log.read_text() or "k0s backup" in log.read_text()
    host = ssh_to(running.host)
    assert f"{host} 'rm -f /tmp/k0sctl.lock'" in done.stderr
    assert f"{host} 'rm -rf /tmp/" in done.stderr
    assert any("/tmp/k0sctl.lock" in warning for warning in running.report()["warnings"])


def test_while_k0sctl_ends_by_itself(running: Lab) -> None:
    """A remote command that ends soon is waited for; then nothing is left on the host, and nothing is named."""
    running.host.fault("slow-backup", "2")
    before = len(running.host.calls())
    with running.repository_unchanged():
        process = running.start("backup")
        wait_for(lambda: any(call.startswith("k0s backup") for call in running.host.calls()[before:]))
        done = stop(running, process, signal.SIGINT)
    assert "left on a host" not in done.stderr
    assert list(running.auditlog.glob("*-backup.log"))


@pytest.mark.k0sctl_faults
def test_while_k0sctl_is_stuck(running: Lab) -> None:
    running.faults.set("k0sctl-stuck")
    process = running.start("apply", K0SCTL_RESTORE="never")
    wait_for(lambda: any(b"practice.k0sctl" in read(pid, "cmdline") for pid in descendants(process.pid)))
    time.sleep(0.3)
    stop(running, process)


def test_while_k0s_is_installed(lab: Lab) -> None:
    lab.host.fault("slow-install", "20")
    process = lab.start("apply")
    wait_for(lambda: any(call.startswith("k0s install") for call in lab.host.calls()))
    done = stop(lab, process)
    assert "Initialize the k0s cluster" in done.stderr
    assert done.first == "apply: no backup in restore: a new cluster"


def test_while_k0s_restores(spare: Lab, site: Site) -> None:
    """The next apply recognises what is left, tells how to go on, and that works."""
    spare.host.fault("slow-restore", "8")
    process = spare.start("apply")
    wait_for(lambda: any(call.startswith("k0s restore") for call in spare.host.calls()), 30)
    done = stop(spare, process)
    assert done.first == f"apply: restoring {site.latest}"
    spare.host.clear_fault("slow-restore")
    # where sshd passes k0sctl's signal on to k0s, it ends by itself, and nothing was restored
    if spare.report()["facts"]["k0sctl apply"]["exit_code"] != 1:
        wait_for(lambda: spare.host.uid() == site.uid)  # the command on the host has gone on
        said = ("an earlier restore was interrupted", f"{spare.host.address}:{spare.host.port}")
        wipe = re.search(rf"{ssh_to(spare.host)} '([^']+)'", spare.run("apply").failed(4, *said).last)
        assert wipe
        spare.host.run(wipe[1])
    spare.ok("apply")
    assert spare.host.uid() == site.uid


def test_while_the_doors_are_tried(running: Lab, tmp_path: Path, cluster_key: KeyPair) -> None:
    with practice_host(tmp_path / "silent", name="silent") as silent:
        lab = Lab(tmp_path / "lab", [silent], cluster_key)
        silent.fault("ssh-hang")
        process = lab.start("apply", K0SCTL_SSH_WAIT="1h")
        time.sleep(1.5)
        began = time.monotonic()
        stop(lab, process)
        assert time.monotonic() - began < 3


def test_at_many_moments(spare: Lab, site: Site, cluster_key: KeyPair) -> None:
    """Whenever it comes: the repository is as it was, or has one complete signed commit more."""
    plain = PlainTools(spare.directory / "plain", cluster_key.private)
    codes = set()
    for moment in range(1, 9):
        head = spare.head()
        process = spare.start("init", K0SCTL_CONFIRM_INIT="prod")
        time.sleep(moment * 0.11)
        process.send_signal(signal.SIGTERM)
        stdout, stderr = process.communicate(timeout=20)
        codes.add(process.returncode)
        assert process.returncode in {0, 143, -15}, stderr
        assert "Traceback" not in stderr
        assert stdout == ""
        now = spare.head()
        if now != head:
            assert spare.git("rev-parse", "HEAD^") == head
            assert plain.verify_commit(spare.backup, "HEAD") == cluster_key.fingerprint
        assert spare.git("status", "--porcelain") == "", stderr
        spare.git("fsck", "--strict", "--no-progress")
        if process.returncode != -15:
            nothing_is_left(spare)
    assert 143 in codes


def test_during_the_commit(running: Lab, cluster_key: KeyPair) -> None:
    """Moving HEAD and showing it belong together: a signal there comes after them."""
    plain = PlainTools(running.directory / "plain", cluster_key.private)
    mark = running.directory / "updates"
    running.tool("git", f'case "$*" in *update-ref*HEAD*) touch {mark}; sleep 2 ;; esac')
    head = running.head()
    process = running.start("init", K0SCTL_CONFIRM_INIT="prod")
    wait_for(mark.exists)
    stop(running, process)
    assert running.git("rev-parse", "HEAD^") == head
    assert plain.verify_commit(running.backup, "HEAD") == cluster_key.fingerprint
    assert running.git("status", "--porcelain") == ""


def test_a_commit_that_hangs(running: Lab) -> None:
    """Even then it ends in time; what is there is the old commit or the new one, never a half."""
    mark = running.directory / "updates"
    running.tool("git", f"case \"$*\" in *update-ref*HEAD*) trap '' TERM; touch {mark}; sleep 60 ;; esac")
    head = running.head()
    process = running.start("init", K0SCTL_CONFIRM_INIT="prod")
    wait_for(mark.exists)
    began = time.monotonic()
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=20)
    assert time.monotonic() - began < LIMIT
    assert process.returncode == 143
    assert running.head() == head
    assert not running.leftovers()
    running.git("fsck", "--strict", "--no-progress")


def test_killed_and_swept(running: Lab) -> None:
    mark = slowed(running, "openssl", 1)
    process = running.start("restore", "--to", "../out")
    wait_for(mark.exists)
    kill(running, process)
    assert list(running.tmp.iterdir())
    assert not (running.directory / "out").exists()
    assert [path for path in running.directory.iterdir() if path.name.startswith(".")] == []
    running.tool("openssl", "")
    running.ok("restore", "--to", "../out")
    assert list(running.tmp.iterdir()) == []
    # a place of a run that lives is not swept
    (running.directory / "openssl-calls").unlink(missing_ok=True)
    mark.unlink()
    mark = slowed(running, "openssl", 1)
    process = running.start("restore", "--to", "../out2")
    wait_for(mark.exists)
    held = set(running.tmp.iterdir())
    assert held
    running.tool("openssl", "")
    running.ok("restore", "--to", "../out3", K0SCTL_DIR_LOG="auditlog2")
    assert set(running.tmp.iterdir()) == held
    stop(running, process)


def test_a_killed_backup_leaves_a_repository_that_works(running: Lab) -> None:
    mark = running.directory / "writes"
    running.tool("git", f'case "$*" in *hash-object*) touch {mark}; sleep 60 ;; esac')
    head = running.head()
    process = running.start("backup")
    wait_for(mark.exists)
    kill(running, process)
    assert running.head() == head
    running.tool("git", "")
    running.ok("backup")
    assert running.git("rev-parse", "HEAD^") == head
    assert running.git("status", "--porcelain") == ""
    nothing_is_left(running)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root for a process namespace of its own")
@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
def test_as_the_first_process(running: Lab, signum: signal.Signals) -> None:
    """As in a container: PID 1 gets no default action of a signal, and nobody else reaps."""
    unshare = shutil.which("unshare") or pytest.skip("needs unshare")
    running.prefix = [unshare, "--pid", "--fork", "--mount-proc", "--kill-child", "--"]
    running.host.fault("slow-backup", "1")
    before = len(running.host.calls())
    process = running.start("backup")
    wait_for(lambda: any(call.startswith("k0s backup") for call in running.host.calls()[before:]))
    inner = descendants(process.pid)[0]
    assert sys.executable.encode() in read(inner, "cmdline") or b"handler" in read(inner, "cmdline")
    with running.repository_unchanged():
        began = time.monotonic()
        os.kill(inner, signum)
        done = running.end(process)
        assert time.monotonic() - began < LIMIT
    assert done.code == CODES[signum]
    nothing_is_left(running)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root for a process namespace of its own")
def test_the_first_process_is_stopped_before_it_has_begun(running: Lab) -> None:
    unshare = shutil.which("unshare") or pytest.skip("needs unshare")
    running.prefix = [unshare, "--pid", "--fork", "--mount-proc", "--kill-child", "--"]
    for number in range(3):
        process = running.start("restore", "--to", f"../out{number}")
        # the second start, before it has taken over the signals
        wait_for(lambda: any(b"ENVIRONMENT_FD" in read(pid, "environ") for pid in descendants(process.pid)))  # noqa: B023
        os.kill(descendants(process.pid)[0], signal.SIGTERM)
        running.end(process).failed(143, "stopped by SIGTERM")
    assert not running.leftovers()
