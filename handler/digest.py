"""Size and SHA-256 of what passes through, taken while it passes."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import IO


@dataclass(frozen=True, kw_only=True)
class Digest:
    """Size in bytes, SHA-256 in hex."""

    size: int
    sha256: str


def digest_of(data: bytes) -> Digest:
    return Digest(size=len(data), sha256=hashlib.sha256(data).hexdigest())


class Meter:
    """Writes on what it is given (when there is a target), counts and hashes it, and tells how far it is."""

    def __init__(self, target: IO[bytes] | None, progress: Callable[[int], None]) -> None:
        self._target = target
        self._progress = progress
        self._hash = hashlib.sha256()
        self._size = 0

    def take(self, piece: bytes | memoryview) -> None:
        if self._target is not None:
            self._target.write(piece)
        self._hash.update(piece)
        self._size += len(piece)
        self._progress(self._size)

    @property
    def digest(self) -> Digest:
        return Digest(size=self._size, sha256=self._hash.hexdigest())
