"""Routes as mtr reports them, and what they prove. Pure.

mtr's exit code says nothing, and a loss of 0 % of the last hub says nothing either: a router answers in the place
of a host that is down. Only the target's own address at the end of the list is an answer of the target.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from handler.addresses import same_address

#: What mtr calls a hop that does not answer.
SILENT: Final = "???"
_ALL: Final = 100.0


@dataclass(frozen=True, kw_only=True)
class Hub:
    """One hop: who answered there, percent lost, packets sent, and the times in milliseconds."""

    count: int
    host: str
    loss: float
    sent: int
    last: float
    average: float
    best: float
    worst: float
    deviation: float


@dataclass(frozen=True, kw_only=True)
class Route:
    """The way to an address, as far as it was seen."""

    address: str
    hubs: tuple[Hub, ...]

    @property
    def target(self) -> Hub | None:
        """The last hop, where it is the target itself that answered."""
        last = self.hubs[-1] if self.hubs else None
        return last if last and same_address(last.host, self.address) and last.loss < _ALL else None

    @property
    def loss(self) -> float:
        """Percent of the packets that the target did not answer."""
        return self.target.loss if self.target else _ALL

    def reached(self, max_loss: float) -> bool:
        """Whether the target answered, and lost less than ``max_loss`` percent."""
        return self.target is not None and self.loss < max_loss

    def problem(self, max_loss: float) -> str:
        """Why it does not count as reached; empty when it does."""
        if self.reached(max_loss):
            return ""
        if self.target:
            return f"{self.loss:g} % of the packets are lost (allowed: less than {max_loss:g} %)"
        answering = [hub for hub in self.hubs if hub.host != SILENT]
        if not answering:
            return "nothing answers on the way"
        last = answering[-1]
        if last is self.hubs[-1] and not same_address(last.host, self.address):
            return f"{last.host} (hop {last.count}) answers in its place: the host is down, or there is no way to it"
        return f"no answer; the last that answers is {last.host} (hop {last.count})"


def read_route(text: str, *, address: str) -> Route | None:
    """The route in mtr's JSON; None where there is none that can be read, as for an unknown host."""
    try:
        hubs = json.loads(text)["report"]["hubs"]
        return Route(address=address, hubs=tuple(_hub(hub) for hub in hubs))
    except (ValueError, TypeError, KeyError, OverflowError, RecursionError):
        return None


def _hub(raw: Mapping[str, str | float]) -> Hub:
    return Hub(
        count=int(raw["count"]),
        host=str(raw["host"]),
        loss=_between(raw["Loss%"], _ALL),
        sent=int(raw["Snt"]),
        last=_between(raw["Last"]),
        average=_between(raw["Avg"]),
        best=_between(raw["Best"]),
        worst=_between(raw["Wrst"]),
        deviation=_between(raw["StDev"]),
    )


def _between(raw: str | float, most: float = sys.float_info.max) -> float:
    """A number from 0 to ``most``; JSON of Python knows NaN, too.

    Raises:
        ValueError: it is none.
    """
    number = float(raw)
    if not 0 <= number <= most:
        raise ValueError(f"{number} is not from 0 to {most}")
    return number
