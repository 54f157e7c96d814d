"""``version``: which handler, which k0sctl."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from handler import __version__
from handler.commands.context import Context

#: Written into an image that was built with another k0sctl, or on another base, than a release's.
_NOT_A_RELEASE: Final = Path("/usr/share/k0sctl-handler/not-a-release")


def version(ctx: Context) -> str:
    """Print the handler's version, then k0sctl's; and what makes the image another one than a release's."""
    told: dict[str, str | None] = {"handler": __version__, "k0sctl": None}
    summary = f"k0sctl-handler {__version__}"
    ctx.output.show(told, summary)
    told["k0sctl"] = k0sctl = ctx.k0sctl.version()
    ctx.output.show(told, f"k0sctl {k0sctl}")
    summary += f", k0sctl {k0sctl}"
    if _NOT_A_RELEASE.exists():
        told["not_a_release"] = why = _NOT_A_RELEASE.read_text("utf-8").strip()
        ctx.output.show(told, f"NOT A RELEASE: {why}")
        summary += f", NOT A RELEASE: {why}"
    return summary
