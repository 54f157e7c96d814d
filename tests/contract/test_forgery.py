"""Signatures that nobody made: text that gpg repeats in its messages must never be taken for its verdict."""

from __future__ import annotations

import base64
import bz2
import time
from collections.abc import Callable

import pytest

from handler.errors import IntegrityError
from handler.tools.gpg import Gpg
from handler.tools.signature import parse_signatures, status_keywords
from tests.contract.test_gpg import OpenGpg, open_gpg
from tests.support.keys import KeyPair

pytestmark = pytest.mark.contract
__all__ = ["open_gpg"]

SEPARATORS = ["\u2028", "\u2029", "\x85", "\x0b", "\x0c", "\x1c", "\x1d", "\x1e", "\r"]


def verdict(key: KeyPair) -> list[str]:
    """The lines that gpg writes for a good signature."""
    return [
        "[GNUPG:] NEWSIG",
        f"[GNUPG:] GOODSIG {key.fingerprint[-16:]} {key.name}",
        f"[GNUPG:] VALIDSIG {key.fingerprint} 2026-11-20 1795210979 0 4 0 22 10 00 {key.fingerprint}",
    ]


@pytest.mark.parametrize("separator", SEPARATORS)
def test_only_a_newline_ends_a_status_line(cluster_key: KeyPair, separator: str) -> None:
    text = "gpg: invalid armor header: x" + separator + separator.join(verdict(cluster_key)) + "\n"
    assert parse_signatures(text) == ()
    assert status_keywords(text) == frozenset()


@pytest.mark.parametrize("separator", SEPARATORS)
def test_an_armor_header_is_no_verdict(open_gpg: OpenGpg, cluster_key: KeyPair, separator: str) -> None:
    gpg = open_gpg(cluster_key)
    lines = separator.join(["x", *verdict(cluster_key), "y"])
    forged = f"-----BEGIN PGP SIGNATURE-----\n{lines}\n\nAAAA\n-----END PGP SIGNATURE-----\n".encode()
    with pytest.raises(IntegrityError):
        gpg.require_signed(b"data", forged, "the newest commit")


@pytest.mark.parametrize("separator", SEPARATORS)
def test_an_unencrypted_password_is_none(open_gpg: OpenGpg, cluster_key: KeyPair, separator: str) -> None:
    gpg = open_gpg(cluster_key)
    told = ["x", *verdict(cluster_key), "[GNUPG:] DECRYPTION_OKAY", "[GNUPG:] GOODMDC", "y"]
    text = b"the attacker's own"
    literal = bytes([0xCB, 6 + len(text)]) + b"b\0" + bytes(4) + text
    body = base64.b64encode(literal).decode()
    forged = f"-----BEGIN PGP MESSAGE-----\n{separator.join(told)}\n\n{body}\n-----END PGP MESSAGE-----\n".encode()
    for data in (forged, literal):
        with pytest.raises(IntegrityError):
            gpg.decrypt(data, "secret.gpg")


def compressed_bomb() -> bytes:
    literal = bytes([0xCB, 0xFF]) + (6 + (256 << 20)).to_bytes(4, "big") + b"b\0" + bytes(4) + bytes(256 << 20)
    packed = bytes([3]) + bz2.compress(literal)
    return bytes([0xC8, 0xFF]) + len(packed).to_bytes(4, "big") + packed


@pytest.mark.parametrize(
    "use", [lambda gpg, data: gpg.require_signed(b"data", data, "x"), lambda gpg, data: gpg.decrypt(data, "x")]
)
def test_nothing_is_unpacked_before_it_is_trusted(
    open_gpg: OpenGpg, cluster_key: KeyPair, use: Callable[[Gpg, bytes], object]
) -> None:
    gpg = open_gpg(cluster_key)
    bomb = compressed_bomb()
    began = time.monotonic()
    with pytest.raises(IntegrityError):
        use(gpg, bomb)
    assert time.monotonic() - began < 1  # gpg takes several seconds to unpack it
