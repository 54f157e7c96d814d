"""The settings: which are set, which do not fit, which names are none."""

from __future__ import annotations

import re

from handler.commands.context import Context
from handler.errors import ConfigurationError
from handler.findings import Area
from handler.settings.setting import FILE_SUFFIX
from handler.settings.table import known_names


def check_settings(ctx: Context, area: Area) -> None:
    for line in ctx.settings.problems:
        name = _name(line)
        area.problem(name, ConfigurationError(line, resolution=f"correct {name}; or, for its default: unset {name}"))
    for line in ctx.unknown:
        name = _name(line)
        area.warn(name, line, mend=f"unset {name}, or give it the name that was meant")
    if not ctx.settings.problems:
        given = sorted(name for name in known_names() if ctx.variables.get(name, "").strip())
        area.ok("all", f"set: {', '.join(given)}" if given else "none is set, all have their defaults")


def rejected(ctx: Context, *names: str) -> str:
    """Which of these settings was given and does not fit; empty when none was."""
    wrong = {_name(line).removesuffix(FILE_SUFFIX) for line in ctx.settings.problems}
    return next((name for name in names if name in wrong), "")


def _name(line: str) -> str:
    """The variable that a line about settings begins with."""
    found = re.match(r"[A-Z][A-Z0-9_]*", line)
    return found[0] if found else "K0SCTL_…"
