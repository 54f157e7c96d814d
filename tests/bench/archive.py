"""A k0s archive of any size, as one with many container images is: hardly compressible."""

from __future__ import annotations

import gzip
import io
import os
import tarfile
from pathlib import Path

REAL = Path(__file__).resolve().parents[1] / "practice" / "data" / "k0s-backup-etcd.tar.gz"


class _Noise(io.RawIOBase):
    """Random bytes, the same MiB over and over: beyond the window of gzip."""

    def __init__(self, size: int) -> None:
        self._left = size
        self._piece = os.urandom(1 << 20)

    def read(self, size: int = -1) -> bytes:
        count = min(self._left, len(self._piece), size if size >= 0 else self._left)
        self._left -= count
        return self._piece[:count]


def write_archive(target: Path, size: int) -> Path:
    """A real archive's members and an image bundle of ``size`` bytes."""
    # stored blocks are what deflate makes of incompressible data; level 0 only makes them faster
    with (
        gzip.open(target, "wb", compresslevel=0) as packed,
        tarfile.open(fileobj=packed, mode="w|") as goal,
        tarfile.open(REAL) as source,
    ):
        for member in source:
            content = source.extractfile(member)
            if member.name.endswith("bundle.tar"):
                member.size = size
                goal.addfile(member, _Noise(size))
            else:
                goal.addfile(member, content)
    return target
