"""Each command as Concourse runs a task: root, a directory of its own, a terminal, and only what the task declares."""

from __future__ import annotations

import contextlib
import re
import subprocess
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from tests.image.boxed import PASSED_ON, Boxed
from tests.image.task import Task
from tests.practice.container.host import ContainerHost
from tests.support.keys import KeyPair
from tests.support.lab import Ended
from tests.support.watcher import wait_for

#: The directories that each task declares; a task has no others.
INPUTS = {
    "version": (), "check": ("config", "restore"), "init": (), "apply": ("config", "restore"),
    "backup": ("config", "restore"), "restore": ("restore",), "verify": ("restore",), "list": ("restore",),
    "status": ("restore",), "reset": ("config", "restore"), "ping": ("config",),
}  # fmt: skip
OUTPUTS = {"init": ("auditlog", "backup"), "backup": ("auditlog", "backup")}


@contextlib.contextmanager
def task(lab: Boxed, command: str) -> Iterator[Task]:
    places = {name: lab.work / name for name in (*INPUTS[command], *OUTPUTS.get(command, ("auditlog",)))}
    for path in places.values():
        path.mkdir(exist_ok=True)
    made = Task(lab.image, places)
    try:
        made.remember()
        yield made
    finally:
        made.close()


def env_of(lab: Boxed, **changes: str | None) -> dict[str, str]:
    """What a task's params are, and the one variable that Concourse adds."""
    ours = lab.env(ATC_EXTERNAL_URL="https://ci.example.org", **changes)
    return {name: value for name, value in ours.items() if f"--env={name}" in PASSED_ON}


def done_as_task(lab: Boxed, command: str, words: Sequence[str] = (), code: int = 0, **env: str | None) -> Ended:
    """Run a command as a task and check what holds for every one."""
    with task(lab, command) as running:
        process, terminal = running.start(["k0sctl-handler", command, *words], env_of(lab, **env))
        ended = process.wait(timeout=120)
        text = terminal.text()
        done = Ended(ended, text, text).checked()
        assert done.code == code, done.stderr
        assert not re.search(r"\x1b\[[0-9;]*[A-HJKSTfsu]|\r(?!\n)", done.stdout)  # nothing is written over
        assert running.written_elsewhere() == set()
        assert running.left_in_tmp() == []
    return done


@pytest.fixture
def lab(tmp_path: Path, host: ContainerHost, cluster_key: KeyPair, image: str) -> Boxed:
    return Boxed(tmp_path, host, cluster_key, image, "--user=0:0")


def next_build(lab: Boxed) -> None:
    """What the last build wrote is fetched by the next one: depth 1, a detached HEAD; outputs are empty again."""
    if lab.restore.exists():
        call_rm(lab.restore)
    lab.clone_to_restore()
    call_rm(lab.backup)


def call_rm(directory: Path) -> None:
    subprocess.run(["rm", "-rf", directory], check=True)


@pytest.mark.long
def test_every_command(lab: Boxed) -> None:
    done_as_task(lab, "version")
    done_as_task(lab, "init")
    lab.clone_to_restore()
    call_rm(lab.backup)
    done_as_task(lab, "check")
    done_as_task(lab, "ping", K0SCTL_PING_CYCLES="1")
    done_as_task(lab, "apply")
    uid = lab.host.uid()
    lab.host.add_object("precious")
    done_as_task(lab, "backup")
    next_build(lab)
    lab.host.wipe()
    done = done_as_task(lab, "apply", K0SCTL_RESTORE="require")
    assert "restored" in done.last
    assert (lab.host.uid(), lab.host.objects()) == (uid, ["precious"])
    for command, words in {"verify": ["--all"], "list": [], "status": []}.items():
        done_as_task(lab, command, words)
    done_as_task(lab, "restore", ["--to", "auditlog/../by-hand.tar.gz"])
    done_as_task(lab, "reset")
    assert lab.host.uid() is None


@pytest.mark.parametrize(("command", "fault", "call_of_k0s"), [
    ("apply", "slow-restore", "k0s restore"),
    ("backup", "hang-backup", "k0s backup"),
    ("reset", "slow-reset", "k0s reset"),
])  # fmt: skip
def test_an_abort(lab: Boxed, command: str, fault: str, call_of_k0s: str) -> None:
    """TERM, and KILL ten seconds later: everything is done by then."""
    for before in ("init", "apply", "backup"):
        lab.ok(before)
    next_build(lab)
    if command == "apply":
        lab.host.wipe()
    lab.host.fault(fault, "60")
    with task(lab, command) as running:
        calls = len(lab.host.calls())
        process, terminal = running.start(["k0sctl-handler", command], env_of(lab))
        wait_for(lambda: any(one.startswith(call_of_k0s) for one in lab.host.calls()[calls:]), 60)
        began = time.monotonic()
        running.signal("TERM")
        code = process.wait(timeout=60)
        assert time.monotonic() - began < 10
        text = terminal.text()
        Ended(code, text, text).checked().failed(143, "stopped by SIGTERM")
        assert running.written_elsewhere() == set()
        assert running.left_in_tmp() == []
    assert list(lab.auditlog.glob(f"*-{command}.log"))
