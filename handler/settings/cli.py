"""The command line: few words, so parsed by hand; argparse prints and exits by itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from handler.errors import ConfigurationError
from handler.settings import convert
from handler.settings.commands import find_command, nearest, unknown_command
from handler.settings.convert import Rejected
from handler.settings.table import BY_NAME

USAGE: Final = "k0sctl-handler [COMMAND] [NAME] [--to PATH] [--help] [--version]"
_OPTIONS: Final = ("--to", "--help", "--version")
_MOST_WORDS: Final = 2


@dataclass(frozen=True, kw_only=True)
class Invocation:
    """What the command line says; what it leaves open the environment decides.

    Attributes:
        command: the command's own name, or empty.
        name: the backup to use, or empty.
        to: where a decrypted archive goes.
    """

    command: str = ""
    name: str = ""
    to: Path | None = None
    help: bool = False


@dataclass
class _Words:
    """The arguments, sorted."""

    plain: list[str]
    to: str | None = None
    help: bool = False
    version: bool = False


def parse_arguments(argv: Sequence[str], env: Mapping[str, str]) -> Invocation:
    """Read the arguments that follow the program's name.

    Args:
        env: tells the command where the arguments do not, since only some commands take a NAME.

    Raises:
        ConfigurationError: with the usage.
    """
    words = _sorted(argv)
    if words.help:
        return Invocation(help=True)
    if len(words.plain) > _MOST_WORDS:
        raise _error(f"{words.plain[_MOST_WORDS]!r}: no more than a COMMAND and a NAME is understood")
    # an empty word, as an unset variable leaves it, is no word
    command, name = (*words.plain, "", "")[:_MOST_WORDS]
    if words.version:
        if command or name or words.to is not None:
            raise _error("--version stands alone")
        command = "version"
    if command and find_command(command) is None:
        raise _error(f"COMMAND {command!r}: {unknown_command(command)}")
    effective = find_command(command or _from(env))
    if effective is not None and not effective.takes_name and (name or words.to is not None):
        extra = f"NAME {name!r}" if name else "--to"
        raise _error(f"{extra}: `{effective.name}` takes none, only `restore` does")
    if name:
        try:
            convert.backup_name(name)
        except Rejected as rejected:
            raise _error(f"NAME {name!r}: {rejected}") from None
    given = find_command(command)
    return Invocation(
        command=given.name if given else "",
        name=name,
        to=None if words.to is None else Path(words.to),
    )


def _from(env: Mapping[str, str]) -> str:
    return env.get("K0SCTL_CMD_NAME", "").strip() or BY_NAME["K0SCTL_CMD_NAME"].default


def _sorted(argv: Sequence[str]) -> _Words:
    if _asks_for_help(argv):
        return _Words(plain=[], help=True)
    words = _Words(plain=[])
    rest = iter(argv)
    for word in rest:
        option, has_value, value = word.partition("=")
        if word == "--":
            words.plain.extend(rest)
        elif option == "--to":
            if words.to is not None:
                raise _error("--to: given twice")
            words.to = value if has_value else next(rest, "")
            # a forgotten path must not swallow the next option
            if not words.to or (not has_value and words.to.startswith("-")):
                raise _error("--to: needs a PATH")
        elif word in ("--version", "-V"):
            words.version = True
        elif word.startswith("-") and word != "-":
            meant = nearest(option, _OPTIONS)
            raise _error(f"option {option!r} is not known" + (f"; did you mean {meant}?" if meant else ""))
        else:
            words.plain.append(word)
    return words


def _asks_for_help(argv: Sequence[str]) -> bool:
    """Help wins over every mistake: whoever asks for it may not know the rest yet."""
    before = argv[: argv.index("--")] if "--" in argv else argv
    return "--help" in before or "-h" in before


def _error(message: str) -> ConfigurationError:
    return ConfigurationError(
        message, details=[f"usage: {USAGE}"], resolution="k0sctl-handler --help tells all commands and settings"
    )
