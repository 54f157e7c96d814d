"""``backup/`` as a working tree: made from ``restore/``, fast-forwarded to it, or used as it is."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from handler.errors import Conflict, IntegrityError
from handler.opening import Opened, Relation, is_vacant
from handler.repository import Repository
from handler.tools.git import Git
from handler.tools.gitlocated import Located, require_unlocked, shown
from handler.tools.gitstore import RAW, Store

_STAGING: Final = "k0sctl-handler"


def require_unmoved(git: Git, directory: Path, head: str | None) -> None:
    """Refuse a repository in which somebody else has committed since it was found."""
    now = git.locate(directory)
    if (now.head if now else None) != head:
        raise Conflict(f"{shown(directory)} was changed by somebody else during this run", resolution="run again")


def require_rights(*directories: Path) -> None:
    """Ask before hours of work whether these can be written.

    Raises:
        PermissionError: one cannot.
    """
    for directory in directories:
        if directory.exists() and not os.access(directory, os.W_OK | os.X_OK, effective_ids=True):
            mounted_so = os.statvfs(directory).f_flag & os.ST_RDONLY
            number = errno.EROFS if mounted_so else errno.EACCES
            raise PermissionError(number, os.strerror(number), str(directory))


@contextlib.contextmanager
def staging(located: Located) -> Iterator[Path]:
    """A private directory on the repository's own file system, gone at the end; a killed run's goes first."""
    directory = located.git_dir / _STAGING
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(mode=0o700)
    try:
        yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def writable(git: Git, opened: Opened, parent: Repository | None, backup: Path) -> Located:
    """The repository to write, its HEAD the verified parent.

    Raises:
        Conflict: somebody else has changed it, works in it, or left changes that a fast-forward would touch.
        PermissionError: this user may not write it.
    """
    target = opened.target
    if target is None:
        require_rights(backup)
        if not is_vacant(backup):
            raise Conflict(f"{shown(backup)} was changed by somebody else during this run", resolution="run again")
        return _clone(git, opened.source, parent, backup)
    require_unmoved(git, backup, target.head)
    require_rights(backup, target.git_dir, target.objects, target.objects / "pack")
    require_unlocked(target)
    if opened.relation is not Relation.BEHIND or parent is None:
        return target
    if target.head and not Store(git, target).is_clean(target.head):
        raise Conflict(
            f"{target.shown} is behind {parent.located.shown} and has changes of its own",
            resolution=f"look at them (git -C {backup} status), then commit them elsewhere or drop them",
        )
    return _bring(git, parent, target, "fast-forward")


def _clone(git: Git, source: Located | None, parent: Repository | None, backup: Path) -> Located:
    """Make ``backup`` a repository in place: a mounted directory must keep its inode."""
    try:
        branch = (source.branch if source else None) or "backup"
        object_format = source.object_format if source else "sha1"
        git.run("init", "--quiet", "--template=", f"--initial-branch={branch}", f"--object-format={object_format}",
                "--", str(backup))  # fmt: skip
        if source and source.origin:
            _set_origin(git, backup, source.origin, branch)
        # The user's own git too takes files for bytes here, whatever a .gitattributes of the branch says.
        attributes = backup / ".git" / "info" / "attributes"
        attributes.parent.mkdir(exist_ok=True)
        attributes.write_text(RAW)
        located = _again(git, backup)
        return _bring(git, parent, located, "clone") if parent else located
    except BaseException:
        for path in backup.iterdir():  # it was empty, and nobody else works here
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
        raise


def _set_origin(git: Git, backup: Path, origin: str, branch: str) -> None:
    for name, value in (
        ("remote.origin.url", origin),
        ("remote.origin.fetch", f"+refs/heads/{branch}:refs/remotes/origin/{branch}"),
        (f"branch.{branch}.remote", "origin"),
        (f"branch.{branch}.merge", f"refs/heads/{branch}"),
    ):
        git.run("config", "--", name, value, env={"GIT_DIR": str(backup / ".git")})


def _bring(git: Git, parent: Repository, target: Located, why: str) -> Located:
    """Bring files and HEAD of a working tree to the verified commit."""
    with staging(target) as private:
        store = Store(git, target, incoming=private / "objects")
        store.fetch(parent.store, parent.commit.oid)
        store.keep()
        store.check_out(target.head, parent.commit.oid)
    git.advance(target, parent.commit.oid, f"k0sctl-handler: {why}")
    return _again(git, target.directory)


def _again(git: Git, directory: Path) -> Located:
    located = git.locate(directory)
    if located is None:
        raise IntegrityError(f"{directory} is no git repository any more")
    return located
