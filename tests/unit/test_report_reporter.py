"""The reporter times, remembers, masks, holds back, and survives its sinks."""

from __future__ import annotations

import io
import threading
from collections.abc import Iterator

import pytest

from handler.errors import Interrupted, ToolFailed
from handler.report import events
from handler.report.outcome import Outcome
from handler.report.plain import PlainSink
from handler.report.reporter import Reporter, StepRecord
from handler.report.stream import SafeStream
from handler.secret import Redactor

SECRET = "correct-horse-battery"
DONE = Outcome.succeeded("backup", "stored", report="auditlog/a.json")


class Recorder:
    """A sink that remembers."""

    def __init__(self) -> None:
        self.handled: list[events.Event] = []
        self.previewed: list[events.Event] = []
        self.released = 0
        self.closed = 0

    def handle(self, event: events.Event) -> None:
        self.handled.append(event)

    def preview(self, event: events.Event) -> None:
        self.previewed.append(event)

    def release(self) -> None:
        self.released += 1

    def fallback(self) -> None:
        pass

    def close(self) -> None:
        self.closed += 1


def ticking() -> Iterator[float]:
    now = 100.0
    while True:
        yield now
        now += 1.5


def plain() -> tuple[Reporter, io.StringIO, Redactor]:
    stream, redactor, clock = io.StringIO(), Redactor(), ticking()
    return Reporter([PlainSink(SafeStream(stream))], redactor, lambda: next(clock)), stream, redactor


def test_the_story_in_plain_lines() -> None:
    reporter, stream, _ = plain()
    reporter.headline("backup of prod")
    with reporter.step("take backup") as step:
        reporter.phase("Connect to hosts")
        reporter.note("two\nlines")
        step.note("3.1 MB")
        step.note("etcd")

    def encrypt() -> None:
        with reporter.step("encrypt"), reporter.step("inner"):
            reporter.tail(["no [space] left", "\x1b[31mred\x1b[0m"])
            raise ToolFailed("x")

    with pytest.raises(ToolFailed):
        encrypt()
    reporter.warn("late")
    reporter.progress(1, 2)
    reporter.finish(Outcome.failed("backup", ToolFailed("disk full", details=["df: 0"], resolution="make room")))
    assert stream.getvalue().splitlines() == [
        "backup of prod",
        "take backup ...",
        "    > Connect to hosts",
        "    two",
        "    lines",
        "take backup: ok, 1.5 s, 3.1 MB, etcd",
        "encrypt ...",
        "    inner ...",
        "        | no [space] left",
        "        | red",
        "    inner: FAILED after 1.5 s",
        "encrypt: FAILED after 4.5 s",
        "warning: late",
        "  df: 0",
        "k0sctl-handler: backup FAILED (4 tool failed): disk full. Next: make room. Report: none",
    ]
    assert reporter.steps == [
        StepRecord("take backup", 1.5, True),
        StepRecord("inner", 1.5, False),
        StepRecord("encrypt", 4.5, False),
    ]
    assert reporter.warnings == ["late"]


@pytest.mark.parametrize("error", [ToolFailed("x"), Interrupted(15), KeyboardInterrupt(), ValueError("bug")])
def test_any_exception_fails_the_step_and_goes_on(error: BaseException) -> None:
    sink = Recorder()
    reporter = Reporter([sink], Redactor())
    with pytest.raises(type(error)) as caught, reporter.step("x"):
        raise error
    assert caught.value is error
    assert isinstance(sink.handled[-1], events.StepFailed)


def test_every_text_is_masked_where_it_leaves() -> None:
    reporter, stream, redactor = plain()
    redactor.learn(SECRET)
    coloured = SECRET[:5] + "\x1b[1m" + SECRET[5:]
    reporter.headline(f"h {SECRET}")
    with reporter.step(f"s {SECRET}") as step:
        step.note(SECRET)
        reporter.phase(SECRET)
        reporter.note(coloured)
        reporter.warn(SECRET)
        reporter.tail([SECRET])
        reporter.progress(1, 2)
    error = ToolFailed(SECRET, details=[SECRET], resolution=SECRET)
    reporter.finish(Outcome.failed("backup", error, report=f"{SECRET}.json"))
    assert SECRET not in stream.getvalue()
    assert stream.getvalue().count("****") == 12


def test_our_own_words_are_not_masked() -> None:
    reporter, stream, redactor = plain()
    redactor.learn("backup", "tool failed")
    reporter.finish(Outcome.failed("backup", ToolFailed("the backup is bad")))
    assert "k0sctl-handler: backup FAILED (4 tool failed): the **** is bad." in stream.getvalue()


class TestQuiet:
    """Only warnings, errors and the last line."""

    def test_what_is_told_and_what_is_not(self) -> None:
        reporter, stream, redactor = plain()
        redactor.learn(SECRET)
        reporter.quiet = True
        reporter.hold()
        reporter.headline("backup of prod")
        with reporter.step("take backup") as step:
            reporter.phase("Connect to hosts")
            reporter.note("a note")
            reporter.warn(f"UNPINNED\n{SECRET} ssh-ed25519 AAAA")
            reporter.progress(1, 1)
            step.note("3.1 MB")
        reporter.tail(["no space left"])
        reporter.finish(Outcome.failed("backup", ToolFailed("disk full", details=["df: 0"], resolution="make room")))
        assert stream.getvalue().splitlines() == [
            "warning: UNPINNED",
            "**** ssh-ed25519 AAAA",
            "| no space left",
            "  df: 0",
            "k0sctl-handler: backup FAILED (4 tool failed): disk full. Next: make room. Report: none",
        ]

    def test_the_report_still_knows_everything(self) -> None:
        reporter, _, _ = plain()
        reporter.quiet = True
        with reporter.step("take backup"):
            reporter.warn("late")
        reporter.fact("uid", "a")
        assert reporter.steps == [StepRecord("take backup", 1.5, True)]
        assert (reporter.warnings, reporter.facts) == (["late"], {"uid": "a"})

    def test_a_good_run_is_one_line(self) -> None:
        reporter, stream, _ = plain()
        reporter.quiet = True
        reporter.headline("backup of prod")
        with reporter.step("take backup"):
            reporter.note("a note")
        reporter.finish(DONE)
        assert stream.getvalue() == "k0sctl-handler: backup ok: stored. Report: auditlog/a.json\n"

    def test_live_sinks_show_nothing_either(self) -> None:
        sink = Recorder()
        reporter = Reporter([sink], Redactor())
        reporter.quiet = True
        reporter.hold()
        with reporter.step("probe"):
            reporter.progress(5, 10)
            reporter.warn("slow")
        assert sink.previewed == []
        assert sink.handled == []
        reporter.headline("x")
        assert sink.handled == [events.Warning_("slow")]


class TestHolding:
    def test_the_headline_is_the_first_line(self) -> None:
        reporter, stream, redactor = plain()
        reporter.hold()
        reporter.warn("early")
        with reporter.step("probe"):
            reporter.note(SECRET)
        assert stream.getvalue() == ""
        redactor.learn(SECRET)  # learned only while the text was held
        reporter.headline("already running")
        reporter.note("later")
        assert stream.getvalue().splitlines() == [
            "already running",
            "warning: early",
            "probe ...",
            "    ****",
            "probe: ok, 1.5 s",
            "later",
        ]

    def test_a_headline_inside_a_step(self) -> None:
        reporter, stream, _ = plain()
        reporter.hold()
        with reporter.step("probe"):
            reporter.headline("never")
        assert stream.getvalue().splitlines() == ["never", "probe: ok, 1.5 s"]

    @pytest.mark.parametrize("end", ["finish", "close"])
    def test_nothing_is_lost_without_a_headline(self, end: str) -> None:
        reporter, stream, _ = plain()
        reporter.hold()
        reporter.warn("early")
        if end == "finish":
            reporter.finish(DONE)
        else:
            reporter.close()
        assert stream.getvalue().startswith("warning: early\n")

    def test_live_sinks_may_preview(self) -> None:
        sink = Recorder()
        reporter = Reporter([sink], Redactor())
        reporter.hold()
        with reporter.step("probe"):
            reporter.progress(5, 10)
        assert [type(event) for event in sink.previewed] == [
            events.StepStarted,
            events.Progress,
            events.StepFinished,
        ]
        assert sink.handled == []
        reporter.headline("x")
        assert sink.released == 1
        # progress is of the moment: it is not told again
        assert [type(event) for event in sink.handled] == [
            events.Headline,
            events.StepStarted,
            events.StepFinished,
        ]


def test_progress_is_sparse_but_its_end_is_told() -> None:
    sink, now = Recorder(), [0.0]
    reporter = Reporter([sink], Redactor(), lambda: now[0])
    reporter.progress(1, 10)  # no step runs
    with reporter.step("copy"):
        for done in range(1, 11):
            reporter.progress(done, 10)
            now[0] += 0.04
    seen = [event.done_bytes for event in sink.handled if isinstance(event, events.Progress)]
    assert seen == [1, 4, 7, 10]


def test_facts_are_remembered() -> None:
    reporter = Reporter([], Redactor())
    reporter.fact("uid", "a")
    reporter.fact("uid", "b")
    assert reporter.facts == {"uid": "b"}


def test_finish_tells_the_end_once_and_closes() -> None:
    sink = Recorder()
    with Reporter([sink], Redactor()) as reporter:
        reporter.finish(DONE)
        reporter.finish(DONE)
    assert sink.handled == [events.Finished(DONE)]
    assert sink.closed >= 1


def test_lines_of_threads_do_not_mix() -> None:
    reporter, stream, _ = plain()

    def talk(letter: str) -> None:
        for _ in range(200):
            reporter.phase(letter * 50)

    threads = [threading.Thread(target=talk, args=(letter,)) for letter in "abc"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    lines = stream.getvalue().splitlines()
    assert len(lines) == 600
    assert set(lines) == {f"> {letter * 50}" for letter in "abc"}
