"""Foreign text made fit for a terminal or a log, and numbers as people read them."""

from __future__ import annotations

import math
import re
from typing import Final

#: Colours, cursor movements, titles and hyperlinks. k0sctl colours the diff of a dry run even without a terminal.
_ESCAPES: Final = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[@-Z\\^_]|[ -/]+[0-~])")
#: The last ones are bytes of a file name that are no text: control characters where a terminal takes single bytes.
_CONTROLS: Final = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\udc80-\udc9f]")
_THOUSAND: Final = 1000
_MINUTE: Final = 60
_TEN: Final = 9.95


def clean(text: str) -> str:
    """Text without escape sequences; carriage returns become line ends, other control characters ``?``."""
    text = _ESCAPES.sub("", text).replace("\r\n", "\n").replace("\r", "\n")
    return _CONTROLS.sub("?", text)


def lines(text: str) -> list[str]:
    """The lines of a text, at least one, without spaces at their ends."""
    return [line.rstrip() for line in text.rstrip().split("\n")]


def one_line(text: str) -> str:
    """The text folded to one line."""
    return " ".join(clean(text).split())


def seconds_text(seconds: float) -> str:
    """0.4 s, 12 s, 3 min 5 s."""
    if seconds < _TEN:
        return f"{max(seconds, 0.0):.1f} s"
    whole = round(seconds)
    return f"{whole} s" if whole < _MINUTE else f"{whole // _MINUTE} min {whole % _MINUTE} s"


def size_text(size: float) -> str:
    """512 B, 3.1 MB."""
    if size < _THOUSAND:
        return f"{size:.0f} B"
    units = ("kB", "MB", "GB", "TB")
    power = min(int(math.log(size, _THOUSAND)), len(units))
    return f"{size / _THOUSAND**power:.1f} {units[power - 1]}"
