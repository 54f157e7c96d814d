"""The image under test, and practice hosts in containers beside it."""

from __future__ import annotations

import fcntl
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.practice.choice import real_k0sctl
from tests.practice.container.engine import ROOT, call, succeeds
from tests.practice.container.host import ContainerHost

IMAGE = "localhost/k0sctl-handler:practice"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker("image")


def build(name: str, *options: str, k0sctl: Path | None = None, source: Path = ROOT) -> str:
    """Builds the image with this k0sctl, else the one that the tests were told to take; returns its id."""
    real = k0sctl or real_k0sctl()
    chosen = {"K0SCTL_BINARY": str(real)} if real else {}
    command = [source / "image/build.sh", "--tag", name, *options, *(() if real else ("--practice",))]
    with (ROOT / "image/build.sh").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        done = subprocess.run(command, env={**os.environ, **chosen}, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return call("image", "inspect", "--format={{.Id}}", name)


@pytest.fixture(scope="session")
def image(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The id of the image with the chosen k0sctl, whoever gives its name to another one meanwhile."""
    if os.geteuid() != 0:
        pytest.skip("directories of several users need root")
    if not succeeds("info"):
        pytest.skip("no container engine works here; ./dev image tells why")
    if not hasattr(request.config, "workerinput"):
        return build(IMAGE)
    # processes side by side have this directory in common: the first builds, which takes a while even without a change
    with (tmp_path_factory.getbasetemp().parent / "image").open("a+", encoding="ascii") as shared:
        fcntl.flock(shared, fcntl.LOCK_EX)
        shared.seek(0)
        if not (built := shared.read()):
            built = build(IMAGE)
            shared.write(built)
        return built


@pytest.fixture
def host(image: str, tmp_path: Path) -> Iterator[ContainerHost]:
    """A practice host with no more than a k0s binary."""
    with ContainerHost(tmp_path / "cluster") as running:
        yield running
