"""The few elements of SVG that the picture is made of, and its colours by light and by dark."""

from __future__ import annotations

from html import escape
from typing import Final, TypeAlias

Point: TypeAlias = tuple[float, float]

#: What is coloured, by which property, by light and by dark; no variables, which not every viewer knows.
_COLOURS: Final = (
    (".ground", "fill", "#ffffff", "#0d1117"),
    (".frame", "fill", "#f6f8fa", "#151b23"),
    (".frame, .box", "stroke", "#d1d9e0", "#3d444d"),
    (".box", "fill", "#ffffff", "#0d1117"),
    (".job", "fill", "#ddf4ff", "#0c2d6b"),
    (".job", "stroke", "#54aeff", "#388bfd"),
    (".serial", "fill", "#fff3c4", "#3b2a05"),
    (".serial", "stroke", "#d4a72c", "#bb8009"),
    (".line.trigger", "stroke", "#0969da", "#58a6ff"),
    (".arrow.trigger", "fill", "#0969da", "#58a6ff"),
    (".line.fetch", "stroke", "#6e7781", "#9198a1"),
    (".arrow.fetch", "fill", "#6e7781", "#9198a1"),
    (".line.put", "stroke", "#1a7f37", "#3fb950"),
    (".arrow.put", "fill", "#1a7f37", "#3fb950"),
    (".line.hook", "stroke", "#bc4c00", "#f0883e"),
    (".arrow.hook", "fill", "#bc4c00", "#f0883e"),
    ("text", "fill", "#1f2328", "#f0f6fc"),
    (".head, .small, .label", "fill", "#59636e", "#9198a1"),
    (".glyph, .elsewhere", "stroke", "#59636e", "#9198a1"),
)
_SHAPES: Final = """
svg { font-family: ui-sans-serif, system-ui, -apple-system, "Segoe UI", Roboto, "DejaVu Sans", sans-serif; }
.box { stroke-width: 1.2; }
.elsewhere { stroke-dasharray: 3 3; }
.line { fill: none; stroke-width: 1.7; stroke-linecap: round; }
.line.fetch { stroke-dasharray: 5 5; }
.line.hook { stroke-dasharray: 1 4.5; stroke-width: 2.2; }
.glyph { fill: none; stroke-width: 1.4; stroke-linecap: round; stroke-linejoin: round; }
.head { font-size: 13px; font-weight: 600; letter-spacing: 0.04em; }
.name { font-size: 13px; }
.job-name { font-size: 14px; font-weight: 600; }
.small, .label { font-size: 11px; }
.words { font-size: 12px; }
"""


def style() -> str:
    """The style sheet."""
    light = "".join(f"{what} {{ {how}: {colour}; }}\n" for what, how, colour, _ in _COLOURS)
    dark = "".join(f"  {what} {{ {how}: {colour}; }}\n" for what, how, _, colour in _COLOURS)
    return f"{_SHAPES}{light}@media (prefers-color-scheme: dark) {{\n{dark}}}\n"


#: Signs of 14 by 14.
LOCK: Final = "M2.8 6.4h8.4v6h-8.4zM4.4 6.4v-2a2.6 2.6 0 0 1 5.2 0v2M7 8.8v1.4"
_ANY_TYPE: Final = "M7 1.5l5.5 5.5l-5.5 5.5l-5.5 -5.5z"
_TYPES: Final = {
    "git": "M4 4.8v4.4M10 5.8c0 2.6 -6 1.2 -6 3.4M4 1.2a1.8 1.8 0 1 0 .01 0M4 9.2a1.8 1.8 0 1 0 .01 0"
    "M10 2.2a1.8 1.8 0 1 0 .01 0",
    "time": "M7 1a6 6 0 1 0 .01 0M7 3.8v3.4l2.3 1.6",
    "registry-image": "M7 1l5.4 3v6l-5.4 3l-5.4 -3v-6zM1.6 4l5.4 3l5.4 -3M7 7v6",
    "email": "M1 3h12v8.6h-12zM1 3.4l6 4.6l6 -4.6",
}

#: A letter's width in parts of its height, about.
_LETTER: Final = 0.58


def width_of(words: str, size: float) -> float:
    return round(len(words) * size * _LETTER)


def rect(x: float, y: float, width: float, height: float, kind: str, radius: float) -> str:
    return (
        f'<rect class="{kind}" x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}"'
        + (f' rx="{radius:g}"' if radius else "")
        + "/>"
    )


def text(x: float, y: float, words: str, kind: str) -> str:
    return f'<text class="{kind}" x="{x:g}" y="{y:g}">{escape(words)}</text>' if words else ""


def glyph(path: str, x: float, y: float) -> str:
    return f'<path class="glyph" transform="translate({x:g} {y:g})" d="{path}"/>'


def sign_of(kind: str) -> str:
    """The sign of a resource's type."""
    return _TYPES.get(kind, _ANY_TYPE)


def arrow(x: float, y: float, kind: str) -> str:
    """The head of an arrow that ends just before a place."""
    return f'<path class="arrow {kind}" d="M{x - 1:g} {y:g}l-8 -4.5v9z"/>'


def stroke(path: str, kind: str) -> str:
    return f'<path class="line {kind}" d="{path}"/>'


def curve(start: Point, bend: float, unbend: float, end: Point) -> str:
    """A line that climbs only between two places, in an S."""
    middle = (bend + unbend) / 2
    if start[1] == end[1]:
        return f"M{start[0]:g} {start[1]:g}H{end[0]:g}"
    return (
        f"M{start[0]:g} {start[1]:g}H{bend:g}"
        f"C{middle:g} {start[1]:g} {middle:g} {end[1]:g} {unbend:g} {end[1]:g}H{end[0]:g}"
    )
