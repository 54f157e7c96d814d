"""What commands talk to: it times steps, remembers facts, and masks everything on its way to the sinks."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from types import TracebackType
from typing import Final, Self

from handler.errors import HandlerError
from handler.report import events
from handler.report.outcome import Outcome
from handler.report.sink import Sink
from handler.report.text import clean
from handler.secret import Redactor

#: Seconds between two progress events: more often is seen by nobody.
_PROGRESS_EVERY: Final = 0.1
_TOLD_WHEN_QUIET: Final = (events.Warning_, events.Output, events.Finished)


@dataclass(frozen=True)
class StepRecord:
    """A step that has ended, for the report."""

    name: str
    seconds: float
    ok: bool


class Step:
    """A running step."""

    def __init__(self) -> None:
        self._notes: list[str] = []

    def note(self, text: str) -> None:
        """Add words to the line that ends the step."""
        self._notes.append(text)

    @property
    def notes(self) -> str:
        return ", ".join(self._notes)


class Reporter:
    """Safe to call from threads that read a tool's output. A sink that fails is dropped; the run goes on.

    Attributes:
        redactor: masks every text; what it learns later also masks what is still held back.
        steps, warnings, facts: unmasked, for the JSON report, which masks them.
        quiet: only warnings, errors and the last line are shown.
    """

    def __init__(self, sinks: Sequence[Sink], redactor: Redactor, clock: Callable[[], float] = time.monotonic) -> None:
        self.redactor = redactor
        self.steps: list[StepRecord] = []
        self.warnings: list[str] = []
        self.facts: dict[str, object] = {}
        self.quiet = False
        self._sinks = list(sinks)
        self._clock = clock
        self._names: list[str] = []
        self._held: list[events.Event] | None = None
        self._finished = False
        self._progress_at = float("-inf")
        # a signal handler may report while the main thread does
        self._lock = threading.RLock()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def hold(self) -> None:
        """Hold all lines back until `headline` or `finish`: the headline must be the first line of the run."""
        with self._lock:
            if self._held is None:
                self._held = []

    def headline(self, text: str) -> None:
        """Say what this run is about, then tell what was held back."""
        self._release(events.Headline(text))

    @contextlib.contextmanager
    def step(self, name: str) -> Iterator[Step]:
        """Time what is done inside; any exception makes it a failed step."""
        step = Step()
        started = self._clock()
        self._names.append(name)
        try:
            self._emit(events.StepStarted(name, started))
            yield step
        except BaseException:
            seconds = self._ended(name, started, ok=False)
            self._emit(events.StepFailed(name, seconds))
            raise
        seconds = self._ended(name, started, ok=True)
        self._emit(events.StepFinished(name, seconds, step.notes))

    def phase(self, name: str) -> None:
        """A phase of k0sctl has begun."""
        self._emit(events.Phase(name))

    def note(self, text: str) -> None:
        self._emit(events.Note(text))

    def row(self, line: str, head: Sequence[str], cells: Sequence[str]) -> None:
        """Something is known of one of many that the running step is about: a row of a live table, or a line."""
        self._emit(events.Row(line, tuple(head), tuple(cells)))

    def warn(self, text: str) -> None:
        with self._lock:
            self.warnings.append(text)
        self._emit(events.Warning_(text))

    def tail(self, lines: Iterable[str]) -> None:
        """The last lines of a tool that failed."""
        for line in lines:
            self._emit(events.Output(line))

    def progress(self, done: int, total: int | None = None) -> None:
        """How many bytes of the running step are done; cheap enough to be called for every chunk."""
        now = self._clock()
        if not self._names or (now - self._progress_at < _PROGRESS_EVERY and done != total):
            return
        self._progress_at = now
        self._emit(events.Progress(self._names[-1], done, total))

    def fact(self, key: str, value: object) -> None:
        """Remember something for the report; a later value replaces an earlier one."""
        with self._lock:
            self.facts[key] = value

    def finish(self, outcome: Outcome) -> None:
        """Tell the end of the run, once, and leave the terminal as it was."""
        with self._lock:
            if self._finished:
                return
            self._finished = True
            self._release()
            self._emit(events.Finished(outcome))
            self.close()

    def close(self) -> None:
        """Tell what is still held back and close the sinks; may be called twice."""
        with self._lock:
            self._release()
            for sink in list(self._sinks):
                self._guarded(sink, sink.close)

    def mask(self, text: str) -> str:
        """The text as it may leave the process.

        Masked before and after cleaning: an escape sequence may stand inside a secret, or be a part of it.
        """
        return self.redactor.mask(clean(self.redactor.mask(text)))

    def _ended(self, name: str, started: float, *, ok: bool) -> float:
        seconds = self._clock() - started
        with self._lock:
            self._names.pop()
            self.steps.append(StepRecord(name, seconds, ok))
        return seconds

    def _emit(self, event: events.Event) -> None:
        with self._lock:
            if self._held is None:
                self._deliver(event)
                return
            if not isinstance(event, events.Progress):
                self._held.append(event)
            if self.quiet:
                return
            safe = self._safe(event)
            for sink in list(self._sinks):
                self._guarded(sink, partial(sink.preview, safe))

    def _release(self, first: events.Event | None = None) -> None:
        with self._lock:
            held, self._held = self._held, None
            if held is not None:
                for sink in list(self._sinks):
                    self._guarded(sink, sink.release)
            for event in [*([first] if first else []), *(held or [])]:
                self._deliver(event)

    def _deliver(self, event: events.Event) -> None:
        if self.quiet and not isinstance(event, _TOLD_WHEN_QUIET):
            return
        safe = self._safe(event)
        for sink in list(self._sinks):
            if self._guarded(sink, partial(sink.handle, safe)):
                continue
            substitute = sink.fallback()
            if substitute is not None:
                self._sinks.append(substitute)
                self._guarded(substitute, partial(substitute.handle, safe))

    def _guarded(self, sink: Sink, action: Callable[[], None]) -> bool:
        """Whether the sink took it; one that did not is dropped, since a display must never stop a backup."""
        try:
            action()
        except HandlerError:
            raise  # a signal that arrived meanwhile
        except Exception as error:  # noqa: BLE001 -- whatever a display can raise
            self._sinks.remove(sink)
            self.warnings.append(f"the {type(sink).__name__} failed: {type(error).__name__}: {error}")
            with contextlib.suppress(Exception):
                sink.close()
            return False
        return True

    def _safe(self, event: events.Event) -> events.Event:
        """The event as it may leave the process."""
        match event:
            case events.Headline(text=text) | events.Note(text=text) | events.Warning_(text=text):
                return replace(event, text=self.mask(text))
            case events.Output(line=line):
                return events.Output(self.mask(line))
            case events.Row(line=line, cells=cells):
                return replace(event, line=self.mask(line), cells=tuple(map(self.mask, cells)))
            case events.StepFinished(note=note):
                return replace(event, name=self.mask(event.name), note=self.mask(note))
            case events.Finished(outcome=outcome):
                return events.Finished(outcome.masked(self.mask))
            case _:
                return replace(event, name=self.mask(event.name))
