"""Code that runs without root's power to pass over file permissions."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
_CAPABILITIES = "-dac_override,-dac_read_search,-fowner"


def powerless(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run Python code as this user; where that is root, permissions count for it all the same."""
    drop = ["setpriv", f"--bounding-set={_CAPABILITIES}", "--inh-caps=-all"] if os.geteuid() == 0 else []
    return subprocess.run(
        [*drop, sys.executable, "-c", code, *arguments],
        cwd=ROOT, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL, timeout=60,
    )  # fmt: skip
