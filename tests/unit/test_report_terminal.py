"""The live display on a pretended terminal."""

from __future__ import annotations

import io
import os
import time
from collections.abc import Callable

import pytest

from handler.errors import ToolFailed
from handler.report.outcome import Outcome
from handler.report.reporter import Reporter
from handler.report.sink import sink_for
from handler.report.stream import SafeStream
from handler.report.terminal import TerminalSink
from handler.report.text import clean
from handler.secret import Redactor

ENV = {"TERM": "xterm-256color", "COLUMNS": "100", "LINES": "30"}
HIDE, SHOW = "\x1b[?25l", "\x1b[?25h"


class Tty(io.StringIO):
    encoding = "utf-8"

    def isatty(self) -> bool:
        return True


def on_terminal(env: dict[str, str] | None = None) -> tuple[Reporter, Tty]:
    stream = Tty()
    return Reporter([sink_for(stream, env or ENV)], Redactor()), stream


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 5
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def written(stream: Tty) -> list[str]:
    return [line.strip() for line in clean(stream.getvalue()).splitlines()]


def test_steps_move_and_leave_one_line() -> None:
    reporter, stream = on_terminal()
    reporter.headline("backup of [prod] :smile: [/etc/x]")
    with reporter.step("encrypt") as step:
        reporter.progress(500_000, 2_000_000)
        wait_for(lambda: "500.0 kB of 2.0 MB" in stream.getvalue())
        assert HIDE in stream.getvalue()
        step.note("2.0 MB")
    assert "\x1b[1mbackup of [prod] :smile: [/etc/x]\x1b[0m\n" in stream.getvalue()
    assert "━" in stream.getvalue()
    assert any(line.startswith("encrypt: ok, 0.") and line.endswith(", 2.0 MB") for line in written(stream))
    assert stream.getvalue().rindex(SHOW) > stream.getvalue().rindex(HIDE)
    assert "encrypt ..." not in stream.getvalue()


def test_rows_are_a_table_while_their_step_runs() -> None:
    reporter, stream = on_terminal()
    reporter.redactor.learn("s3cr3t-name")
    with reporter.step("trace the routes"):
        reporter.row("10.0.0.1: reached", ("NODE", "ROUTE"), ("[node1]:22", "reached"))
        reporter.row("10.0.0.2: not reached", ("NODE", "ROUTE"), ("s3cr3t-name", "not reached"))
        wait_for(lambda: "not reached" in stream.getvalue())
        shown = written(stream)
        assert any(line.split() == ["NODE", "ROUTE"] for line in shown)
        assert any(line.split() == ["[node1]:22", "reached"] for line in shown)
        assert any(line.split() == ["****", "not", "reached"] for line in shown)
    assert "10.0.0.1: reached" not in stream.getvalue()
    assert written(stream)[-1].startswith("trace the routes: ok")
    assert stream.getvalue().rstrip().rsplit("\n", 1)[1].count("\x1b[2K")  # in the table's place


def test_more_rows_than_lines() -> None:
    reporter, stream = on_terminal({**ENV, "LINES": "10"})
    with reporter.step("trace the routes"):
        for number in range(50):
            reporter.row("", ("NODE",), (f"node{number:02}",))
        wait_for(lambda: "node49" in stream.getvalue())
        assert "node00\n" not in stream.getvalue().rsplit("NODE", 1)[1]


def test_a_step_is_named_before_its_first_line() -> None:
    reporter, stream = on_terminal()
    with reporter.step("take backup"), reporter.step("inner"):
        reporter.phase("Connect [bold]to[/bold] hosts")
        reporter.warn("look [here]")
    lines = [line for line in written(stream) if line]
    first = lines.index("take backup ...")
    order = [
        lines.index(text, first) for text in ("inner ...", "> Connect [bold]to[/bold] hosts", "warning: look [here]")
    ]
    assert order == sorted(order)
    assert lines.count("take backup ...") == 1


def test_the_cursor_comes_back_after_an_error() -> None:
    reporter, stream = on_terminal()

    def run() -> None:
        with reporter.step("encrypt"):
            reporter.tail(["[red]no space"])
            raise ToolFailed("x")

    with pytest.raises(ToolFailed):
        run()
    text = stream.getvalue()
    assert text.rindex(SHOW) > text.rindex(HIDE)
    assert any(line.startswith("encrypt: FAILED after") for line in written(stream))
    assert "| [red]no space" in text


def test_the_cursor_comes_back_when_the_run_just_ends() -> None:
    reporter, stream = on_terminal()
    step = reporter.step("encrypt")
    step.__enter__()
    reporter.close()
    assert stream.getvalue().rindex(SHOW) > stream.getvalue().rindex(HIDE)


def test_the_last_line_is_one_line_however_long() -> None:
    reporter, stream = on_terminal()
    long = "word " * 60
    reporter.finish(Outcome.failed("backup", ToolFailed(long, details=["detail"]), report="r.json"))
    *_, detail, last = clean(stream.getvalue()).splitlines()
    assert detail == "  detail"
    assert last.startswith("k0sctl-handler: backup FAILED (4 tool failed): word word")
    assert last.endswith(" Report: r.json")


def test_no_color_is_honoured() -> None:
    reporter, stream = on_terminal({**ENV, "NO_COLOR": "1"})
    reporter.warn("x")
    reporter.finish(Outcome.succeeded("backup", "stored"))
    assert "\x1b[3" not in stream.getvalue()


def test_held_lines_show_only_the_moving_line() -> None:
    reporter, stream = on_terminal()
    reporter.hold()
    with reporter.step("identity probe"):
        reporter.phase("Connect to hosts")
        wait_for(lambda: "identity probe" in stream.getvalue())
        assert "> Connect" not in stream.getvalue()
    assert "identity probe: ok" not in stream.getvalue()
    reporter.headline("already running")
    text = stream.getvalue()
    assert text.index("already running") < text.index("> Connect to hosts") < text.index("identity probe: ok")
    assert text.rindex(SHOW) > text.rindex(HIDE)


def test_a_headline_inside_a_held_step_keeps_the_line_moving() -> None:
    reporter, stream = on_terminal()
    reporter.hold()
    with reporter.step("probe"):
        reporter.headline("never")
        before = len(stream.getvalue())
        wait_for(lambda: "probe" in stream.getvalue()[before:])
    assert "probe: ok" in stream.getvalue()


def test_a_broken_pipe_ends_neither_the_run_nor_the_thread() -> None:
    read, write = os.pipe()
    os.close(read)
    stream = os.fdopen(write, "w", encoding="utf-8")
    reporter = Reporter([TerminalSink(SafeStream(stream), ENV)], Redactor())
    with reporter.step("encrypt"):
        reporter.note("x")
        time.sleep(0.3)
    reporter.finish(Outcome.succeeded("backup", "stored"))
    assert reporter.warnings == []
    stream.close()


def test_a_failing_display_is_replaced_by_plain_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    reporter, stream = on_terminal()

    def fail(*_args: object, **_named: object) -> None:
        raise RuntimeError("a bug of the display")

    monkeypatch.setattr(TerminalSink, "_print", fail)
    with reporter.step("encrypt"):
        reporter.note("inside")
    reporter.finish(Outcome.succeeded("backup", "stored"))
    assert stream.getvalue().splitlines()[-1] == "k0sctl-handler: backup ok: stored. Report: none"
    assert "encrypt: ok" in stream.getvalue()
    assert stream.getvalue().rindex(SHOW) > stream.getvalue().rindex(HIDE)
    assert reporter.warnings == ["the TerminalSink failed: RuntimeError: a bug of the display"]


def test_an_ascii_terminal_gets_ascii() -> None:
    class Ascii(Tty):
        encoding = "ascii"

    stream = Ascii()
    reporter = Reporter([sink_for(stream, ENV)], Redactor())
    with reporter.step("encrypt"):
        reporter.progress(1, 2)
        wait_for(lambda: "encrypt" in stream.getvalue())
    assert stream.getvalue().isascii()
