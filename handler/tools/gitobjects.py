"""Git's objects as bytes, read strictly: pure. Formats: git-scm.com/docs/gitformat-signature, git-cat-file."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal, NamedTuple

from handler.errors import IntegrityError

Kind = Literal["commit", "tree", "blob"]

SYMLINK = "120000"
FILE = "100644"
DIRECTORY = "40000"
_SIGNATURE_HEADERS = (b"gpgsig ", b"gpgsig-sha256 ")


class Entry(NamedTuple):
    """One name in a tree: ``path`` from its top, ``mode`` as git writes it, ``oid`` the object's id."""

    path: str
    mode: str
    oid: str

    @property
    def name(self) -> str:
        return self.path.rpartition("/")[2]


@dataclass(frozen=True, kw_only=True)
class Commit:
    """A commit taken apart: ``payload`` is what ``signature`` must fit; None where there is no signature."""

    oid: str
    tree: str
    parents: tuple[str, ...]
    committed_at: datetime
    payload: bytes
    signature: bytes | None


def object_hash(oid: str) -> str:
    """The hash function that ids of this length come from."""
    return "sha256" if len(oid) == 64 else "sha1"  # noqa: PLR2004


def check_oid(oid: str, kind: str, data: bytes) -> None:
    """git does not compare what it reads from a pack with the id it was asked for; this does.

    Raises:
        IntegrityError: the object is not the one that was asked for.
    """
    found = hashlib.new(object_hash(oid), b"%s %d\0" % (kind.encode(), len(data)), usedforsecurity=False)
    found.update(data)
    if found.hexdigest() != oid:
        raise damaged(oid, kind)


def damaged(oid: str, kind: str, reason: str = "its content does not fit its id") -> IntegrityError:
    return IntegrityError(
        f"the {kind} {oid} in the backup repository is damaged: {reason}",
        resolution="fetch the repository again from its host; compare with another clone",
    )


def parse_commit(oid: str, data: bytes) -> Commit:
    """Split a raw commit into signed payload and signature.

    Raises:
        IntegrityError: no tree, no committer, or more than one signature.
    """
    head, separator, message = data.partition(b"\n\n")
    payload: list[bytes] = []
    signatures: list[list[bytes]] = []
    target = payload
    for line in head.split(b"\n"):
        if line.startswith(_SIGNATURE_HEADERS):
            signatures.append([])
            target = signatures[-1]
            line = line.partition(b" ")[2]  # noqa: PLW2901
        elif not line.startswith(b" "):
            target = payload
        elif target is not payload:
            line = line[1:]  # noqa: PLW2901
        target.append(line)
    if len(signatures) > 1:
        raise IntegrityError(f"the commit {oid} carries {len(signatures)} signatures, exactly one is allowed")
    headers = [line.decode("utf-8", "replace") for line in payload]
    trees = [line.removeprefix("tree ") for line in headers if line.startswith("tree ")]
    committers = [line for line in headers if line.startswith("committer ")]
    if len(trees) != 1 or len(committers) != 1:
        raise damaged(oid, "commit", "it has no single tree and committer")
    return Commit(
        oid=oid,
        tree=trees[0],
        parents=tuple(line.removeprefix("parent ") for line in headers if line.startswith("parent ")),
        committed_at=_time(oid, committers[0]),
        payload=b"\n".join(payload) + separator + message,
        signature=b"\n".join(signatures[0]) + b"\n" if signatures else None,
    )


def parse_batch(data: bytes) -> Iterator[tuple[str, str, bytes]]:
    """Id, kind and content of each object that ``git cat-file --batch`` printed, compared with its id.

    Raises:
        IntegrityError: one is missing, or is not what its id says.
    """
    position = 0
    while position < len(data):
        end = data.find(b"\n", position)
        oid, _, rest = data[position:end].decode("ascii", "replace").partition(" ")
        kind, _, size = rest.partition(" ")
        if not size:
            raise damaged(oid, "object", "it is missing")
        content = data[end + 1 : end + 1 + int(size)]
        check_oid(oid, kind, content)
        yield oid, kind, content
        position = end + 2 + int(size)


def parents_in(data: bytes) -> dict[str, tuple[str, ...]]:
    """Parents of the commits that ``git cat-file --batch`` printed; raises as `parse_batch` does."""
    parents: dict[str, tuple[str, ...]] = {}
    for oid, kind, content in parse_batch(data):
        if kind != "commit":
            raise damaged(oid, "commit", f"it is a {kind}")
        headers = content.partition(b"\n\n")[0].split(b"\n")
        parents[oid] = tuple(line[7:].decode("ascii", "replace") for line in headers if line.startswith(b"parent "))
    return parents


def _time(oid: str, committer: str) -> datetime:
    try:
        return datetime.fromtimestamp(int(committer.rsplit(" ", 2)[1]), UTC)
    except (ValueError, IndexError, OverflowError):
        raise damaged(oid, "commit", "its date cannot be read") from None


def parse_tree(oid: str, data: bytes, prefix: str = "") -> tuple[Entry, ...]:
    """The entries of one tree; names come with ``prefix``.

    Raises:
        IntegrityError: it cannot be parsed, or has a name that leaves the tree.
    """
    width = len(oid) // 2
    entries: list[Entry] = []
    position = 0
    while position < len(data):
        end = data.find(b"\0", position)
        mode, _, name = data[position:end].partition(b" ")
        position = end + 1 + width
        text = name.decode("utf-8", "surrogateescape")
        if end < 0 or position > len(data) or not text or "/" in text or text in {".", "..", ".git"}:
            raise damaged(oid, "tree", "an entry cannot be read")
        entries.append(
            Entry(path=prefix + text, mode=mode.decode("ascii", "replace"), oid=data[end + 1 : position].hex())
        )
    return tuple(entries)
