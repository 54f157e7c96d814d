"""The datastore in an archive: which one k0s.yaml asks for, and whether the member is whole.

k0s restores what the archived k0s.yaml says, not what the archive holds: a kine archive with an etcd
configuration makes a new, empty cluster with exit 0.
https://github.com/k0sproject/k0s/blob/main/pkg/backup/manager_unix.go (discoverSteps)
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Final

from handler.errors import IntegrityError
from handler.manifest import Datastore

#: The member each datastore is backed up as.
MEMBERS: Final = {"etcd-snapshot.db": Datastore.ETCD, "kine-state-backup.db": Datastore.KINE}

_SHA256_BYTES: Final = hashlib.sha256().digest_size
#: bbolt files are whole pages, and no page is smaller; etcdutl tells by it whether a snapshot has its sum.
_ETCD_ALIGNMENT: Final = 512
_SQLITE_HEADER_BYTES: Final = 100
_SQLITE_MAGIC: Final = b"SQLite format 3\0"
_SQLITE_PAGE_SIZES: Final = frozenset(1 << bit for bit in range(9, 17))
#: The ways YAML writes "nothing"; the loader used here leaves every scalar a text.
_NOTHING: Final = frozenset({"", "~", "null", "Null", "NULL"})


def check_etcd(size: int, pieces: Iterable[memoryview]) -> None:
    """Prove an etcd snapshot: a bbolt file with the SHA-256 of itself behind it.

    The same two tests as in ``etcdutl snapshot restore``,
    https://github.com/etcd-io/etcd/blob/main/etcdutl/snapshot/v3_snapshot.go (hasChecksum, copyAndVerifyDB).

    Args:
        size: the member's size in bytes.
        pieces: its content.

    Raises:
        IntegrityError: the size cannot be a snapshot's, or the sum is not that of the data.
    """
    if size <= _SHA256_BYTES or size % _ETCD_ALIGNMENT != _SHA256_BYTES:
        raise IntegrityError(f"the etcd snapshot in the archive is cut or carries no checksum ({size} bytes)")
    data, remaining = hashlib.sha256(), size - _SHA256_BYTES
    stored = b""
    for piece in pieces:
        data.update(piece[:remaining])
        stored += piece[remaining:]
        remaining -= min(remaining, len(piece))
    if stored != data.digest():
        raise IntegrityError("the etcd snapshot in the archive is damaged: its SHA-256 is not that of its data")


def check_kine(size: int, pieces: Iterable[memoryview]) -> None:
    """Prove the frame of an SQLite database: its header, and a size of exactly the pages it counts.

    https://www.sqlite.org/fileformat2.html#the_database_header

    Args:
        size: the member's size in bytes.
        pieces: its content.

    Raises:
        IntegrityError: no SQLite database, or one of another length than its header says.
    """
    header = b""
    for piece in pieces:
        if len(header) < _SQLITE_HEADER_BYTES:
            header += piece[: _SQLITE_HEADER_BYTES - len(header)]
    if len(header) < _SQLITE_HEADER_BYTES or not header.startswith(_SQLITE_MAGIC):
        raise IntegrityError("the kine database in the archive is no SQLite 3 database")
    page_size = int.from_bytes(header[16:18], "big")
    page_size = 65536 if page_size == 1 else page_size  # the one size that two bytes cannot hold
    pages = int.from_bytes(header[28:32], "big")
    if page_size not in _SQLITE_PAGE_SIZES or not pages or size != page_size * pages:
        raise IntegrityError(
            f"the kine database in the archive is damaged: {size} bytes, but its header counts "
            f"{pages} pages of {page_size} bytes"
        )


def expected(config: bytes) -> Datastore:
    """The datastore that an archived k0s.yaml asks for; etcd where it names none, as in k0s.

    Raises:
        IntegrityError: the configuration cannot be read, or names a storage type that k0s does not have.
    """
    storage = _section(_section(_load(config), "spec"), "storage")
    match _scalar(storage, "type") or "etcd":
        case "etcd":
            external = _section(storage, "etcd").get("externalCluster")
            return Datastore.ETCD if _is_nothing(external) else Datastore.EXTERNAL
        case "kine":
            source = _scalar(_section(storage, "kine"), "dataSource")
            return Datastore.KINE if not source or _is_sqlite_file(source) else Datastore.EXTERNAL
        case other:
            raise IntegrityError(f"k0s.yaml in the archive names a storage type that k0s does not have: {other[:80]!r}")


def _is_sqlite_file(source: str) -> bool:
    """Whether k0s would back this kine data source up, https://docs.k0sproject.io/stable/backup/."""
    backend, infix, name = source.partition("://")
    return bool(infix) and backend == "sqlite" and name.partition("?")[0] not in ("", ":memory:", "file::memory:")


#: A YAML mapping whose scalars are all texts; values are narrowed where they are used.
Tree = dict[object, object]


def _load(config: bytes) -> Tree:
    import yaml  # noqa: PLC0415 - its import costs more than the rest of this package

    try:
        # BaseLoader: no value is made into a date or a number, so that nothing but the syntax can be wrong.
        # Of several documents k0s reads the first, too.
        tree = next(iter(yaml.load_all(config, Loader=yaml.BaseLoader)), None)
    except (yaml.YAMLError, ValueError, RecursionError) as e:
        raise IntegrityError("k0s.yaml in the archive cannot be read as YAML") from e
    if _is_nothing(tree):
        return {}
    if not isinstance(tree, dict):
        raise IntegrityError("k0s.yaml in the archive is no mapping")
    return tree


def _is_nothing(value: object) -> bool:
    return value is None or (isinstance(value, str) and value in _NOTHING)


def _section(tree: Tree, key: str) -> Tree:
    value = tree.get(key)
    if isinstance(value, dict):
        return value
    if _is_nothing(value):
        return {}
    raise IntegrityError(f"k0s.yaml in the archive cannot be read: {key} is no mapping")


def _scalar(tree: Tree, key: str) -> str:
    value = tree.get(key)
    if _is_nothing(value):
        return ""
    if not isinstance(value, str):
        raise IntegrityError(f"k0s.yaml in the archive cannot be read: {key} is no text")
    return value
