"""Plain lines for logs and CI: no colour, no carriage return, each line flushed at once."""

from __future__ import annotations

from typing import assert_never

from handler.report import events
from handler.report.closing import closing_lines
from handler.report.stream import SafeStream
from handler.report.text import lines, seconds_text

_INDENT = "    "


class PlainSink:
    """Writes a line when a step starts and one when it ends: the last line of a hanging run tells where it hangs."""

    def __init__(self, stream: SafeStream) -> None:
        self._stream = stream
        self._depth = 0

    def preview(self, event: events.Event) -> None:
        """A log cannot take a line back: nothing."""

    def release(self) -> None:
        """Nothing was shown."""

    def fallback(self) -> None:
        """Nothing is simpler."""

    def close(self) -> None:
        self._stream.flush()

    def handle(self, event: events.Event) -> None:
        match event:
            case events.StepStarted(name=name):
                self._write(f"{name} ...")
                self._depth += 1
            case events.StepFinished() | events.StepFailed():
                self._depth = max(self._depth - 1, 0)
                self._write(ended_text(event))
            case events.Progress():
                pass
            case events.Finished(outcome=outcome):
                self._depth = 0
                for line in closing_lines(outcome):
                    self._write(line)
            case events.Headline(text=text):
                self._write(text, depth=0)
            case events.Phase() | events.Output() | events.Note() | events.Warning_():
                self._write(told_text(event))
            case _:
                assert_never(event)

    def _write(self, text: str, *, depth: int | None = None) -> None:
        indent = _INDENT * (self._depth if depth is None else depth)
        self._stream.write("".join(f"{indent}{line}".rstrip() + "\n" for line in lines(text)))
        self._stream.flush()


def ended_text(event: events.StepFinished | events.StepFailed) -> str:
    """How a step ended."""
    time = seconds_text(event.seconds)
    if isinstance(event, events.StepFailed):
        return f"{event.name}: FAILED after {time}"
    return f"{event.name}: ok, {time}" + (f", {event.note}" if event.note else "")


def told_text(event: events.Phase | events.Output | events.Note | events.Warning_) -> str:
    """The words of an event that stands for itself."""
    match event:
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
