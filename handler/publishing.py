"""One signed commit on top of a verified parent, and the working tree that shows it.

The commit exists from one moment to the next, when HEAD moves; whatever fails before leaves the repository as it
was. The new tree is the verified parent's, with exactly this run's files added or replaced.
"""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

from handler.digest import Digest
from handler.errors import ConfigurationError, Conflict, HandlerError, IntegrityError, from_os_error
from handler.opening import Opened, Relation
from handler.process import Children
from handler.repository import Repository
from handler.tools.git import Git, Located
from handler.tools.gitobjects import FILE, SYMLINK, Entry
from handler.tools.gitstore import Identity, Store
from handler.tools.gpg import Gpg
from handler.workspace import locked, write_atomic

_STAGING: Final = "k0sctl-handler"


@dataclass(frozen=True, kw_only=True)
class Change:
    """What a commit does to its parent's tree.

    Attributes:
        files: path in the tree → its new content: bytes, or a staged file together with its digest.
        links: path → target of a symlink.
        moved_to: a directory below which everything of the parent's tree goes first; None leaves it in place.
    """

    files: Mapping[str, bytes | StagedFile]
    links: Mapping[str, str]
    moved_to: str | None = None


@dataclass(frozen=True, kw_only=True)
class StagedFile:
    """A finished file in the staging directory, and what its content must be."""

    path: Path
    digest: Digest


@dataclass(frozen=True, kw_only=True)
class Target:
    """The repository that is written: ``parent`` is its verified HEAD, None on an unborn branch."""

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
            located = _writable(git, opened, parent, backup)
            staging = located.git_dir / _STAGING
            shutil.rmtree(staging, ignore_errors=True)  # a killed run's
            staging.mkdir(mode=0o700)
            try:
                yield Target(located=located, store=Store(git, located), parent=parent, staging=staging)
            finally:
                shutil.rmtree(staging, ignore_errors=True)
    except OSError as error:
        raise from_os_error(error, f"writing {backup}") from error


def _writable(git: Git, opened: Opened, parent: Repository | None, backup: Path) -> Located:
    if opened.target is None:
        return _clone(git, opened.source, parent, backup)
    if opened.relation is not Relation.BEHIND or parent is None:
        return opened.target
    before = opened.target.head
    store = Store(git, opened.target)
    if before and not store.is_clean(before):
        raise Conflict(
            f"{backup} is behind {parent.located.directory} and has changes of its own",
            resolution=f"look at them (git -C {backup} status), then commit them elsewhere or drop them",
        )
    _fetch(git, parent, opened.target)
    Store(git, opened.target).check_out(before, parent.commit.oid)
    git.advance(opened.target, parent.commit.oid, "k0sctl-handler: fast-forward")
    return _again(git, backup)


def _clone(git: Git, source: Located | None, parent: Repository | None, backup: Path) -> Located:
    """Make ``backup`` a repository in place: a mounted directory must keep its inode."""
    branch = (source.branch if source else None) or "backup"
    object_format = "sha256" if source and source.head and len(source.head) == 64 else "sha1"  # noqa: PLR2004
    git.run("init", "--quiet", "--template=", f"--initial-branch={branch}", f"--object-format={object_format}",
            "--", str(backup))  # fmt: skip
    env = {"GIT_DIR": str(backup / ".git")}
    if source and source.origin:
        git.run("config", "remote.origin.url", source.origin, env=env)
        git.run("config", "remote.origin.fetch", f"+refs/heads/{branch}:refs/remotes/origin/{branch}", env=env)
        git.run("config", f"branch.{branch}.remote", "origin", env=env)
        git.run("config", f"branch.{branch}.merge", f"refs/heads/{branch}", env=env)
    located = _again(git, backup)
    if parent is not None:
        _fetch(git, parent, located)
        located = _again(git, backup)
        Store(git, located).check_out(None, parent.commit.oid)
        git.advance(located, parent.commit.oid, "k0sctl-handler: clone")
    return _again(git, backup)


def _fetch(git: Git, parent: Repository, target: Located) -> None:
    """Bring the parent's objects into the target, through our own git directory and none of its configuration."""
    source = parent.store.private
    tip = "refs/heads/verified"
    git.run("update-ref", tip, parent.commit.oid, env={"GIT_DIR": str(source)})
    env = {"GIT_DIR": str(target.git_dir), "GIT_ALLOW_PROTOCOL": "file"}
    git.run("-c", "transfer.fsckObjects=true", "fetch", "--quiet", "--update-shallow", "--no-tags",
            "--no-write-fetch-head", "--", str(source), tip, env=env)  # fmt: skip


def _again(git: Git, directory: Path) -> Located:
    located = git.locate(directory)
    if located is None:
        raise IntegrityError(f"{directory} is no git repository any more")
    return located


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
        _require_unmoved(git, target.located)
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


def _stored(store: Store, path: str, content: bytes | StagedFile) -> Entry:
    if isinstance(content, bytes):
        return Entry(path=path, mode=FILE, oid=store.write_bytes(content))
    oid = store.write_file(content.path)
    if store.copy_blob(oid, None, lambda _: None) != content.digest:
        raise IntegrityError(f"git stored other bytes than those of {path}", resolution="check disk and memory")
    return Entry(path=path, mode=FILE, oid=oid)


def _require_unmoved(git: Git, located: Located) -> None:
    now = git.locate(located.directory)
    if now is None or now.head != located.head:
        raise Conflict(f"{located.directory} was changed by somebody else during this run")


def _show(target: Target, change: Change, kept: Mapping[str, Entry], commit: str) -> str | None:
    """Bring files and index of the working tree to the commit; the commit is there whatever happens here."""
    root = target.located.directory
    try:
        if change.moved_to:
            _move_aside(root, [path.removeprefix(f"{change.moved_to}/") for path in kept], change.moved_to)
        for path, content in change.files.items():
            if isinstance(content, bytes):
                write_atomic(root / path, content)
            else:
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
