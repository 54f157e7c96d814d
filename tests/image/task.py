"""A command as Concourse runs a task: a directory of its own, a terminal, and only what the task declares."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import secrets
import shlex
import struct
import subprocess
import termios
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath

from tests.image.boxed import is_host_key
from tests.practice.container.engine import ENGINE, call, network, succeeds

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
    """A container in which one command runs beside the engine's own first process.

    Args:
        places: the directories that the task declares, by name; it has no others.
        user: empty for the image's own.
    """

    def __init__(self, image: str, places: Mapping[str, Path], user: str = "root") -> None:
        self.directory = f"/tmp/build/{secrets.token_hex(4)}"
        self.name = f"k0sctl-handler-task-{os.getpid()}-{secrets.token_hex(4)}"
        volumes = [f"--volume={path}:{self.directory}/{name}" for name, path in sorted(places.items())]
        who = [f"--user={user}"] if user else []
        # KILL: sleep would not heed anything else, and its removal would wait ten seconds for that
        call("run", "--detach", f"--name={self.name}", f"--network={network()}", "--stop-signal=KILL", *who, *volumes,
             "--entrypoint=sleep", image, "infinity")  # fmt: skip
        self._untouched: set[str] = set()

    def remember(self) -> None:
        """What was written so far is not the command's."""
        self._untouched = self._changes()

    def start(self, words: Sequence[str], env: Mapping[str, str]) -> tuple[subprocess.Popen[bytes], Terminal]:
        """Starts the command with these variables beside the image's; its process id is in /tmp/task."""
        terminal = Terminal()
        line = f"echo $$ > /tmp/task; exec {shlex.join(words)}"
        process = subprocess.Popen(
            # values travel by the engine's own environment, so that they are not in its arguments
            [ENGINE, "exec", "--interactive", "--tty", f"--workdir={self.directory}",
             *(f"--env={name}" for name in env), self.name, "sh", "-c", line],
            stdin=terminal.theirs, stdout=terminal.theirs, stderr=terminal.theirs, start_new_session=True,
            env={**os.environ, **env},
        )  # fmt: skip
        os.close(terminal.theirs)
        return process, terminal

    def has(self, program: str) -> bool:
        """Whether a program can be started there."""
        return succeeds("exec", self.name, "sh", "-c", f"command -v {shlex.quote(program)}")

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
