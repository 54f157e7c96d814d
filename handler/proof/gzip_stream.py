"""gzip, unpacked in a stream, and trusted only when it ended as RFC 1952 demands.

The standard library's `gzip` module is slower, hides the compressed bytes that are to be hashed in the same
pass, and reads on into a second member or over zero bytes behind the first: k0s writes exactly one member, so
that anything behind it means a file that was not replaced but overwritten.

Format: https://www.rfc-editor.org/rfc/rfc1952
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from typing import BinaryIO, Final

from handler.errors import IntegrityError

#: Compressed bytes read at once. Measured: slower below 64 KiB, nothing gained above 128 KiB.
READ_BYTES: Final = 256 * 1024
#: Unpacked bytes held at once: deflate packs up to 1000:1, so that without a bound one read could fill the memory.
UNPACKED_BYTES: Final = 512 * 1024
#: zlib's window bits for "a gzip header and trailer, CRC-32 and length checked by zlib".
_GZIP_WINDOW: Final = 16 + zlib.MAX_WBITS
#: What zlib's own words mean here, https://github.com/madler/zlib/blob/master/inflate.c
_MEANING: Final = {
    "incorrect header check": "the archive is not gzip data",
    "incorrect data check": "the archive is damaged: the CRC-32 in gzip's trailer is not that of the data",
    "incorrect length check": "the archive is damaged: the length in gzip's trailer is not that of the data",
}
_RETAKE: Final = "take the backup again; this file cannot be restored as it is"


def unpack(stream: BinaryIO, seen: Callable[[bytes], None]) -> Iterator[bytes]:
    """Yield the unpacked bytes of a stream that holds one gzip member and nothing else.

    Args:
        stream: the archive; a pipe will do, nothing is sought.
        seen: called with every piece of compressed bytes as it is read.

    Raises:
        IntegrityError: the stream is empty, no gzip, damaged, cut, or goes on behind gzip's end. It is raised
            where the damage is met, after the bytes before it were yielded; only a full pass is a proof.
    """
    inflate = zlib.decompressobj(_GZIP_WINDOW)
    size = 0
    while not inflate.eof:
        packed = inflate.unconsumed_tail
        if not packed:
            packed = stream.read(READ_BYTES)
            if not packed:
                raise _cut(size)
            size += len(packed)
            seen(packed)
        try:
            unpacked = inflate.decompress(packed, UNPACKED_BYTES)
        except zlib.error as e:
            raise _damaged(e) from e
        if unpacked:
            yield unpacked
    if inflate.unused_data or stream.read(1):
        raise IntegrityError(
            "the archive goes on behind the end of its gzip data",
            details=["k0s writes one gzip member: what follows is another file's rest, or was appended"],
            resolution=_RETAKE,
        )


def _cut(size: int) -> IntegrityError:
    if not size:
        return IntegrityError(
            "the archive is empty (0 bytes)",
            details=["a dry run, or a controller whose disk is full, leaves such a file"],
            resolution="look at the free space of the controller's /tmp, then take the backup again",
        )
    return IntegrityError(f"the archive is cut: it ends after {size} bytes within its gzip data", resolution=_RETAKE)


def _damaged(error: zlib.error) -> IntegrityError:
    words = str(error).rpartition(": ")[2]
    message = _MEANING.get(words, f"the archive is damaged: its gzip data cannot be unpacked ({words})")
    return IntegrityError(message, resolution=_RETAKE)
