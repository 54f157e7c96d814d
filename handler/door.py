"""An SSH door, what was behind it, and what its name resolves to.

Pure, and apart from `handler.doors`, which needs half of the library.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Door:
    """Where an SSH server should answer."""

    address: str
    port: int

    @property
    def label(self) -> str:
        return f"[{self.address}]:{self.port}" if ":" in self.address else f"{self.address}:{self.port}"


@dataclass(frozen=True, kw_only=True)
class Resolved:
    """What a name resolves to, IPv4 and IPv6; ``problem`` is empty when there is an address."""

    addresses: tuple[str, ...] = ()
    problem: str = ""


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What was behind a door; ``problem`` is empty when an SSH server greeted."""

    banner: str = ""
    problem: str = ""

    @property
    def open(self) -> bool:
        return not self.problem
