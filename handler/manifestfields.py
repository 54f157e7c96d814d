"""Strict, typed access to a manifest's JSON, which nobody vouches for yet: what is not certain is refused. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any, Final, TypeVar, cast

from handler.errors import IntegrityError

#: A manifest is about 1.5 KiB.
LARGEST_MANIFEST: Final = 64 * 1024
_LONGEST_TEXT: Final = 1024
_LARGEST_NUMBER: Final = 2**63 - 1
_JSON_NAMES: Final[dict[type, str]] = {str: "a text", int: "a whole number", bool: "true or false", dict: "an object"}


def wrong(path: str, why: str) -> IntegrityError:
    """The error for a field, named by its path such as ``archive.name``."""
    return IntegrityError(f"the manifest's field {path} is wrong: {why}")


def load(document: bytes) -> Fields:
    """The document's fields.

    Raises:
        IntegrityError: it is too large, no JSON object in UTF-8, or says something twice.
    """
    if len(document) > LARGEST_MANIFEST:
        raise IntegrityError(f"the manifest is too large: {len(document)} bytes")
    try:
        # the text is decoded here, because json would also take UTF-16 and UTF-32
        tree = json.loads(document.decode("utf-8"), object_pairs_hook=_unique, parse_constant=_no_constant)
    except (ValueError, RecursionError) as e:
        raise IntegrityError("the manifest is no JSON document") from e
    return Fields(tree, "")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    tree = dict(pairs)
    if len(tree) != len(pairs):  # which of two counts differs from reader to reader
        twice = next(key for key, _ in pairs if sum(key == other for other, _ in pairs) > 1)
        raise wrong(ascii(twice[:80]), "it is there twice")
    return tree


def _no_constant(name: str) -> None:
    raise ValueError(name)


_T = TypeVar("_T")
#: Parts that nearly all manifests of a branch have in common, by their content: read strictly once.
_SHARED: Final[dict[object, object]] = {}


class Fields:
    """Typed access to one JSON object; every error names the field by its path."""

    def __init__(self, tree: object, path: str) -> None:
        if not isinstance(tree, dict):
            raise wrong(path, "it is no object") if path else IntegrityError("the manifest is no JSON object")
        self._tree: dict[str, object] = tree
        self._path = path

    def fields(self, key: str) -> Fields:
        return Fields(self._get(key, dict), self._at(key))

    def shared(self, key: str, read: Callable[[Fields], _T]) -> _T:
        """What ``read`` makes of an object, from a former manifest where that had the same content."""
        content = (read, *((name, type(value), value) for name, value in self._get(key, dict).items()))
        try:
            if content not in _SHARED:
                _SHARED[content] = read(self.fields(key))
            return cast("_T", _SHARED[content])
        except TypeError:  # what cannot be looked up is refused, or holds keys that nobody knows
            return read(self.fields(key))

    def text(self, key: str) -> str:
        text = self._tree.get(key)
        # the usual case first: a branch may have ten thousand manifests, with twenty texts each
        if type(text) is str and text and len(text) <= _LONGEST_TEXT and text.isprintable():
            return text
        self._get(key, str)
        raise wrong(self._at(key), "it is empty, too long, or has characters that cannot be shown")

    def text_or_null(self, key: str) -> str | None:
        return None if self._tree.get(key, "") is None else self.text(key)

    def number(self, key: str) -> int:
        number = self._get(key, int)
        if not 0 <= number <= _LARGEST_NUMBER:
            raise wrong(self._at(key), "it is out of range")
        return number

    def flag(self, key: str) -> bool:
        return self._get(key, bool)

    def one_of(self, key: str, allowed: frozenset[str]) -> str:
        text = self.text(key)
        if text not in allowed:
            raise wrong(self._at(key), f"{text[:80]!r} is unknown")
        return text

    def hexadecimal(self, key: str, form: re.Pattern[str]) -> str:
        text = self.text(key)
        if not form.fullmatch(text):
            raise wrong(self._at(key), f"it is not of the form {form.pattern}")
        return text

    def _get(self, key: str, kind: type[_T]) -> _T:
        if key not in self._tree:
            raise wrong(self._at(key), "it is missing")
        value = self._tree[key]
        # exactly this type: for Python a truth value is a number too
        if type(value) is not kind:
            raise wrong(self._at(key), f"it must be {_JSON_NAMES[kind]}")
        return value

    def _at(self, key: str) -> str:
        return f"{self._path}.{key}" if self._path else key
