"""k0sctl's log lines: on stdout, and all of them in the log file."""

import os
import sys
import time
from collections.abc import Mapping
from pathlib import Path

VERSION = "v0.32.2"
PLAIN = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._/@^+")
ESCAPES = {
    '"': '\\"',
    "\\": "\\\\",
    "\n": "\\n",
    "\t": "\\t",
    "\r": "\\r",
    "\a": "\\a",
    "\b": "\\b",
    "\f": "\\f",
    "\v": "\\v",
}


class Fatal(Exception):
    """Ends the run with exit status 1; the text becomes the line of level fatal."""


def quoted(text: str) -> str:
    """`text` as Go quotes it."""
    done = []
    for char in text:
        code = ord(char)
        if char in ESCAPES:
            done.append(ESCAPES[char])
        elif code < 32 or code == 127:
            done.append(f"\\x{code:02x}")
        elif 0xDC80 <= code <= 0xDCFF:
            done.append(f"\\x{code - 0xDC00:02x}")
        else:
            done.append(char if char.isprintable() else f"\\u{code:04x}")
    return '"' + "".join(done) + '"'


def value(text: str) -> str:
    """`text`, quoted when it needs it."""
    return text if text and PLAIN.issuperset(text) else quoted(text)


def line(stamp: str, level: str, message: str, fields: Mapping[str, object]) -> str:
    """One line in logrus' text format."""
    parts = [f'time="{stamp}"'] if stamp else []
    parts.append(f"level={level}")
    if message:
        parts.append(f"msg={value(message)}")
    for name in sorted(fields):
        content = fields[name]
        parts.append(f"{name}={str(content).lower() if isinstance(content, bool) else value(str(content))}")
    return " ".join(parts) + "\n"


def stderr_fatal(message: str) -> None:
    """A line of level fatal from before the log is set up."""
    stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    sys.stderr.write(line(stamp, "fatal", message, {}))


class Log:
    """Writes to stdout and to the log file."""

    def __init__(self, *, debug: bool = False) -> None:
        self.debug_on_stdout = debug
        self.path = self._log_path()
        try:
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            handle = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        except OSError:
            text = f"could not create any of the following paths: [{self.path.parent}]"
            sys.stdout.write(line("", "fatal", text, {}))
            sys.stdout.flush()
            sys.exit(1)
        self.file = os.fdopen(handle, "a", encoding="utf-8", errors="surrogateescape", buffering=1)
        self._to_file("info", "###### New session ######", {})

    @staticmethod
    def _log_path() -> Path:
        cache = os.environ.get("XDG_CACHE_HOME") or Path(os.environ.get("HOME", ""), ".cache")
        return Path(cache) / "k0sctl/k0sctl.log"

    def _to_file(self, level: str, message: str, fields: Mapping[str, object]) -> None:
        self.file.write(line(time.strftime("%d %b %y %H:%M %Z"), level, message, fields))

    def write(self, level: str, message: str, **fields: object) -> None:
        """One line."""
        self._to_file(level, message, fields)
        if level != "debug" or self.debug_on_stdout:
            stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()) if self.debug_on_stdout else ""
            self.print(line(stamp, level, message, fields))

    def print(self, text: str) -> None:
        """Text on stdout that is no log line."""
        sys.stdout.buffer.write(text.encode("utf-8", "surrogateescape"))
        sys.stdout.buffer.flush()

    def debug(self, message: str, **fields: object) -> None:
        """A line of level debug."""
        self.write("debug", message, **fields)

    def info(self, message: str) -> None:
        """A line of level info."""
        self.write("info", message)

    def warning(self, message: str) -> None:
        """A line of level warning."""
        self.write("warning", message)

    def error(self, message: str) -> None:
        """A line of level error."""
        self.write("error", message)
