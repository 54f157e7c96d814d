"""Sinks and streams that fail stop nothing, and the right sink is chosen."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path

import pytest

from handler.errors import Interrupted, ToolFailed
from handler.report import events
from handler.report.outcome import Outcome
from handler.report.plain import PlainSink
from handler.report.reporter import Reporter
from handler.report.sink import Sink, sink_for
from handler.report.stream import SafeStream
from handler.secret import Redactor

DONE = Outcome.succeeded("backup", "stored", report="auditlog/a.json")


class Failing:
    """A sink that raises, or remembers."""

    def __init__(self, *, raises: BaseException | None = None, fallback: Sink | None = None) -> None:
        self.handled: list[events.Event] = []
        self.closed = 0
        self._raises = raises
        self._fallback = fallback

    def handle(self, event: events.Event) -> None:
        if self._raises:
            raise self._raises
        self.handled.append(event)

    def preview(self, event: events.Event) -> None:
        pass

    def release(self) -> None:
        pass

    def fallback(self) -> Sink | None:
        return self._fallback

    def close(self) -> None:
        self.closed += 1


class TestBrokenSinks:
    def test_a_failing_sink_is_dropped_and_the_others_go_on(self) -> None:
        bad, good = Failing(raises=RuntimeError("bug")), Failing()
        reporter = Reporter([bad, good], Redactor())
        reporter.note("a")
        reporter.note("b")
        reporter.finish(DONE)
        assert [type(event) for event in good.handled] == [events.Note, events.Note, events.Finished]
        assert bad.closed == 1
        assert reporter.warnings == ["the Failing failed: RuntimeError: bug"]

    def test_a_simpler_one_takes_over(self) -> None:
        simple = Failing()
        reporter = Reporter([Failing(raises=RuntimeError("bug"), fallback=simple)], Redactor())
        reporter.note("a")
        reporter.note("b")
        assert simple.handled == [events.Note("a"), events.Note("b")]

    def test_a_signal_is_not_a_broken_sink(self) -> None:
        reporter = Reporter([Failing(raises=Interrupted(15))], Redactor())
        with pytest.raises(Interrupted):
            reporter.note("a")

    def test_the_first_error_is_not_hidden(self) -> None:
        reporter = Reporter([Failing(raises=BrokenPipeError())], Redactor())
        with pytest.raises(ToolFailed, match="first"), reporter.step("x"):
            raise ToolFailed("first")

    def test_a_closed_pipe_is_silent_to_the_end(self) -> None:
        read, write = os.pipe()
        os.close(read)
        stream = os.fdopen(write, "w")
        safe = SafeStream(stream)
        reporter = Reporter([PlainSink(safe)], Redactor())
        for _ in range(3):
            reporter.note("x" * 100_000)
        reporter.finish(DONE)
        assert safe.broken
        stream.close()  # would raise, had the descriptor not been silenced

    def test_a_full_disk_is_silent(self) -> None:
        with Path("/dev/full").open("w") as stream:
            safe = SafeStream(stream)
            PlainSink(safe).handle(events.Note("x"))
            assert safe.broken

    def test_no_stream_and_a_closed_one(self) -> None:
        closed = io.StringIO()
        closed.close()
        for safe in (SafeStream(None), SafeStream(closed)):
            PlainSink(safe).handle(events.Note("x"))
            assert not safe.isatty()
            assert safe.broken
        assert SafeStream(None).encoding == "utf-8"
        with pytest.raises(OSError, match="closed"):
            SafeStream(None).fileno()

    def test_a_stream_that_would_block_loses_only_that_text(self) -> None:
        class Busy(io.StringIO):
            busy = True

            def write(self, text: str) -> int:
                if self.busy:
                    raise BlockingIOError
                return super().write(text)

            def flush(self) -> None:
                if self.busy:
                    raise BlockingIOError

        stream = Busy()
        sink = PlainSink(SafeStream(stream))
        sink.handle(events.Note("lost"))
        stream.busy = False
        sink.handle(events.Note("kept"))
        assert stream.getvalue() == "kept\n"

    def test_a_narrow_encoding_loses_no_line(self) -> None:
        raw = io.BytesIO()
        stream = io.TextIOWrapper(raw, encoding="ascii")
        PlainSink(SafeStream(stream)).handle(events.Note("Köln"))
        assert raw.getvalue() == b"K\\xf6ln\n"


class Tty(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("stream", "env", "live"),
    [
        (Tty(), {"TERM": "xterm"}, True),
        (Tty(), {"TERM": "xterm", "CI": "", "ATC_EXTERNAL_URL": ""}, True),
        (Tty(), {"TERM": "xterm", "CI": "true"}, False),
        (Tty(), {"TERM": "xterm", "ATC_EXTERNAL_URL": "https://ci"}, False),
        (Tty(), {"TERM": "dumb"}, False),
        (Tty(), {}, False),
        (io.StringIO(), {"TERM": "xterm"}, False),
        (None, {"TERM": "xterm"}, False),
    ],
)
def test_which_sink_fits(stream: io.StringIO | None, env: dict[str, str], live: bool) -> None:
    assert type(sink_for(stream, env)).__name__ == ("TerminalSink" if live else "PlainSink")


def test_rich_is_not_imported_for_plain_lines() -> None:
    code = (
        "import sys, io\n"
        "from handler.report.sink import sink_for\n"
        "from handler.report import reporter, json_report\n"
        "from handler.settings import model, cli, help\n"
        "sink_for(io.StringIO(), {})\n"
        "print(sorted(name for name in ('rich', 'yaml', 'sh', 'git', 'gnupg') if name in sys.modules))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
