"""A live display for a person at a terminal: one moving line for the step that runs, plain lines for the rest.

Imported only where it is used, since rich costs more start-up time than everything else of a short command.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import IO, assert_never, cast

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from handler.report import events
from handler.report.closing import closing_lines
from handler.report.plain import PlainSink, ended_text, told_text
from handler.report.stream import SafeStream
from handler.report.text import lines, seconds_text, size_text

_INDENT = "    "
_BAR_WIDTH = 30
_REFRESHES = 8


@dataclass
class _Running:
    """A step that is shown on the live line."""

    name: str
    started: float
    phase: str = ""
    done: int | None = None
    total: int | None = None
    announced: bool = False
    head: tuple[str, ...] = ()
    rows: list[tuple[str, ...]] = field(default_factory=list)


class TerminalSink:
    """Foreign text is always wrapped in `Text`, which knows no markup: ``[node1]`` stays ``[node1]``.

    rich is given a stream that never fails: on a broken pipe it would end the process by itself.
    """

    def __init__(self, stream: SafeStream, env: Mapping[str, str], clock: Callable[[], float] = time.monotonic) -> None:
        self._stream = stream
        self._clock = clock
        self._console = Console(
            file=cast("IO[str]", stream),
            force_terminal=True,
            force_interactive=True,
            markup=False,
            emoji=False,
            highlight=False,
            _environ=env,
        )
        self._spinner = Spinner("dots" if stream.encoding.lower().startswith("utf") else "line")
        self._running: list[_Running] = []
        self._live: Live | None = None

    def fallback(self) -> PlainSink:
        return PlainSink(self._stream)

    def preview(self, event: events.Event) -> None:
        self._follow(event)

    def release(self) -> None:
        self._running.clear()
        self._stop()

    def close(self) -> None:
        self._running.clear()
        self._stop()
        self._stream.flush()

    def handle(self, event: events.Event) -> None:
        match event:
            case events.StepFinished():
                self._follow(event)
                self._print(ended_text(event), "green")
            case events.StepFailed():
                self._follow(event)
                self._print(ended_text(event), "bold red")
            case events.StepStarted() | events.Progress() | events.Row():
                if isinstance(event, events.StepStarted):
                    self._announce()
                self._follow(event)
            case events.Headline(text=text):
                self._print(text, "bold", depth=0)
            case events.Phase() | events.Output() | events.Note() | events.Warning_():
                self._follow(event)
                self._announce()
                self._print(told_text(event), _STYLES[type(event)])
            case events.Finished(outcome=outcome):
                self.close()
                *details, last = closing_lines(outcome)
                for line in details:
                    self._print(line)
                self._print(last, "bold green" if outcome.ok else "bold red")
            case _:
                assert_never(event)

    def _follow(self, event: events.Event) -> None:
        """Bring the live line up to date, without printing."""
        match event:
            case events.StepStarted(name=name, at=at):
                self._running.append(_Running(name, at))
                self._start()
            case events.StepFinished() | events.StepFailed():
                if self._running:
                    self._running.pop()
                if not self._running:
                    self._stop()
            case events.Phase(name=name) if self._running:
                self._running[-1].phase = name
            case events.Progress(done_bytes=done, total_bytes=total) if self._running:
                self._running[-1].done, self._running[-1].total = done, total
            case events.Row(head=head, cells=cells) if self._running:
                self._running[-1].head = head
                self._running[-1].rows.append(cells)
            case _:
                pass

    def _announce(self) -> None:
        """Print the names of the running steps before the first line that belongs to them."""
        for depth, step in enumerate(self._running):
            if not step.announced:
                step.announced = True
                self._print(f"{step.name} ...", "dim", depth=depth)

    def _print(self, text: str, style: str = "", *, depth: int | None = None) -> None:
        indent = _INDENT * (len(self._running) if depth is None else depth)
        for line in lines(text):
            # soft_wrap: a long line stays one line, so that a command in it can be copied
            self._console.print(Text(f"{indent}{line}".rstrip(), style), soft_wrap=True)

    def _start(self) -> None:
        if self._live is None:
            self._live = Live(
                console=self._console,
                get_renderable=self._row,
                refresh_per_second=_REFRESHES,
                transient=True,
                redirect_stdout=False,
                redirect_stderr=False,
            )
            self._live.start()

    def _stop(self) -> None:
        live, self._live = self._live, None
        if live is not None:
            try:
                live.stop()
            finally:
                # a signal may have cut stop() short
                self._console.show_cursor(show=True)

    def _row(self) -> RenderableType:
        """The live line; called by rich's own thread, so it reads each value once."""
        running = self._running[-1:]
        if not running:
            return Text()
        step = running[0]
        phase, done, total = step.phase, step.done, step.total
        cells: list[RenderableType] = [
            self._spinner,
            Text(step.name, "bold", no_wrap=True),
            Text(seconds_text(self._clock() - step.started), "dim", no_wrap=True),
        ]
        if done is not None:
            if total:
                cells.append(ProgressBar(total=total, completed=min(done, total), width=_BAR_WIDTH))
            of = f" of {size_text(total)}" if total else ""
            cells.append(Text(size_text(done) + of, no_wrap=True))
        if phase:
            cells.append(Text(phase, "dim", no_wrap=True, overflow="ellipsis"))
        grid = Table.grid(padding=(0, 1))
        grid.add_row(*cells)
        return Group(self._table(step.head, step.rows), grid) if step.rows else grid

    def _table(self, head: tuple[str, ...], rows: list[tuple[str, ...]]) -> RenderableType:
        """The newest rows, as many as the screen has room for."""
        table = Table(*head, box=None, pad_edge=False)
        for row in rows[-max(1, self._console.height - 4) :]:
            table.add_row(*(Text(cell, no_wrap=True, overflow="ellipsis") for cell in row))
        return table


_STYLES: dict[type[events.Event], str] = {
    events.Phase: "cyan",
    events.Output: "dim",
    events.Note: "",
    events.Warning_: "bold yellow",
}
