"""Which further arguments k0sctl may be given, and in which form: the flags of its own help that are safe to pass on.

Left out are those that are the handler's own (config, output, restore-from, timeout), those that would make a claim
untrue (dry-run), and those that show secrets or only fill the log (no-redact, debug, trace).
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Mapping
from typing import Final

from handler.settings.convert import Rejected

_NUMBER: Final = r"[0-9]{1,6}"
_TEXT: Final = r".+"
_SWITCH: Final = r"true|false"
#: command → flag → what its value must look like. From `k0sctl COMMAND --help` of v0.32.2.
EXTRA_ARGUMENTS: Final[Mapping[str, Mapping[str, str]]] = {
    "apply": {
        "concurrency": _NUMBER,
        "concurrent-uploads": _NUMBER,
        "evict-taint": _TEXT,
        "force": _SWITCH,
        "kubeconfig-api-address": _TEXT,
        "kubeconfig-cluster": _TEXT,
        "kubeconfig-out": _TEXT,
        "kubeconfig-user": _TEXT,
        "no-drain": _SWITCH,
        "no-wait": _SWITCH,
    },
    "backup": {"concurrency": _NUMBER, "force": _SWITCH},
    "reset": {"concurrency": _NUMBER},
}


def extra_arguments(command: str) -> Callable[[str], tuple[str, ...]]:
    """The arguments of one command, each as ``--name=value``; nothing for a command that does not run k0sctl so."""
    allowed = EXTRA_ARGUMENTS.get(command, {})

    def convert(text: str) -> tuple[str, ...]:
        return tuple(_flags(text, allowed, command)) if allowed else ()

    return convert


def _flags(text: str, allowed: Mapping[str, str], command: str) -> list[str]:
    try:
        words = shlex.split(text)
    except ValueError:
        raise Rejected("has a quote that is not closed") from None
    found: dict[str, str] = {}
    while words:
        word = words.pop(0)
        flag, has_value, value = word.partition("=")
        name = flag.lstrip("-")
        if not word.startswith("-") or name not in allowed:
            raise Rejected(f"{flag!r} is not passed on for `{command}`; allowed: {', '.join(allowed)}")
        form = allowed[name]
        if not has_value:
            # a forgotten value must not swallow the next flag
            value = "true" if form == _SWITCH else words.pop(0) if words and not words[0].startswith("-") else ""
        if not re.fullmatch(form, value):
            wanted = {_SWITCH: "true or false", _NUMBER: "a number"}.get(form, "a value")
            raise Rejected(f"--{name} needs {wanted}")
        if name in found:
            raise Rejected(f"--{name} is given twice")
        found[name] = value
    return [f"--{name}={value}" for name, value in found.items()]
