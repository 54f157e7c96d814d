"""Texts fit for a terminal, and the closing line."""

from __future__ import annotations

import pytest

from handler.errors import ConfigurationError, Interrupted, ToolFailed
from handler.report.closing import closing_line, closing_lines
from handler.report.outcome import Outcome
from handler.report.text import clean, lines, one_line, seconds_text, size_text


@pytest.mark.parametrize(
    ("dirty", "expected"),
    [
        ("plain [node1] \ttab", "plain [node1] \ttab"),
        ("\x1b[31mred\x1b[0m", "red"),
        ("\x1b[2K\x1b[1Aup", "up"),
        ("\x1b]0;title\x07rest", "rest"),
        ("\x1b]8;;http://x\x1b\\link\x1b]8;;\x1b\\", "link"),
        ("10%\r20%\r\nend", "10%\n20%\nend"),
        ("a\x00b\x08\x9b31m", "a?b??31m"),
        ("a\u202eb\u2028c", "a?b?c"),
        ("a\udc9b2J", "a?2J"),
        ("\x1b", "?"),
        ("Köln ⠋", "Köln ⠋"),
    ],
)
def test_clean(dirty: str, expected: str) -> None:
    assert clean(dirty) == expected


def test_lines_and_folding() -> None:
    assert lines("a \nb\n\n") == ["a", "b"]
    assert lines("") == [""]
    assert one_line(" a\n  b\r\nc ") == "a b c"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0.0 s"),
        (-1, "0.0 s"),
        (1.26, "1.3 s"),
        (9.96, "10 s"),
        (59.4, "59 s"),
        (59.6, "1 min 0 s"),
        (185, "3 min 5 s"),
    ],
)
def test_seconds(seconds: float, text: str) -> None:
    assert seconds_text(seconds) == text


@pytest.mark.parametrize(
    ("size", "text"),
    [(0, "0 B"), (999, "999 B"), (1500, "1.5 kB"), (3_100_000, "3.1 MB"), (2e9, "2.0 GB"), (5e15, "5000.0 TB")],
)
def test_sizes(size: float, text: str) -> None:
    assert size_text(size) == text


def test_a_good_end() -> None:
    outcome = Outcome.succeeded("backup", "3 files committed.", report="auditlog/x.json")
    assert closing_lines(outcome) == ["k0sctl-handler: backup ok: 3 files committed. Report: auditlog/x.json"]


def test_a_failure_tells_code_class_and_what_is_next() -> None:
    error = ToolFailed("k0sctl failed:\nno route", details=["a\nb", ""], resolution="look at node1.")
    assert closing_lines(Outcome.failed("apply", error)) == [
        "  a",
        "  b",
        "",
        "k0sctl-handler: apply FAILED (4 tool failed): k0sctl failed: no route. Next: look at node1. Report: none",
    ]


@pytest.mark.parametrize(
    ("what", "told"),
    [
        ("done", "done."),
        ("done.", "done."),
        ("done. ", "done."),
        ("wait...", "wait..."),
        ("why?", "why?"),
        ("so…", "so…"),
    ],
)
def test_exactly_one_full_stop(what: str, told: str) -> None:
    assert f" ok: {told} Report: " in closing_line(Outcome.succeeded("init", what))


def test_every_error_has_a_next() -> None:
    for error in (ConfigurationError("x"), Interrupted(15)):
        line = closing_line(Outcome.failed("backup", error))
        assert f"FAILED ({error.exit_code} {error.kind})" in line
        assert " Next: " in line
        assert line.endswith(" Report: none")


def test_a_crash_is_a_bug() -> None:
    outcome = Outcome.crashed("apply", KeyError("x"), report="r.json")
    assert closing_line(outcome).startswith("k0sctl-handler: apply FAILED (1 bug): KeyError: 'x'. Next: ")
    assert not outcome.ok
