"""Where git's output goes: counted, hashed and compared with its id, or held in memory up to a limit."""

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


class Limited:
    """Holds what git writes, unless it is more than ``limit`` bytes: then ``over`` is set, and the rest is let go."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._pieces: list[bytes] = []
        self._size = 0

    def write(self, piece: bytes) -> int:
        self._size += len(piece)
        if not self.over:
            self._pieces.append(bytes(piece))
        return len(piece)

    @property
    def over(self) -> bool:
        return self._size > self._limit

    @property
    def data(self) -> bytes:
        return b"".join(self._pieces)
