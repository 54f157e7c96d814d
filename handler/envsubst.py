"""Variables in k0sctl's configuration, replaced as k0sctl replaces them before it reads any YAML.

k0sctl knows ``$NAME``, ``${NAME}``, ``${NAME:-text}`` (also ``-``, ``:=``, ``=``), ``${NAME:+text}`` (also ``+``)
and ``$$``. What it does with anything else is odd, but it is what the cluster gets, so the oddities are kept:
braces do not nest, one ``$NAME`` may stand alone as a default, and a ``$`` before any other character stays.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final, NamedTuple

from handler.envtokens import Kind, Token, Tokens, UnclosedError, is_word
from handler.errors import ConfigurationError


class Location(NamedTuple):
    """A place in a file, both counted from one."""

    line: int
    column: int

    def __str__(self) -> str:
        return f"{self.line}:{self.column}"

    @classmethod
    def of(cls, text: str, offset: int) -> Location:
        return cls(text.count("\n", 0, offset) + 1, offset - text.rfind("\n", 0, offset))


@dataclass(frozen=True, slots=True)
class Plain:
    """A part of the file that stays; ``offset`` is where it starts."""

    text: str
    offset: int


@dataclass(frozen=True, slots=True)
class Reference:
    """A part of the file that is replaced.

    Attributes:
        name: the variable.
        offset: where the ``$`` is.
        operator: what stands after the name: empty, ``-``, ``:-``, ``=``, ``:=``, ``+`` or ``:+``.
        default: what stands after the operator; None when there is nothing.
        odd: k0sctl reads something else than what is written, as in ``${A:-$B/x}``, ``${A:-${B}}``
            or ``${A%x}``.
    """

    name: str
    offset: int
    operator: str = ""
    default: str | Reference | None = None
    odd: bool = False

    def value(self, variables: Mapping[str, str]) -> str:
        """What takes the place of this reference."""
        own = variables.get(self.name, "")
        if not self.operator or self.default is None:
            return own
        if self._takes_default(variables):
            return self.default if isinstance(self.default, str) else self.default.value(variables)
        return "" if self.operator in ("+", ":+") else own

    def lacking(self, variables: Mapping[str, str]) -> Reference | None:
        """The reference that would become nothing although nobody gave it a default; None when all is well."""
        if not self.operator:
            return None if variables.get(self.name) else self
        if isinstance(self.default, Reference) and self._takes_default(variables):
            return self.default.lacking(variables)
        return None

    def all(self) -> Iterator[Reference]:
        """This reference, and the one that is its default."""
        yield self
        if isinstance(self.default, Reference):
            yield from self.default.all()

    def _takes_default(self, variables: Mapping[str, str]) -> bool:
        match self.operator:
            case ":-" | ":=":
                return not variables.get(self.name)
            case "+" | ":+":  # ":+" does not look whether the value is empty
                return self.name in variables
            case _:
                return self.name not in variables


@dataclass(frozen=True, slots=True)
class Named:
    """One place where the file names a variable; ``has_default`` is also true for an empty default."""

    name: str
    line: int
    column: int
    has_default: bool


@dataclass(frozen=True)
class Template:
    """A text and the references in it."""

    source: str
    pieces: tuple[Plain | Reference, ...]

    @classmethod
    def parse(cls, text: str, *, name: str = "the configuration") -> Template:
        """Find the references of ``text``; ``name`` is the file's, for messages.

        Raises:
            ConfigurationError: a ``${`` is not closed on its line (k0sctl refuses the whole file, also for one
                in a comment).
        """
        try:
            return cls(text, tuple(_pieces(text)))
        except UnclosedError as error:
            place = Location.of(text, error.offset)
            raise ConfigurationError(
                f"{name}:{place}: '${{' has no closing '}}' on its line",
                resolution="close the brace, or write $${ where a literal ${ is meant",
            ) from None

    def filled(self, variables: Mapping[str, str]) -> str:
        """The text with every reference replaced; an unset variable becomes nothing, as in k0sctl."""
        return "".join(p.text if isinstance(p, Plain) else p.value(variables) for p in self.pieces)

    def where(self, index: int, variables: Mapping[str, str]) -> Location:
        """The place in the file that a character of the filled text comes from."""
        for piece in self.pieces:
            length = len(piece.text if isinstance(piece, Plain) else piece.value(variables))
            if index < length:
                return self.location(piece.offset + (index if isinstance(piece, Plain) else 0))
            index -= length
        return self.location(len(self.source))

    def location(self, offset: int) -> Location:
        return Location.of(self.source, offset)

    def named(self) -> tuple[Reference, ...]:
        """The references that are more than a comment."""
        references = [p for p in self.pieces if isinstance(p, Reference)]
        if not references:
            return ()
        marker = "k0sctlref"
        while marker in self.source:
            marker += "q"
        numbers = {id(reference): f"{marker}{number}x" for number, reference in enumerate(references)}
        marked = "".join(p.text if isinstance(p, Plain) else numbers[id(p)] for p in self.pieces)
        scalars = _scalars(marked)
        seen = {int(n) for scalar in scalars for n in re.findall(rf"{marker}(\d+)x", scalar)}
        return tuple(reference for number, reference in enumerate(references) if number in seen)


def variables_named(text: str, *, name: str = "the configuration") -> tuple[Named, ...]:
    """Every place outside comments where ``text`` names a variable, in order.

    Raises:
        ConfigurationError: k0sctl could not read the references of this text.
    """
    template = Template.parse(text, name=name)
    return tuple(
        Named(one.name, *template.location(one.offset), has_default=bool(one.operator))
        for reference in template.named()
        for one in reference.all()
    )


def substitute(text: str, variables: Mapping[str, str], *, name: str = "the configuration") -> str:
    """Replace the variables of ``text`` as k0sctl does; an unset one without default becomes nothing.

    Raises:
        ConfigurationError: k0sctl could not read the references of this text.
    """
    return Template.parse(text, name=name).filled(variables)


def _scalars(marked: str) -> list[str]:
    """The values and keys of a YAML text: everything that is not a comment."""
    import yaml  # noqa: PLC0415 - loaded only when a configuration is read

    try:
        tokens = yaml.scan(marked, Loader=yaml.CSafeLoader)
        return [token.value for token in tokens if isinstance(token, yaml.ScalarToken)]
    except (yaml.YAMLError, UnicodeError):
        # no YAML yet: a variable stands for whole lines, or the file is broken and will be refused later
        return [_COMMENT.sub(r"\1", line) for line in marked.splitlines()]


#: A line up to its comment: "#" begins one at the start or after a blank, outside quotes.
_COMMENT: Final = re.compile(r"""^((?:"(?:[^"\\]|\\.)*+"|'[^']*+'|(?<![\s])(?<!^)\#|[^\#])*+)\#.*$""")


def _pieces(text: str) -> Iterator[Plain | Reference]:
    # all tokens first: a brace that is not closed spoils the whole file
    tokens = deque(Tokens(text))
    while tokens:
        token = tokens.popleft()
        if token.kind is Kind.NAME:
            yield Reference(token.text.removeprefix("$"), token.offset)
        elif token.kind is Kind.OPEN and tokens and tokens[0].kind is Kind.NAME:
            yield _reference(token, tokens)
        else:
            yield Plain(token.text, token.offset)


def _reference(opened: Token, tokens: deque[Token]) -> Reference:
    """The reference between braces; of several operators or defaults the last one counts."""
    name = tokens.popleft().text
    operator = ""
    default: str | Reference | None = None
    odd = not all(map(is_word, name))
    while tokens:
        token = tokens.popleft()
        if token.kind is Kind.CLOSE:
            odd |= token.text != "}" or (default is not None and not operator)
            return Reference(name, opened.offset, operator, default, odd)
        odd |= default is not None
        if token.kind is Kind.NAME:
            default = Reference(token.text.removeprefix("$"), token.offset)
            odd |= not default.name
        elif token.kind is Kind.TEXT:
            default = token.text
            while tokens and tokens[0].kind is not Kind.CLOSE:  # from here on a "$" is only a character
                odd |= tokens[0].kind is Kind.NAME
                default += tokens.popleft().text
        else:
            operator = token.text
    raise UnclosedError(opened.offset)
