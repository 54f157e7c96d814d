"""Takes values from the environment and gathers every problem, so that one run tells them all."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final, TypeVar

from handler.errors import ConfigurationError
from handler.secret import Redactor
from handler.settings.commands import nearest
from handler.settings.convert import Rejected
from handler.settings.setting import FILE_SUFFIX, PREFIX, Setting
from handler.settings.table import BY_NAME, known_names

Value = TypeVar("Value")
#: Reads a file of text; raises OSError or ValueError.
FileReader = Callable[[Path], str]

LARGEST_FILE: Final = 1024 * 1024
_LONGEST_SHOWN: Final = 80
_SPACE: Final = 32
_DELETE: Final = 127


def read_text_file(path: Path) -> str:
    """A small UTF-8 file, whole. A pipe is fine, so ``<(pass show key)`` works."""
    with path.open("rb") as file:
        raw = file.read(LARGEST_FILE + 1)
    if len(raw) > LARGEST_FILE:
        raise ValueError("larger than 1 MiB")
    return raw.decode("utf-8-sig")


class Values:
    """The variables of one environment; each is taken once and converted.

    Attributes:
        problems: what does not fit: the variable, and a line free of secrets.
    """

    def __init__(self, env: Mapping[str, str], read: FileReader = read_text_file) -> None:
        self._env = env
        self._read = read
        self._redactor = Redactor()
        self.problems: list[tuple[str, str]] = []
        self.taken: set[str] = set()
        for setting in BY_NAME.values():
            if setting.secret:
                # a secret may also stand in a variable where it does not belong
                self._redactor.learn(env.get(setting.name, ""))

    def take(self, name: str, convert: Callable[[str], Value]) -> Value:
        """The value or the default; a rejected value becomes a problem and the default is used."""
        given = self.optional(name, convert)
        return convert(BY_NAME[name].default) if given is None else given

    def optional(self, name: str, convert: Callable[[str], Value]) -> Value | None:
        """The value, or None where it is unset or rejected."""
        setting = BY_NAME[name]
        self.taken.add(name)
        source, text = self._source(setting)
        if not text:
            return None
        try:
            if not setting.secret and not setting.multiline:
                text = text.strip()
                _refuse_control_characters(text)
            return convert(text)
        except Rejected as rejected:
            shown = " (its value is not shown)" if rejected.secret else self._shown(setting, source, text)
            self.problem(source, str(rejected), shown=shown)
            return None

    def given(self, name: str) -> bool:
        """Whether anything was set under this name, fitting or not."""
        setting = BY_NAME[name]
        names = (name, setting.file_name) if setting.file_name else (name,)
        return any(self._env.get(one, "").strip() for one in names)

    def problem(self, name: str, what: str, *, shown: str = "") -> None:
        """Note a problem: the variable, its value as it may be shown, and what is wrong or allowed."""
        self.problems.append((name, self._redactor.mask(f"{name}{shown}: {what}")))

    def unknown(self) -> tuple[str, ...]:
        """A warning for each variable that looks like a setting and is none; images set such names, so no error."""
        known = known_names()
        # without the common prefix, which would make everything look alike
        short = {name.removeprefix(PREFIX): name for name in known}
        warnings = []
        for name in sorted(self._env):
            if not name.startswith(PREFIX) or name in known or not self._env[name].strip():
                continue
            meant = short.get(nearest(name.removeprefix(PREFIX), short), "")
            hint = f"; did you mean {meant}?" if meant else ""
            warnings.append(f"{ascii(name)[1:-1]} is no setting of this release and is ignored{hint}")
        return tuple(warnings)

    def raise_problems(self) -> None:
        """One error for all problems."""
        lines = [line for _, line in self.problems]
        # a name that was mistyped is often the reason
        unknown = [f"warning: {text}" for text in self.unknown()]
        if len(lines) == 1:
            raise ConfigurationError(lines[0], details=unknown)
        if lines:
            names = ", ".join(dict.fromkeys(name for name, _ in self.problems))
            raise ConfigurationError(f"{len(lines)} problems with the settings: {names}", details=[*lines, *unknown])

    def _source(self, setting: Setting) -> tuple[str, str]:
        """The variable that was used, and its text; an empty one is an unset one."""
        text = self._env.get(setting.name, "")
        if (setting.multiline or not setting.secret) and not text.strip():
            text = ""
        path = self._env.get(setting.file_name, "") if setting.file_name else ""
        if not path.strip():
            return setting.name, text
        if text:
            self.problem(setting.name, f"is set and {setting.file_name} too: keep one of them")
            return setting.file_name, ""
        return setting.file_name, self._content(setting, path)

    def _content(self, setting: Setting, path: str) -> str:
        """What the named file holds; a problem and an empty text where that cannot be had."""
        shown = self._shown_path(setting, path)
        if "-----BEGIN" in path or "\n" in path:
            self.problem(setting.file_name, f"holds the content, not a path: set {setting.name} instead")
            return ""
        try:
            text = self._read(Path(path))
        except UnicodeDecodeError:
            self.problem(setting.file_name, "is not UTF-8 text", shown=shown)
            return ""
        except OSError as error:
            self.problem(setting.file_name, f"cannot be read: {error.strerror or type(error).__name__}", shown=shown)
            return ""
        except ValueError as error:
            self.problem(setting.file_name, f"cannot be read: {error}", shown=shown)
            return ""
        if setting.secret:
            self._redactor.learn(text)
        if not setting.multiline:
            # what every editor and `echo` add; a further one is the operator's
            text = text.removesuffix("\n").removesuffix("\r")
        if not text or (setting.multiline and not text.strip()):
            self.problem(setting.file_name, "the file is empty", shown=shown)
            return ""
        return text

    def _shown(self, setting: Setting, source: str, text: str) -> str:
        """The rejected value as it may be shown; of a value from a file its path."""
        if source != setting.name:
            return self._shown_path(setting, self._env[source])
        if setting.secret or setting.multiline or "-----BEGIN" in text:
            return " (its value is not shown)"
        shown = text if len(text) <= _LONGEST_SHOWN else text[: _LONGEST_SHOWN - 1] + "…"
        return f"={shown!r}"

    def _shown_path(self, setting: Setting, path: str) -> str:
        """A path, unless it may be the passphrase itself, set under the wrong name."""
        if setting.secret and not setting.multiline and not path.startswith(("/", "./", "../")):
            return " (not shown: no absolute path, so it may be the value itself)"
        return f"={path!r}"


def _refuse_control_characters(text: str) -> None:
    if any(ord(char) < _SPACE or ord(char) == _DELETE for char in text):
        raise Rejected("must be one line without control characters")


def without_files(env: Mapping[str, str]) -> dict[str, str]:
    """The environment without ``_FILE`` variables: a command that needs no secret opens no file."""
    return {name: value for name, value in env.items() if not name.endswith(FILE_SUFFIX)}
