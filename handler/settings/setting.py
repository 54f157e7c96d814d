"""What a setting is: one environment variable and what is told of it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

PREFIX: Final = "K0SCTL_"
FILE_SUFFIX: Final = "_FILE"


class Kind(StrEnum):
    """What a value looks like, in the words of the help."""

    COMMAND = "command"
    FLAG = "true or false"
    CHOICE = "choice"
    NAME = "name"
    TEXT = "text"
    PATH = "path"
    DURATION = "duration"
    NUMBER = "number"
    PERCENT = "percent"
    BLOCK = "lines"
    ID = "id"
    URL = "url"


@dataclass(frozen=True, kw_only=True)
class Setting:
    """One environment variable.

    Attributes:
        shown_default: what the help says where the default is no literal value.
        choices: all values of a `Kind.CHOICE`.
        commands: the commands that read it.
    """

    name: str
    meaning: str
    kind: Kind
    commands: tuple[str, ...]
    default: str = ""
    shown_default: str = ""
    choices: tuple[str, ...] = ()
    secret: bool = False
    multiline: bool = False

    @property
    def file_name(self) -> str:
        """The variable that names a file with the value; empty when there is none."""
        return self.name + FILE_SUFFIX if self.secret or self.multiline else ""

    @property
    def default_text(self) -> str:
        return self.shown_default or self.default
