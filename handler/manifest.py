"""A backup's manifest, the JSON document that is signed beside it, and which of several is the latest. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final, Self

from handler.archive import CIPHERS, CONFIG_END, RFC_3339, Kind, is_bare, parse, read_moment, rfc_3339
from handler.manifestfields import Fields, load, wrong

FORMAT: Final = 1


class Datastore(StrEnum):
    """Where the cluster keeps its objects; ``external`` is none of k0s' own, and is not in the archive."""

    ETCD = "etcd"
    KINE = "kine"
    EXTERNAL = "external"


@dataclass(frozen=True, slots=True, kw_only=True)
class File:
    """A bare file name, its bytes, and their SHA-256 in lower-case hexadecimal."""

    name: str
    size: int
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Cluster:
    """``name`` is the cluster's as in the settings; ``uid`` that of its kube-system namespace, None if unknown."""

    name: str
    uid: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Kdf:
    """How openssl makes key and IV from the password: its own defaults for ``-pbkdf2``, the only ones in use."""

    name: str = "pbkdf2"
    digest: str = "sha256"
    iterations: int = 10_000
    salt_bytes: int = 8


OPENSSL_KDF: Final = Kdf()
_DATASTORES: Final = frozenset(Datastore)
_SHA256: Final = re.compile(r"[0-9a-f]{64}")
_FINGERPRINT: Final = re.compile(r"[0-9A-F]{40}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Versions:
    """Of the programs that took the backup; k0s' is None where it could not be learned."""

    handler: str
    k0sctl: str
    k0s: str | None
    openssl: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """What is told of one backup, format 1. Its JSON has the same keys, and ``format``."""

    branch: str | None
    cluster: Cluster
    taken_at: datetime
    archive: File
    ciphertext: File
    config: File
    accepted: bool
    """False for a backup of another cluster: kept, but never the latest, and no proof for anything."""
    datastore: Datastore
    cipher: str
    kdf: Kdf = OPENSSL_KDF
    versions: Versions
    signer: str
    """The primary fingerprint of the key that signs the manifest: 40 hexadecimal digits in upper case."""

    @property
    def stem(self) -> str:
        parsed = parse(self.archive.name)
        return parsed.stem if parsed else self.archive.name

    @property
    def file_name(self) -> str:
        return f"{self.stem}.json"

    def to_json(self) -> bytes:
        """The document as it is signed: the same bytes for the same manifest."""
        tree = {"format": FORMAT} | asdict(self) | {"taken_at": rfc_3339(self.taken_at)}
        return (json.dumps(tree, indent=2, sort_keys=True, ensure_ascii=False) + "\n").encode()

    @classmethod
    def from_json(cls, document: bytes, *, file_name: str | None = None) -> Self:
        """Read a manifest, refusing whatever is not certain. Keys that format 1 does not know are passed over.

        Args:
            document: the signed bytes.
            file_name: the name it is stored under, which must be that of its backup; None leaves that unasked.

        Raises:
            IntegrityError: the document is no manifest of format 1; the message names the field. Nothing else is
                raised, whatever the bytes are.
        """
        top = load(document)
        if top.number("format") != FORMAT:
            raise wrong("format", f"only {FORMAT} is known; a newer k0sctl-handler may have written it")
        manifest = cls(
            branch=top.text_or_null("branch"),
            cluster=top.shared("cluster", _cluster),
            taken_at=_taken_at(top),
            archive=_file(top, "archive"),
            ciphertext=_file(top, "ciphertext"),
            config=_file(top, "config"),
            accepted=top.flag("accepted"),
            datastore=Datastore(top.one_of("datastore", _DATASTORES)),
            cipher=top.one_of("cipher", CIPHERS),
            kdf=top.shared("kdf", _kdf),
            versions=top.shared("versions", _versions),
            signer=top.hexadecimal("signer", _FINGERPRINT),
        )
        if manifest.kdf != OPENSSL_KDF:
            raise wrong("kdf", "it is not the one that openssl is asked for")
        manifest._check_names(file_name)
        return manifest

    def _check_names(self, file_name: str | None) -> None:
        parsed = parse(self.archive.name)
        if parsed is None or parsed.kind is not Kind.ARCHIVE:
            raise wrong("archive.name", "it is not the name of an archive")
        if self.ciphertext.name != f"{self.archive.name}.enc":
            raise wrong("ciphertext.name", "it is not that of the archive with .enc")
        if self.config.name != f"{parsed.stem}.{CONFIG_END}":
            raise wrong("config.name", "it does not belong to the archive")
        if file_name is not None and file_name != self.file_name:
            raise wrong("archive.name", "it does not belong to the manifest's own file name")


def latest(manifests: Iterable[Manifest]) -> Manifest | None:
    """The accepted backup with the greatest time; None where none is accepted."""
    accepted = [manifest for manifest in manifests if manifest.accepted]
    return max(accepted, key=lambda manifest: (manifest.taken_at, manifest.archive.name), default=None)


def known_uid(manifests: Iterable[Manifest], newest: Manifest | None) -> str | None:
    """The UID of the cluster that a repository belongs to: that of ``newest``, the backup that latest names.

    Where that one could not be learned, it is that of the last accepted backup before it with a UID.
    """
    if newest is None:
        return None
    if newest.cluster.uid is None:
        newest = latest(m for m in manifests if m.cluster.uid is not None and m.taken_at < newest.taken_at)
    return newest.cluster.uid if newest else None


def _taken_at(fields: Fields) -> datetime:
    moment = read_moment(fields.text("taken_at"), RFC_3339)
    if moment is None:
        raise wrong("taken_at", "it is not a time like 2026-11-20T01:02:03Z, in UTC")
    return moment


def _file(top: Fields, key: str) -> File:
    fields = top.fields(key)
    name = fields.text("name")
    if not is_bare(name):
        raise wrong(f"{key}.name", "it is not a bare file name")
    return File(name=name, size=fields.number("size"), sha256=fields.hexadecimal("sha256", _SHA256))


def _cluster(fields: Fields) -> Cluster:
    return Cluster(name=fields.text("name"), uid=fields.text_or_null("uid"))


def _kdf(fields: Fields) -> Kdf:
    return Kdf(
        name=fields.text("name"),
        digest=fields.text("digest"),
        iterations=fields.number("iterations"),
        salt_bytes=fields.number("salt_bytes"),
    )


def _versions(fields: Fields) -> Versions:
    return Versions(
        handler=fields.text("handler"),
        k0sctl=fields.text("k0sctl"),
        k0s=fields.text_or_null("k0s"),
        openssl=fields.text("openssl"),
    )
