"""One pass over a backup archive: its hash, its members, and the verdict."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import BinaryIO, Final, Protocol

from handler.errors import IntegrityError
from handler.manifest import Datastore
from handler.proof import datastore
from handler.proof.gzip_stream import unpack
from handler.proof.tar_members import Member, Tar

CONFIG: Final = "k0s.yaml"
#: k0s.yaml is the one member that is held in memory. Real ones have a few KiB.
LARGEST_CONFIG: Final = 1024 * 1024


class Hasher(Protocol):
    """What of a `hashlib` or `hmac` object is used."""

    def update(self, data: bytes, /) -> object: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Content:
    """What a proven archive holds."""

    size: int
    """Bytes of the archive, as stored (compressed)."""
    sha256: str
    """Of the same bytes, hexadecimal."""
    datastore: Datastore
    members: int
    """Directories and files, duplicates counted."""
    unpacked: int
    """Bytes of all files together."""

    @property
    def restorable(self) -> bool:
        """Whether `k0s restore` brings the cluster's objects back: never, where the datastore is outside of k0s."""
        return self.datastore is not Datastore.EXTERNAL


def inspect(
    stream: BinaryIO, *, on_bytes: Callable[[int], None] = lambda _: None, hasher: Hasher | None = None
) -> Content:
    """Read an archive to its end and say what it holds.

    Memory stays below a few MiB whatever the archive's size; the stream is read once and never sought.

    Args:
        stream: the archive, a file or a pipe, at its start. Errors of its own are passed on.
        on_bytes: told of progress: how many further bytes of the archive were read.
        hasher: updated with the archive's bytes, for a sum other than the SHA-256 that is always made.

    Raises:
        IntegrityError: the archive is no complete and restorable k0s backup; the message names the first cause.
            Damaged gzip data outweighs what was found in the tar before it, of which it is the reason.
    """
    sha256, size = hashlib.sha256(), 0

    def seen(packed: bytes) -> None:
        nonlocal size
        size += len(packed)
        sha256.update(packed)
        if hasher is not None:
            hasher.update(packed)
        on_bytes(len(packed))

    unpacked = unpack(stream, seen)
    found = _Findings()
    try:
        tar = Tar(unpacked)
        for member in tar:
            found.add(member, tar)
    except IntegrityError:
        for _ in unpacked:  # if gzip itself is damaged this raises the better reason; it is empty if gzip raised
            pass
        raise
    return Content(
        size=size, sha256=sha256.hexdigest(), datastore=found.verdict(), members=found.members, unpacked=found.unpacked
    )


@dataclass(slots=True, kw_only=True)
class _Findings:
    """What was met on the way; the verdict comes last because k0s.yaml does."""

    members: int = 0
    unpacked: int = 0
    datastores: list[Datastore] = field(default_factory=list)
    config: bytes | None = None

    def add(self, member: Member, tar: Tar) -> None:
        self.members += 1
        if member.is_directory:
            return
        self.unpacked += member.size
        if member.name in datastore.MEMBERS:
            self._add_datastore(datastore.MEMBERS[member.name], member, tar)
        elif member.name == CONFIG:
            self._add_config(member, tar)

    def _add_datastore(self, kind: Datastore, member: Member, tar: Tar) -> None:
        self.datastores.append(kind)
        if len(self.datastores) > 1:
            names = " and ".join(self.datastores)
            raise IntegrityError(f"the archive holds two datastores ({names}), of which k0s would restore only one")
        check = datastore.check_etcd if kind is Datastore.ETCD else datastore.check_kine
        check(member.size, tar.content())

    def _add_config(self, member: Member, tar: Tar) -> None:
        if self.config is not None:
            raise IntegrityError(f"the archive holds {CONFIG} twice")
        if not 0 < member.size <= LARGEST_CONFIG:
            raise IntegrityError(f"{CONFIG} in the archive cannot be a configuration ({member.size} bytes)")
        self.config = b"".join(bytes(piece) for piece in tar.content())

    def verdict(self) -> Datastore:
        if self.config is None:
            raise IntegrityError(
                f"the archive holds no {CONFIG}",
                details=[f"k0s names it after its startup configuration; a restore needs exactly {CONFIG}"],
            )
        wanted = datastore.expected(self.config)
        self._check_datastore(wanted)
        return wanted

    def _check_datastore(self, wanted: Datastore) -> None:
        held = self.datastores[0] if self.datastores else None
        if wanted is Datastore.EXTERNAL:
            if held:
                raise IntegrityError(f"the archive holds {held}, but its {CONFIG} asks for an external datastore")
        elif held is None:
            raise IntegrityError(
                f"the archive holds no datastore; its {CONFIG} asks for {wanted}",
                details=["k0s ends such a backup with exit code 0; a restore from it would fail or lose everything"],
            )
        elif held is not wanted:
            raise IntegrityError(
                f"the archive holds {held}, but its {CONFIG} asks for {wanted}",
                details=["k0s would restore it with exit code 0 into a new, empty cluster"],
            )
