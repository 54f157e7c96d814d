"""One signed commit on top of a verified parent, and the working tree that shows it.

The commit exists from one moment to the next, when HEAD moves; whatever fails before leaves the repository as it
was. The new tree is the verified parent's, with exactly this run's files added or replaced.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from handler.digest import Digest
from handler.errors import ConfigurationError, HandlerError, IntegrityError, from_os_error
from handler.opening import Opened
from handler.process import Children
from handler.repository import Repository
from handler.tools.git import Git
from handler.tools.gitlocated import Located
from handler.tools.gitobjects import FILE, SYMLINK, Entry
from handler.tools.gitstore import Identity, Store
from handler.tools.gpg import Gpg
from handler.workspace import locked, write_atomic
from handler.worktree import require_unmoved, staging, writable


@dataclass(frozen=True, kw_only=True)
class Change:
    """What a commit does to its parent's tree.

    Attributes:
        files: path in the tree → its new content: bytes, a staged file together with its digest, or the id of a blob
            that an earlier try has stored and compared.
        links: path → target of a symlink.
        moved_to: a directory below which everything of the parent's tree goes first; None leaves it in place.
    """

    files: Mapping[str, bytes | StagedFile | Blob]
    links: Mapping[str, str]
    moved_to: str | None = None


@dataclass(frozen=True, kw_only=True)
class StagedFile:
    """A finished file in the staging directory, and what its content must be."""

    path: Path
    digest: Digest


@dataclass(frozen=True)
class Blob:
    """A blob that is in the repository already."""

    oid: str


@dataclass(frozen=True, kw_only=True)
class Target:
    """The repository that is written, on top of ``parent``: a verified commit, None on an unborn branch.

    The parent is HEAD, or the newer tip of a remote branch that this run's own HEAD is made again on.
    """

    located: Located
    store: Store
    parent: Repository | None
    staging: Path


@contextlib.contextmanager
def prepared(git: Git, opened: Opened, parent: Repository | None, backup: Path) -> Iterator[Target]:
    """Make ``backup/`` the working tree to write, locked: used in place, fast-forwarded, or cloned from restore/.

    Raises:
        ConfigurationError: it cannot be written.
        Conflict: another run works in it, or it has changes that a fast-forward would touch.
    """
    try:
        backup.mkdir(parents=True, exist_ok=True)
        with locked(backup):
            located = writable(git, opened, parent, backup)
            with staging(located) as private:
                store = Store(git, located, incoming=private / "objects")
                yield Target(located=located, store=store, parent=parent, staging=private)
    except OSError as error:
        raise from_os_error(error, f"writing {backup}") from error


def publish(
    target: Target,
    change: Change,
    *,
    git: Git,
    gpg: Gpg,
    children: Children,
    identity: Identity,
    message: str,
    at: datetime,
) -> tuple[str, str | None]:
    """Write the commit, prove it, and move HEAD to it.

    Returns:
        The commit's id, and why the working tree does not show it (None where it does).

    Raises:
        IntegrityError: what git stored is not what was given.
    """  # fmt: skip
    store, parent = target.store, target.parent
    kept = _kept(parent, change)
    added = {path: _stored(store, path, content) for path, content in change.files.items()}
    links = {
        path: Entry(path=path, mode=SYMLINK, oid=store.write_bytes(t.encode())) for path, t in change.links.items()
    }
    tree = store.write_tree({**kept, **added, **links}.values())
    commit = store.write_commit(
        tree=tree, parents=[parent.commit.oid] if parent else [], message=message, identity=identity, at=at,
        gnupg=gpg.home,
    )  # fmt: skip
    written = store.commit(commit)
    gpg.require_signed(written.payload, written.signature or b"", "the new commit")
    with children.uninterrupted():
        require_unmoved(git, target.located.directory, target.located.head)
        store.keep()
        git.advance(target.located, commit, message.partition("\n")[0])
        problem = _show(target, change, kept, commit)
    return commit, problem


def _kept(parent: Repository | None, change: Change) -> dict[str, Entry]:
    """The parent's entries, under their new paths where they are moved; what was archived before stays."""
    kept = {}
    for entry in parent.entries if parent else ():
        stays = change.moved_to is None or entry.path.startswith("archive/")
        path = entry.path if stays else f"{change.moved_to}/{entry.path}"
        kept[path] = Entry(path=path, mode=entry.mode, oid=entry.oid)
    return kept


def _stored(store: Store, path: str, content: bytes | StagedFile | Blob) -> Entry:
    if isinstance(content, Blob):
        return Entry(path=path, mode=FILE, oid=content.oid)
    if isinstance(content, bytes):
        return Entry(path=path, mode=FILE, oid=store.write_bytes(content))
    oid = store.write_file(content.path)
    if store.copy_blob(oid, None, lambda _: None) != content.digest:
        raise IntegrityError(f"git stored other bytes than those of {path}", resolution="check disk and memory")
    return Entry(path=path, mode=FILE, oid=oid)


def _show(target: Target, change: Change, kept: Mapping[str, Entry], commit: str) -> str | None:
    """Bring files and index of the working tree to the commit; the commit is there whatever happens here."""
    root = target.located.directory
    try:
        if target.parent and target.located.head != target.parent.commit.oid:
            target.store.check_out(target.located.head, commit)
            return None
        if change.moved_to:
            aside = f"{change.moved_to}/"
            _move_aside(root, [path.removeprefix(aside) for path in kept if path.startswith(aside)], change.moved_to)
        for path, content in change.files.items():
            if isinstance(content, bytes):
                write_atomic(root / path, content)
            elif isinstance(content, StagedFile):
                content.path.chmod(0o644)
                content.path.replace(root / path)
        for path, link in change.links.items():
            new = target.staging / "link"
            new.symlink_to(link)
            new.replace(root / path)
        target.store.reset_index(commit)
    except (OSError, HandlerError) as error:
        return str(error)
    return None


def _move_aside(root: Path, paths: list[str], directory: str) -> None:
    for path in paths:
        source, goal = root / path, root / directory / path
        if source.is_symlink() or source.is_file():
            goal.parent.mkdir(parents=True, exist_ok=True)
            source.replace(goal)


def require_writing_key(gpg: Gpg, now: datetime) -> str | None:
    """Refuse to write with a key that cannot sign and encrypt; a warning where it expires soon.

    Raises:
        ConfigurationError: the key has expired, or lacks an ability.
    """
    key = gpg.key
    extend = f"gpg --quick-set-expire {key.fingerprint} 1y && gpg --armor --export-secret-keys {key.fingerprint}"
    if key.expired:
        raise ConfigurationError(
            f"the key {key.fingerprint} expired on {key.expires:%Y-%m-%d}: backups can be read, not written",
            resolution=f"extend it and set the new K0SCTL_GPG_KEY: {extend}",
        )
    if not (key.can_sign and key.can_encrypt):
        lacks = "sign" if not key.can_sign else "encrypt"
        raise ConfigurationError(
            f"the key {key.fingerprint} cannot {lacks}",
            resolution=f"add a subkey that can: gpg --quick-add-key {key.fingerprint} "
            + ("ed25519 sign" if lacks == "sign" else "cv25519 encr"),
        )
    if key.expires and (key.expires - now).days < 30:  # noqa: PLR2004
        return f"the key expires on {key.expires:%Y-%m-%d}; extend it in time: {extend}"
    return None
