"""Secrets do not show themselves, and are masked in every form."""

from __future__ import annotations

import base64
import copy
import json
import logging
import pickle
import traceback

import pytest

from handler.secret import MASK, Redactor, Secret

VALUE = 'pass"wörd\\with ä 1234567'


def test_a_secret_shows_nothing() -> None:
    secret = Secret(VALUE)
    shown = [
        str(secret),
        repr(secret),
        f"{secret}",
        f"{secret!r:>40}",
        f"{[secret]}",
        format(secret, ""),
    ]
    assert not any(VALUE in text or "1234567" in text for text in shown)
    assert secret.reveal() == VALUE
    assert not hasattr(secret, "__dict__")
    record = logging.LogRecord("x", 10, "x", 1, "%s", (secret,), None)
    assert VALUE not in record.getMessage()


def test_a_traceback_does_not_show_it() -> None:
    secret = Secret(VALUE)
    with pytest.raises(TypeError) as caught:
        int(secret)  # type: ignore[call-overload]
    told = traceback.TracebackException.from_exception(caught.value, capture_locals=True)
    assert "secret = Secret(****)" in "".join(told.format())
    assert VALUE not in "".join(told.format())


def test_a_secret_is_not_copied_out_of_the_process() -> None:
    for way in (pickle.dumps, copy.deepcopy, json.dumps):
        with pytest.raises(TypeError):
            way(Secret(VALUE))


def test_equality_and_truth() -> None:
    assert Secret("a") == Secret("a")
    assert Secret("a") != Secret("b")
    assert Secret("a") != "a"
    assert len({Secret("a"), Secret("a")}) == 1
    assert not Secret("")
    assert Secret("x")


@pytest.fixture
def redactor() -> Redactor:
    made = Redactor()
    made.learn(Secret(VALUE))
    return made


def test_plain_escaped_and_encoded(redactor: Redactor) -> None:
    for form in (
        VALUE,
        json.dumps(VALUE),
        json.dumps(VALUE, ensure_ascii=False),
        json.dumps({"deep": [VALUE]}),
        f"url?x={VALUE}&y",
        VALUE * 2,
    ):
        masked = redactor.mask(f"before {form} after")
        assert MASK in masked
        assert "1234567" not in masked
        assert masked.startswith("before ")
        assert masked.endswith(" after")


@pytest.mark.parametrize("shift", range(4))
@pytest.mark.parametrize("tail", range(4))
def test_base64_wherever_it_starts(redactor: Redactor, shift: int, tail: int) -> None:
    raw = b"x" * shift + VALUE.encode() + b"y" * tail
    for encode in (base64.b64encode, base64.urlsafe_b64encode):
        masked = redactor.mask(f"[{encode(raw).decode()}]")
        assert MASK in masked
        assert len(masked) < 20  # hardly anything but its neighbours is left


def test_lines_of_a_longer_secret() -> None:
    redactor = Redactor()
    key = "-----BEGIN KEY-----\nAAAABBBBCCCC\n  DDDDEEEEFFFF\nab\n-----END KEY-----\n"
    redactor.learn(key)
    assert redactor.mask(f"x{key}y") == f"x{MASK}y"
    assert redactor.mask("line: AAAABBBBCCCC") == f"line: {MASK}"
    assert redactor.mask("line:   DDDDEEEEFFFF") == f"line:   {MASK}"
    assert redactor.mask("a cab") == "a cab"
    assert MASK in redactor.mask(json.dumps(key))
    crlf = key.replace("\n", "\r\n")
    assert "BBBB" not in redactor.mask(crlf)
    assert "EEEE" not in redactor.mask(crlf)


def test_short_and_empty_values_are_left_alone() -> None:
    redactor = Redactor()
    redactor.learn("", "on", "1", Secret(""), "abc", "\n\n")
    assert redactor.mask("on 1 abc") == "on 1 abc"


def test_several_values_and_parts_of_each_other() -> None:
    redactor = Redactor()
    redactor.learn("secret")
    redactor.learn("secret-and-more", ".*+?")
    assert redactor.mask("secret-and-more secret .*+? axx") == f"{MASK} {MASK} {MASK} axx"


def test_what_is_learned_after_a_text_was_masked() -> None:
    redactor = Redactor()
    redactor.learn("secret")
    assert redactor.mask("a secret, another one") == f"a {MASK}, another one"
    redactor.learn("another")
    assert redactor.mask("a secret, another one") == f"a {MASK}, {MASK} one"


def test_nothing_learned() -> None:
    assert Redactor().mask("text") == "text"


@pytest.mark.parametrize(
    "shown",
    [
        r'{"password": "a<b>\"c&d\u00e9"}'.replace("\\u00e9", "é"),
        r'{"password": "a\u003cb\u003e\"c\u0026dé"}',
        r'msg="{\"password\": \"a<b>\\\"c&dé\"}"',
        "curl https://u:a%3Cb%3E%22c%26d%C3%A9@host",
    ],
)
def test_every_way_it_may_be_written(shown: str) -> None:
    redactor = Redactor()
    redactor.learn('a<b>"c&dé')
    assert "c&d" not in redactor.mask(shown)
    assert MASK in redactor.mask(shown)
