"""What can be told while a command runs."""

from __future__ import annotations

from dataclasses import dataclass

from handler.report.outcome import Outcome


@dataclass(frozen=True)
class Headline:
    """The one line that says what this run is about."""

    text: str


@dataclass(frozen=True)
class StepStarted:
    """A step begins; ``at`` is the reporter's clock."""

    name: str
    at: float = 0.0


@dataclass(frozen=True)
class StepFinished:
    name: str
    seconds: float
    note: str = ""


@dataclass(frozen=True)
class StepFailed:
    name: str
    seconds: float


@dataclass(frozen=True)
class Phase:
    """A phase of k0sctl as it happens."""

    name: str


@dataclass(frozen=True)
class Output:
    """One line of the tail of a failing tool."""

    line: str


@dataclass(frozen=True)
class Note:
    text: str


@dataclass(frozen=True)
class Row:
    """One more row of the table that the running step fills; ``line`` tells it where there is no table."""

    line: str
    head: tuple[str, ...]
    cells: tuple[str, ...]


@dataclass(frozen=True)
class Warning_:  # noqa: N801 -- `Warning` is a builtin
    text: str


@dataclass(frozen=True)
class Progress:
    """How far the step has come, in bytes; the total may be unknown."""

    name: str
    done_bytes: int
    total_bytes: int | None = None


@dataclass(frozen=True)
class Finished:
    """The run is over."""

    outcome: Outcome


Event = (
    Headline | StepStarted | StepFinished | StepFailed | Phase | Output | Note | Row | Warning_ | Progress | Finished
)
