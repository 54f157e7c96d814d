"""A shell session that shows each line before it runs it, as a user would see it."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Mapping
from pathlib import Path

from handler.watch import descendants

WIDTH = 100
# One shell for the whole demo, so that variables, umask and directory stay; lines come in and statuses go out by pipes.
LOOP = 'exec 3<"$1" 4>"$2"; while IFS= read -r demo_line <&3; do eval "$demo_line" 3<&- 4>&-; echo "$?" >&4; done'


class Broken(Exception):
    """Something is not as the demo promises."""


class Session:
    """The user's terminal.

    Args:
        directory: where the shell begins.
        env: its whole environment.
        handler: the word by which the user calls the handler.
    """

    def __init__(self, directory: Path, env: Mapping[str, str], *, handler: str) -> None:
        self.handler = handler
        self._answer = directory.parent / "answer"
        lines, statuses = directory.parent / "lines", directory.parent / "statuses"
        os.mkfifo(lines)
        os.mkfifo(statuses)
        self._shell = subprocess.Popen(
            ["sh", "-c", LOOP, "demo", str(lines), str(statuses)], cwd=directory, env=dict(env),
            stdin=subprocess.DEVNULL, stdout=sys.stdout, stderr=sys.stdout,
        )  # fmt: skip
        self._lines, self._statuses = lines.open("w", encoding="utf-8"), statuses.open(encoding="utf-8")
        self._colour = sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"

    def title(self, text: str) -> None:
        """Begin a chapter."""
        rule = "─" * max(0, WIDTH - len(text) - 4)
        self._show(f"\n{self._styled('1;36', f'── {text} {rule}')}")

    def tell(self, text: str) -> None:
        """Explain what comes."""
        self._show("\n" + textwrap.fill(" ".join(text.split()), WIDTH, break_on_hyphens=False, break_long_words=False))

    def type(self, *lines: str, fails: bool = False) -> None:
        """Show and run lines; each must succeed, or fail when that is what is shown."""
        for line in lines:
            self._show(f"\n{self._styled('1;32', '$')} {self._styled('1', line)}")
            status = self._run(line)
            if fails != (status != 0):
                raise Broken(f"this ended with exit status {status}: {line}")
            if fails:
                self._show(self._styled("2", f"(exit status {status}, as it should)"))

    def ask(self, line: str) -> str:
        """What a line prints; not shown."""
        if status := self._run(f'{{ {line}; }} > "{self._answer}"'):
            raise Broken(f"this ended with exit status {status}: {line}")
        return self._answer.read_text(encoding="utf-8").strip()

    def promise(self, text: str, *, kept: bool) -> None:
        """Say what must be true now, and stop where it is not."""
        if not kept:
            raise Broken(f"not true: {text}")
        self._show(f"{self._styled('1;32', '✓')} {text}")

    def close(self) -> None:
        """End what still runs, each program by its own way out, then the shell."""
        family = descendants(self._shell.pid)
        for number, seconds in ((signal.SIGTERM, 8), (signal.SIGKILL, 2)):
            for pid in family:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, number)
            deadline = time.monotonic() + seconds
            while (family := [pid for pid in family if _alive(pid)]) and time.monotonic() < deadline:
                time.sleep(0.05)
        with contextlib.suppress(BrokenPipeError):
            self._lines.close()
        self._shell.kill()
        self._shell.wait()
        self._statuses.close()

    def _run(self, line: str) -> int:
        sys.stdout.flush()
        with contextlib.suppress(BrokenPipeError):
            self._lines.write(f"{line}\n")
            self._lines.flush()
        if not (answer := self._statuses.readline()):
            raise Broken(f"the shell ended at: {line}")
        return int(answer)

    def _show(self, text: str) -> None:
        print(text, flush=True)

    def _styled(self, style: str, text: str) -> str:
        return f"\033[{style}m{text}\033[0m" if self._colour else text


def _alive(pid: int) -> bool:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0] != "Z"
    return False
