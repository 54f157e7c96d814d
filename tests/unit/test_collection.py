"""The tests themselves: processes that run them side by side have to find the same ones."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def collected(seed: str) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider"], cwd=ROOT,
        env={**os.environ, "PYTHONHASHSEED": seed}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-3000:]
    return [line for line in done.stdout.splitlines() if "::" in line]


def test_names_of_tests_depend_on_no_moment_and_no_order_of_a_set() -> None:
    first = collected("1")  # it takes longer than a second, so that a time in a name is another one
    assert len(first) > 1000
    assert collected("2") == first


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount")
def test_processes_side_by_side_do_not_see_each_others_private_places() -> None:
    script = 'ls -A /dev/shm; mkdir /dev/shm/k0sctl-handler-x; ls -A /dev/shm; stat -c %a /dev/shm; echo "$1"'
    done = subprocess.run(
        ["sh", "tests/support/apart.sh", "sh", "-c", script, "-", "a  b"], cwd=ROOT,
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (0, "k0sctl-handler-x\n1777\na  b\n"), done.stderr
    assert not Path("/dev/shm/k0sctl-handler-x").exists()
