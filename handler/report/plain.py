"""Plain lines for logs and CI: no colour, no carriage return, each line flushed at once."""

from __future__ import annotations

import threading
from typing import assert_never

from handler.report import events
from handler.report.closing import closing_lines
from handler.report.stream import SafeStream
from handler.report.text import lines, seconds_text

_INDENT = "    "


class PlainSink:
    """A line for each step when it ends; one that takes longer, or has more to tell, also gets a line before that.

    So a log stays short, and the last line of a hanging run still tells where it hangs.

    Args:
        patience: seconds after which a running step is named.
    """

    def __init__(self, stream: SafeStream, patience: float = 1.0) -> None:
        self._stream = stream
        self._patience = patience
        self._running: list[str] = []
        self._announced = 0
        self._timer: threading.Timer | None = None
        self._lock = threading.RLock()

    def preview(self, event: events.Event) -> None:
        """A log cannot take a line back: nothing."""

    def release(self) -> None:
        """Nothing was shown."""

    def fallback(self) -> None:
        """Nothing is simpler."""

    def close(self) -> None:
        with self._lock:
            self._forget_timer()
            self._stream.flush()

    def handle(self, event: events.Event) -> None:
        with self._lock:
            self._handle(event)

    def _handle(self, event: events.Event) -> None:
        match event:
            case events.StepStarted(name=name):
                self._announce()
                self._running.append(name)
                self._timer = threading.Timer(self._patience, self._announce)
                self._timer.daemon = True
                self._timer.start()
            case events.StepFinished() | events.StepFailed():
                self._forget_timer()
                del self._running[-1:]
                self._announced = min(self._announced, len(self._running))
                self._write(ended_text(event))
            case events.Progress():
                pass
            case events.Finished(outcome=outcome):
                self._forget_timer()
                self._running.clear()
                for line in closing_lines(outcome):
                    self._write(line)
            case events.Headline(text=text):
                self._write(text, depth=0)
            case events.Phase() | events.Output() | events.Note() | events.Row() | events.Warning_():
                self._announce()
                self._write(told_text(event))
            case _:
                assert_never(event)

    def _announce(self) -> None:
        """Name the running steps; called by the timer's thread too."""
        with self._lock:
            self._forget_timer()
            for depth, name in enumerate(self._running):
                if depth >= self._announced:
                    self._write(f"{name} ...", depth=depth)
            self._announced = len(self._running)

    def _forget_timer(self) -> None:
        timer, self._timer = self._timer, None
        if timer is not None:
            timer.cancel()

    def _write(self, text: str, *, depth: int | None = None) -> None:
        indent = _INDENT * (len(self._running) if depth is None else depth)
        self._stream.write("".join(f"{indent}{line}".rstrip() + "\n" for line in lines(text)))
        self._stream.flush()


def ended_text(event: events.StepFinished | events.StepFailed) -> str:
    """How a step ended."""
    time = seconds_text(event.seconds)
    if isinstance(event, events.StepFailed):
        return f"{event.name}: FAILED after {time}"
    return f"{event.name}: ok, {time}" + (f", {event.note}" if event.note else "")


def told_text(event: events.Phase | events.Output | events.Note | events.Row | events.Warning_) -> str:
    """The words of an event that stands for itself."""
    match event:
        case events.Row(line=line):
            return line
        case events.Note(text=text):
            return text
        case events.Warning_(text=text):
            return f"warning: {text}"
        case events.Phase(name=name):
            return f"> {name}"
        case events.Output(line=line):
            return f"| {line}"
        case _:
            assert_never(event)
