"""stdout: a command's data as text or as one JSON document, always masked, and never the reason of a failure."""

from __future__ import annotations

import errno
import io
import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from enum import StrEnum
from pathlib import Path
from typing import Any

import pytest

from handler.report.json_report import Json
from handler.report.output import Output, table
from handler.report.stream import SafeStream
from handler.secret import Redactor, Secret

SECRET = 'correct-"horse"-bättery'
REPORT: dict[str, Json] = {"format": 1, "command": "list", "exit_code": 0}


class Store(StrEnum):
    ETCD = "etcd"


@dataclass(frozen=True)
class Row:
    name: str
    taken: datetime
    age: timedelta
    store: Store
    key: Secret | None = None


def output(*, as_json: bool) -> tuple[Output, io.StringIO]:
    stream, redactor = io.StringIO(), Redactor()
    redactor.learn(SECRET)
    return Output(SafeStream(stream), redactor, json=as_json), stream


def document(result: object, report: dict[str, Json] | None = None) -> dict[str, Any]:
    out, stream = output(as_json=True)
    out.show(result, "text")
    assert stream.getvalue() == ""
    out.document(report or REPORT)
    assert stream.getvalue().count("\n") == 1
    assert stream.getvalue().endswith("\n")
    loaded: dict[str, Any] = json.loads(stream.getvalue(), parse_constant=pytest.fail)
    return loaded


class TestText:
    def test_it_is_shown_at_once_and_ends_with_one_line_end(self) -> None:
        out, stream = output(as_json=False)
        out.show({"x": 1}, "a  b\nc  d\n\n")
        assert stream.getvalue() == "a  b\nc  d\n"
        out.show({"x": 2}, "e")
        out.document(REPORT)
        assert stream.getvalue() == "a  b\nc  d\ne\n"

    @pytest.mark.parametrize("text", [SECRET, f"x {SECRET} y", SECRET[:9] + "\x1b[1m" + SECRET[9:]])
    def test_it_is_masked(self, text: str) -> None:
        out, stream = output(as_json=False)
        out.show(None, text)
        assert "horse" not in stream.getvalue()
        assert "****" in stream.getvalue()

    def test_a_name_cannot_steer_the_terminal(self) -> None:
        out, stream = output(as_json=False)
        out.show(None, "\x1b]0;title\x07k0s\x1b[2J_backup\x07")
        assert stream.getvalue() == "k0s_backup?\n"


class TestDocument:
    def test_it_is_the_report_and_the_result(self) -> None:
        assert document([{"name": "a"}]) == {**REPORT, "result": [{"name": "a"}]}

    def test_a_run_without_data_has_no_result(self) -> None:
        out, stream = output(as_json=True)
        out.document(REPORT)
        assert json.loads(stream.getvalue()) == {**REPORT, "result": None}

    def test_a_later_result_replaces_an_earlier_one(self) -> None:
        out, stream = output(as_json=True)
        out.show(1, "one")
        out.show(2, "two")
        out.document(REPORT)
        assert json.loads(stream.getvalue())["result"] == 2

    def test_values_of_python(self) -> None:
        taken = datetime(2026, 11, 20, 2, 0, 0, tzinfo=timezone(timedelta(hours=1)))
        row = Row("a", taken, timedelta(minutes=1.5), Store.ETCD, Secret(SECRET))
        assert document((row,))["result"] == [
            {"name": "a", "taken": "2026-11-20T01:00:00Z", "age": 90.0, "store": "etcd", "key": "****"}
        ]
        assert document({Store.ETCD: {"b", "a"}, "p": Path("x/y")})["result"] == {"etcd": ["a", "b"], "p": "x/y"}
        assert document({"at": datetime(2026, 1, 1, tzinfo=UTC)})["result"] == {"at": "2026-01-01T00:00:00Z"}

    @pytest.mark.parametrize(
        "result",
        [{Path("x"): 1}, {("a", 1): 2}, {"n": float("nan")}, {"n": float("inf")}, {"raw": b"\xff"}, {"o": object()}],
    )
    def test_any_result_becomes_a_document_that_programs_can_read(self, result: object) -> None:
        assert set(document(result)) == {*REPORT, "result"}

    @pytest.mark.parametrize(
        "result",
        [
            SECRET,
            [{"deep": [f"x {SECRET} y"]}],
            {SECRET: 1},
            {"json": json.dumps(SECRET)},
            {"quoted": json.dumps({"inner": SECRET}, ensure_ascii=False)},
        ],
    )
    def test_no_secret_is_in_it(self, result: object) -> None:
        text = json.dumps(document(result))
        assert "horse" not in text
        assert "****" in text

    def test_a_plain_secret_among_many_values(self) -> None:
        stream, redactor = io.StringIO(), Redactor()
        redactor.learn("hunter-of-words")
        out = Output(SafeStream(stream), redactor, json=True)
        out.show([{"name": "a"}, {"name": "by hunter-of-words"}, {"hunter-of-words": 1}], "")
        out.document(REPORT)
        assert json.loads(stream.getvalue())["result"] == [{"name": "a"}, {"name": "by ****"}, {"****": 1}]

    def test_ten_thousand_values_cost_little(self) -> None:
        rows = [{"name": f"k0s_backup_{number}", "size": number} for number in range(10_000)]
        assert document(rows)["result"] == rows

    def test_text_that_is_none(self) -> None:
        loaded = document({"name": "\udcff\u2028\x1b[2J"})
        assert loaded["result"] == {"name": "\udcff\u2028\x1b[2J"}
        out, stream = output(as_json=True)
        out.show("\u2028\x1b", "")
        out.document(REPORT)
        assert stream.getvalue().isascii()  # nothing in it steers a terminal


class Broken(io.StringIO):
    def write(self, _: str) -> int:
        raise BrokenPipeError

    def fileno(self) -> int:
        raise io.UnsupportedOperation


@pytest.mark.parametrize("stream", [None, Broken()])
@pytest.mark.parametrize("as_json", [True, False])
def test_a_reader_that_goes_away_stops_nothing(stream: io.StringIO | None, as_json: bool) -> None:
    out = Output(SafeStream(stream), Redactor(), json=as_json)
    out.show([1], "one")
    out.document(REPORT)


class Failing(io.StringIO):
    def __init__(self, error: OSError) -> None:
        super().__init__()
        self._error = error

    def flush(self) -> None:
        raise self._error


@pytest.mark.parametrize(
    ("error", "lost"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), True),
        (OSError(errno.EIO, "Input/output error"), True),
        (BlockingIOError(errno.EAGAIN, "try again"), True),
        (BrokenPipeError(errno.EPIPE, "Broken pipe"), False),
    ],
)
@pytest.mark.parametrize("as_json", [True, False])
def test_lost_data_is_known(error: OSError, lost: bool, as_json: bool) -> None:
    out = Output(SafeStream(Failing(error)), Redactor(), json=as_json)
    assert out.lost is None
    out.show([1], "one")
    out.document(REPORT)
    assert (out.lost is error) == lost


class TestTable:
    def test_columns_are_aligned_and_the_last_is_as_it_is(self) -> None:
        assert table(("name", "age", "uid"), (("a", "10 h", "x y"), ("long-name", "1 h", ""))) == (
            "name       age   uid\na          10 h  x y\nlong-name  1 h\n"
        )

    def test_a_table_without_rows_is_its_head(self) -> None:
        assert table(("name", "age"), ()) == "name  age\n"

    def test_one_column(self) -> None:
        assert table(("name",), (("a",), ("b",))) == "name\na\nb\n"
