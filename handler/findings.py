"""What `check` found: states, the table for people, and the one exit code of many problems. Pure."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from types import TracebackType
from typing import Final

from handler.errors import (
    ConfigurationError,
    Conflict,
    HandlerError,
    IntegrityError,
    Interrupted,
    TimedOut,
    ToolFailed,
    ToolMissing,
)

#: Of several problems the first of these decides; conflict and timeout only where there is nothing else.
ORDER: Final[tuple[type[HandlerError], ...]] = (
    ConfigurationError, ToolMissing, IntegrityError, ToolFailed, Conflict, TimedOut,
)  # fmt: skip
_EXIT_CODES: Final = tuple(kind.exit_code for kind in ORDER)
_WIDTH: Final = 100
#: A longer subject pushes its own line only.
_LONGEST_SUBJECT: Final = 26
_INDENT: Final = " " * 4
_NAMED: Final = 3


class State(StrEnum):
    """How a thing was found."""

    OK = "ok"
    WARNING = "warning"
    PROBLEM = "problem"
    NOT_CHECKED = "not checked"


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        found: what was found; where it was not looked at, why.
        details: facts and lines behind it, each on a line of its own, as they are.
        mend: a line to type or a sentence; empty where there is nothing to mend.
        exit_code: the class of a problem; 0 for all else.
    """

    area: str
    subject: str
    state: State
    found: str
    details: tuple[str, ...] = ()
    mend: str = ""
    exit_code: int = 0


@dataclass(frozen=True)
class Area:
    """Takes down what is found in one area.

    Args:
        findings: those of all areas, in the order in which they were found.
    """

    name: str
    findings: list[Finding] = field(default_factory=list)

    def ok(self, subject: str, found: str) -> None:
        self._add(subject, State.OK, found)

    def warn(self, subject: str, found: str, *, mend: str, details: Sequence[str] = ()) -> None:
        self._add(subject, State.WARNING, found, details=tuple(details), mend=mend)

    def unchecked(self, subject: str, why: str, *, mend: str = "") -> None:
        self._add(subject, State.NOT_CHECKED, why, mend=mend)

    def problem(self, subject: str, error: HandlerError) -> None:
        self._add(
            subject, State.PROBLEM, error.message, details=error.details, mend=error.resolution,
            exit_code=error.exit_code,
        )  # fmt: skip

    def trying(self, subject: str) -> Trying:
        """An error inside becomes a problem, and the rest goes on; a signal does not, and no bug does."""
        return Trying(self, subject)

    def has_problem(self, subject: str = "") -> bool:
        """Whether there is a problem in this area, or with this subject of it."""
        return any(
            finding.state is State.PROBLEM and finding.area == self.name and subject in {"", finding.subject}
            for finding in self.findings
        )

    def _add(
        self, subject: str, state: State, found: str, *, details: tuple[str, ...] = (), mend: str = "",
        exit_code: int = 0,
    ) -> None:  # fmt: skip
        self.findings.append(
            Finding(
                area=self.name, subject=subject, state=state, found=found, details=details, mend=mend,
                exit_code=exit_code,
            )
        )  # fmt: skip


@dataclass(frozen=True)
class Trying:
    """Turns an expected error of its block into a problem."""

    area: Area
    subject: str

    def __enter__(self) -> None:
        """Nothing: the area is there already."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        if not isinstance(error, HandlerError) or isinstance(error, Interrupted):
            return False
        self.area.problem(self.subject, error)
        return True


def problems(findings: Sequence[Finding]) -> tuple[Finding, ...]:
    """The problems, those that decide the exit code first."""
    found = (finding for finding in findings if finding.state is State.PROBLEM)
    return tuple(sorted(found, key=_urgency))


def _urgency(finding: Finding) -> int:
    return _EXIT_CODES.index(finding.exit_code) if finding.exit_code in _EXIT_CODES else len(_EXIT_CODES)


def verdict(findings: Sequence[Finding]) -> str:
    """The sentence of a run without a problem.

    Raises:
        HandlerError: there are problems; of the class that decides.
    """
    wrong = problems(findings)
    if not wrong:
        return f"no problem found; {tally(findings)}"
    named = "; ".join(f"{one.area}: {one.found}" for one in wrong[:_NAMED])
    more = f"; and {len(wrong) - _NAMED} more" if len(wrong) > _NAMED else ""
    kind = next((kind for kind in ORDER if kind.exit_code == wrong[0].exit_code), ToolFailed)
    raise kind(
        f"{_counted(len(wrong), 'problem')}: {named}{more}",
        details=[f"{one.area}, {one.subject}: {one.found}" for one in wrong],
        resolution=wrong[0].mend,
    )


def tally(findings: Sequence[Finding]) -> str:
    """How many there are of each state; what there is none of is not named, warnings excepted."""
    count = {state: sum(finding.state is state for finding in findings) for state in State}
    told = [
        _counted(count[State.PROBLEM], "problem") if count[State.PROBLEM] else "",
        _counted(count[State.WARNING], "warning"),
        f"{count[State.OK]} ok",
        f"{count[State.NOT_CHECKED]} not checked" if count[State.NOT_CHECKED] else "",
    ]
    return ", ".join(filter(None, told))


def _counted(number: int, what: str) -> str:
    return f"{number or 'no'} {what}{'' if number == 1 else 's'}"


def table(findings: Sequence[Finding]) -> str:
    """The findings for people: sentences are folded, lines to type never."""
    widths = (
        max([len("AREA"), *(len(one.area) for one in findings)]),
        min(max([len("SUBJECT"), *(len(one.subject) for one in findings)]), _LONGEST_SUBJECT),
        max(len(state) for state in State),
    )
    rows = [_row(widths, "AREA", "SUBJECT", "STATE", "FOUND")]
    for one in findings:
        state = one.state.upper() if one.state is State.PROBLEM else one.state.value
        rows.append(_row(widths, one.area, one.subject, state, one.found))
        rows += [f"{_INDENT}| {line}" for detail in one.details for line in detail.splitlines()]
        rows += [f"{_INDENT}mend: {one.mend}"] if one.mend else []
    return "\n".join([*rows, "", tally(findings)]) + "\n"


def _row(widths: tuple[int, int, int], area: str, subject: str, state: str, found: str) -> str:
    begin = f"{area:<{widths[0]}}  {subject:<{widths[1]}}  {state:<{widths[2]}}  "
    after = " " * (sum(widths) + 6)
    return textwrap.fill(
        found, _WIDTH, initial_indent=begin, subsequent_indent=after, break_long_words=False, break_on_hyphens=False,
    ) or begin.rstrip()  # fmt: skip
