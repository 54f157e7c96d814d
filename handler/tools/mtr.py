"""mtr: traces one route; what it found is read elsewhere (`handler.routes`)."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from handler.errors import ToolMissing
from handler.process import Children, Command, Result
from handler.routes import Route, read_route

#: Only root may send faster than once a second.
_FAST: Final = 0.2
#: Seconds for the last answers, mtr's own -G.
_GRACE: Final = 1
#: Seconds that mtr may take longer than its packets do; with hundreds of them at once it starts slowly.
_SLACK: Final = 60.0
#: How it says that the machine does not let it send; of a prohibited route it says "connect failed: Permission denied".
_REFUSED: Final = re.compile(
    r"Failure to (?:open IPv\d sockets|start mtr-packet)|"
    r"(?:open socket: )?(?:Permission denied|Operation not permitted)"
)
#: It tells its name as it was called, by the whole path.
_OWN_NAME: Final = re.compile(r"^\S*\bmtr(?:-packet)?: ")
#: It ends by SIGPIPE, without a word, where its mtr-packet may not be started.
_BROKEN_PIPE: Final = (141, -13)
_INSTALL: Final = "install mtr (Debian: mtr-tiny), or use the container image, which has it"


@dataclass(frozen=True, kw_only=True)
class Trace:
    """What came of one call.

    Attributes:
        route: None where nothing was measured.
        problem: why there is no route, in mtr's words.
        refused: mtr says that it may not send; true of a single target where a firewall of this machine says so.
    """

    route: Route | None = None
    problem: str = ""
    refused: bool = False


class Mtr:
    """The program; ``env`` must be without MTR_OPTIONS, which mtr obeys."""

    def __init__(self, children: Children, env: Mapping[str, str], *, cycles: int) -> None:
        self._children = children
        self._env = {name: value for name, value in env.items() if not name.startswith("MTR_")}
        self._cycles = cycles
        self._interval = _FAST if os.geteuid() == 0 else 1.0

    def version(self) -> str:
        """Such as ``0.95``.

        Raises:
            ToolMissing: there is no mtr.
        """
        try:
            done = self._children.run(Command(argv=("mtr", "--version"), env=self._env, timeout=30))
        except ToolMissing as error:
            raise ToolMissing(error.message, resolution=_INSTALL) from None
        found = re.search(r"\d+(?:\.\d+)+", done.require_success("telling its version").stdout)
        return found[0] if found else "unknown"

    def command(self, address: str, port: int | None, lines: list[str]) -> Command:
        """The call that traces one route, to be run by `Children`; its stdout is added to ``lines``.

        Args:
            port: of TCP; None for ICMP.
        """
        fast = ("-i", str(self._interval)) if self._interval < 1 else ()
        tcp = ("--tcp", "--port", str(port)) if port is not None else ()
        argv = (
            "mtr", "--json", "-n", "-c", str(self._cycles), "-G", str(_GRACE), *fast,
            "-6" if ":" in address else "-4", *tcp, "--", address,
        )  # fmt: skip
        timeout = self._cycles * self._interval + _GRACE + _SLACK
        return Command(argv=argv, env=self._env, timeout=timeout, on_line=lines.append)


def trace_of(address: str, lines: Sequence[str], ended: Result) -> Trace:
    """What mtr found, or why it found nothing; its exit code alone says neither."""
    route = read_route("\n".join(lines), address=address)
    if route is not None:  # without a hop, too: by TCP nobody may have answered on the way
        return Trace(route=route)
    said = [_OWN_NAME.sub("", line).strip() for line in ended.stderr.splitlines() if line.strip()]
    if any(line.startswith("Failure to start mtr-packet: No such file") for line in said):
        raise ToolMissing("mtr cannot find its mtr-packet", details=said, resolution=_INSTALL)
    refused = any(map(_REFUSED.match, said)) or (not said and ended.exit_code in _BROKEN_PIPE)
    words = said[-1][:200] if said else f"mtr found nothing (exit {ended.exit_code})"
    return Trace(problem=_plain(words), refused=refused)


def _plain(words: str) -> str:
    """mtr looks for its own address by connecting a UDP socket, which nobody has to know."""
    found = re.fullmatch(r"udp socket connect failed: (.+)", words)
    return f"no route from here ({found[1]})" if found else words
