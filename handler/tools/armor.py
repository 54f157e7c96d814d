"""OpenPGP data taken apart far enough to refuse what gpg should never see (RFC 4880, 4.2 and 6.2): pure.

gpg repeats armor headers of a file in its own messages, which share a stream with its status lines, and a
signature may hide compressed data that takes hours to unpack. So gpg is given bare packets of the one kind that
is expected, without any armor.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterator
from typing import Final

from handler.errors import IntegrityError

#: A signature by the largest key, with all its subpackets, is far smaller.
LARGEST_SIGNATURE: Final = 8 << 10
#: An encrypted password for many recipients is far smaller.
LARGEST_MESSAGE: Final = 256 << 10

SIGNATURE: Final = 2
_SESSION_KEYS: Final = frozenset({1, 3})
#: Symmetrically encrypted and integrity protected data; the same by an AEAD mode, as GnuPG writes it.
_ENCRYPTED: Final = frozenset({18, 20})
_BLOCK: Final = re.compile(
    rb"\s*-----BEGIN PGP (?P<kind>[A-Z ]+)-----[ \t]*\r?\n"
    rb"(?P<headers>(?:[A-Za-z]+: [\x20-\x7e]*\r?\n)*)"
    rb"[ \t]*\r?\n"
    rb"(?P<body>[A-Za-z0-9+/= \t\r\n]+?)"
    rb"(?:\n=(?P<sum>[A-Za-z0-9+/]{4})\s*)?"
    rb"-----END PGP (?P=kind)-----\s*",
)


def bare_signature(data: bytes, what: str) -> bytes:
    """The one signature packet of a detached signature.

    Raises:
        IntegrityError: it is something else, or more than one.
    """
    if not data:
        raise IntegrityError(f"{what} is not signed")
    packets = _unarmored(data, "SIGNATURE", LARGEST_SIGNATURE, what)
    tags = list(_tags(packets, what))
    if tags != [SIGNATURE]:
        several = bool(tags) and set(tags) == {SIGNATURE}
        raise IntegrityError(
            f"{what} carries {len(tags)} signatures, exactly one is allowed"
            if several
            else f"the signature of {what} is damaged: it is no OpenPGP signature"
        )
    return packets


def bare_message(data: bytes, what: str) -> bytes:
    """The packets of an encrypted message: session keys, then the encrypted data, and nothing else.

    Raises:
        IntegrityError: it is something else, such as data that is not encrypted at all.
    """
    packets = _unarmored(data, "MESSAGE", LARGEST_MESSAGE, what)
    tags = list(_tags(packets, what))
    if not tags or tags[-1] not in _ENCRYPTED or not set(tags[:-1]) or not set(tags[:-1]) <= _SESSION_KEYS:
        raise _damaged(what)
    return packets


def _unarmored(data: bytes, kind: str, largest: int, what: str) -> bytes:
    if len(data) > 2 * largest:
        raise _damaged(what)
    if data[:1] and data[0] & 0x80:
        return data
    match = _BLOCK.fullmatch(data)
    if match is None or match["kind"] != kind.encode():
        raise _damaged(what)
    try:
        packets = base64.b64decode(b"".join(match["body"].split()), validate=True)
    except (binascii.Error, ValueError):
        raise _damaged(what) from None
    if match["sum"] and base64.b64decode(match["sum"]) != _crc24(packets).to_bytes(3, "big"):
        raise _damaged(what)
    return packets


def _crc24(data: bytes) -> int:
    """The checksum of armored data (RFC 4880, 6.1)."""
    crc = 0xB704CE
    for byte in data:
        crc ^= byte << 16
        for _ in range(8):
            crc <<= 1
            if crc & 0x1000000:
                crc ^= 0x1864CFB
    return crc


def _tags(packets: bytes, what: str) -> Iterator[int]:
    """The kinds of all packets in a row."""
    position = 0
    while position < len(packets):
        head = packets[position]
        if not head & 0x80:
            raise _damaged(what)
        position += 1
        if head & 0x40:
            yield head & 0x3F
            position = _past_new(packets, position, what)
        else:
            yield (head >> 2) & 0x0F
            width = (1, 2, 4, 0)[head & 3]
            # without a length a packet goes to the end
            length = int.from_bytes(packets[position : position + width], "big") if width else len(packets) - position
            position += width + length
    if position != len(packets):
        raise _damaged(what)


def _past_new(packets: bytes, position: int, what: str) -> int:
    """The position behind a packet with lengths of the new format, which may come in parts (RFC 4880, 4.2.2)."""
    while True:
        if position >= len(packets):
            raise _damaged(what)
        first = packets[position]
        if first < 192:  # noqa: PLR2004
            return position + 1 + first
        if first < 224:  # noqa: PLR2004
            second = int.from_bytes(packets[position + 1 : position + 2], "big")
            return position + 2 + ((first - 192) << 8) + second + 192
        if first == 255:  # noqa: PLR2004
            return position + 5 + int.from_bytes(packets[position + 1 : position + 5], "big")
        position += 1 + (1 << (first & 0x1F))


def _damaged(what: str) -> IntegrityError:
    return IntegrityError(
        f"{what} is damaged: it is not the OpenPGP data that it should be",
        resolution="compare the branch with another clone of it",
    )
