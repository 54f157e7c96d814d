"""How a run ended."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from handler.errors import HandlerError

OK = "ok"


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """The end of a run, as the last line and the report tell it.

    Attributes:
        kind: ``ok`` or the class of the error.
        what: what was done or what went wrong, one sentence.
        next: what the operator does next, for failures.
        report: where the JSON report is; empty when there is none.
    """

    command: str
    exit_code: int
    kind: str
    what: str
    details: tuple[str, ...] = ()
    next: str = ""
    report: str = ""

    @property
    def ok(self) -> bool:
        return self.exit_code == 0

    @classmethod
    def succeeded(cls, command: str, what: str, *, report: str = "") -> Outcome:
        return cls(command=command, exit_code=0, kind=OK, what=what, report=report)

    @classmethod
    def failed(cls, command: str, error: HandlerError, *, report: str = "") -> Outcome:
        return cls(
            command=command,
            exit_code=error.exit_code,
            kind=error.kind,
            what=error.message,
            details=error.details,
            next=error.resolution,
            report=report,
        )

    @classmethod
    def crashed(cls, command: str, error: BaseException, *, report: str = "") -> Outcome:
        """An error that nobody expected: a bug."""
        return cls(
            command=command,
            exit_code=HandlerError.exit_code,
            kind=HandlerError.kind,
            what=f"{type(error).__name__}: {error}",
            next="report this with the traceback above",
            report=report,
        )

    def masked(self, mask: Callable[[str], str]) -> Outcome:
        """The outcome as it may leave the process; command and class are our own words."""
        return replace(
            self,
            what=mask(self.what),
            details=tuple(mask(detail) for detail in self.details),
            next=mask(self.next),
            report=mask(self.report),
        )
