"""The image under test, and practice hosts in containers beside it."""

from __future__ import annotations

import fcntl
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.practice.choice import real_k0sctl
from tests.practice.container.engine import ROOT, succeeds
from tests.practice.container.host import ContainerHost

IMAGE = "localhost/k0sctl-handler:practice"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker("image")


@pytest.fixture(scope="session")
def image() -> str:
    """The image with the chosen k0sctl; a build that finds no change is quick."""
    if os.geteuid() != 0:
        pytest.skip("directories of several users need root")
    if not succeeds("info"):
        pytest.skip("no container engine works here; ./dev image tells why")
    real = real_k0sctl()
    chosen = {"K0SCTL_BINARY": str(real)} if real else {}
    command = [ROOT / "image/build.sh", "--tag", IMAGE, *(() if real else ("--practice",))]
    with (ROOT / "image/build.sh").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        done = subprocess.run(command, env={**os.environ, **chosen}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return IMAGE


@pytest.fixture
def host(image: str, tmp_path: Path) -> Iterator[ContainerHost]:
    """A practice host with no more than a k0s binary."""
    with ContainerHost(tmp_path / "cluster") as running:
        yield running
