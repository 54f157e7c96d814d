"""The task files of pipeline/tasks/, made from the settings and commands that the handler is parsed by.

Each names every setting of its command, since Concourse warns of a param that a step sets and the task file does not
name. An empty value is an unset one, so that naming a setting changes nothing.
"""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import Final

from handler.settings.commands import COMMANDS, Command
from handler.settings.help import needs
from handler.settings.setting import Kind, Setting
from handler.settings.table import BY_NAME, SETTINGS

_WIDTH: Final = 120
#: The one path that may be chosen: all others are the directories of the task, or are gone with its container.
_CONFIG_PATH: Final = "K0SCTL_CFG_PATH"
#: The commands that write the backup repository.
_WRITERS: Final = ("init", "backup")
#: Where `restore` puts the archive in clear: never into a directory that is kept or pushed.
_DECRYPTED: Final = "decrypted"
#: Words for those whose files do one thing of several.
_DOES: Final = {
    "restore": "Verifies and decrypts a backup for a manual restore: the archive, in clear, is the output `decrypted`, "
    "which stays on the worker for as long as Concourse keeps the volume",
    "verify": "Proves all stored backups: signatures, checksums, a full decryption, the content",
}
_ARGUMENTS: Final = {"restore": ("--to", _DECRYPTED), "verify": ("--all",)}
#: Settings that the arguments leave without a meaning.
_OVERRIDDEN: Final = {"verify": ("K0SCTL_BACKUP",)}


def task_files() -> dict[str, str]:
    """What each file contains, by its name."""
    return {f"{command.name}.yml": _text(command) for command in COMMANDS}


def _text(command: Command) -> str:
    lines = [*_comment(command), "---", "platform: linux"]
    for key, names in (("inputs", _inputs(command)), ("outputs", _outputs(command))):
        if names:
            lines.append(f"{key}: [{', '.join(f'{{ name: {name} }}' for name in names)}]")
    arguments = ", ".join(_ARGUMENTS.get(command.name, ()))
    lines.append("run: { path: k0sctl-handler, user: root" + (f", args: [{arguments}]" if arguments else "") + " }")
    lines += ["params:", f"  K0SCTL_CMD_NAME: {command.name}"]
    lines += [f'  {setting.name}: ""' for setting in SETTINGS if _is_open(setting, command)]
    return "".join(f"{line}\n" for line in lines)


def _comment(command: Command) -> list[str]:
    """What it does and needs, in the words of the help."""
    does = _DOES.get(command.name, command.does)
    told = f"{does[0].upper()}{does[1:]}."
    if BY_NAME["K0SCTL_CMD_NAME"].default != command.name:
        told += f" Needs {needs(command)}."
    return textwrap.wrap(told, _WIDTH, initial_indent="# ", subsequent_indent="# ", break_on_hyphens=False)


def _inputs(command: Command) -> list[str]:
    """Whoever names a remote of its own by K0SCTL_GIT_URL has no `restore`; nor has the first `init`."""
    config = ["config"] if _uses(command, _CONFIG_PATH) else []
    return config + (["restore, optional: true"] if _uses(command, "K0SCTL_DIR_RES") else [])


def _outputs(command: Command) -> list[str]:
    log = ["auditlog"] if _uses(command, "K0SCTL_DIR_LOG") else []
    backup = ["backup"] if command.name in _WRITERS else []
    return log + backup + ([_DECRYPTED] if _DECRYPTED in _ARGUMENTS.get(command.name, ()) else [])


def _uses(command: Command, setting: str) -> bool:
    return command.name in BY_NAME[setting].commands


def _is_open(setting: Setting, command: Command) -> bool:
    """Whether it is for the pipeline to say."""
    if setting.kind is Kind.COMMAND or setting.name in _OVERRIDDEN.get(command.name, ()):
        return False
    return command.name in setting.commands and (setting.kind is not Kind.PATH or setting.name == _CONFIG_PATH)


def problems(directory: Path) -> list[str]:
    """How the files of a directory differ from what they should be: empty when they are right."""
    wanted = task_files()
    found = {path.name: path.read_text("utf-8") for path in directory.glob("*")}
    lines = [f"{directory.name}/{name} is missing" for name in wanted if name not in found]
    lines += [f"{directory.name}/{name} belongs to no command" for name in found if name not in wanted]
    return lines + [
        f"{directory.name}/{name} is out of date" for name in wanted if found.get(name, wanted[name]) != wanted[name]
    ]


def renew(directory: Path) -> None:
    """Write all files; those of commands that are no more go."""
    directory.mkdir(exist_ok=True)
    for path in directory.glob("*.yml"):
        path.unlink()
    for name, text in task_files().items():
        (directory / name).write_text(text, "utf-8")
