"""The run report."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from enum import StrEnum
from pathlib import Path

from handler.errors import IntegrityError
from handler.report.json_report import Json, build_report, masked, write_report
from handler.report.outcome import Outcome
from handler.report.reporter import Reporter
from handler.secret import Redactor, Secret

SECRET = "correct-horse-battery"
STARTED = datetime(2026, 11, 20, 1, 2, 3, 400_000, tzinfo=timezone(timedelta(hours=1)))


def build(reporter: Reporter, outcome: Outcome, versions: Mapping[str, str | None] | None = None) -> dict[str, Json]:
    return build_report(
        reporter, outcome, started=STARTED, finished=STARTED + timedelta(seconds=2.5), versions=versions or {}
    )


def test_a_report_holds_the_run() -> None:
    now = [0.0]
    reporter = Reporter([], Redactor(), lambda: now[0])
    with reporter.step("encrypt"):
        now[0] += 1.23456
    reporter.warn("old key")
    reporter.fact("uid", None)
    error = IntegrityError("bad sum", details=["a", "b"], resolution="look")
    report = build(reporter, Outcome.failed("restore", error), {"handler": "1.0.0", "k0s": None})
    assert report == {
        "format": 1,
        "command": "restore",
        "started": "2026-11-20T00:02:03Z",
        "finished": "2026-11-20T00:02:05Z",
        "seconds": 2.5,
        "exit_code": 5,
        "outcome": "integrity",
        "message": "bad sum",
        "details": ["a", "b"],
        "next": "look",
        "versions": {"handler": "1.0.0", "k0s": None},
        "steps": [{"name": "encrypt", "seconds": 1.235, "ok": True}],
        "warnings": ["old key"],
        "facts": {"uid": None},
    }


def test_everything_foreign_is_masked() -> None:
    redactor = Redactor()
    redactor.learn(SECRET)
    reporter = Reporter([], redactor)
    with reporter.step(SECRET):
        pass
    reporter.warn(SECRET)
    reporter.fact(SECRET, {SECRET: [SECRET, (SECRET, {"a": SECRET.encode()}), Path(SECRET), Secret("other")]})
    error = IntegrityError(SECRET, details=[SECRET], resolution=SECRET)
    report = build(reporter, Outcome.failed("restore", error), {"k0s": SECRET})
    text = json.dumps(report)
    assert SECRET not in text
    assert "other" not in text
    assert text.count("****") == 13


def test_our_own_keys_stay_even_if_a_secret_is_such_a_word() -> None:
    redactor = Redactor()
    redactor.learn("steps", "true", "seconds")
    reporter = Reporter([], redactor)
    with reporter.step("x"):
        pass
    report = json.loads(json.dumps(build(reporter, Outcome.succeeded("backup", "true steps"))))
    assert report["steps"][0].keys() == {"name", "seconds", "ok"}
    assert report["message"] == "**** ****"


class Colour(StrEnum):
    RED = "red"


@dataclass(frozen=True)
class Evidence:
    uid: str | None
    colours: frozenset[Colour]
    taken: datetime
    took: timedelta
    share: float


def test_values_of_all_kinds() -> None:
    value = Evidence("u", frozenset({Colour.RED}), STARTED.astimezone(UTC), timedelta(seconds=90), float("nan"))
    assert masked({"e": value, 7: True, "big": float("inf"), "p": Path("a/b")}, str) == {
        "e": {"uid": "u", "colours": ["red"], "taken": "2026-11-20T00:02:03Z", "took": 90.0, "share": "nan"},
        "7": True,
        "big": "inf",
        "p": "a/b",
    }


def test_masked_keys_do_not_hide_each_other() -> None:
    assert masked({"a": 1, "b": 2, "c": 3}, lambda _: "****") == {"****": 1, "**** (2)": 2, "**** (3)": 3}


def test_it_is_written_by_the_given_writer() -> None:
    written: dict[Path, bytes] = {}
    reporter = Reporter([], Redactor())
    reporter.fact("name", "Köln \udcff")
    write_report(Path("r.json"), build(reporter, Outcome.succeeded("init", "made")), written.__setitem__)
    raw = written[Path("r.json")]
    assert raw.endswith(b"}\n")
    assert "Köln".encode() in raw
    assert json.loads(raw)["facts"]["name"].startswith("Köln ")
