"""`docker run --rm IMAGE` beside `docker run --rm BASE true`: what the image itself adds to the engine's start."""

from __future__ import annotations

import statistics
import subprocess
import time
from collections.abc import Sequence
from typing import Final

from tests.practice.container.engine import ENGINE, base, call

GOAL: Final = 0.5


def measure(image: str, runs: int) -> bool:
    """Print the seconds of both; whether the difference is within the goal."""
    commands = {f"{base()} true": [base(), "true"], image: [image]}
    seconds: dict[str, list[float]] = {name: [] for name in commands}
    for number in range(runs + 1):
        for name, words in commands.items():
            took = _seconds(words)
            if number:  # the first one fills caches
                seconds[name].append(took)
    bare, ours = (statistics.median(values) for values in seconds.values())
    print(f"\nstart of a container, {call('--version')}, median of {runs}:")
    for name, value in zip(commands, (bare, ours), strict=True):
        print(f"  run --rm {name:60} {value:7.2f} s")
    print(f"  more: {ours - bare:.2f} s, ratio {ours / bare:.2f} (goal: at most {GOAL} s more)")
    return ours - bare <= GOAL


def _seconds(words: Sequence[str]) -> float:
    began = time.monotonic()
    subprocess.run([ENGINE, "run", "--rm", *words], stdin=subprocess.DEVNULL, capture_output=True, check=True)
    return time.monotonic() - began
