"""``version``: which handler, which k0sctl."""

from __future__ import annotations

from handler import __version__
from handler.commands.context import Context


def version(ctx: Context) -> str:
    """Print the handler's version, then k0sctl's."""
    ctx.output.show({"handler": __version__, "k0sctl": None}, f"k0sctl-handler {__version__}")
    k0sctl = ctx.k0sctl.version()
    ctx.output.show({"handler": __version__, "k0sctl": k0sctl}, f"k0sctl {k0sctl}")
    return f"k0sctl-handler {__version__}, k0sctl {k0sctl}"
