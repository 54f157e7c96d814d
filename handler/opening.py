"""Which of ``restore/`` and ``backup/`` is the repository: one rule for reading and for writing.

``restore/`` is what a pipeline fetched, ``backup/`` what an earlier run wrote. Where both exist, the one that
descends from the other is read; histories that went apart are never chosen from.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto
from pathlib import Path

from handler.errors import ConfigurationError, Conflict, from_os_error
from handler.tools.git import Git, Located
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
    located = git.locate(directory)
    if located is None and directory.exists():
        try:
            empty = directory.is_dir() and not any(directory.iterdir())
        except OSError as error:
            raise from_os_error(error, f"looking into {directory}") from error
        if not empty:
            raise ConfigurationError(
                f"{directory} is not empty, and no git repository",
                resolution="empty it, or give the directory of a clone of the backup repository",
            )
    return located


def _relation(git: Git, restore: Located, backup: Located) -> Relation:
    if restore.head == backup.head:
        return Relation.EQUAL
    if restore.head is None or backup.head is None:
        return Relation.AHEAD if restore.head is None else Relation.BEHIND
    of_restore, of_backup = Store(git, restore), Store(git, backup)
    relation = _compare(of_restore, of_backup, restore.head, backup.head)
    if relation is Relation.UNKNOWN and restore.origin and of_restore.deepen(restore.origin):
        return _compare(of_restore, of_backup, restore.head, backup.head)
    return relation


def _compare(restore: Store, backup: Store, restore_head: str, backup_head: str) -> Relation:
    of_restore, restore_whole = restore.ancestors(restore_head)
    if backup_head in of_restore:
        return Relation.BEHIND
    of_backup, backup_whole = backup.ancestors(backup_head)
    if restore_head in of_backup:
        return Relation.AHEAD
    return Relation.DIVERGED if restore_whole and backup_whole else Relation.UNKNOWN


def _conflict(relation: Relation, restore: Located, backup: Located) -> Conflict:
    heads = (f"{restore.directory}: {restore.head}", f"{backup.directory}: {backup.head}")
    if relation is Relation.UNKNOWN:
        return Conflict(
            f"cannot tell whether {backup.directory} or {restore.directory} is newer: a shallow clone hides it",
            details=heads,
            resolution=f"empty {backup.directory} if its commits are pushed, or push them: "
            f"git -C {backup.directory} push",
        )
    return Conflict(
        f"{backup.directory} and {restore.directory} have diverged: each has backups that the other has not",
        details=heads,
        resolution=f"keep what is unpushed in {backup.directory} (git -C {backup.directory} push origin "
        f"HEAD:refs/heads/rescue), then empty it and run again",
    )
