"""``version``: which handler, which k0sctl."""

from __future__ import annotations

import sys

from handler import __version__
from handler.commands.context import Context


def version(ctx: Context) -> str:
    """Print the handler's version, then k0sctl's."""
    sys.stdout.write(f"k0sctl-handler {__version__}\n")
    sys.stdout.flush()
    k0sctl = ctx.k0sctl.version()
    sys.stdout.write(f"k0sctl {k0sctl}\n")
    sys.stdout.flush()
    return f"k0sctl-handler {__version__}, k0sctl {k0sctl}"
