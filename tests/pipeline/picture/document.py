"""docs/pipeline.svg: the pipeline as Concourse shows it, each group in a frame of its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Final

from tests.pipeline.picture.drawing import rect, style
from tests.pipeline.picture.flow import Flow, Line, Shape, Way, flows
from tests.pipeline.picture.frame import MARGIN, PADDING, Columns, Frame
from tests.pipeline.picture.layout import layout
from tests.pipeline.picture.legend import Legend
from tests.pipeline.template import ROOT, Node, load

PICTURE: Final = ROOT / "docs/pipeline.svg"

_VERBS: Final = {Way.TRIGGER: "starts", Way.FETCH: "is read by", Way.PUT: "writes", Way.HOOK: "writes by a hook"}


def drawn(pipeline: Mapping[str, Node]) -> str:
    """The picture of a pipeline: its groups, and the legend beside the last one if there is room, else below."""
    shown = flows(pipeline)
    columns, legend = Columns(shown), Legend(shown)
    homes = {box.name: flow.name for flow in shown for box in flow.boxes if box.shape is Shape.JOB}
    *frames, last = (Frame(flow, layout(flow), columns, homes) for flow in shown)
    width = max(columns.rights[-1] + PADDING, legend.width + MARGIN)
    parts: list[str] = []
    top = float(MARGIN)
    for frame in frames:
        parts += frame.painted(top, width - MARGIN)
        top += frame.height + MARGIN
    beside = last.right + MARGIN + legend.width <= width
    if beside:
        last.height = max(last.height, legend.height)
        parts += legend.painted(last.right + MARGIN, top, width - last.right - MARGIN, last.height)
    parts += last.painted(top, (last.right if beside else width) - MARGIN)
    top += last.height + MARGIN
    if not beside:
        parts += legend.painted(MARGIN, top, width - MARGIN, legend.height)
        top += legend.height + MARGIN
    return _document(parts, width + MARGIN, top, " ".join(map(_told, shown)))


def _told(flow: Flow) -> str:
    """The same in words, for those who do not see it."""
    return f"{flow.name}: {'; '.join(_told_line(flow, line) for line in flow.lines)}."


def _told_line(flow: Flow, line: Line) -> str:
    source = flow.boxes[line.source].name
    what = f"{line.label} from {source}" if line.label else source
    return f"{what} {_VERBS[line.way]} {' and '.join(flow.boxes[target].name for target in line.targets)}"


def _document(parts: Sequence[str], width: float, height: float, told: str) -> str:
    size = f'width="{width:g}" height="{height:g}" viewBox="0 0 {width:g} {height:g}"'
    lines = (
        f'<svg xmlns="http://www.w3.org/2000/svg" version="1.1" {size} role="img" aria-labelledby="title desc">',
        '<title id="title">The pipeline: its resources and jobs, and what flows between them</title>',
        f'<desc id="desc">{escape(told)}</desc>',
        f"<style>{style()}</style>",
        rect(0, 0, width, height, "ground", 12),
        *filter(None, parts),
        "</svg>",
    )
    return "".join(f"{line}\n" for line in lines)


def problems(template: Path, picture: Path) -> list[str]:
    """How a picture differs from its template: empty when it is right."""
    found = picture.read_text("utf-8") if picture.exists() else ""
    return [] if found == drawn(load(template)) else [f"{picture.name} is out of date"]


def renew(template: Path, picture: Path) -> None:
    picture.write_text(drawn(load(template)), "utf-8")
