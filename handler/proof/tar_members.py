"""tar members out of a stream, as strict as a proof must be.

The standard library's `tarfile` takes a damaged header behind the first member, and a missing end, for the end
of the archive (`TarFile.next` swallows both), which is the very damage that is to be found here. Its stream mode
also copies every byte several times.

Formats: ustar and pax, https://pubs.opengroup.org/onlinepubs/9799919799/utilities/pax.html#tag_20_94_13_06;
GNU long names, https://www.gnu.org/software/tar/manual/html_node/Standard.html. k0s writes with Go's archive/tar
(ustar where a name and its numbers fit, else pax) and extracts directories and regular files only,
https://github.com/k0sproject/k0s/blob/main/internal/pkg/archive/archive.go
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from handler.errors import IntegrityError

BLOCK: Final = 512
_ZERO_BLOCK: Final = bytes(BLOCK)
#: Go's archive/tar refuses longer ones too; a name is no reason to fill the memory.
LONGEST_EXTENSION: Final = 1024 * 1024
_CHECKSUM: Final = slice(148, 156)
#: Where base-256 numbers begin: the first bit marks them, the second is their sign.
_BASE_256, _NEGATIVE = 0x80, 0x40
_REGULAR, _REGULAR_V7, _DIRECTORY = b"0", b"\0", b"5"
_GNU_LONG_NAME, _GNU_LONG_LINK, _PAX = b"L", b"K", b"x"
_OTHER_TYPES: Final = {
    b"1": "a hard link",
    b"2": "a symbolic link",
    b"3": "a character device",
    b"4": "a block device",
    b"6": "a named pipe",
    b"S": "a sparse file",
    b"g": "a global pax header",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """A directory or a regular file; ``name`` is relative, without ``.`` parts, ``size`` is in bytes."""

    name: str
    size: int
    is_directory: bool


class Tar:
    """The members of one tar stream, in their order.

    Iterate over the object; between two steps `content` gives the bytes of the current member, and what is not
    read of it is skipped. When the iteration ends, the end mark was seen and nothing but zeros followed it.

    Raises:
        IntegrityError: while iterating, for a cut or damaged tar, an unsafe name, or a member that is neither
            a directory nor a regular file.
    """

    def __init__(self, pieces: Iterable[bytes]) -> None:
        self._pieces = iter(pieces)
        self._view = memoryview(b"")
        self._left = 0  # bytes of the current member that were not read yet
        self._padding = 0  # bytes behind it, up to the next block

    def __iter__(self) -> Iterator[Member]:
        while True:
            header = self._next_header()
            if header is None:
                return
            yield self._member(header)

    def content(self) -> Iterator[memoryview]:
        """The current member's bytes in pieces, each valid until the next one is asked for."""
        while self._left:
            piece = self._take_some(self._left)
            if not piece:
                raise _cut_in("a member")
            self._left -= len(piece)
            yield piece

    def _member(self, header: bytes) -> Member:
        long_name: bytes | None = None
        pax: dict[bytes, bytes] = {}
        while (kind := header[156:157]) in (_GNU_LONG_NAME, _GNU_LONG_LINK, _PAX):
            extension = self._extension(header)
            if kind == _PAX:
                pax = _pax_records(extension)
            elif kind == _GNU_LONG_NAME:
                long_name = extension.partition(b"\0")[0]
            following = self._next_header()
            if following is None:
                raise IntegrityError("the archive's tar ends behind a long name whose member is missing")
            header = following
        # a pax path outweighs the other two, as in Go and in GNU tar; an empty record means "none"
        raw_name = pax.get(b"path") or long_name or _short_name(header)
        name = _safe_name(raw_name)
        size = _pax_size(pax[b"size"]) if pax.get(b"size") else _number(header[124:136])
        is_directory = kind == _DIRECTORY or (kind == _REGULAR_V7 and raw_name.endswith(b"/"))
        _check_kind(kind, name, pax, size if is_directory else 0)
        self._begin(size)
        return Member(name=name, size=size, is_directory=is_directory)

    def _extension(self, header: bytes) -> bytes:
        size = _number(header[124:136])
        if size > LONGEST_EXTENSION:
            raise IntegrityError(f"the archive's tar holds a name record of {size} bytes")
        self._begin(size)
        return b"".join(bytes(piece) for piece in self.content())

    def _begin(self, size: int) -> None:
        self._left = size
        self._padding = -size % BLOCK

    def _next_header(self) -> bytes | None:
        """The next header block, None at a correct end of the archive."""
        for _ in self.content():
            pass
        if self._padding:
            self._block(self._padding)
            self._padding = 0
        header = self._block(BLOCK)
        if header != _ZERO_BLOCK:
            _check_header(header)
            return header
        if self._block(BLOCK) != _ZERO_BLOCK:
            raise IntegrityError("the archive's tar is damaged: its end mark is half of one")
        self._expect_only_zeros()
        return None

    def _expect_only_zeros(self) -> None:
        # tar programs fill up to a record of 10 KiB; the pieces are read to the end, so that gzip's trailer is met
        while piece := self._take_some(BLOCK * 2048):
            if bytes(piece).count(0) != len(piece):
                raise IntegrityError("the archive goes on behind the end of its tar")

    def _block(self, size: int) -> bytes:
        """Exactly ``size`` bytes, at most a block."""
        if len(self._view) >= size:
            return bytes(self._take_some(size))
        block = b""
        while len(block) < size:
            piece = self._take_some(size - len(block))
            if not piece:
                raise _cut_in("its end mark" if not block else "a header")
            block += piece
        return block

    def _take_some(self, most: int) -> memoryview:
        """Up to ``most`` bytes without a copy; none only at the end."""
        while not self._view:
            piece = next(self._pieces, None)
            if piece is None:
                return self._view
            self._view = memoryview(piece)
        piece_view = self._view[:most]
        self._view = self._view[most:]
        return piece_view


def _cut_in(place: str) -> IntegrityError:
    if place == "its end mark":
        return IntegrityError("the archive's tar is cut: it has no end mark (two zero blocks)")
    return IntegrityError(f"the archive's tar is cut: it ends within {place}")


def _check_header(header: bytes) -> None:
    stored = header[_CHECKSUM]
    # the checksum counts its own field as spaces
    computed = sum(header) - sum(stored) + len(stored) * ord(" ")
    if _number(stored) != computed:
        raise IntegrityError("the archive's tar is damaged: a header's checksum is wrong")


def _number(field: bytes) -> int:
    """A header's number: octal digits, or base 256 for what octal has no room for."""
    if field[0] & _BASE_256:
        if field[0] & _NEGATIVE:
            raise IntegrityError("the archive's tar is damaged: a negative number in a header")
        return int.from_bytes(bytes([field[0] & ~_BASE_256]) + field[1:], "big")
    digits = field.strip(b" \0")
    if digits.strip(b"01234567"):
        raise IntegrityError("the archive's tar is damaged: a number in a header is not octal")
    return int(digits or b"0", 8)


def _short_name(header: bytes) -> bytes:
    name = header[:100].partition(b"\0")[0]
    if header[257:263] == b"ustar\0":  # GNU's own "ustar  " keeps other things where ustar has the prefix
        prefix = header[345:500].partition(b"\0")[0]
        return prefix + b"/" + name if prefix else name
    return name


def _pax_records(data: bytes) -> dict[bytes, bytes]:
    """The records ``<length> <key>=<value>\\n`` of an extended header, the length counting the whole record."""
    records: dict[bytes, bytes] = {}
    position = 0
    while position < len(data):
        length_text, _, _ = data[position : position + 12].partition(b" ")
        length = int(length_text) if length_text.isdigit() else 0
        record = data[position : position + length]
        key, equals, value = record[len(length_text) + 1 : -1].partition(b"=")
        if len(record) != length or not record.endswith(b"\n") or not equals or not key:
            raise IntegrityError("the archive's tar is damaged: a pax record cannot be read")
        records[key] = value
        position += length
    return records


def _pax_size(text: bytes) -> int:
    if not text.isdigit() or len(text) > 19:  # noqa: PLR2004 - the digits of 2**63
        raise IntegrityError("the archive's tar is damaged: a pax size is not a number")
    return int(text)


def _check_kind(kind: bytes, name: str, pax: dict[bytes, bytes], directory_size: int) -> None:
    what = ""
    if kind not in (_REGULAR, _REGULAR_V7, _DIRECTORY):
        what = _OTHER_TYPES.get(kind, f"of the unknown type {kind!r}")
    elif any(key.startswith(b"GNU.sparse.") for key in pax):
        what = "a sparse file"
    elif directory_size:
        what = "a directory with content"
    if what:
        raise IntegrityError(
            f"the archive holds a member that k0s does not write: {name[:200]!r} is {what}",
            details=["k0s extracts directories and regular files only"],
        )


def _safe_name(raw: bytes) -> str:
    """The name without ``.`` parts.

    Raises:
        IntegrityError: the name is absolute, empty, or climbs, so that it could leave the place it is extracted to.
    """
    name = raw.decode("utf-8", "surrogateescape")
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if not parts or name.startswith("/") or ".." in parts or "\0" in name:
        raise IntegrityError(f"the archive holds a member with an unsafe name: {name[:200]!r}")
    return "/".join(parts)
