"""Each command as Concourse runs a task: root, a directory of its own, a terminal, and only what the task declares."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import re
import secrets
import shlex
import struct
import subprocess
import termios
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath

import pytest

from tests.image.boxed import PASSED_ON, Boxed, is_host_key
from tests.practice.container.engine import ENGINE, call, network, succeeds
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
COLUMNS = LINES = 500


class Terminal:
    """The terminal that a task's three streams are, as wide as Concourse makes it; what is written there is kept."""

    def __init__(self) -> None:
        self._ours, self.theirs = pty.openpty()
        fcntl.ioctl(self.theirs, termios.TIOCSWINSZ, struct.pack("HHHH", LINES, COLUMNS, 0, 0))
        self._chunks: list[bytes] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        with contextlib.suppress(OSError):  # the other side is closed
            while chunk := os.read(self._ours, 1 << 16):
                self._chunks.append(chunk)

    def text(self) -> str:
        """All that was written, when everybody has closed the other side."""
        self._reader.join(timeout=20)
        os.close(self._ours)
        return b"".join(self._chunks).decode().replace("\r\n", "\n")


class Task:
    """A container in which one command runs beside the engine's own first process."""

    def __init__(self, lab: Boxed, command: str) -> None:
        self._lab = lab
        self._command = command
        self.directory = f"/tmp/build/{secrets.token_hex(4)}"
        self.name = f"k0sctl-handler-task-{os.getpid()}-{secrets.token_hex(4)}"
        places = {*INPUTS[command], *OUTPUTS.get(command, ("auditlog",))}
        for place in places:
            (lab.work / place).mkdir(exist_ok=True)
        volumes = [f"--volume={lab.work / place}:{self.directory}/{place}" for place in sorted(places)]
        call("run", "--detach", f"--name={self.name}", f"--network={network()}", "--user=0:0", *volumes,
             "--entrypoint=sleep", lab.image, "infinity")  # fmt: skip
        self._untouched = self._changes()

    def start(self, *words: str, **env: str | None) -> tuple[subprocess.Popen[bytes], Terminal]:
        """Starts the command; its process id is in /tmp/task of the container."""
        terminal = Terminal()
        line = f"echo $$ > /tmp/task; exec k0sctl-handler {shlex.join([self._command, *words])}"
        process = subprocess.Popen(
            [ENGINE, "exec", "--interactive", "--tty", f"--workdir={self.directory}", *PASSED_ON, self.name,
             "sh", "-c", line],
            stdin=terminal.theirs, stdout=terminal.theirs, stderr=terminal.theirs, start_new_session=True,
            env=self._lab.env(ATC_EXTERNAL_URL="https://ci.example.org", **env),
        )  # fmt: skip
        os.close(terminal.theirs)
        return process, terminal

    def run(self, *words: str, **env: str | None) -> Ended:
        process, terminal = self.start(*words, **env)
        code = process.wait(timeout=120)
        text = terminal.text()
        return Ended(code, text, text).checked()

    def signal(self, name: str) -> None:
        """As Concourse does: to the command, which is not the container's first process."""
        call("exec", self.name, "sh", "-c", f"kill -{name} $(cat /tmp/task)")

    def written_elsewhere(self) -> set[str]:
        """What has changed outside of the declared directories and /tmp."""
        changes = self._changes() - self._untouched
        return {path for path in changes if not (path + "/").startswith("/tmp/")}

    def left_in_tmp(self) -> list[str]:
        """The files below /tmp but the declared directories."""
        found = call("exec", self.name, "find", "/tmp", "-path", "/tmp/build", "-prune", "-o", "-type", "f", "-print")
        return [path for path in found.split() if path != "/tmp/task" and not is_host_key(PurePosixPath(path))]

    def _changes(self) -> set[str]:
        return {line.split(maxsplit=1)[1] for line in call("diff", self.name).splitlines()}

    def close(self) -> None:
        succeeds("rm", "--force", "--volumes", self.name)


@contextlib.contextmanager
def task(lab: Boxed, command: str) -> Iterator[Task]:
    made = Task(lab, command)
    try:
        yield made
    finally:
        made.close()


def done_as_task(lab: Boxed, command: str, words: Sequence[str] = (), code: int = 0, **env: str | None) -> Ended:
    """Run a command as a task and check what holds for every one."""
    with task(lab, command) as running:
        done = running.run(*words, **env)
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
        process, terminal = running.start()
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
