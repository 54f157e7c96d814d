"""The command line: few words, so parsed by hand; argparse prints and exits by itself."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from handler.errors import ConfigurationError
from handler.settings import convert
from handler.settings.commands import COMMANDS, Command, find_command, nearest, unknown_command
from handler.settings.convert import Rejected
from handler.settings.table import BY_NAME

USAGE: Final = "k0sctl-handler [COMMAND] [NAME] [--to PATH] [--all] [--deep] [--json] [--help] [--version]"
#: Options that stand for themselves; those of single commands first.
_SWITCHES: Final = ("--all", "--deep", "--json", "--version", "--help")
_SHORT: Final = {"-V": "--version", "-h": "--help"}
_MOST_WORDS: Final = 2


@dataclass(frozen=True, kw_only=True)
class Invocation:
    """What the command line says; what it leaves open the environment decides.

    Attributes:
        command: the command's own name, or empty.
        name: the backup to use, or empty.
        to: where a decrypted archive goes.
        all: every backup instead of one.
        deep: look at the running cluster too.
        json: the report and the result as one JSON document on stdout.
    """

    command: str = ""
    name: str = ""
    to: Path | None = None
    all: bool = False
    deep: bool = False
    json: bool = False
    help: bool = False


@dataclass
class _Words:
    """The arguments, sorted."""

    plain: list[str] = field(default_factory=list)
    to: str | None = None
    switches: set[str] = field(default_factory=set)

    @property
    def own(self) -> list[str]:
        """The options that only some commands know."""
        return [*(["--to"] if self.to is not None else []), *sorted(self.switches & {"--all", "--deep"})]


def parse_arguments(argv: Sequence[str], env: Mapping[str, str]) -> Invocation:
    """Read the arguments that follow the program's name.

    Args:
        env: tells the command where the arguments do not, since only some commands take a NAME.

    Raises:
        ConfigurationError: with the usage.
    """
    words = _sorted(argv)
    if "--help" in words.switches:
        return Invocation(help=True)
    if len(words.plain) > _MOST_WORDS:
        raise _error(f"{words.plain[_MOST_WORDS]!r}: no more than a COMMAND and a NAME is understood")
    # an empty word, as an unset variable leaves it, is no word
    command, name = (*words.plain, "", "")[:_MOST_WORDS]
    if "--version" in words.switches:
        if command or name or words.own:
            raise _error("--version stands alone")
        command = "version"
    if command and find_command(command) is None:
        raise _error(f"COMMAND {command!r}: {unknown_command(command)}")
    effective = find_command(command or _from(env))
    if effective is not None:
        _check_fit(effective, name, words)
    given = find_command(command)
    return Invocation(
        command=given.name if given else "",
        name=name,
        to=None if words.to is None else Path(words.to),
        all="--all" in words.switches,
        deep="--deep" in words.switches,
        json="--json" in words.switches,
    )


def _check_fit(command: Command, name: str, words: _Words) -> None:
    """Refuse what this command does not take."""
    if name and not command.takes_name:
        takers = [one for one in COMMANDS if one.takes_name]
        raise _error(f"NAME {name!r}: `{command.name}` takes none, only {_listed(takers)}")
    for option in words.own:
        if option not in command.options:
            takers = [one for one in COMMANDS if option in one.options]
            raise _error(f"{option}: `{command.name}` does not take it, only {_listed(takers)}")
    if name and "--all" in words.switches:
        raise _error(f"NAME {name!r} and --all: keep one of them")
    if name:
        try:
            convert.backup_name(name)
        except Rejected as rejected:
            raise _error(f"NAME {name!r}: {rejected}") from None


def _listed(commands: Iterable[Command]) -> str:
    return " and ".join(f"`{command.name}`" for command in commands)


def _from(env: Mapping[str, str]) -> str:
    return env.get("K0SCTL_CMD_NAME", "").strip() or BY_NAME["K0SCTL_CMD_NAME"].default


def asks_for_json(argv: Sequence[str]) -> bool:
    """Whether ``--json`` was asked for, also where the rest of the command line is wrong."""
    return "--json" in (argv[: argv.index("--")] if "--" in argv else argv)


def _sorted(argv: Sequence[str]) -> _Words:
    words = _Words()
    if _asks_for_help(argv):
        words.switches.add("--help")
        return words
    rest = iter(argv)
    for word in rest:
        option, has_value, value = word.partition("=")
        option = _SHORT.get(option, option)
        if word == "--":
            words.plain.extend(rest)
        elif option == "--to":
            if words.to is not None:
                raise _error("--to: given twice")
            words.to = value if has_value else next(rest, "")
            # a forgotten path must not swallow the next option
            if not words.to or (not has_value and words.to.startswith("-")):
                raise _error("--to: needs a PATH")
        elif option in _SWITCHES:
            if has_value:
                raise _error(f"{option}: takes no value")
            words.switches.add(option)
        elif word.startswith("-") and word != "-":
            meant = nearest(option, ("--to", *_SWITCHES))
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
