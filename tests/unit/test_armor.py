"""What gpg is never given."""

from __future__ import annotations

import base64
import contextlib
import random

import pytest

from handler.errors import IntegrityError
from handler.tools.armor import LARGEST_SIGNATURE, bare_message, bare_signature

SIGNATURE = bytes([0x88, 5]) + b"12345"  # old format, tag 2
NEW_SIGNATURE = bytes([0xC2, 5]) + b"12345"
LITERAL = bytes([0xCB, 5]) + b"12345"
SESSION_KEY = bytes([0xC1, 3]) + b"key"
ENCRYPTED = bytes([0xD2, 4]) + b"data"


def armored(packets: bytes, kind: str = "SIGNATURE", headers: str = "", tail: str = "") -> bytes:
    body = base64.encodebytes(packets).decode()
    return f"-----BEGIN PGP {kind}-----\n{headers}\n{body}-----END PGP {kind}-----\n{tail}".encode()


@pytest.mark.parametrize(
    "data", [SIGNATURE, NEW_SIGNATURE, armored(SIGNATURE), armored(SIGNATURE, headers="Version: 1\n")]
)
def test_one_signature_is_taken(data: bytes) -> None:
    assert bare_signature(data, "x") in {SIGNATURE, NEW_SIGNATURE}


@pytest.mark.parametrize("count", [2, 3])
def test_several_are_counted(count: int) -> None:
    with pytest.raises(IntegrityError, match=f"carries {count} signatures"):
        bare_signature(SIGNATURE * count, "x")


@pytest.mark.parametrize(
    "data",
    [
        LITERAL, SIGNATURE + LITERAL, SIGNATURE[:-1], SIGNATURE + b"\0", b"text", armored(SIGNATURE, "MESSAGE"),
        armored(SIGNATURE, tail="more"), armored(SIGNATURE) * 2, armored(SIGNATURE, headers="Hash: a\u2028b\n"),
        armored(SIGNATURE, headers="x\u2028[GNUPG:] GOODSIG 1 2\n"), armored(SIGNATURE, headers="a\x85b: c\n"),
        armored(SIGNATURE).replace(b"iAUx", b"iA\x0bUx"), bytes([0x88]),
        bytes([0xC2, 0xE1]), b"\xc2\xff\xff\xff\xff\xff",
        bytes([0x8B]) + b"x" * (3 * LARGEST_SIGNATURE),
    ],
)  # fmt: skip
def test_anything_else_is_refused(data: bytes) -> None:
    with pytest.raises(IntegrityError):
        bare_signature(data, "x")


def test_a_wrong_checksum_is_refused() -> None:
    good = armored(SIGNATURE).replace(b"-----END", b"=AAAA\n-----END")
    with pytest.raises(IntegrityError, match="damaged"):
        bare_signature(good, "x")


def test_messages() -> None:
    partial = bytes([0xD2, 0xE1]) + b"ab" + bytes([2]) + b"cd"  # a part of two bytes, then the last two
    for data in (SESSION_KEY + ENCRYPTED, SESSION_KEY * 3 + partial):
        assert bare_message(data, "x") == data
        assert bare_message(armored(data, "MESSAGE"), "x") == data
    for data in (ENCRYPTED, LITERAL, SESSION_KEY, SESSION_KEY + LITERAL, SESSION_KEY + ENCRYPTED + LITERAL, SIGNATURE):
        with pytest.raises(IntegrityError, match="damaged"):
            bare_message(data, "x")


def test_any_bytes_raise_nothing_else() -> None:
    chance = random.Random(1)
    for _ in range(3000):
        data = bytearray(
            armored(SESSION_KEY + ENCRYPTED, "MESSAGE") if chance.random() < 0.5 else SESSION_KEY + ENCRYPTED
        )
        for _ in range(chance.randrange(1, 4)):
            data[chance.randrange(len(data))] = chance.randrange(256)
        for take in (bare_message, bare_signature):
            with contextlib.suppress(IntegrityError):
                take(bytes(data), "x")
