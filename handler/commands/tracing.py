"""Routes of many targets, SSH doors and host keys, all at once."""

from __future__ import annotations

import contextlib
import resource
from collections import deque
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Final, Self

from handler.commands.context import Context
from handler.commands.hosts import pinned_keys, tell_unpinned
from handler.door import Answer, Door
from handler.errors import TimedOut
from handler.hosts import Host
from handler.process import Child, Children
from handler.tools.hostkeys import HostKey, PinCheck, PinState, known_hosts_name
from handler.tools.mtr import Mtr, Trace, trace_of

_PAUSE: Final = 0.05
#: At most so many are started in one turn: each takes some hundredths of a second, in which no SSH door is looked at.
_STARTS: Final = 5
#: File descriptors that one child may take here while it is started and runs, and what all the rest needs.
_FILES_EACH: Final = 8
_OTHER_FILES: Final = 256


@dataclass(frozen=True)
class Target:
    """Where a route leads: an address, and for TCP a port."""

    address: str
    port: int | None = None


class Tracing:
    """Traces many routes, so many at once: whenever one ends the next one starts. `turn` must be called often.

    Args:
        ended: called with each target and what was found, as it comes.
    """

    def __init__(
        self, children: Children, mtr: Mtr, targets: Sequence[Target], *, at_once: int,
        ended: Callable[[Target, Trace], None],
    ) -> None:  # fmt: skip
        self._children = children
        self._mtr = mtr
        self._waiting = deque(dict.fromkeys(targets))
        self._at_once = at_once
        self._ended = ended
        self._running: dict[Target, tuple[Child, list[str], contextlib.ExitStack]] = {}
        self._all = contextlib.ExitStack()

    def __enter__(self) -> Self:
        _allow_files(min(self._at_once, len(self._waiting)) * _FILES_EACH + _OTHER_FILES)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for _, _, ending in self._running.values():
            self._all.push(ending)
        self._all.close()

    def turn(self) -> None:
        """Collect those that have ended, and start others in their place.

        Raises:
            Interrupted: the handler was told to stop.
            ToolMissing: there is no mtr.
        """
        self._children.check()
        for target in [target for target, (child, _, _) in self._running.items() if child.over]:
            self._collect(target)
        for _ in range(_STARTS):
            if self._may_start:
                self._start(self._waiting.popleft())

    def finish(self) -> None:
        """Turn until all have ended."""
        while self._running or self._waiting:
            if not self._may_start:
                self._children.sleep(_PAUSE)
            self.turn()

    @property
    def _may_start(self) -> bool:
        return bool(self._waiting) and len(self._running) < self._at_once

    def _start(self, target: Target) -> None:
        lines: list[str] = []
        ending = contextlib.ExitStack()
        child = ending.enter_context(self._children.started(self._mtr.command(target.address, target.port, lines)))
        self._running[target] = child, lines, ending

    def _collect(self, target: Target) -> None:
        child, lines, ending = self._running.pop(target)
        with ending:
            try:
                trace = trace_of(target.address, lines, self._children.wait(child))
            except TimedOut as error:
                trace = Trace(problem=error.message)
        self._ended(target, trace)


def _allow_files(wanted: int) -> None:
    """As many open files as so many children need, where the machine allows it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < wanted and (hard == resource.RLIM_INFINITY or soft < hard):
        most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


@dataclass
class Found:
    """What came of all of them, by target and by door.

    Attributes:
        silent: open doors behind which no host key is shown.
        checks: the host keys, by the host that they are pinned for and the door that showed them.
    """

    traces: dict[Target, Trace] = field(default_factory=dict)
    doors: dict[Door, Answer] = field(default_factory=dict)
    silent: frozenset[Door] = frozenset()
    checks: dict[tuple[Host, Door], PinCheck] = field(default_factory=dict)

    @property
    def refused(self) -> str:
        """What mtr says where this machine lets it send nothing at all; empty where a route was traced."""
        if any(trace.route and trace.route.hubs for trace in self.traces.values()):
            return ""
        return next((trace.problem for trace in self.traces.values() if trace.refused), "")

    def answer(self, door: Door) -> Answer:
        """What was behind a door; one that shows no host key lets nobody in."""
        return Answer(problem="it is open, but no host key is shown") if door in self.silent else self.doors[door]

    def wrong(self, host: Host) -> list[PinCheck]:
        fine = {PinState.FITS, PinState.UNCHECKED}
        return [check for (of, _), check in self.checks.items() if of is host and check.state not in fine]


def trace_and_knock(
    ctx: Context,
    targets: Sequence[Target],
    doors: Collection[tuple[Host, Door]],
    ended: Callable[[Target, Trace], None],
) -> Found:
    """Trace all routes while the doors are tried, and the keys behind them looked at.

    Args:
        doors: of each host that SSH reaches directly, one for each of its addresses.

    Raises:
        ConfigurationError: the pinned host keys hold no usable line.
    """
    pinned = pinned_keys(ctx)
    if pinned is not None:
        ctx.ssh.pin(pinned)
    found = Found()

    def take(target: Target, trace: Trace) -> None:
        found.traces[target] = trace
        ended(target, trace)

    with Tracing(ctx.children, ctx.mtr, targets, at_once=ctx.settings.ping_parallel, ended=take) as tracing:
        if doors:
            from handler.doors import knock  # noqa: PLC0415  # half of the library

            wait = ctx.settings.ssh_wait.total_seconds()
            found.doors = knock([door for _, door in doors], wait=wait, check=tracing.turn)
            _look_at_keys(ctx, found, doors, tracing.turn, pinned=pinned is not None)
        tracing.finish()
    return found


def _look_at_keys(
    ctx: Context, found: Found, doors: Collection[tuple[Host, Door]], turn: Callable[[], None], *, pinned: bool
) -> None:
    """Each key is compared with those that are pinned for the name or address in the configuration."""
    opened = [door for door, answer in found.doors.items() if answer.open]
    shown = ctx.ssh.scan(opened, turn)
    found.silent = frozenset(door for door, keys in shown.items() if not keys)
    unpinned: list[str] = []
    for host, door in doors:
        turn()
        keys = shown.get(door, ())
        if keys and pinned:
            (found.checks[host, door],) = ctx.ssh.check({Door(host.address, host.port): keys})
        unpinned += _lines(host, keys)
    if not pinned and unpinned:
        tell_unpinned(ctx, list(dict.fromkeys(unpinned)))


def _lines(host: Host, keys: Sequence[HostKey]) -> list[str]:
    return [key.line(known_hosts_name(host.address, host.port)) for key in keys]
