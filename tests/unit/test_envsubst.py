"""Substitution: the expectations of the table are what the library in k0sctl (a8m/envsubst 1.4.3) answered."""

from __future__ import annotations

import pytest

from handler.envsubst import Named, Template, substitute, variables_named
from handler.errors import ConfigurationError

VARIABLES = {"A": "aa", "B": "b b", "E": "", "M": "x\ny", "D": "$A", "_X": "ux", "1": "one", "é": "acc", "AB": "ab"}

TABLE = [
    ("", ""),
    ("plain", "plain"),
    ("$A", "aa"),
    ("${A}", "aa"),
    ("$A$B", "aab b"),
    ("$A-$B", "aa-b b"),
    ("$AB", "ab"),
    ("${A}B", "aaB"),
    ("$A.B", "aa.B"),
    ("$U", ""),
    ("${U}", ""),
    ("[$E]", "[]"),
    ("$M", "x\ny"),
    ("$D", "$A"),
    ("$_X", "ux"),
    ("$é", "acc"),
    ("$1", "one"),
    ("${1}", "one"),
    ("$", "$"),
    ("a $ b", "a $ b"),
    ("$ A", "$ A"),
    ("$-A", "$-A"),
    ("5$", "5$"),
    ("$$", "$"),
    ("$$A", "$A"),
    ("$$$A", "$aa"),
    ("$${A}", "${A}"),
    ("$$$$", "$$"),
    ("pa$w0rd", "pa"),
    ("pa$$w0rd", "pa$w0rd"),
    ("$_", "$_"),
    ("$_ $A", "$_ aa"),
    ("${A:-d}", "aa"),
    ("${U:-d}", "d"),
    ("${E:-d}", "d"),
    ("${A-d}", "aa"),
    ("${U-d}", "d"),
    ("[${E-d}]", "[]"),
    ("${U:=d}", "d"),
    ("${E:=d}", "d"),
    ("${U=d}", "d"),
    ("[${E=d}]", "[]"),
    ("${A:+d}", "d"),
    ("[${U:+d}]", "[]"),
    ("${E:+d}", "d"),
    ("${A+d}", "d"),
    ("[${U+d}]", "[]"),
    ("${E+d}", "d"),
    ("[${U:-}]", "[]"),
    ("[${U-}]", "[]"),
    ("${A:+}", "aa"),
    ("[${U:+}]", "[]"),
    ("${U:-$A}", "aa"),
    ("${U:-$U2}", ""),
    ("${U:-x$A}", "x$A"),
    ("${U:-$A/x}", "/x"),
    ("${U:-$A-x}", "x"),
    ("${U:-${A}}", "}"),
    ("${A:-${B}}", "aa}"),
    ("${U:-a b}", "a b"),
    ("${U:-a:b=c+d-e}", "a:b=c+d-e"),
    ("${U:-{}", "{"),
    ("${U:-'q' \"r\"}", "'q' \"r\""),
    ("${U:-#x}", "#x"),
    ("${U:-pa$$w}", "pa$$w"),
    ("${U:-$}", ""),
    ("${}", "${}"),
    ("${-A}", "${-A}"),
    ("${_}", "${_}"),
    ("${ A }", ""),
    ("${A.b}", "aa"),
    ("${A:x}", "aa"),
    ("${A%x}", "aa"),
    ("${#A}", ""),
    ("{port: ${PORT:-22}}", "{port: 22}"),
    ("# $A ${U:-d}", "# aa d"),
    ("${U:-日本}", "日本"),
    ("$A\r\n$A\r\n", "aa\r\naa\r\n"),
    ("${", None),
    ("${A", None),
    ("${A\n}", None),
    ("${U:-a\nb}", None),
    ("${U:-a\r\n}", None),
    ("# ${A\nx", None),
    ("${A:}\n", None),
    ("${_} $A\n", None),  # the brace of "${_}" stays open
    ("${U:-$_} ", None),  # k0sctl never comes back from this one
]


@pytest.mark.parametrize(("text", "expected"), TABLE, ids=[repr(text) for text, _ in TABLE])
def test_substitutes_as_k0sctl_does(text: str, expected: str | None) -> None:
    if expected is None:
        with pytest.raises(ConfigurationError, match="closing"):
            substitute(text, VARIABLES)
    else:
        assert substitute(text, VARIABLES) == expected


def test_a_value_is_not_substituted_again() -> None:
    assert substitute("$A", {"A": "${B} $$"}) == "${B} $$"


def test_an_open_brace_is_told_with_its_place() -> None:
    with pytest.raises(ConfigurationError) as caught:
        substitute("a: b\nc: ${D\n", {}, name="config/k0sctl.yaml")
    assert caught.value.exit_code == 2
    assert caught.value.message.startswith("config/k0sctl.yaml:2:4: ")
    assert "$$" in caught.value.resolution


def names(text: str) -> list[str]:
    return [one.name for one in variables_named(text)]


def test_names_come_with_place_and_default() -> None:
    text = "a: $A\nb:\n  - ${B:-x}\n  - [1, ${C}, ${D:-$E}, ${F:-}]\n"
    assert variables_named(text) == (
        Named("A", 1, 4, has_default=False),
        Named("B", 3, 5, has_default=True),
        Named("C", 4, 9, has_default=False),
        Named("D", 4, 15, has_default=True),
        Named("E", 4, 20, has_default=False),
        Named("F", 4, 25, has_default=True),
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a: b # $A", []),
        ("# $A\na: $B", ["B"]),
        ("a: 'x # $A'", ["A"]),
        ('a: "x # $A" # $B', ["A"]),
        ("a: x#$A", ["A"]),
        ("a: |\n  # $A\n  $B\n# $C\n", ["A", "B"]),
        ("a: >-\n  # ${A}\nb: 1 # ${B:-x}\n", ["A"]),
        ("$A: 1\n? $B\n: 2\n", ["A", "B"]),
        ("{port: ${PORT:-22}} # $X", ["PORT"]),
        ("a: $$A\nb: $ A", []),
        ("a: it's # $A", []),
        ("a: b\r\n# $A\r\nc: $C\r\n", ["C"]),
        ("a: $A\n---\nb: $B # $C\n", ["A", "B"]),
        ("a: k0sctlref0x $A", ["A"]),
        ("a: &x $A\nb: *x\n", ["A"]),
        ("a:\t$A\t# $B\n", ["A"]),
    ],
)
def test_comments_name_nothing(text: str, expected: list[str]) -> None:
    assert names(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a: 1\n$LINES\nb: $B # $C\n# $D\n", ["LINES", "B"]),
        ("$LINES\na: 1\nb: 'x # $B' # $C\n", ["LINES", "B"]),
        ('$LINES\na: 1\nb: "x \\" # $B" # $C\n', ["LINES", "B"]),
        ("$LINES\na: 1\nb: x#$B\n", ["LINES", "B"]),
    ],
)
def test_comments_are_known_where_a_variable_stands_for_whole_lines(text: str, expected: list[str]) -> None:
    assert names(text) == expected


def test_places_are_those_of_the_file() -> None:
    values = {"M": "1\n2\n3", "L": "long long"}
    template = Template.parse("a: $M\nb: ${L} $$ x\n")
    filled = template.filled(values)
    assert template.where(filled.index("a"), values) == (1, 1)
    assert template.where(filled.index("3"), values) == (1, 4)
    assert template.where(filled.index("b:"), values) == (2, 1)
    assert template.where(filled.index("$"), values) == (2, 10)  # of "$$" the second stays
    assert template.where(filled.index("x"), values) == (2, 12)
    assert template.where(len(filled), values) == (3, 1)
