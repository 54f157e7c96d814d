"""gzip: every cut, every flip that changes the data, and everything behind the end is found."""

from __future__ import annotations

import gzip
import io
import random
from pathlib import Path

import pytest

from handler.errors import IntegrityError
from handler.proof import inspect
from handler.proof.gzip_stream import UNPACKED_BYTES, unpack

ARCHIVE = (Path(__file__).parents[1] / "practice" / "data" / "k0s-backup-kine.tar.gz").read_bytes()
#: flags, time, extra flags and system: gzip's CRC does not cover its own header
UNCOVERED = range(3, 10)


def refused(archive: bytes) -> str:
    with pytest.raises(IntegrityError) as caught:
        inspect(io.BytesIO(archive))
    return caught.value.message


def unpacked(archive: bytes) -> bytes:
    return b"".join(unpack(io.BytesIO(archive), lambda _: None))


def test_empty_file() -> None:
    assert refused(b"") == "the archive is empty (0 bytes)"


@pytest.mark.parametrize(
    "start", [b"Salted__", b"\0" * 100, b"PK\x03\x04", b"k0s: error\n", b"\x1f\x9d\x90", b"\x28\xb5\x2f\xfd"]
)
def test_not_gzip(start: bytes) -> None:
    assert refused(start + ARCHIVE) == "the archive is not gzip data"


@pytest.mark.parametrize(
    "length", [1, 2, 9, 10, 11, 1000, 20_000, -5000, -100, -20, -9, -8, -7, -5, -4, -1], ids=lambda n: f"[:{n}]"
)
def test_cut_anywhere(length: int) -> None:
    cut = ARCHIVE[:length]
    assert refused(cut) == f"the archive is cut: it ends after {len(cut)} bytes within its gzip data"


@pytest.mark.parametrize(("at", "told"), [(-8, "CRC-32"), (-5, "CRC-32"), (-4, "length"), (-1, "length")])
def test_wrong_trailer(at: int, told: str) -> None:
    damaged = bytearray(ARCHIVE)
    damaged[at] ^= 0x10
    assert f"the {told} in gzip's trailer is not that of the data" in refused(bytes(damaged))


@pytest.mark.parametrize(
    "tail", [b"\0", b"\n", bytes(100_000), ARCHIVE, gzip.compress(b""), ARCHIVE[:10], b"\x1f"],
    ids=["zero", "newline", "zeros", "itself", "empty member", "cut member", "a byte"],
)  # fmt: skip
def test_tail(tail: bytes) -> None:
    assert refused(ARCHIVE + tail) == "the archive goes on behind the end of its gzip data"


def test_tail_that_comes_in_a_later_read() -> None:
    class Slow(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            return super().read(len(ARCHIVE) if size and size > len(ARCHIVE) else size)

    with pytest.raises(IntegrityError, match="goes on behind the end"):
        inspect(Slow(ARCHIVE + b"rest"))


def test_two_members_that_make_one_tar_are_refused() -> None:
    tar = gzip.decompress(ARCHIVE)
    assert "goes on behind" in refused(gzip.compress(tar[:51200]) + gzip.compress(tar[51200:]))


def test_every_flipped_bit_is_found_or_changes_nothing() -> None:
    chosen = random.Random(20261120)
    original = gzip.decompress(ARCHIVE)
    positions = [p for p in chosen.sample(range(len(ARCHIVE)), 500) if p not in UNCOVERED]
    unnoticed = 0
    for position in [0, 1, 2, *positions]:
        damaged = bytearray(ARCHIVE)
        damaged[position] ^= 1 << chosen.randrange(8)
        try:
            inspect(io.BytesIO(damaged))
        except IntegrityError:
            continue
        # deflate has bits without a meaning, such as those before a stored block
        unnoticed += 1
        assert unpacked(bytes(damaged)) == original
    assert unnoticed <= 2


@pytest.mark.parametrize("position", UNCOVERED)
def test_flips_in_the_header_change_at_least_the_sum(position: int) -> None:
    good = inspect(io.BytesIO(ARCHIVE))
    for bit in range(8):
        damaged = bytearray(ARCHIVE)
        damaged[position] ^= 1 << bit
        try:
            assert inspect(io.BytesIO(damaged)).sha256 != good.sha256
        except IntegrityError:
            continue


def test_pieces_stay_small_however_well_it_was_packed() -> None:
    packed = gzip.compress(bytes(20 * UNPACKED_BYTES + 7))
    sizes = [len(piece) for piece in unpack(io.BytesIO(packed), lambda _: None)]
    assert max(sizes) <= UNPACKED_BYTES
    assert sum(sizes) == 20 * UNPACKED_BYTES + 7
