"""What routes, SSH doors and host keys say together about a node. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeAlias

from handler.door import Answer
from handler.hosts import Host
from handler.routes import Route

Row: TypeAlias = Mapping[str, object]


class Verdict(StrEnum):
    """How a node stands."""

    OK = "ok"
    NOT_REACHED = "not reached"
    CLOSED = "SSH door closed"
    WRONG_KEY = "wrong host key"
    NO_ADDRESS = "no address"
    NOT_JUDGED = "not judged"

    @property
    def ok(self) -> bool | None:
        """None where nobody can tell."""
        return None if self is Verdict.NOT_JUDGED else self is Verdict.OK


@dataclass(frozen=True, kw_only=True)
class Seen:
    """What was found at one address.

    Attributes:
        reached: None where mtr could not measure.
        route: as far as there is one.
        problem: why it is not reached, or not measured.
        door: None where none was tried.
        key: what is wrong with the host key that it shows.
    """

    address: str
    reached: bool | None
    route: Route | None = None
    problem: str = ""
    door: Answer | None = None
    key: str = ""

    @property
    def answers(self) -> bool:
        """Whether k0sctl could connect, as far as it is known; the host key is another matter."""
        return self.reached is not False and (self.door is None or self.door.open)

    @property
    def problems(self) -> str:
        door = f"SSH door: {self.door.problem}" if self.door and self.door.problem else ""
        return "; ".join(filter(None, (self.problem, door, self.key)))

    @property
    def door_text(self) -> str | None:
        return None if self.door is None else "open" if self.door.open else "closed"

    def as_row(self) -> Row:
        """As JSON tells it; times are null where the target itself did not answer."""
        target = self.route.target if self.route else None
        return {
            "address": self.address,
            "reached": self.reached,
            "loss": self.route.loss if self.route else None,
            "average_ms": target.average if target else None,
            "best_ms": target.best if target else None,
            "worst_ms": target.worst if target else None,
            "hops": target.count if target else None,
            "door": self.door_text,
            "problem": self.problems,
        }


@dataclass(frozen=True, kw_only=True)
class Node:
    """One host of the configuration, and what was found at its addresses; ``problem`` where it has none."""

    host: Host
    seen: tuple[Seen, ...] = ()
    problem: str = ""

    @property
    def verdict(self) -> Verdict:
        if _out_of_sight(self.host):
            return Verdict.NOT_JUDGED
        if not self.seen:
            return Verdict.NOT_JUDGED if self._may_be_alias else Verdict.NO_ADDRESS
        if not any(one.answers for one in self.seen):
            return Verdict.CLOSED if any(one.reached is not False for one in self.seen) else Verdict.NOT_REACHED
        if any(one.key for one in self.seen):
            return Verdict.WRONG_KEY
        if not any(one.answers and one.reached for one in self.seen):
            return Verdict.NOT_JUDGED
        return Verdict.OK

    @property
    def _may_be_alias(self) -> bool:
        return not self.seen and self.host.connection == "openSSH"

    @property
    def dead(self) -> tuple[Seen, ...]:
        """Addresses at which k0sctl would not get through."""
        return tuple(one for one in self.seen if not one.answers)

    @property
    def why(self) -> str:
        """The reasons for the verdict, and what a good one leaves open; empty where all is well."""
        told = [one for one in self.seen if one.problems]
        several = len(self.seen) > 1
        reasons = [f"{one.address}: {one.problems}" if several else one.problems for one in told]
        alias = "the ssh program may know it by its own configuration" if self._may_be_alias else ""
        return "; ".join(filter(None, (_out_of_sight(self.host), self.problem, alias, *reasons)))

    def as_row(self) -> Row:
        return {
            "host": self.host.label,
            "role": self.host.role,
            "ok": self.verdict.ok,
            "verdict": self.verdict.value,
            "why": self.why,
            "addresses": [one.as_row() for one in self.seen],
        }


def _out_of_sight(host: Host) -> str:
    """Why a host cannot be judged from here; empty for one that can."""
    if host.connection == "localhost":
        return "it is the machine that k0sctl runs on"
    return "k0sctl reaches it through a bastion or a proxy" if host.bastion else ""
