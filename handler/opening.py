"""Which is the repository: a remote branch, ``restore/`` or ``backup/``. One rule for reading and for writing.

``restore/`` is what a pipeline fetched, ``backup/`` what an earlier run wrote. Where both exist, the one that
descends from the other is read; histories that went apart are never chosen from.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from enum import Enum, auto
from pathlib import Path
from typing import Final

from handler.errors import ConfigurationError, Conflict, from_os_error
from handler.tools.git import Git
from handler.tools.gitaccess import anonymous
from handler.tools.gitlocated import Located, shown
from handler.tools.gitremote import Remote
from handler.tools.gitstore import Store

#: Only commits are fetched, and only to see which of two directories is newer.
_DEEPEN_AT_MOST: Final = timedelta(minutes=5)


class Relation(Enum):
    """How the commit of ``backup/`` stands to that of ``restore/``."""

    EQUAL = auto()
    AHEAD = auto()
    BEHIND = auto()
    DIVERGED = auto()
    UNKNOWN = auto()


@dataclass(frozen=True, kw_only=True)
class Opened:
    """What was found: ``source`` is read; None where there is no repository yet.

    Attributes:
        target: backup/ where it is a repository already.
        relation: of ``target`` to restore/ or the remote branch; EQUAL where only one of them exists.
        tip: the newest commit of the remote branch; None where there is no such branch, or no remote.
        unpushed: the commits of ``target`` that a remote branch has not, oldest first; known when it is to be written.
    """

    source: Located | None
    target: Located | None
    relation: Relation
    tip: str | None = None
    unpushed: tuple[str, ...] = ()


def find(git: Git, *, restore: Path, backup: Path) -> Opened:
    """Find the repository to read.

    Raises:
        ConfigurationError: a directory is not empty and no repository.
        Conflict: the two went apart, or nobody can tell.
    """
    found_restore, found_backup = _located(git, restore), _located(git, backup)
    if found_restore is None or found_backup is None:
        return Opened(source=found_restore or found_backup, target=found_backup, relation=Relation.EQUAL)
    origins = {located: _origin(git, located) for located in (found_restore, found_backup)}
    relation, _ = _relation(git, found_restore, found_backup, origins)
    if relation in {Relation.DIVERGED, Relation.UNKNOWN}:
        raise _conflict(relation, found_restore, found_backup)
    ahead = relation in {Relation.EQUAL, Relation.AHEAD}
    return Opened(source=found_backup if ahead else found_restore, target=found_backup, relation=relation)


def find_remote(git: Git, remote: Remote, *, backup: Path, writing: bool) -> Opened:
    """Fetch the newest commit of a remote branch, and look how ``backup/`` stands to it.

    The remote branch is read, unless it is hidden or gone, or was set back: what ``backup/`` has on top of it, or
    instead of it, is ours as well, and a backup that exists must never count as "no backup".

    Args:
        writing: the relation must be certain; else all that matters is whether ``backup/`` has something unpushed.

    Raises:
        ConfigurationError: backup/ is not empty and no repository, or of another branch.
        Conflict: nobody can tell which is newer, and ``writing`` needs it.
    """
    target = _located(git, backup)
    fits = target is None or target.branch in {None, remote.branch}
    if target and writing and not fits:
        raise ConfigurationError(
            f"{target.shown} is on the branch {target.branch}, and K0SCTL_GIT_BRANCH is {remote.branch}",
            resolution=f"set K0SCTL_GIT_BRANCH={target.branch}; or empty {target.shown} once all of it is pushed",
        )
    source = remote.located()
    if target is None or target.head is None:
        relation = Relation.EQUAL if target is None else Relation.BEHIND
        return Opened(source=source, target=target, relation=relation, tip=source.head)
    if not writing:
        if not fits:
            return Opened(source=source, target=target, relation=Relation.BEHIND, tip=source.head)
        relation, on_top = _seen_from(git, target, source.head, remote.branch)
        return Opened(source=target if on_top else source, target=target, relation=relation, tip=source.head)
    relation, parents = _relation(git, source, target, {source: remote})
    if relation is Relation.UNKNOWN:
        raise _conflict(relation, source, target)
    apart = relation in {Relation.AHEAD, Relation.DIVERGED}
    unpushed = _unpushed(parents, source.head, target.head) if apart else ()
    return Opened(source=source, target=target, relation=relation, tip=source.head, unpushed=unpushed)


def _unpushed(parents: Mapping[str, Sequence[str]], tip: str | None, head: str) -> tuple[str, ...]:
    """What leads from a remote branch to ``head``, oldest first; the handler's own commits have one parent."""
    known = _ancestors(parents, tip) if tip else set()
    found: list[str] = []
    waiting: str | None = head
    while waiting and waiting not in known and waiting in parents:
        found.append(waiting)
        waiting = next(iter(parents[waiting]), None)
    return tuple(reversed(found))


def _seen_from(git: Git, target: Located, tip: str | None, branch: str) -> tuple[Relation, bool]:
    """How backup/ stands to a remote branch, as far as its own history tells; AHEAD where something is unpushed.

    Returns:
        That, and whether backup/ has all that the branch has and more.
    """
    if tip is None or target.head is None or target.head == tip:
        return (Relation.AHEAD, True) if tip is None else (Relation.EQUAL, False)
    env = {"GIT_DIR": str(target.git_dir)}
    pushed = git.text("rev-parse", "--quiet", "--verify", f"refs/remotes/origin/{branch}", env=env, ok=(0, 1))
    earlier = Store(git, target).history(target.head).keys() - {target.head}
    return Relation.AHEAD if tip in earlier or pushed in earlier else Relation.BEHIND, tip in earlier


def _origin(git: Git, located: Located) -> Remote | None:
    """Where a clone came from, as far as anybody may read there."""
    if not located.origin:
        return None
    path = located.directory / located.origin
    access = anonymous(str(path) if path.exists() else located.origin)
    return Remote(git, access, located.branch or "*", _DEEPEN_AT_MOST)


def _located(git: Git, directory: Path) -> Located | None:
    try:
        located = git.locate(directory)
        if directory.is_symlink() and not directory.exists():
            raise ConfigurationError(
                f"{shown(directory)} is a symbolic link to nothing",
                resolution="mount or make what it points to; an empty directory would mean that there is no backup",
            )
        if located is None and not is_vacant(directory):
            raise ConfigurationError(
                f"{shown(directory)} is not empty, and no git repository with a working tree",
                resolution="empty it, or give the directory of a clone of the backup repository",
            )
    except OSError as error:
        raise from_os_error(error, f"looking into {shown(directory)}") from error
    return located


def is_vacant(directory: Path) -> bool:
    """Whether there is nothing: no such directory, or an empty one, as a mount is."""
    if not os.path.lexists(directory):
        return True
    return directory.is_dir() and not any(directory.iterdir())


def _relation(
    git: Git, restore: Located, backup: Located, remotes: Mapping[Located, Remote | None]
) -> tuple[Relation, Mapping[str, Sequence[str]]]:
    """How backup/ stands to the other one, and the parents of all commits that were seen."""
    if restore.head == backup.head or backup.head is None:
        return Relation.EQUAL if restore.head == backup.head else Relation.BEHIND, {}
    if restore.head is None:
        return Relation.AHEAD, Store(git, backup).history(backup.head)
    parents: dict[str, tuple[str, ...]] = {}
    stores = {restore.head: Store(git, restore), backup.head: Store(git, backup)}
    for head, store in stores.items():
        parents |= store.history(head)
    for head, store in stores.items():
        unknown = _compare(parents, restore.head, backup.head) is Relation.UNKNOWN
        remote = remotes.get(store.located)
        if unknown and remote is not None and store.deepen(remote):
            parents |= store.history(head)
    return _compare(parents, restore.head, backup.head), parents


def _compare(parents: Mapping[str, Sequence[str]], restore: str, backup: str) -> Relation:
    of_restore, of_backup = _ancestors(parents, restore), _ancestors(parents, backup)
    if backup in of_restore:
        return Relation.BEHIND
    if restore in of_backup:
        return Relation.AHEAD
    # What is hidden from one lies before a commit that the other descends from: so neither can lie there.
    hidden_of_restore, hidden_of_backup = of_restore - parents.keys(), of_backup - parents.keys()
    apart = hidden_of_restore <= of_backup and hidden_of_backup <= of_restore
    return Relation.DIVERGED if apart else Relation.UNKNOWN


def _ancestors(parents: Mapping[str, Sequence[str]], head: str) -> set[str]:
    """All commits that ``head`` is known to descend from, itself included."""
    found: set[str] = set()
    waiting = [head]
    while waiting:
        commit = waiting.pop()
        if commit not in found:
            found.add(commit)
            waiting.extend(parents.get(commit, ()))
    return found


def _conflict(relation: Relation, restore: Located, backup: Located) -> Conflict:
    heads = (f"{restore.shown}: {restore.head}", f"{backup.shown}: {backup.head}")
    if relation is Relation.UNKNOWN:
        return Conflict(
            f"cannot tell whether {backup.shown} or {restore.shown} is newer: a shallow clone hides it",
            details=heads,
            resolution=f"empty {backup.shown} if its commits are pushed, or push them: git -C {backup.shown} push",
        )
    return Conflict(
        f"{backup.shown} and {restore.shown} have diverged: each has backups that the other has not",
        details=heads,
        resolution=f"keep what is unpushed in {backup.shown} (git -C {backup.shown} push origin "
        f"HEAD:refs/heads/rescue), then empty it and run again",
    )
