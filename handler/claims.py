"""What the manifests of a verified commit say of its backups: all of them, read at once.

HEAD's signature covers them. Each manifest's own signature, and the bytes that it speaks of, are proven one by one
(`handler.repository.Repository.verify`).
"""

from __future__ import annotations

from dataclasses import dataclass

from handler.errors import IntegrityError
from handler.manifest import Manifest
from handler.manifestfields import LARGEST_MANIFEST
from handler.repository import Repository
from handler.stored import Stored


@dataclass(frozen=True, kw_only=True)
class Claim:
    """One backup and what is claimed of it.

    Attributes:
        manifest: None for a legacy backup, and where ``problem`` tells why.
        problem: why the manifest cannot be read; empty where it can, or where none is needed.
    """

    stored: Stored
    manifest: Manifest | None
    problem: str = ""

    @property
    def counts(self) -> bool:
        """Whether it may be the latest of this branch: accepted, not put aside, and nothing wrong on paper."""
        accepted = self.manifest.accepted if self.manifest else self.stored.legacy
        return accepted and not self.problem and not self.stored.directory


def claims(repository: Repository) -> tuple[Claim, ...]:
    """Every backup with what its manifest says, the newest first."""
    backups = repository.backups()
    oids = [stored.manifest.oid for stored in backups if stored.manifest and not stored.legacy]
    documents = repository.store.blobs(oids, LARGEST_MANIFEST) if oids else {}
    return tuple(_claim(repository, stored, documents) for stored in backups)


def _claim(repository: Repository, stored: Stored, documents: dict[str, bytes]) -> Claim:
    if stored.legacy:
        return Claim(stored=stored, manifest=None)
    if stored.manifest is None or stored.signature is None:
        return Claim(stored=stored, manifest=None, problem="it has no signed manifest")
    document = documents.get(stored.manifest.oid)
    if document is None:
        return Claim(stored=stored, manifest=None, problem="its manifest is missing, damaged or too large")
    try:
        manifest = Manifest.from_json(document, file_name=stored.manifest.name)
        repository.require_ours(stored, manifest)
    except IntegrityError as error:
        return Claim(stored=stored, manifest=None, problem=error.message)
    return Claim(stored=stored, manifest=manifest)
