"""Where the boxes and lines of a picture are: columns by layers, few crossings, lines as straight as they can be.

A line that passes a column has a place of its own in it, as a box has: so nothing is ever drawn over a box.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations, pairwise
from math import fsum
from typing import Final, TypeAlias

from tests.pipeline.picture.flow import Flow, Shape

#: A box's number; or a line's number and the layer that it passes.
Item: TypeAlias = int | tuple[int, int]

_PORT: Final = 20
_GAP: Final = 22
_SWEEPS: Final = 12
_SETTLING: Final = 80
#: A climb that is as small looks like a slip; for a straight line two items may stand closer by it.
_SLIP: Final = 10


@dataclass(frozen=True, order=True)
class Piece:
    """A part of a line, between two neighbouring columns."""

    line: int
    source: Item
    target: Item


@dataclass(frozen=True, kw_only=True)
class Layout:
    """Heights are all; widths are the painter's.

    Attributes:
        middles: the height of each item's middle.
        sizes: how high each item is.
        starts: the height at which a line leaves an item.
        ends: the height at which a piece meets its target.
    """

    columns: list[list[Item]]
    pieces: list[Piece]
    middles: dict[Item, float]
    sizes: dict[Item, float]
    starts: dict[tuple[int, Item], float]
    ends: dict[Piece, float]
    height: float


def layout(flow: Flow) -> Layout:
    """Place what flows."""
    pieces = sorted(set(_pieces(flow)), key=repr)
    columns = _ordered(_columns(flow, pieces), pieces)
    sizes = {item: _size(flow, item, pieces) for column in columns for item in column}
    middles, ports = _settled(columns, pieces, sizes)
    starts = {(piece.line, piece.source): ports.start(piece, middles) for piece in pieces}
    ends = {piece: ports.end(piece, middles) for piece in pieces}
    height = max(middles[column[-1]] + sizes[column[-1]] / 2 for column in columns)
    return Layout(columns=columns, pieces=pieces, middles=middles, sizes=sizes, starts=starts, ends=ends, height=height)


def _pieces(flow: Flow) -> Iterator[Piece]:
    """Each line in pieces; where it forks, the ways share what they have in common."""
    for number, line in enumerate(flow.lines):
        for target in line.targets:
            passed = range(flow.boxes[line.source].layer + 1, flow.boxes[target].layer)
            way: list[Item] = [line.source, *((number, layer) for layer in passed), target]
            yield from (Piece(number, *ends) for ends in pairwise(way))


def _columns(flow: Flow, pieces: Sequence[Piece]) -> list[list[Item]]:
    """As the template tells them."""
    columns: list[list[Item]] = [[] for _ in range(1 + max(box.layer for box in flow.boxes))]
    for number, box in enumerate(flow.boxes):
        columns[box.layer].append(number)
    for item in dict.fromkeys(piece.target for piece in pieces):
        if isinstance(item, tuple):
            columns[item[1]].append(item)
    return columns


def _size(flow: Flow, item: Item, pieces: Sequence[Piece]) -> float:
    if isinstance(item, tuple):
        return 2
    least = 32 if flow.boxes[item].shape is Shape.RESOURCE else 52
    leaving = {piece.line for piece in pieces if piece.source == item}
    arriving = [piece for piece in pieces if piece.target == item]
    return max(least, _PORT * max(len(leaving), len(arriving)) + 4)


# --- the order in each column


def _ordered(columns: list[list[Item]], pieces: Sequence[Piece]) -> list[list[Item]]:
    """The order with the fewest crossings that sweeps to and fro find, and exchanges of neighbours after each."""
    best = [list(column) for column in columns]
    for sweep in range(_SWEEPS):
        forth = sweep % 2 == 0
        for index in range(len(columns)) if forth else reversed(range(len(columns))):
            places = _places(columns)
            columns[index].sort(key=_pull(pieces, places, forth=forth))
        _exchange(columns, pieces)
        if _cost(columns, pieces) < _cost(best, pieces):
            best = [list(column) for column in columns]
    return best


def _places(columns: Sequence[Sequence[Item]]) -> dict[Item, float]:
    return {item: (place + 0.5) / len(column) for column in columns for place, item in enumerate(column)}


def _pull(pieces: Sequence[Piece], places: dict[Item, float], *, forth: bool) -> Callable[[Item], float]:
    """Where an item's neighbours want it."""

    def wanted(item: Item) -> float:
        if forth:
            near = [places[piece.source] for piece in pieces if piece.target == item]
        else:
            near = [places[piece.target] for piece in pieces if piece.source == item]
        return _mean(near) if near else places[item]

    return wanted


def _exchange(columns: list[list[Item]], pieces: Sequence[Piece]) -> None:
    better = True
    while better:
        better = False
        for column in columns:
            for upper, lower in combinations(range(len(column)), 2):
                before = _cost(columns, pieces)
                column[upper], column[lower] = column[lower], column[upper]
                if _cost(columns, pieces) < before:
                    better = True
                else:
                    column[upper], column[lower] = column[lower], column[upper]


def _cost(columns: Sequence[Sequence[Item]], pieces: Sequence[Piece]) -> tuple[int, float]:
    """Crossings, then how far the lines climb."""
    places = {item: place for column in columns for place, item in enumerate(column)}
    layers = {item: layer for layer, column in enumerate(columns) for item in column}
    ends = [(layers[piece.source], places[piece.source], places[piece.target], piece) for piece in pieces]
    crossings = sum(
        (one[1] - other[1]) * (one[2] - other[2]) < 0 for one, other in combinations(ends, 2) if one[0] == other[0]
    )
    middles = _places(columns)
    return crossings, round(fsum(abs(middles[piece.source] - middles[piece.target]) for piece in pieces), 6)


# --- heights


class _Ports:
    """Where lines meet their items: spread over its side, in the order of what they lead to."""

    def __init__(self, columns: Sequence[Sequence[Item]], pieces: Sequence[Piece]) -> None:
        places = {item: place for column in columns for place, item in enumerate(column)}
        self._leaving: dict[Item, list[int]] = {}
        self._arriving: dict[Item, list[Piece]] = {}
        for piece in sorted(pieces, key=lambda one: (places[one.target], one.line)):
            lines = self._leaving.setdefault(piece.source, [])
            if piece.line not in lines:
                lines.append(piece.line)
        for piece in sorted(pieces, key=lambda one: (places[one.source], self._leaving[one.source].index(one.line))):
            self._arriving.setdefault(piece.target, []).append(piece)

    def start(self, piece: Piece, middles: dict[Item, float]) -> float:
        lines = self._leaving[piece.source]
        return middles[piece.source] + _spread(lines.index(piece.line), len(lines))

    def end(self, piece: Piece, middles: dict[Item, float]) -> float:
        pieces = self._arriving[piece.target]
        return middles[piece.target] + _spread(pieces.index(piece), len(pieces))


def _spread(index: int, count: int) -> float:
    return (index - (count - 1) / 2) * _PORT


def _settled(
    columns: Sequence[Sequence[Item]], pieces: Sequence[Piece], sizes: dict[Item, float]
) -> tuple[dict[Item, float], _Ports]:
    """Heights at which the lines are as straight as the order lets them be."""
    ports = _Ports(columns, pieces)
    middles: dict[Item, float] = {}
    for column in columns:
        middles.update(_stacked(column, sizes, dict.fromkeys(column, 0.0)))
    for turn in range(_SETTLING):
        for column in columns if turn % 2 else reversed(columns):
            wanted = {item: _wanted(item, pieces, ports, middles) for item in column}
            middles.update(_stacked(column, sizes, wanted))
    middles = {item: float(round(middle)) for item, middle in middles.items()}
    for column in columns:
        _straighten(column, pieces, sizes, ports, middles)
    top = min(middles[column[0]] - sizes[column[0]] / 2 for column in columns)
    return {item: middle - top for item, middle in middles.items()}, ports


def _straighten(
    column: Sequence[Item],
    pieces: Sequence[Piece],
    sizes: dict[Item, float],
    ports: _Ports,
    middles: dict[Item, float],
) -> None:
    """Move an item by the smallest climb to it, if that is a slip, and there is room."""
    for item in column:
        climbs = [ports.start(piece, middles) - ports.end(piece, middles) for piece in pieces if piece.target == item]
        climb = min(climbs, key=abs, default=0.0)
        moved = {**middles, item: middles[item] + climb}
        rooms = (moved[lower] - moved[upper] - (sizes[lower] + sizes[upper]) / 2 for upper, lower in pairwise(column))
        if abs(climb) <= _SLIP and min(rooms, default=_GAP) >= _GAP - _SLIP:
            middles[item] = moved[item]


def _wanted(item: Item, pieces: Sequence[Piece], ports: _Ports, middles: dict[Item, float]) -> float:
    """Where the lines of a box climb least; a line that passes a column goes straight on, and climbs at its end."""
    climbs = [ports.start(piece, middles) - ports.end(piece, middles) for piece in pieces if piece.target == item]
    if not isinstance(item, tuple):
        ahead = [piece for piece in pieces if piece.source == item and not isinstance(piece.target, tuple)]
        climbs += [ports.end(piece, middles) - ports.start(piece, middles) for piece in ahead]
    return middles[item] + (_mean(climbs) if climbs else 0)


def _stacked(column: Sequence[Item], sizes: dict[Item, float], wanted: dict[Item, float]) -> dict[Item, float]:
    """The places nearest to the wanted ones in which nothing overlaps: who would collide moves as one block."""
    offsets, total = [], 0.0
    for above, item in pairwise((None, *column)):
        if above is not None and item is not None:
            total += (sizes[above] + sizes[item]) / 2 + _GAP
        offsets.append(total)
    blocks: list[list[float]] = []
    for item, offset in zip(column, offsets, strict=True):
        blocks.append([wanted[item] - offset])
        while len(blocks) > 1 and _mean(blocks[-2]) > _mean(blocks[-1]):
            blocks[-2:] = [blocks[-2] + blocks[-1]]
    shifts = [_mean(block) for block in blocks for _ in block]
    return {item: offset + shift for item, offset, shift in zip(column, offsets, shifts, strict=True)}


def _mean(values: Sequence[float]) -> float:
    """By fsum, which every Python rounds alike: the picture must not depend on who draws it."""
    return fsum(values) / len(values)
