"""How one group is painted: its boxes in columns, its lines between them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from tests.pipeline.picture.drawing import LOCK, arrow, curve, glyph, rect, sign_of, stroke, text, width_of
from tests.pipeline.picture.flow import Box, Flow, Line, Shape
from tests.pipeline.picture.layout import Layout, Piece

MARGIN: Final = 12
PADDING: Final = 20
HEAD: Final = 44

#: The room in which lines climb, the least one before it, and the straight end under an arrow.
_CLIMB: Final = 48
_STUB: Final = 6
_ARROW: Final = 9
_LEAST: Final = {Shape.RESOURCE: 104, Shape.JOB: 104, Shape.ELSEWHERE: 76}
_BADGE: Final = 19


class Columns:
    """Where the columns are; those of all groups are below each other."""

    def __init__(self, flows: Sequence[Flow]) -> None:
        boxes = [box for flow in flows for box in flow.boxes]
        labelled = [(flow.boxes[line.source], line.label) for flow in flows for line in flow.lines]
        self.lefts: list[float] = []
        self.rights: list[float] = []
        left = float(MARGIN + PADDING)
        for layer in range(1 + max(box.layer for box in boxes)):
            self.lefts.append(left)
            self.rights.append(left + max(_width(box) for box in boxes if box.layer == layer))
            ends = [self.right(box) + _room(label) for box, label in labelled if box.layer == layer]
            left = max([self.rights[-1] + _STUB, *ends]) + _CLIMB + _ARROW

    def right(self, box: Box) -> float:
        """Boxes are as wide as their column; but a job of another group leaves room for the label behind it."""
        return self.lefts[box.layer] + _width(box) if box.shape is Shape.ELSEWHERE else self.rights[box.layer]


def _room(label: str) -> float:
    return width_of(label, 11) + 2 * _STUB if label else _STUB


def _width(box: Box) -> float:
    """What a box needs."""
    return max(_LEAST[box.shape], width_of(box.name, 14) + (44 if box.shape is Shape.RESOURCE else 26))


class Frame:
    """One group.

    Attributes:
        homes: the groups of all jobs, by the jobs' names.
        height: of the whole frame; may be more than it needs.
    """

    def __init__(self, flow: Flow, placed: Layout, columns: Columns, homes: Mapping[str, str]) -> None:
        self._flow = flow
        self._placed = placed
        self._columns = columns
        self._homes = homes
        self._base = 0.0
        self._layers = {item: layer for layer, column in enumerate(placed.columns) for item in column}
        self.right = columns.rights[len(placed.columns) - 1] + PADDING
        self.height = HEAD + placed.height + PADDING

    def painted(self, top: float, width: float) -> Iterator[str]:
        """Lines first: where they begin lies below a box's edge."""
        self._base = top + HEAD + (self.height - HEAD - PADDING - self._placed.height) / 2
        yield rect(MARGIN, top, width, self.height, "frame", 12)
        yield text(MARGIN + PADDING, top + 27, self._flow.name, "head")
        for number, line in enumerate(self._flow.lines):
            yield from self._line(number, line)
        for number, box in enumerate(self._flow.boxes):
            yield from self._box(box, self._base + self._placed.middles[number], self._placed.sizes[number])

    # --- lines

    def _line(self, number: int, line: Line) -> Iterator[str]:
        pieces = [piece for piece in self._placed.pieces if piece.line == number]
        yield stroke("".join([*map(self._piece, pieces), *self._passages(pieces)]), line.way)
        for piece in pieces:
            if not isinstance(piece.target, tuple):
                yield arrow(self._columns.lefts[self._layers[piece.target]], self._end(piece), line.way)
        source = self._flow.boxes[line.source]
        height = self._base + self._placed.starts[number, line.source]
        yield text(self._columns.right(source) + _STUB, height - 5, line.label, "label")

    def _piece(self, piece: Piece) -> str:
        layer, source = self._layers[piece.source], piece.source
        left = (
            self._columns.rights[layer] if isinstance(source, tuple) else self._columns.right(self._flow.boxes[source])
        )
        right = self._columns.lefts[layer + 1]
        tip = right if isinstance(piece.target, tuple) else right - _ARROW
        start = self._base + self._placed.starts[piece.line, piece.source]
        return curve((left, start), right - _ARROW - _CLIMB, right - _ARROW, (tip, self._end(piece)))

    def _passages(self, pieces: Sequence[Piece]) -> Iterator[str]:
        """Where a line passes columns; where it forks later it passes them once."""
        for item in dict.fromkeys(piece.target for piece in pieces):
            if isinstance(item, tuple):
                height = self._base + self._placed.middles[item]
                yield f"M{self._columns.lefts[item[1]]:g} {height:g}H{self._columns.rights[item[1]]:g}"

    def _end(self, piece: Piece) -> float:
        return self._base + self._placed.ends[piece]

    # --- boxes

    def _box(self, box: Box, middle: float, height: float) -> Iterator[str]:
        left, right = self._columns.lefts[box.layer], self._columns.right(box)
        kind = f"box {box.shape} serial" if box.serial_groups else f"box {box.shape}"
        yield rect(left, middle - height / 2, right - left, height, kind, 8)
        if box.shape is Shape.RESOURCE:
            yield glyph(sign_of(box.type), left + 10, middle - 7)
            yield text(left + 31, middle + 4.5, box.name, "name")
        else:
            yield from self._job(box, left + 12, middle)

    def _job(self, box: Box, left: float, middle: float) -> Iterator[str]:
        below = [LOCK] if box.serial_groups else []
        below += [sign_of(kind) for kind in dict.fromkeys(box.tells.values())]
        home = self._homes.get(box.name, "") if box.shape is Shape.ELSEWHERE else ""
        yield text(left, middle + (-3 if below or home else 5), box.name, "job-name")
        for place, badge in enumerate(below):
            yield glyph(badge, left + place * _BADGE, middle + 6)
        yield text(left, middle + 15, f"in {home}" if home else "", "small")
