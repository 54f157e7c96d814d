"""The commands as data: names, what they do, what they need."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
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
        also_needs: what must be there in some cases, and in which.
        takes_name: whether a backup's NAME may follow.
        options: those of its own that may follow: option → its value's name, or empty for a switch.
    """

    name: str
    does: str
    aliases: tuple[str, ...] = ()
    needs: frozenset[Need] = frozenset()
    also_needs: Mapping[Need, str] = field(default_factory=dict)
    takes_name: bool = False
    options: Mapping[str, str] = field(default_factory=dict)

    @property
    def names(self) -> tuple[str, ...]:
        return (self.name, *self.aliases)

    @property
    def usage(self) -> str:
        """What may follow the command's name."""
        options = (f"[{option} {value}".rstrip() + "]" for option, value in self.options.items())
        return " ".join((*(("[NAME]",) if self.takes_name else ()), *options))


COMMANDS: Final[tuple[Command, ...]] = (
    Command(name="version", does="prints the handler's version, then k0sctl's; never fails on other settings"),
    Command(
        name="check",
        does="looks at tools, settings, keys, configuration, hosts and backups before anything is done; changes "
        "nothing, and tells the line that mends each finding; --deep also asks which cluster runs",
        options={"--deep": ""},
    ),
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
        also_needs={Need.GPG: "once there is a repository"},
    ),
    Command(
        name="backup",
        does="takes a backup, proves it, encrypts it, reads it back and commits it, signed",
        needs=frozenset({Need.CONFIG, Need.SSH, Need.GPG, Need.REPOSITORY}),
    ),
    Command(
        name="reset",
        aliases=("uninstall",),
        does="removes k0s from all hosts and looks whether it is gone; only with a fresh, proven backup of this very "
        "cluster, or with K0SCTL_CONFIRM_RESET",
        needs=frozenset({Need.CONFIG, Need.SSH}),
        also_needs={Need.GPG: "unless confirmed", Need.REPOSITORY: "unless confirmed"},
    ),
    Command(
        name="ping",
        does="traces the route to every node, and to every other address in the YAML files beside the configuration, "
        "over IPv4 and IPv6, and looks at the nodes' SSH ports and host keys; all at once; exit code 4 when a node "
        "fails",
        needs=frozenset({Need.CONFIG}),
    ),
    Command(
        name="restore",
        aliases=("decrypt",),
        does="verifies and decrypts a backup for a manual restore, into the current directory or to PATH",
        needs=frozenset({Need.GPG, Need.REPOSITORY}),
        takes_name=True,
        options={"--to": "PATH"},
    ),
    Command(
        name="verify",
        does="proves a stored backup, or all: signatures, checksums, a full decryption, the content",
        needs=frozenset({Need.GPG, Need.REPOSITORY}),
        takes_name=True,
        options={"--all": ""},
    ),
    Command(
        name="list",
        does="lists the backups: names, ages, sizes, UID, versions, cipher and proof",
        needs=frozenset({Need.GPG, Need.REPOSITORY}),
    ),
    Command(
        name="status",
        does="tells the age of the newest proven backup; exit code 5 when there is none or it is too old; also for "
        "Prometheus, as auditlog/k0sctl_handler.prom",
        needs=frozenset({Need.GPG, Need.REPOSITORY}),
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
