"""Secrets as a type, and the one place where they are masked.

A `Secret` never shows its value by accident; a `Redactor` replaces every form in which a known value could
appear in a text that leaves the process.
"""

from __future__ import annotations

import base64
import json
import re
import urllib.parse
from collections.abc import Iterable
from typing import Final

MASK: Final = "****"
#: Shorter values are left alone: masking "on" or "1" would destroy the text and hide nothing.
SHORTEST_MASKED: Final = 4


class Secret:
    """A text that must not be shown: `reveal` is the only way to its value."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        return self._value

    def __repr__(self) -> str:
        return f"Secret({MASK})"

    __str__ = __repr__

    def __format__(self, spec: str) -> str:
        return format(repr(self), spec)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._value == self._value

    def __hash__(self) -> int:
        return hash(self._value)

    def __bool__(self) -> bool:
        return bool(self._value)

    def __reduce__(self) -> str:
        raise TypeError("a Secret is not pickled")


def _forms(value: str) -> Iterable[str]:
    """Every way in which one value may be written: whole, line by line, JSON-escaped, in base64."""
    lines = [line.strip() for line in value.splitlines()]
    for text in {value, value.strip(), *lines}:
        if len(text) < SHORTEST_MASKED:
            continue
        yield text
        for escaped in (json.dumps(text)[1:-1], json.dumps(text, ensure_ascii=False)[1:-1]):
            yield escaped
            yield _quoted(escaped)
            # as Go's JSON writes what HTML would read
            yield escaped.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")
        yield urllib.parse.quote(text, safe="")
        yield text.replace("'", "'\\''")
        yield from _base64_forms(text.encode())


def _quoted(text: str) -> str:
    """A text inside another quoted one, as JSON in a line of a log."""
    return text.replace("\\", "\\\\").replace('"', '\\"')


def _base64_forms(raw: bytes) -> Iterable[str]:
    """The base64 of a value wherever it starts in a longer text, without the characters its neighbours decide."""
    if len(raw) < 2 * SHORTEST_MASKED:
        yield base64.b64encode(raw).decode()
        return
    for shift in range(3):
        encoded = base64.b64encode(b"\0" * shift + raw).decode().rstrip("=")
        first = -(-shift * 8 // 6)
        last = (shift + len(raw)) * 8 // 6
        yield encoded[first:last]
        yield encoded[first:last].replace("+", "-").replace("/", "_")


class Redactor:
    """Masks all values it was told, in any text, at the sink."""

    def __init__(self) -> None:
        self._known: set[str] = set()
        #: Finds that many of the known forms.
        self._pattern: tuple[int, re.Pattern[str]] = (0, re.compile(r"(?!)"))

    def learn(self, *values: str | Secret) -> None:
        """Add values; empty and very short ones are ignored."""
        for value in values:
            text = value.reveal() if isinstance(value, Secret) else value
            self._known.update(form for form in _forms(text) if len(form) >= SHORTEST_MASKED)

    def mask(self, text: str) -> str:
        # A search for each form is far faster than one for all of them, and nearly every text holds none.
        known = tuple(self._known)  # another thread may learn meanwhile
        if not any(form in text for form in known):
            return text
        count, pattern = self._pattern
        if count != len(known):
            # longest first: a whole key must not be cut into its masked lines
            pattern = re.compile("|".join(map(re.escape, sorted(known, key=len, reverse=True))))
            self._pattern = (len(known), pattern)
        return pattern.sub(MASK, text)
