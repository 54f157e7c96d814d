"""k0sctl: run, watched line by line, its log kept; what a run proves is read elsewhere (`handler.evidence`)."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Final

from handler.errors import TimedOut, ToolFailed
from handler.evidence import Evidence, gather
from handler.process import Children, Command

#: k0sctl ends by itself at its time limit, unless a remote command hangs: then it is killed this much later.
_KILL_AFTER: Final = timedelta(seconds=15)
_MOST_LINES: Final = 200_000
_VERSION: Final = re.compile(r"^version: (\S+)", re.MULTILINE)


@dataclass(frozen=True, kw_only=True)
class Run:
    """One call of k0sctl.

    Attributes:
        action: ``apply``, ``backup`` or ``reset``.
        config: the configuration it gets.
        timeout: given as ``--timeout`` and enforced.
        variables: what the configuration names; they are put into its environment.
        arguments: further ones; never a secret.
    """

    action: str
    config: Path
    timeout: timedelta
    variables: Mapping[str, str] = field(default_factory=dict, repr=False)
    arguments: tuple[str, ...] = ()


class K0sctl:
    """The program in its own environment: private HOME, no DEBUG, DRY_RUN, TRACE or SSH_* of the operator.

    Args:
        log: where it writes its log; it appends, so each run is read from where the one before ended.
        on_line: called with each line of its stdout.
    """

    def __init__(
        self, children: Children, env: Mapping[str, str], log: Path, cwd: Path, *, disable_telemetry: bool
    ) -> None:
        self._children = children
        # k0sctl writes to $XDG_CACHE_HOME/k0sctl/k0sctl.log
        self._env = {**env, "XDG_CACHE_HOME": str(log.parent.parent)}
        self._log = log
        self._cwd = cwd
        self._start = self._size()
        self._disable_telemetry = disable_telemetry

    def version(self) -> str:
        """Such as ``v0.32.2``.

        Raises:
            ToolMissing: there is no k0sctl.
        """
        done = self._children.run(Command(argv=("k0sctl", "version"), env=self._env, timeout=60, cwd=self._cwd))
        done.require_success("telling its version")
        match = _VERSION.search(done.stdout)
        if not match:
            raise ToolFailed("k0sctl does not tell its version", details=done.tail[-5:])
        return match[1]

    def helped(self, *action: str) -> str:
        """What its help says, of an action or of itself."""
        argv = ("k0sctl", *action, "--help")
        lines: list[str] = []
        self._children.run(Command(argv=argv, env=self._env, timeout=60, cwd=self._cwd, on_line=lines.append))
        return "\n".join(lines)

    def run(self, run: Run, on_line: Callable[[str], None] = lambda _: None) -> Evidence:
        """Run to the end, whatever that is, a signal to the handler included.

        A run that was killed at its time limit has no exit code.
        """
        lines: list[str] = []

        def take(line: str) -> None:
            if len(lines) < _MOST_LINES:
                lines.append(line)
            on_line(line)

        before = self._size()
        command = Command(
            argv=(
                "k0sctl", *self._global_flags(), run.action, "--config", str(run.config),
                "--timeout", f"{int(run.timeout.total_seconds())}s", *run.arguments,
            ),
            env={**run.variables, **self._env},
            timeout=(run.timeout + _KILL_AFTER).total_seconds(),
            cwd=self._cwd,
            on_line=take,
            graceful=True,
        )  # fmt: skip
        try:
            done = self._children.run(command)
        except TimedOut as error:
            return gather(lines, error.details, self._log_lines(before), None)
        return gather(lines, done.stderr.splitlines(), self._log_lines(before), done.exit_code)

    def log(self) -> Iterator[str]:
        """What k0sctl logged since this object was made, a line each."""
        return self._log_lines(self._start)

    def _global_flags(self) -> tuple[str, ...]:
        if not self._disable_telemetry:
            return ()
        return ("--disable-telemetry",) if "--disable-telemetry" in self.helped() else ()

    def _size(self) -> int:
        return self._log.stat().st_size if self._log.exists() else 0

    def _log_lines(self, start: int) -> Iterator[str]:
        if not self._log.exists():
            return
        with self._log.open("rb") as file:
            file.seek(start)
            for line in file:
                yield line.decode("utf-8", "replace").rstrip("\r\n")
