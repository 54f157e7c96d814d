"""The commands as data: names, what they do, what they need."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class Need(StrEnum):
    """A group of settings or things that a command cannot work without."""

    CONFIG = "config"
    SSH = "ssh"
    GPG = "gpg"
    REPOSITORY = "repository"


@dataclass(frozen=True, kw_only=True)
class Command:
    """One action of the handler.

    Attributes:
        needs: what must be there in every case.
        needs_with_repository: what must be there too once there is a backup repository.
        usage: what may follow the command's name.
        takes_name: whether a backup's NAME and ``--to`` may follow.
    """

    name: str
    does: str
    aliases: tuple[str, ...] = ()
    needs: frozenset[Need] = frozenset()
    needs_with_repository: frozenset[Need] = frozenset()
    usage: str = ""
    takes_name: bool = False

    @property
    def names(self) -> tuple[str, ...]:
        return (self.name, *self.aliases)


COMMANDS: Final[tuple[Command, ...]] = (
    Command(name="version", does="prints the handler's version, then k0sctl's; never fails on other settings"),
    Command(
        name="init",
        does="makes the backup branch: a random password, encrypted to the cluster's GPG key, as one signed commit",
        needs=frozenset({Need.GPG}),
    ),
    Command(
        name="apply",
        aliases=("install",),
        does="installs or updates the cluster; a new installation is restored from the latest backup",
        needs=frozenset({Need.CONFIG, Need.SSH}),
        needs_with_repository=frozenset({Need.GPG}),
    ),
    Command(
        name="backup",
        does="takes a backup, proves it, encrypts it, reads it back and commits it, signed",
        needs=frozenset({Need.CONFIG, Need.SSH, Need.GPG, Need.REPOSITORY}),
    ),
    Command(
        name="restore",
        aliases=("decrypt",),
        does="verifies and decrypts a backup for a manual restore, into the current directory or to PATH",
        needs=frozenset({Need.GPG, Need.REPOSITORY}),
        usage="[NAME] [--to PATH]",
        takes_name=True,
    ),
)

_BY_NAME: Final = {name: command for command in COMMANDS for name in command.names}


def command_names() -> tuple[str, ...]:
    """Every name a command may be called by, aliases after their command."""
    return tuple(_BY_NAME)


def find_command(name: str) -> Command | None:
    """The command of this name or alias."""
    return _BY_NAME.get(name)


def nearest(word: str, known: Iterable[str]) -> str:
    """The known word that was most likely meant, or an empty text."""
    found: Sequence[str] = difflib.get_close_matches(word, list(known), n=1)
    return found[0] if found else ""


def unknown_command(word: str) -> str:
    """The words that list all commands and the one that was most likely meant."""
    listed = ", ".join(
        command.name + (f" ({', '.join(command.aliases)})" if command.aliases else "") for command in COMMANDS
    )
    meant = nearest(word.lower(), _BY_NAME)
    return f"must be one of {listed}" + (f"; did you mean {meant}?" if meant else "")
