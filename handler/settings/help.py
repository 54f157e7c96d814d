"""The help and the README's tables, made from the same data that is parsed by."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterable, Sequence
from typing import Final

from handler.errors import EXIT_CODES
from handler.settings.cli import USAGE
from handler.settings.commands import COMMANDS, Command
from handler.settings.setting import Setting
from handler.settings.table import SETTINGS

WIDTH: Final = 100
_EMBEDDED: Final = re.compile(r"(<!-- table:(?P<name>[a-z-]+) -->\n)(?P<body>.*?)(<!-- /table -->)", re.DOTALL)

_JSON_NOTE: Final = (
    'With --json every command prints one JSON document to stdout: its report, and what it found as "result".'
)
_EXAMPLES: Final = """\
  k0sctl-handler
  K0SCTL_GPG_KEY_FILE=cluster.asc k0sctl-handler init
  K0SCTL_GPG_KEY_FILE=cluster.asc k0sctl-handler backup
  K0SCTL_GPG_KEY_FILE=cluster.asc k0sctl-handler restore --to old.tar.gz
  K0SCTL_GPG_KEY_FILE=cluster.asc k0sctl-handler list --json | jq .result
  docker run --rm -v "$PWD:/work" --user "$(id -u):$(id -g)" -e K0SCTL_CMD_NAME=apply IMAGE"""


def help_text() -> str:
    """Usage, commands, variables, exit codes and examples."""
    parts = [
        f"usage: {USAGE}",
        "Runs one life-cycle action on one k0s cluster and exits.",
        _section("Commands", ((_called(command), command.does) for command in COMMANDS), column=30),
        textwrap.fill(_JSON_NOTE, WIDTH),
        _section("Environment variables", ((setting.name, _told(setting)) for setting in SETTINGS), column=24),
        textwrap.fill(_file_note(markup=False), WIDTH, break_on_hyphens=False),
        _section("Exit codes", ((str(code), meaning) for code, meaning in EXIT_CODES.items()), column=6),
        f"Examples:\n{_EXAMPLES}",
    ]
    return "\n\n".join(parts) + "\n"


def _section(title: str, rows: Iterable[tuple[str, str]], *, column: int) -> str:
    """Two columns; a first entry that is too wide stands on a line of its own."""
    lines = [f"{title}:"]
    for left, right in rows:
        wrapped = textwrap.wrap(right, WIDTH - column - 2, break_on_hyphens=False)
        if len(left) < column:
            lines.append(f"  {left:<{column}}{wrapped.pop(0)}")
        else:
            lines.append(f"  {left}")
        lines.extend(" " * (column + 2) + line for line in wrapped)
    return "\n".join(lines)


def _called(command: Command) -> str:
    names = ", ".join(command.names)
    return f"{names} {command.usage}".rstrip()


def _told(setting: Setting) -> str:
    """Meaning and default, without markup."""
    default = f" [{setting.default_text}]" if setting.default_text else ""
    return setting.meaning.replace("`", "") + default


def _file_note(*, markup: bool) -> str:
    tick = "`" if markup else ""
    names = [f"{tick}{setting.file_name}{tick}" for setting in SETTINGS if setting.file_name]
    return (
        f"{', '.join(names[:-1])} and {names[-1]} name a file that holds the value; setting both is an error. "
        "An empty value is an unset value."
    )


def readme_tables() -> dict[str, str]:
    """The tables that README.md embeds, in Markdown, by their names."""
    return {
        "commands": _markdown(
            ("command", "does", "needs"),
            ((f"`{_called(command)}`", command.does, needs(command)) for command in COMMANDS),
        ),
        "settings": _markdown(
            ("variable", "default", "used by", "meaning"),
            ((f"`{setting.name}`", _default_cell(setting), _users(setting), setting.meaning) for setting in SETTINGS),
        )
        + f"\n{_file_note(markup=True)}\n",
        "exit-codes": _markdown(("code", "meaning"), ((str(code), text) for code, text in EXIT_CODES.items())),
    }


def needs(command: Command) -> str:
    """What a command cannot work without, in few words; a dash for nothing."""
    if command.name == "check":
        return "what is set"
    return ", ".join([*sorted(command.needs), *(f"{need} {when}" for need, when in command.also_needs.items())]) or "–"


def _users(setting: Setting) -> str:
    """The commands that read it, in few words."""
    without = [command.name for command in COMMANDS if command.name not in setting.commands]
    if len(without) > len(setting.commands):
        return ", ".join(setting.commands)
    return f"all but {', '.join(without)}" if without else "all"


def _default_cell(setting: Setting) -> str:
    return setting.shown_default or (f"`{setting.default}`" if setting.default else "")


def _markdown(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |\n" for line in lines)


def readme_problems(readme: str) -> list[str]:
    """How a README differs from the tables: empty when it is right."""
    tables = readme_tables()
    found = {match["name"]: match["body"] for match in _EMBEDDED.finditer(readme)}
    problems = [f"no <!-- table:{name} --> … <!-- /table -->" for name in tables if name not in found]
    problems += [f"table:{name} is not known" for name in found if name not in tables]
    problems += [
        f"table:{name} is out of date" for name, body in found.items() if name in tables and body != tables[name]
    ]
    return problems


def updated_readme(readme: str) -> str:
    """The README with its tables renewed; unknown ones are left alone."""
    tables = readme_tables()
    return _EMBEDDED.sub(lambda match: match[1] + tables.get(match["name"], match["body"]) + match[4], readme)
