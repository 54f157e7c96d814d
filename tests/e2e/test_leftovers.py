"""What a killed k0sctl leaves on the hosts is named, with lines that remove it."""

from __future__ import annotations

import os
import re
import signal
from pathlib import Path

import pytest

from tests.e2e.conftest import Site
from tests.practice.choice import Host
from tests.support.lab import Ended, Lab, ssh_to
from tests.support.watcher import descendants, read, wait_for

pytestmark = pytest.mark.e2e


def killed_at(lab: Lab, call: str, command: str) -> Ended:
    """Run a command whose k0sctl is killed, as by a machine without memory, while k0s works on the host."""
    before = len(lab.host.calls())
    process = lab.start(command)
    wait_for(lambda: any(one.startswith(call) for one in lab.host.calls()[before:]), 30)
    k0sctl = next(pid for pid in descendants(process.pid) if is_k0sctl(pid))
    os.kill(k0sctl, signal.SIGKILL)
    return lab.end(process)


def is_k0sctl(pid: int) -> bool:
    return b"tests.practice.k0sctl" in read(pid, "cmdline") or read(pid, "comm") == b"k0sctl\n"


def in_clear(host: Host) -> list[Path]:
    return [path for path in (host.root / "tmp").rglob("*") if path.is_file() and "k0s_backup" in path.name]


def type_the_lines(lab: Lab, done: Ended) -> None:
    """Do what the run says."""
    left = lab.report()["facts"]["leftovers"]
    assert left
    for line in left:
        assert f"left on a host, remove it: {line}" in lab.report()["warnings"]
        assert line in done.stderr
        typed = re.fullmatch(rf"{re.escape(ssh_to(lab.host))} '(.+)'", line)
        assert typed
        lab.host.run(typed[1])


@pytest.fixture
def twin(spare: Lab, site: Site) -> Lab:
    """The backed-up cluster on a host of the test's own."""
    spare.host.install()
    spare.host.set_uid(site.uid)
    return spare


def test_of_a_backup(twin: Lab) -> None:
    twin.host.fault("slow-backup", "1")
    done = killed_at(twin, "k0s backup", "backup").failed(4)
    wait_for(lambda: in_clear(twin.host))  # k0s on the host has gone on
    assert (twin.host.root / "tmp/k0sctl.lock").exists()
    type_the_lines(twin, done)
    assert not in_clear(twin.host)
    assert not (twin.host.root / "tmp/k0sctl.lock").exists()
    twin.host.clear_fault("slow-backup")
    twin.ok("backup")


def test_of_a_restore(spare: Lab) -> None:
    spare.host.fault("slow-restore", "1")
    done = killed_at(spare, "k0s restore", "apply").failed(4)
    assert in_clear(spare.host)
    type_the_lines(spare, done)
    assert not in_clear(spare.host)


def test_a_reset_sees_archives_in_clear(lab: Lab) -> None:
    """Those of k0sctl, and those that k0s leaves where it could not restore."""
    lab.host.install()
    made = lab.host.root / "tmp" / "Ab12Cd" / "k0s_backup_2026-11-20.tar.gz"
    made.parent.mkdir()
    made.touch()
    (lab.host.root / "tmp" / "k0s-backup123" / "pki").mkdir(parents=True)
    done = lab.ok("reset", K0SCTL_CONFIRM_RESET="prod")
    for path in ("/tmp/Ab12Cd/k0s_backup_2026-11-20.tar.gz", "/tmp/k0s-backup123"):
        line = f"{ssh_to(lab.host)} 'rm -rf {path}'"
        assert f"a backup in clear is left on a host, remove it: {line}" in lab.report()["warnings"]
        assert line in done.stderr


def test_an_end_of_its_own_leaves_nothing(twin: Lab) -> None:
    twin.host.fault("fail-backup")
    done = twin.run("backup").failed(4)
    assert "left on a host" not in done.stderr
    assert "leftovers" not in twin.report()["facts"]
