"""The last line on stderr, and the details before it."""

from __future__ import annotations

from handler.report.outcome import Outcome
from handler.report.text import clean, lines, one_line

PROGRAM = "k0sctl-handler"
NO_REPORT = "none"


def closing_line(outcome: Outcome) -> str:
    """One line: ``k0sctl-handler: COMMAND ok: what. Report: path``, or FAILED with code, class and what is next."""
    report = one_line(outcome.report) or NO_REPORT
    what = _sentence(outcome.what)
    if outcome.ok:
        return f"{PROGRAM}: {outcome.command} ok: {what} Report: {report}"
    verdict = f"FAILED ({outcome.exit_code} {outcome.kind})"
    following = _sentence(outcome.next) if outcome.next.strip() else "read the lines above."
    return f"{PROGRAM}: {outcome.command} {verdict}: {what} Next: {following} Report: {report}"


def closing_lines(outcome: Outcome) -> list[str]:
    """The details of a failure, a line each, and the closing line."""
    details = [line for detail in outcome.details for line in lines(clean(detail))]
    return [*(f"  {line}".rstrip() for line in details), closing_line(outcome)]


def _sentence(text: str) -> str:
    """The text on one line with exactly one full stop."""
    folded = one_line(text)
    while folded.endswith(".") and not folded.endswith(".."):
        folded = folded[:-1].rstrip()
    return folded if folded.endswith((".", "!", "?", "…")) else f"{folded}."
