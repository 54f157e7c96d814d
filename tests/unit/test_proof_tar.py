"""The tar reader: what Go's and GNU's tar write is read, whatever else is refused by name."""

from __future__ import annotations

import gzip
import io
import random
import tarfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Literal

import pytest

from handler.errors import IntegrityError
from handler.proof import inspect
from handler.proof.tar_members import BLOCK, Member, Tar

REAL = gzip.decompress((Path(__file__).parents[1] / "practice" / "data" / "k0s-backup-kine.tar.gz").read_bytes())
END = bytes(2 * BLOCK)


def entry(
    name: str, content: bytes = b"", tar_format: Literal[0, 1, 2] = tarfile.PAX_FORMAT, **fields: object
) -> bytes:
    """One member with its headers and padding, without the archive's end."""
    member = tarfile.TarInfo(name)
    member.size = len(content)
    for key, value in fields.items():
        setattr(member, key, value)
    return member.tobuf(tar_format) + content + bytes(-len(content) % BLOCK)


def changed(header: bytes, at: int, new: bytes) -> bytes:
    """A header with other bytes and the checksum that fits them."""
    raw = bytearray(header)
    raw[at : at + len(new)] = new
    raw[148:156] = b" " * 8
    raw[148:156] = b"%06o\0 " % sum(raw[:BLOCK])
    return bytes(raw)


def pieces(data: bytes, size: int) -> Iterator[bytes]:
    return (data[at : at + size] for at in range(0, len(data), size))


def read(data: bytes, size: int = 700) -> list[tuple[str, bytes | None]]:
    tar = Tar(pieces(data, size))
    return [
        (member.name, None if member.is_directory else b"".join(map(bytes, tar.content()))) for member in tar
    ]  # fmt: skip


def refused(data: bytes | Iterable[bytes]) -> str:
    with pytest.raises(IntegrityError) as caught:
        list(Tar([data] if isinstance(data, bytes) else data))
    return caught.value.message


# --- what is good ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 511, 512, 513, 4096, 10**7])
def test_same_members_as_tarfile_whatever_the_pieces(size: int) -> None:
    data = REAL if size > 1 else entry("a", b"x" * 600) + entry("b/", type=tarfile.DIRTYPE) + END
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        wanted = [(m.name, None if m.isdir() else (tar.extractfile(m) or io.BytesIO()).read()) for m in tar]
    assert read(data, size) == wanted


def test_content_that_is_not_read_or_only_in_part_is_skipped() -> None:
    tar = Tar(pieces(entry("a", b"x" * 5000) + entry("b", b"y" * 5000) + entry("c", b"z") + END, 256))
    names = []
    for member in tar:
        names.append(member.name)
        if member.name == "b":
            next(tar.content())
    assert names == ["a", "b", "c"]


@pytest.mark.parametrize("tar_format", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
@pytest.mark.parametrize("length", [99, 100, 101, 155, 200, 250])
def test_long_names(tar_format: Literal[0, 1, 2], length: int) -> None:
    name = "/".join("n" * 24 for _ in range(20))[:length].rstrip("/")
    assert read(entry(name, b"data", tar_format) + END) == [(name, b"data")]


@pytest.mark.parametrize("tar_format", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
@pytest.mark.parametrize("name", ["manifests/" + "ä" * 200, "x/" * 1500 + "end", "manifests/ümläut.yaml"])
def test_names_beyond_ustar(tar_format: Literal[0, 1, 2], name: str) -> None:
    assert read(entry(name, b"1", tar_format) + entry("next", b"2") + END) == [(name, b"1"), ("next", b"2")]


def test_long_link_name_of_gnu_is_passed_over() -> None:
    long_link = entry("././@LongLink", type=b"K", size=3)[:BLOCK]
    assert read(long_link + b"abc" + bytes(BLOCK - 3) + entry("a", b"1") + END) == [("a", b"1")]


def test_dot_parts_are_left_out() -> None:
    assert read(entry("./pki//ca.crt", b"1") + END) == [("pki/ca.crt", b"1")]


def test_old_directory_is_told_by_its_slash() -> None:
    old = changed(entry("pki")[:BLOCK], 0, b"pki/")
    assert list(Tar([changed(old, 156, b"\0") + END])) == [Member(name="pki", size=0, is_directory=True)]


@pytest.mark.parametrize("tar_format", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT], ids=["base 256", "pax"])
def test_sizes_beyond_octal(tar_format: Literal[0, 1, 2]) -> None:
    size = 9 * 2**30
    head = entry("images/big.tar", tar_format=tar_format, size=size)
    chunk = bytes(2**30)

    def parts() -> Iterator[bytes]:
        yield head
        yield from (chunk for _ in range(9))
        yield entry("k0s.yaml", b"1") + END

    assert [(m.name, m.size) for m in Tar(parts())] == [("images/big.tar", size), ("k0s.yaml", 1)]


@pytest.mark.parametrize("zeros", [0, 1, 512, 8192, 2 * 1024 * 1024])
def test_zeros_behind_the_end_are_normal(zeros: int) -> None:
    assert read(entry("a", b"1") + END + bytes(zeros)) == [("a", b"1")]


# --- cuts and damage -------------------------------------------------------------------------------------------

ONE = entry("a", b"x" * 600)


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (b"", "no end mark"),
        (ONE, "no end mark"),
        (ONE + bytes(BLOCK), "no end mark"),
        (ONE + bytes(BLOCK + 100), "ends within a header"),
        (ONE[:100], "ends within a header"),
        (ONE[:BLOCK], "ends within a member"),
        (ONE[: BLOCK + 599], "ends within a member"),
        (ONE[: BLOCK + 601], "ends within a header"),
        (ONE + ONE[:300], "ends within a header"),
        (ONE + bytes(BLOCK) + ONE + END, "end mark is half of one"),
        (ONE + END + ONE, "goes on behind the end of its tar"),
        (ONE + END + bytes(1000) + b"x", "goes on behind the end of its tar"),
        (ONE[:5] + b"!" + ONE[6:] + END, "checksum is wrong"),
        (ONE + ONE[:5] + b"!" + ONE[6:] + END, "checksum is wrong"),
        (ONE[:148] + bytes(8) + ONE[156:] + END, "checksum is wrong"),
        (ONE[:148] + b"99999\0 " + ONE[155:] + END, "not octal"),
        (changed(ONE, 124, b"0000000zz00\0") + END, "not octal"),
        (changed(ONE, 124, b"\xff" * 12) + END, "negative number"),
        (entry("n" * 300)[:BLOCK * 2] + END, "member is missing"),
        (changed(ONE, 156, b"L") + END, "member is missing"),
    ],
)  # fmt: skip
def test_cut_or_damaged_tar(data: bytes, told: str) -> None:
    assert told in refused(data)


@pytest.mark.parametrize(
    "record",
    [
        b"x",
        b"8 path=a\n",
        b"7 path=a\n",
        b"10 path=ab",
        b"-1 path=a\n",
        b"6 path\n",
        b"5 =a\n",
        b"99999999999999 a=b\n",
    ],
)
def test_damaged_pax_record(record: bytes) -> None:
    header = changed(entry("pax", record)[:BLOCK], 156, b"x")
    assert "pax record" in refused(header + record + bytes(BLOCK - len(record)) + ONE + END)


@pytest.mark.parametrize("size", [b"-1", b"1e3", b"9" * 30])
def test_damaged_pax_size(size: bytes) -> None:
    record = b" size=" + size + b"\n"
    record = str(len(record) + 2).encode() + record
    header = changed(entry("pax", record)[:BLOCK], 156, b"x")
    assert "pax size" in refused(header + record + bytes(BLOCK - len(record)) + ONE + END)


def test_endless_name_is_not_read_into_memory() -> None:
    header = changed(entry("././@LongLink", size=2**33, tar_format=tarfile.GNU_FORMAT)[:BLOCK], 156, b"L")
    assert f"name record of {2**33} bytes" in refused(header)


# --- what must not be extracted --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["/etc/passwd", "../k0s.yaml", "pki/../../x", "pki/..", "..", ".", "./", "", "//x", "/"], ids=repr
)
@pytest.mark.parametrize("kind", [tarfile.REGTYPE, tarfile.DIRTYPE])
def test_unsafe_names(name: str, kind: bytes) -> None:
    assert "unsafe name" in refused(changed(entry("", type=kind)[:BLOCK], 0, name.encode()) + END)


@pytest.mark.parametrize("tar_format", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_unsafe_long_name(tar_format: Literal[0, 1, 2]) -> None:
    assert "unsafe name" in refused(entry("x/" * 100 + "../" * 101 + "etc", b"", tar_format) + END)


def test_unsafe_name_is_told_in_a_way_that_cannot_harm_a_terminal() -> None:
    message = refused(entry("../\x1b[2J\udcff" + "a" * 5000) + END)
    assert message.isprintable()
    assert len(message) < 400


@pytest.mark.parametrize(
    ("kind", "told"),
    [
        (tarfile.SYMTYPE, "a symbolic link"),
        (tarfile.LNKTYPE, "a hard link"),
        (tarfile.CHRTYPE, "a character device"),
        (tarfile.BLKTYPE, "a block device"),
        (tarfile.FIFOTYPE, "a named pipe"),
        (tarfile.GNUTYPE_SPARSE, "a sparse file"),
        (tarfile.XGLTYPE, "a global pax header"),
        (b"V", "of the unknown type"),
    ],
)
def test_other_types_than_files_and_directories(kind: bytes, told: str) -> None:
    message = refused(entry("pki/ca.crt", type=kind, linkname="/etc/shadow") + END)
    assert "'pki/ca.crt' is " + told in message


def test_sparse_file_of_pax_and_directory_with_content() -> None:
    assert "a sparse file" in refused(entry("a", b"x", pax_headers={"GNU.sparse.major": "1"}) + END)
    assert "'a' is a directory with content" in refused(changed(ONE, 156, b"5") + END)


# --- in the whole ----------------------------------------------------------------------------------------------


def test_tar_damage_is_found_where_gzip_is_sound() -> None:
    end = len(REAL.rstrip(b"\0"))
    last_block = -(-end // BLOCK) * BLOCK
    for cut, told in ((REAL[:last_block], "no end mark"), (REAL[: last_block - 700], "cut"), (REAL + b"x", "goes on")):
        with pytest.raises(IntegrityError, match=told):
            inspect(io.BytesIO(gzip.compress(cut, 1)))


def test_any_bytes_raise_nothing_but_integrity_errors() -> None:
    chosen = random.Random(7)
    for _ in range(300):
        data = bytearray(REAL[-20480:] if chosen.random() < 0.5 else entry("n" * 150, b"abc") + END)
        for _ in range(chosen.randrange(1, 6)):
            position = chosen.randrange(min(len(data), 4096))
            data[position] = chosen.randrange(256)
        block = chosen.randrange(0, 3) * BLOCK
        data[block : block + BLOCK] = changed(bytes(data[block : block + BLOCK]), 0, b"")
        try:
            read(bytes(data))
        except IntegrityError:
            continue
