"""The chain of trust: from a commit that the cluster's key signed to the bytes of one archive.

    HEAD's signature → its tree → a manifest's own signature → size and SHA-256 of the ciphertext → decryption
    → SHA-256 of the plaintext

A `Repository` exists only for a commit whose signature was checked, a `Verified` only for a backup whose
ciphertext was, and only a `Verified` can be decrypted. Everything is read from the objects of that commit: a
file that was changed on disk is simply not what is read.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import IO, Final

from handler.archive import check_not_future, matches
from handler.digest import digest_of
from handler.errors import ConfigurationError, IntegrityError, from_os_error
from handler.manifest import Manifest
from handler.secret import Secret
from handler.stored import Stored, holds_backups, stored_in
from handler.tools.gitlocated import Located
from handler.tools.gitobjects import SYMLINK, Commit, Entry
from handler.tools.gitstore import Store
from handler.tools.gpg import Gpg
from handler.tools.openssl import usable_password
from handler.tools.signature import require_signer
from handler.verified import Verified, require_same

SEALED: Final = "secret.gpg"


class NoUsableLatest(IntegrityError):
    """There are backups, but nothing says which one is the latest."""


_KEPT: Final = "compare the branch with another clone; an older signed commit can be checked out and used"


@dataclass(frozen=True, kw_only=True)
class Repository:
    """A commit whose signature was checked, and what is in it.

    Attributes:
        unsigned: the commit is trusted only because its id was named in K0SCTL_ACCEPT_COMMIT.
        cluster: the cluster's name, which manifests must bear.
    """

    located: Located
    store: Store
    gpg: Gpg
    commit: Commit
    unsigned: bool
    cluster: str
    entries: tuple[Entry, ...] = field(repr=False)

    @classmethod
    def trust(cls, located: Located, store: Store, gpg: Gpg, *, cluster: str, accept_commit: str | None) -> Repository:
        """Check HEAD's signature.

        Raises:
            IntegrityError: HEAD is not signed by exactly the cluster's key.
        """
        if located.head is None:
            raise AssertionError("an unborn branch has nothing to trust")
        commit = store.commit(located.head)
        what = f"the newest commit {commit.oid} in {located.shown}"
        if commit.signature is None:
            if accept_commit != commit.oid:
                raise IntegrityError(
                    f"{what} is not signed",
                    details=(f"expected: a signature by {gpg.key.fingerprint}",),
                    resolution="look at who made this commit; if you trust all that is in it, run once with "
                    f"K0SCTL_ACCEPT_COMMIT={commit.oid}",
                )
        else:
            gpg.require_signed(commit.payload, commit.signature, what)
        return cls(
            located=located,
            store=store,
            gpg=gpg,
            commit=commit,
            unsigned=commit.signature is None,
            cluster=cluster,
            entries=store.tree(commit.tree),
        )

    def entry(self, path: str) -> Entry | None:
        return next((entry for entry in self.entries if entry.path == path), None)

    def backups(self) -> tuple[Stored, ...]:
        """All backups in the commit, of any prefix, legacy and archived ones too, newest name first."""
        return self._backups

    @cached_property
    def _backups(self) -> tuple[Stored, ...]:
        return stored_in(self.entries)

    def latest(self, prefix: str) -> Stored | None:
        """The backup that the symlink ``latest`` names; None where there is no backup at all.

        Raises:
            NoUsableLatest: there are backups, but no usable ``latest``: never to be taken for "no backup".
        """
        backups = self.backups()
        if not holds_backups(self.entries):
            return None
        link = self.entry(f"{prefix}_latest")
        if link is None or link.mode != SYMLINK:
            raise self._no_latest(f"there is no symlink {prefix}_latest", backups)
        target = self.store.blob(link.oid).decode("utf-8", "replace")
        found = [stored for stored in backups if stored.ciphertext.name == target and not stored.directory]
        if not found or not found[0].has_prefix(prefix):
            raise self._no_latest(f"{prefix}_latest points to {target[:100]!a}, which is no backup here", backups)
        manifest = self._signed_manifest(found[0])
        if manifest and not manifest.accepted:
            raise self._no_latest(f"{prefix}_latest points to {target}, which is of another cluster", backups)
        return found[0]

    def _no_latest(self, why: str, backups: tuple[Stored, ...]) -> NoUsableLatest:
        names = ", ".join(stored.path for stored in backups[:3]) or "none"
        return NoUsableLatest(
            f"{self.located.shown} holds {len(backups)} backup(s) but no usable latest: {why}",
            details=(f"newest by name: {names}",),
            resolution=f"name one, such as K0SCTL_BACKUP={backups[0].path}, or take a new backup" if backups else _KEPT,
        )

    def choose(self, query: str, prefix: str) -> Stored | None:
        """The backup a user asks for; ``latest`` is the usual answer, and may be None (`latest`).

        Raises:
            ConfigurationError: there is no such backup, or several.
        """
        if query == "latest":
            return self.latest(prefix)
        found = [stored for stored in self.backups() if matches(query, stored.stem, stored.directory)]
        if len(found) == 1:
            return found[0]
        names = [stored.path for stored in found or self.backups()]
        raise ConfigurationError(
            f"{'no backup' if not found else f'{len(found)} backups'} named {query} in {self.located.shown}",
            details=("there is: " + ", ".join(names[:5]) if names else "there is none at all",),
            resolution="set K0SCTL_BACKUP to one of these names",
        )

    def manifest(self, stored: Stored, *, now: datetime) -> Manifest | None:
        """The manifest of a backup, its signature and its claims checked; None for a legacy backup.

        Raises:
            IntegrityError: it is missing, not signed by the cluster's key, or tells of something else.
        """
        manifest = self._signed_manifest(stored)
        if manifest:
            check_not_future(manifest.taken_at, now)
        return manifest

    def _signed_manifest(self, stored: Stored) -> Manifest | None:
        if stored.legacy:
            return None
        if stored.manifest is None or stored.signature is None:
            raise IntegrityError(f"{stored.path} has no signed manifest", resolution=_KEPT)
        document = self.store.blob(stored.manifest.oid)
        what = f"the manifest {stored.manifest.path}"
        self.gpg.require_signed(document, self.store.blob(stored.signature.oid), what)
        manifest = Manifest.from_json(document, file_name=stored.manifest.name)
        self.require_ours(stored, manifest)
        return manifest

    def require_ours(self, stored: Stored, manifest: Manifest) -> None:
        """Compare what a manifest claims with where it was found.

        Raises:
            IntegrityError: it tells of another cluster, branch, signer or file.
        """
        ours = self.located.branch
        for claim, expected, found in (
            ("cluster", self.cluster, manifest.cluster.name),
            ("branch", ours, manifest.branch if ours is not None else None),
            ("signer", self.gpg.key.fingerprint, manifest.signer),
            ("ciphertext", stored.ciphertext.name, manifest.ciphertext.name),
        ):
            if found != expected and not (claim == "branch" and found is None):
                what = f"the manifest {manifest.file_name}"
                raise IntegrityError(f"{what} is of another {claim}: {found}, not {expected}", resolution=_KEPT)

    def verify(
        self,
        stored: Stored,
        private: Path,
        *,
        legacy_cipher: str,
        now: datetime,
        progress: Callable[[int], None] = lambda _: None,
    ) -> Verified:
        """Prove a stored backup and keep a private copy of its ciphertext in ``private``.

        Raises:
            IntegrityError: any link of the chain is missing or does not hold.
        """
        copy = private / stored.ciphertext.name
        try:
            with copy.open("wb") as file:
                copy.chmod(0o600)
                manifest = self.prove_ciphertext(stored, file, now=now, progress=progress)
        except OSError as error:
            raise from_os_error(error, f"copying {stored.ciphertext.path}") from error
        except IntegrityError:
            copy.unlink()
            raise
        return Verified(
            stored=stored, manifest=manifest, ciphertext=copy, cipher=manifest.cipher if manifest else legacy_cipher
        )

    def prove_ciphertext(
        self,
        stored: Stored,
        target: IO[bytes] | None,
        *,
        now: datetime,
        progress: Callable[[int], None] = lambda _: None,
    ) -> Manifest | None:
        """Check manifest and ciphertext, which is written to ``target`` on the way; returns the manifest, if any.

        Raises:
            IntegrityError: any link of the chain is missing or does not hold.
        """
        if stored.ciphertext.mode not in {"100644", "100755"}:
            raise IntegrityError(f"{stored.ciphertext.path} is not a regular file in the commit", resolution=_KEPT)
        manifest = self.manifest(stored, now=now)
        digest = self.store.copy_blob(stored.ciphertext.oid, target, progress)
        if manifest:
            require_same(stored.ciphertext.path, digest, manifest.ciphertext, _KEPT)
        return manifest

    def config(self, stored: Stored, manifest: Manifest) -> bytes:
        """The encrypted configuration that belongs to a backup.

        Raises:
            IntegrityError: it is missing, or is not what the manifest says.
        """
        path = f"{stored.directory}/{manifest.config.name}" if stored.directory else manifest.config.name
        entry = self.entry(path)
        if entry is None or entry.mode == SYMLINK:
            raise IntegrityError(f"{path} is missing in {self.located.shown}", resolution=_KEPT)
        content = self.store.blob(entry.oid)
        require_same(path, digest_of(content), manifest.config, _KEPT)
        return content

    def known_uid(self, prefix: str, *, now: datetime) -> str | None:
        """UID of the cluster these backups are of: latest's, else that of the newest accepted one before it.

        Without a usable latest it is that of the newest accepted one of all, so that another prefix or a lost
        symlink does not let another cluster in.
        """
        try:
            latest = self.latest(prefix)
        except NoUsableLatest:
            latest = None
        here = [stored for stored in self.backups() if not stored.directory]
        before = [stored for stored in here if latest is None or stored.age_key < latest.age_key]
        for stored in [latest, *before] if latest else before:
            manifest = self.manifest(stored, now=now)
            if manifest and manifest.accepted and manifest.cluster.uid:
                return manifest.cluster.uid
        return None

    def password(self, directory: str = "") -> Secret:
        """The password of the backups in ``directory``, from a ``secret.gpg`` that the cluster's key signed.

        The original system did not sign it; where all backups are of its layout, HEAD's signature is the proof.

        Raises:
            IntegrityError: it is missing, damaged or not signed by us.
            ConfigurationError: passphrase or key do not open it.
        """
        path = f"{directory}/{SEALED}" if directory else SEALED
        entry = self.entry(path)
        if entry is None or entry.mode == SYMLINK:
            raise IntegrityError(f"{path} is missing in {self.located.shown}", resolution=_KEPT)
        plaintext, signatures = self.gpg.decrypt(self.store.blob(entry.oid), path)
        if signatures or not self._legacy_only(directory):
            require_signer(signatures, self.gpg.key, path)
        return usable_password(plaintext.decode("utf-8", "replace"))

    def _legacy_only(self, directory: str) -> bool:
        here = [stored for stored in self.backups() if stored.directory == directory]
        return (
            bool(here)
            and all(stored.legacy for stored in here)
            and not any(e.name.endswith(".asc") for e in self.entries)
        )
