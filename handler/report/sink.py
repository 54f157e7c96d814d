"""Where events go, and which kind of sink fits a stream."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol, TextIO

from handler.report.events import Event
from handler.report.plain import PlainSink
from handler.report.stream import SafeStream


class Sink(Protocol):
    """Shows events; their texts are already masked and free of control characters."""

    def handle(self, event: Event) -> None:
        """Show an event for good."""

    def preview(self, event: Event) -> None:
        """Show an event that is still held back, so that it leaves no line behind; most sinks show nothing."""

    def release(self) -> None:
        """What was held back follows: forget the previews."""

    def fallback(self) -> Sink | None:
        """What takes over when this sink fails, if there is anything simpler."""

    def close(self) -> None:
        """Leave the stream as it was found; may be called twice."""


def sink_for(stream: TextIO | None, env: Mapping[str, str]) -> Sink:
    """A live display for a person at a terminal, else plain lines.

    A task of Concourse has a terminal too, but nobody sits at it: it is known by ATC_EXTERNAL_URL.
    """
    safe = SafeStream(stream)
    automatic = env.get("CI") or env.get("ATC_EXTERNAL_URL") or env.get("TERM", "dumb") in {"dumb", "unknown", ""}
    if automatic or not safe.isatty():
        return PlainSink(safe)
    from handler.report.terminal import TerminalSink  # noqa: PLC0415 -- rich takes 76 ms to import

    return TerminalSink(safe, env)
