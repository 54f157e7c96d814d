"""Lines of logrus' text format, as k0sctl writes them (https://github.com/sirupsen/logrus, text_formatter.go). Pure."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping

PHASE = "==> Running phase: "
_PAIR = re.compile(r'([\w.]+)=(?:(")([^"\\]*(?:\\(?:.|$)[^"\\]*)*)("?)|([^\s"]*))(?=\s|$)', re.DOTALL)
_ESCAPE = re.compile(r"\\(x[0-9a-f]{2}|u[0-9a-f]{4}|U[0-9a-f]{8}|.|$)", re.DOTALL)
_PLAIN_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "a": "\a", "b": "\b", "f": "\f", "v": "\v", "": ""}
_UNPRINTABLE = re.compile(r"[^\n\t\x20-\x7e\xa0-\U0010ffff]")


@dataclasses.dataclass(frozen=True, slots=True)
class LogLine:
    """One line of logrus' text format; ``whole`` is False for a line that was cut inside a quoted value."""

    level: str
    message: str
    fields: Mapping[str, str]
    whole: bool = True

    @property
    def remote(self) -> bool:
        """Whether this is the output of a command on a host: never k0sctl's own word, whatever it says."""
        return "stream" in self.fields

    @property
    def phase(self) -> str | None:
        """The phase that this line announces."""
        told = self.whole and not self.remote and self.level == "info" and self.message.startswith(PHASE)
        return self.message.removeprefix(PHASE) if told else None


def parse_line(line: str) -> LogLine | None:
    """Read one line of logrus' text format (values are Go-quoted only when needed); None for any other line."""
    if not line.startswith(("level=", "time=")):
        return None
    fields: dict[str, str] = {}
    whole = True
    for name, begin, quoted, end, bare in _PAIR.findall(line.rstrip("\r\n")):
        value = _ESCAPE.sub(_unescape, quoted) if begin else bare
        whole = whole and begin == end
        # logrus writes its own names first and renames a field that collides, so the first one is the true one
        fields.setdefault(name, value)
    if "level" not in fields:
        return None
    return LogLine(fields.pop("level"), fields.pop("msg", ""), fields, whole)


def _unescape(match: re.Match[str]) -> str:
    r"""One escape of Go's strconv.Quote; ``\x80`` and above stand for bytes that are no UTF-8."""
    code = match[1]
    if len(code) > 1:
        number = int(code[1:], 16)
        wrong = number > 0x10FFFF or 0xD800 <= number < 0xE000 or (code[0] == "x" and number > 0x7F)  # noqa: PLR2004
        return "\ufffd" if wrong else chr(number)
    return _PLAIN_ESCAPES.get(code, code)


def phase_of(line: str) -> str | None:
    """The phase that a line of k0sctl's stdout announces, for showing it as it happens."""
    parsed = parse_line(line)
    return parsed.phase if parsed else None


def printable(text: str) -> str:
    """Text of a host without control characters: it ends up on a terminal."""
    return _UNPRINTABLE.sub("\ufffd", text).strip()
