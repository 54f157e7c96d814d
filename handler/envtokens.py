"""Where k0sctl's substitution cuts a text: the tokens that `handler.envsubst` reads. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator
from enum import Enum, auto
from typing import NamedTuple


class Kind(Enum):
    TEXT = auto()
    NAME = auto()
    OPERATOR = auto()
    OPEN = auto()
    CLOSE = auto()


class Token(NamedTuple):
    kind: Kind
    text: str
    offset: int


class _State(Enum):
    OUTSIDE = auto()
    IN_NAME = auto()
    AFTER_NAME = auto()
    IN_DEFAULT = auto()


class UnclosedError(Exception):
    def __init__(self, offset: int) -> None:
        super().__init__(offset)
        self.offset = offset


def is_word(character: str) -> bool:
    return character == "_" or character.isalpha() or character.isdecimal()


class Tokens:
    """Cuts a text where k0sctl's substitution cuts it.

    ``start`` is where the token being read began, ``last`` where the one before it did: a name may only follow
    directly on its ``${``. ``depth`` counts open braces; ``${_}`` leaves one open for the rest of the file.
    """

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = self._start = self._last = self._depth = 0
        self._opened = 0
        self._state = _State.OUTSIDE

    def __iter__(self) -> Iterator[Token]:
        steps = {
            _State.OUTSIDE: self._outside,
            _State.IN_NAME: self._in_name,
            _State.AFTER_NAME: self._after_name,
            _State.IN_DEFAULT: self._in_default,
        }
        while self._state is not _State.OUTSIDE or self._start < len(self._text):
            yield from steps[self._state]()

    def _cut(self, kind: Kind, end: int) -> Iterator[Token]:
        if end > self._start:
            yield Token(kind, self._text[self._start : end], self._start)
            self._last = self._start
        self._start = self._at = end

    def _outside(self) -> Iterator[Token]:
        dollar = self._text.find("$", self._at)
        if dollar < 0:
            yield from self._cut(Kind.TEXT, len(self._text))
            return
        following = self._text[dollar + 1 : dollar + 2]
        if following == "$":
            yield from self._cut(Kind.TEXT, dollar)
            self._start = dollar + 1
            yield from self._cut(Kind.TEXT, dollar + 2)
        elif following == "{":
            yield from self._cut(Kind.TEXT, dollar)
            yield from self._cut(Kind.OPEN, dollar + 2)
            self._depth += 1
            self._opened = dollar
            self._state = _State.AFTER_NAME
        elif following and is_word(following):
            yield from self._cut(Kind.TEXT, dollar)
            self._at = dollar + 1
            self._state = _State.IN_NAME
        elif following:
            self._at = dollar + 1
        else:
            yield from self._cut(Kind.TEXT, len(self._text))

    def _in_name(self) -> Iterator[Token]:
        end = self._at
        while end < len(self._text) and is_word(self._text[end]):
            end += 1
        if self._text[self._start : end] in ("_", "$_"):  # never a variable: it stays, and braces are forgotten
            self._at = end
            self._state = _State.OUTSIDE
            return
        yield from self._cut(Kind.NAME, end)
        self._state = _State.AFTER_NAME if self._depth else _State.OUTSIDE

    def _after_name(self) -> Iterator[Token]:
        character = self._character()
        if character == "}":
            yield from self._close()
        elif self._begins_name(character):
            self._state = _State.IN_NAME
        else:
            self._state = _State.IN_DEFAULT
            operator = re.compile(r":?[-=+]").match(self._text, self._at)
            if operator:
                yield from self._cut(Kind.OPERATOR, operator.end())
            else:  # no operator: passed over, and the name counts as if nothing followed
                self._at = min(self._at + (2 if character == ":" else 1), len(self._text))

    def _in_default(self) -> Iterator[Token]:
        character = self._character()
        if character == "}":
            yield from self._close()
        elif character == "$":
            self._at += 1
            self._state = _State.IN_NAME
        elif self._begins_name(character):
            self._state = _State.IN_NAME
        else:
            yield from self._cut(Kind.TEXT, self._at + 1)

    def _character(self) -> str:
        character = self._text[self._at : self._at + 1]
        if character in ("", "\r", "\n"):
            raise UnclosedError(self._opened)
        return character

    def _begins_name(self, character: str) -> bool:
        return is_word(character) and self._text.startswith("${", self._last)

    def _close(self) -> Iterator[Token]:
        yield from self._cut(Kind.CLOSE, self._at + 1)
        self._depth -= 1
        self._state = _State.OUTSIDE
