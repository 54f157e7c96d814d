"""Which of ``restore/`` and ``backup/`` is the repository: one rule for reading and for writing.

``restore/`` is what a pipeline fetched, ``backup/`` what an earlier run wrote. Where both exist, the one that
descends from the other is read; histories that went apart are never chosen from.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from pathlib import Path

from handler.errors import ConfigurationError, Conflict, from_os_error
from handler.tools.git import Git, Located, shown
from handler.tools.gitstore import Store


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
        relation: of ``target`` to restore/; EQUAL where only one of them exists.
    """

    source: Located | None
    target: Located | None
    relation: Relation


def find(git: Git, *, restore: Path, backup: Path) -> Opened:
    """Find the repository to read.

    Raises:
        ConfigurationError: a directory is not empty and no repository.
        Conflict: the two went apart, or nobody can tell.
    """
    found_restore, found_backup = _located(git, restore), _located(git, backup)
    if found_restore is None or found_backup is None:
        return Opened(source=found_restore or found_backup, target=found_backup, relation=Relation.EQUAL)
    relation = _relation(git, found_restore, found_backup)
    if relation in {Relation.DIVERGED, Relation.UNKNOWN}:
        raise _conflict(relation, found_restore, found_backup)
    ahead = relation in {Relation.EQUAL, Relation.AHEAD}
    return Opened(source=found_backup if ahead else found_restore, target=found_backup, relation=relation)


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


def _relation(git: Git, restore: Located, backup: Located) -> Relation:
    if restore.head == backup.head:
        return Relation.EQUAL
    if restore.head is None or backup.head is None:
        return Relation.AHEAD if restore.head is None else Relation.BEHIND
    parents: dict[str, tuple[str, ...]] = {}
    stores = {restore.head: Store(git, restore), backup.head: Store(git, backup)}
    for head, store in stores.items():
        parents |= store.history(head)
    for head, store in stores.items():
        if _compare(parents, restore.head, backup.head) is Relation.UNKNOWN and store.deepen():
            parents |= store.history(head)
    return _compare(parents, restore.head, backup.head)


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
