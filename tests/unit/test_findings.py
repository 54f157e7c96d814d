"""Findings of `check`: what decides the exit code, and what people see."""

from __future__ import annotations

import pytest

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
from handler.findings import Area, Finding, State, problems, table, verdict


def found(*errors: HandlerError) -> list[Finding]:
    area = Area("hosts")
    for number, error in enumerate(errors):
        area.problem(f"host{number}", error)
    return area.findings


CONFIGURATION = ConfigurationError("a setting", resolution="set it")
MISSING = ToolMissing("a tool", resolution="install it")
INTEGRITY = IntegrityError("a signature", resolution="look at it")
FAILED = ToolFailed("a door", resolution="open it")
CONFLICT = Conflict("two histories", resolution="choose")
LATE = TimedOut("too long", resolution="wait")


@pytest.mark.parametrize(
    ("errors", "first"),
    [
        ([FAILED, INTEGRITY, MISSING, CONFIGURATION], CONFIGURATION),
        ([FAILED, INTEGRITY, MISSING], MISSING),
        ([CONFLICT, LATE, FAILED, INTEGRITY], INTEGRITY),
        ([CONFLICT, LATE, FAILED], FAILED),
        ([LATE, CONFLICT], CONFLICT),
        ([LATE], LATE),
    ],
)
def test_the_exit_code_is_the_first_of_2_3_5_4(errors: list[HandlerError], first: HandlerError) -> None:
    with pytest.raises(type(first)) as raised:
        verdict(found(*errors))
    assert raised.value.exit_code == first.exit_code
    assert raised.value.resolution == first.resolution
    assert raised.value.message.startswith(f"{len(errors)} problem")
    assert first.message in raised.value.message
    assert len(raised.value.details) == len(errors)
    assert first.message in raised.value.details[0]


def test_many_problems_are_counted_and_all_are_in_the_details() -> None:
    with pytest.raises(ToolFailed) as raised:
        verdict(found(*[ToolFailed(f"door {number}") for number in range(9)]))
    assert raised.value.message.startswith("9 problems: hosts: door 0; ")
    assert raised.value.message.endswith("; and 6 more")
    assert len(raised.value.details) == 9


def test_warnings_and_what_was_not_checked_are_no_problem() -> None:
    area = Area("key")
    area.ok("uid", "prod")
    area.warn("recovery keys", "none", mend="make one")
    area.unchecked("passphrase", "no key")
    assert verdict(area.findings) == "no problem found; 1 warning, 1 ok, 1 not checked"


def test_a_problem_of_one_check_does_not_stop_the_next() -> None:
    area = Area("tools")
    with area.trying("git"):
        raise ToolMissing("git was not found", details=["PATH=/bin"], resolution="install git")
    area.ok("gpg", "2.4")
    assert [one.state for one in area.findings] == [State.PROBLEM, State.OK]
    assert area.has_problem("git")
    assert not area.has_problem("gpg")
    (problem,) = problems(area.findings)
    assert (problem.found, problem.details, problem.mend, problem.exit_code) == (
        "git was not found", ("PATH=/bin",), "install git", 3,
    )  # fmt: skip


@pytest.mark.parametrize("error", [Interrupted(15), ValueError("a bug")])
def test_a_signal_and_a_bug_are_no_findings(error: Exception) -> None:
    area = Area("tools")
    with pytest.raises(type(error)), area.trying("git"):
        raise error
    assert area.findings == []


def test_areas_share_one_list_and_know_their_own() -> None:
    findings: list[Finding] = []
    Area("tools", findings).problem("git", ToolMissing("gone"))
    assert not Area("hosts", findings).has_problem()
    assert Area("tools", findings).has_problem()


LINE = "ssh -p 2222 10.0.0.1 'rm -rf /tmp/abcdef/k0s_backup_2026-11-20T01-02-03Z.tar.gz; rm -f /tmp/k0sctl.lock'; more"


def test_the_table_folds_sentences_and_never_a_line_to_type() -> None:
    area = Area("hosts")
    area.ok("10.0.0.1:22", "word " * 60)
    area.warn("10.0.0.1:22", "left", mend=LINE, details=("10.0.0.1 ssh-ed25519 " + "A" * 120, "two\nlines"))
    text = table(area.findings)
    lines = text.splitlines()
    assert f"    mend: {LINE}" in lines
    assert "    | 10.0.0.1 ssh-ed25519 " + "A" * 120 in lines
    assert lines[lines.index("    | two") + 1] == "    | lines"
    assert all(len(line) <= 100 for line in lines if not line.startswith("    mend:") and "AAA" not in line)
    assert not any(line != line.rstrip() for line in lines)
    assert text.count("word") == 60


def test_the_table_stands_where_its_head_says() -> None:
    area = Area("hosts")
    area.ok("[2001:db8:1111:2222:3333:4444:5555:6666]:22", "door open")
    area.problem("10.0.0.1:22", FAILED)
    head, first, second, mend, _, last = table(area.findings).splitlines()
    assert head.split() == ["AREA", "SUBJECT", "STATE", "FOUND"]
    assert first.split()[1:3] == ["[2001:db8:1111:2222:3333:4444:5555:6666]:22", "ok"]
    assert second.index("PROBLEM") == head.index("STATE")
    assert second.index("a door") == head.index("FOUND")
    assert mend == "    mend: open it"
    assert last == "1 problem, no warnings, 1 ok"
