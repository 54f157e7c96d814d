"""Where a streamed blob goes: counted, hashed, and compared with its id."""

from __future__ import annotations

import hashlib

from handler.digest import Digest, Meter
from handler.tools.gitobjects import damaged, object_hash


class Sink:
    """What git's output is written to; `check` compares it with the blob's id."""

    def __init__(self, oid: str, size: int, meter: Meter) -> None:
        self._oid = oid
        self._hash = hashlib.new(object_hash(oid), b"blob %d\0" % size, usedforsecurity=False)
        self._meter = meter

    def write(self, piece: bytes) -> int:
        self._hash.update(piece)
        self._meter.take(piece)
        return len(piece)

    def check(self) -> None:
        if self._hash.hexdigest() != self._oid:
            raise damaged(self._oid, "blob")

    @property
    def digest(self) -> Digest:
        return self._meter.digest
