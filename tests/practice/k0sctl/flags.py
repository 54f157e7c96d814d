"""k0sctl's command line: flags, help and the variables that act as flags."""

import os
import re
import sys
from dataclasses import dataclass, field
from pathlib import Path

from tests.practice.k0sctl.log import VERSION, stderr_fatal

HELP = Path(__file__).with_name("help")
COMMIT = "f4005b6b9b22f72ba700b5ee17e9852e5d691193"
VALUES = {
    "apply": [
        "config", "concurrency", "concurrent-uploads", "restore-from", "kubeconfig-out", "kubeconfig-api-address",
        "kubeconfig-user", "kubeconfig-cluster", "evict-taint", "timeout",
    ],
    "backup": ["output", "config", "concurrency", "timeout"],
    "reset": ["config", "concurrency", "timeout"],
}  # fmt: skip
SWITCHES = {
    "": ["debug", "trace", "no-redact", "help"],
    "apply": ["dry-run", "no-wait", "no-drain", "force", "debug", "trace", "no-redact", "help"],
    "backup": ["dry-run", "force", "debug", "trace", "no-redact", "help"],
    "reset": ["dry-run", "force", "debug", "trace", "no-redact", "help"],
    "version": ["help"],
}
SHORT = {"c": "config", "o": "output", "d": "debug", "h": "help"}
TRUE = ("1", "t", "T", "true", "TRUE", "True")
FALSE = ("0", "f", "F", "false", "FALSE", "False")
UNITS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "ns": 1e-9}


@dataclass
class Options:
    """What the command line asks for."""

    command: str
    configs: list[str] = field(default_factory=list)
    values: dict[str, str] = field(default_factory=dict)
    switches: dict[str, bool] = field(default_factory=dict)
    timeout: float = 0.0

    def on(self, name: str) -> bool:
        """Whether a switch is on."""
        return self.switches.get(name, False)


def parse_bool(text: str) -> bool | None:
    """A bool as Go parses it."""
    return True if text in TRUE else False if text in FALSE else None


def parse_duration(text: str) -> float | None:
    """Seconds of a Go duration such as 1h30m or 10s."""
    if text == "0":
        return 0.0
    found = re.findall(r"(\d+(?:\.\d*)?|\.\d+)(h|ms|m|us|ns|s)", text)
    if not found or "".join(number + unit for number, unit in found) != text:
        return None
    return sum(float(number) * UNITS[unit] for number, unit in found)


def show_help(command: str, *, wrong: str = "") -> None:
    """Prints the help; after wrong usage in front of it what was wrong, and with the sub-command's own help."""
    text = (HELP / f"{command or 'k0sctl'}.txt").read_text(encoding="utf-8") if command != "version" else ""
    if wrong:
        print(f"Incorrect Usage: {wrong}\n")
        if command:
            text = text.replace(
                "OPTIONS:", "COMMANDS:\n   help, h  Shows a list of commands or help for one command\n\nOPTIONS:"
            )
    sys.stdout.write(text)


def wrong_usage(command: str, problem: str) -> int:
    """Tells a usage error on both streams."""
    show_help(command, wrong=problem)
    stderr_fatal(problem)
    return 1


def from_environment(options: Options, names: list[str]) -> str:
    """Takes DEBUG, TRACE and DRY_RUN for the flags that were not given; returns what is wrong."""
    for name in names:
        variable = name.upper().replace("-", "_")
        text = os.environ.get(variable, "")
        if name not in ("debug", "trace", "dry-run") or not text or name in options.switches:
            continue
        parsed = parse_bool(text)
        if parsed is None:
            return (
                f'could not parse "{text}" as bool value from environment variable "{variable}" for flag {name}: '
                f'strconv.ParseBool: parsing "{text}": invalid syntax'
            )
        options.switches[name] = parsed
    return ""


def _take(options: Options, word: str, words: list[str], switches: list[str], values: list[str]) -> str:
    """Takes one flag; returns what is wrong."""
    name, equals, text = word.lstrip("-").partition("=")
    name = SHORT.get(name, name)
    if name in switches:
        parsed = parse_bool(text) if equals else True
        if parsed is None:
            return f'invalid boolean value "{text}" for -{name}: parse error'
        options.switches[name] = parsed
        return ""
    if name not in values:
        return f"flag provided but not defined: -{word.lstrip('-').partition('=')[0]}"
    if not equals:
        if not words:
            return f"flag needs an argument: {word}"
        text = words.pop(0)
    if name == "config":
        options.configs.append(text)
    elif name == "timeout":
        seconds = parse_duration(text)
        if seconds is None:
            return f'invalid value "{text}" for flag -timeout: parse error'
        options.timeout = seconds
    else:
        options.values[name] = text
    return ""


def parse(words: list[str]) -> Options | int:
    """The options of a command that is to run, or the exit status of a run that is over already."""
    top = Options("")
    words = list(words)
    problem = ""
    while words and words[0].startswith("-") and not problem:
        problem = _take(top, words.pop(0), words, SWITCHES[""], [])
    problem = problem or from_environment(top, SWITCHES[""])
    if problem:
        return wrong_usage("", problem)
    command = words.pop(0) if words else "help"
    if top.on("help") or command in ("help", "h"):
        show_help("")
        return 0
    if command not in SWITCHES:
        print(f"No help topic for '{command}'", file=sys.stderr)
        return 3
    return _parse_command(top, command, words)


def _parse_command(top: Options, command: str, words: list[str]) -> Options | int:
    options = Options(command)
    problem = ""
    while words and not problem:
        word = words.pop(0)
        if not word.startswith("-"):
            break
        problem = _take(options, word, words, SWITCHES[command], VALUES.get(command, []))
    problem = problem or from_environment(options, SWITCHES[command])
    if problem:
        return wrong_usage(command, problem)
    options.switches = {**top.switches, **options.switches}
    if options.on("help"):
        show_help(command)
        return 0
    if command == "version":
        print(f"version: {VERSION}\ncommit: {COMMIT}")
        return 0
    return options
