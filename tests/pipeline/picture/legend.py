"""What the signs of the picture mean; only those that are in it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Final, TypeAlias

from tests.pipeline.picture.drawing import LOCK, arrow, glyph, rect, sign_of, stroke, text, width_of
from tests.pipeline.picture.flow import Flow, Shape, Way
from tests.pipeline.picture.frame import HEAD, PADDING

#: Draws the sign of a row, from its left on, around a height.
_Sign: TypeAlias = Callable[[float, float], str]

_ROW: Final = 26
_SIGN: Final = 36
_WORDS: Final = _SIGN + 14
_WAYS: Final = {
    Way.TRIGGER: "a new version starts the job",
    Way.FETCH: "read when the job runs, starts nothing",
    Way.PUT: "written by the job",
    Way.HOOK: "written only by a hook, as after a failure",
}


class Legend:
    """A frame of rows."""

    def __init__(self, flows: Sequence[Flow]) -> None:
        self._rows = list(_rows(flows))
        self.width = 2 * PADDING + _WORDS + max(width_of(words, 12) for _, words in self._rows)
        self.height = HEAD + _ROW * len(self._rows) + PADDING - 10

    def painted(self, left: float, top: float, width: float, height: float) -> Iterator[str]:
        yield rect(left, top, width, height, "frame", 12)
        yield text(left + PADDING, top + 27, "legend", "head")
        row = min(_ROW * 1.25, (height - HEAD - PADDING + 10) / len(self._rows))
        y = top + HEAD + row / 2
        for sign, words in self._rows:
            yield sign(left + PADDING, y)
            yield text(left + PADDING + _WORDS, y + 4, words, "words")
            y += row


def _rows(flows: Sequence[Flow]) -> Iterator[tuple[_Sign, str]]:
    ways = {line.way for flow in flows for line in flow.lines}
    boxes = [box for flow in flows for box in flow.boxes]
    yield from ((_way(way), words) for way, words in _WAYS.items() if way in ways)
    if serial := dict.fromkeys(group for box in boxes for group in box.serial_groups):
        yield _serial, f"one at a time: serial group {', '.join(serial)}"
    for name, kind in {name: kind for box in boxes for name, kind in box.tells.items()}.items():
        yield _glyph(sign_of(kind)), f"its end is told by {name}"
    if any(box.shape is Shape.ELSEWHERE for box in boxes):
        yield _elsewhere, "a job of another group"


def _way(way: Way) -> _Sign:
    return lambda x, y: stroke(f"M{x:g} {y:g}H{x + _SIGN - 9:g}", way) + arrow(x + _SIGN, y, way)


def _glyph(path: str) -> _Sign:
    return lambda x, y: glyph(path, x + _SIGN / 2 - 7, y - 7)


def _serial(x: float, y: float) -> str:
    return rect(x, y - 10, _SIGN, 20, "box job serial", 5) + _glyph(LOCK)(x, y)


def _elsewhere(x: float, y: float) -> str:
    return rect(x, y - 9, _SIGN, 18, "box elsewhere", 5)
