"""Practice clusters and working directories. What is slow to make is made once and copied for each test."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from typing import TypeVar

import pytest

from tests.practice.choice import REASON, Host, NotForReal, practice_host, real_k0sctl
from tests.practice.faults import HOST_FAULTS, K0SCTL_FAULTS
from tests.support.keys import KeyPair
from tests.support.lab import Lab
from tests.support.remotes import Bare

#: What is not run with a real k0sctl.
left_out_of_real: list[str] = []


@pytest.hookimpl(specname="pytest_collection_modifyitems")
def pytest_deselect_faults_of_the_stand_in(config: pytest.Config, items: list[pytest.Item]) -> None:
    needy = [item for item in items if real_k0sctl() and item.get_closest_marker("k0sctl_faults")]
    left_out_of_real.extend(item.nodeid for item in needy)
    config.hook.pytest_deselected(items=needy)
    items[:] = [item for item in items if item not in needy]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if left_out_of_real:
        terminalreporter.section(f"not run: {REASON}")
        for name in left_out_of_real:
            terminalreporter.line(name)


@dataclass(frozen=True)
class Site:
    """A running cluster and a repository with two of its backups."""

    host: Host
    repository: Path
    uid: str
    older: str
    latest: str


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory, cluster_key: KeyPair) -> Iterator[Site]:
    directory = tmp_path_factory.mktemp("site")
    with practice_host(directory / "cluster") as host:
        host.install()
        lab = Lab(directory, [host], cluster_key)
        lab.ok("init")
        host.add_object("one")
        lab.ok("backup")
        older = lab.latest()
        host.add_object("two")
        lab.ok("backup")
        uid = host.uid()
        assert uid
        yield Site(host, lab.backup, uid, older, lab.latest())


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    """A host of the test's own, with a k0s binary and nothing more."""
    with practice_host(tmp_path / "cluster") as running:
        yield running


@pytest.fixture
def lab(tmp_path: Path, host: Host, cluster_key: KeyPair) -> Lab:
    """A host of the test's own, and no repository."""
    return Lab(tmp_path, [host], cluster_key)


@pytest.fixture
def spare(lab: Lab, site: Site) -> Lab:
    """A host of the test's own, and a repository with two backups of the site's cluster."""
    shutil.copytree(site.repository, lab.backup, symlinks=True)
    return lab


@pytest.fixture
def running(tmp_path: Path, site: Site, cluster_key: KeyPair) -> Iterator[Lab]:
    """The site's running cluster, shared by many tests, and a copy of its repository."""
    lab = Lab(tmp_path / "running", [site.host], cluster_key)
    shutil.copytree(site.repository, lab.backup, symlinks=True)
    yield lab
    for fault in HOST_FAULTS:
        site.host.clear_fault(fault)
    (site.host.root / "tmp" / "k0sctl.lock").unlink(missing_ok=True)  # of a k0sctl that was killed
    assert site.host.running()
    assert site.host.uid() == site.uid


Case = TypeVar("Case")


class Crew:
    """Several labs, each with a host of its own, that take cases from one list: most of a run is waiting."""

    def __init__(self, test: str, labs: Sequence[Lab]) -> None:
        self._test = test
        self._count = len(labs)
        self._free: SimpleQueue[Lab] = SimpleQueue()
        for lab in labs:
            self._free.put(lab)

    def check(self, cases: Sequence[Case], check: Callable[[Lab, Case], object]) -> None:
        """Check each case on a host of which the one before has left nothing."""
        with ThreadPoolExecutor(self._count) as pool:
            problems = list(pool.map(lambda case: self._one(case, check), cases))
        assert not any(problems), "\n\n".join(filter(None, problems))

    def _one(self, case: Case, check: Callable[[Lab, Case], object]) -> str:
        lab = self._free.get()
        try:
            check(lab, case)
        except NotForReal:
            left_out_of_real.append(f"{self._test}: {case}")
        except AssertionError as error:
            return f"{case}: {error}"
        finally:
            for fault in HOST_FAULTS:
                lab.host.clear_fault(fault)
            for fault in K0SCTL_FAULTS:
                lab.faults.clear(fault)
            (lab.host.root / "tmp" / "k0sctl.lock").unlink(missing_ok=True)
            self._free.put(lab)
        return ""


@pytest.fixture
def crew(request: pytest.FixtureRequest, tmp_path: Path, site: Site, cluster_key: KeyPair) -> Iterator[Crew]:
    """Three hosts with no more than a k0s binary, and three copies of the site's repository."""
    with contextlib.ExitStack() as stack:
        labs = []
        for number in range(3):
            directory = tmp_path / f"crew{number}"
            host = practice_host(directory / "cluster")
            stack.enter_context(host)
            labs.append(Lab(directory, [host], cluster_key))
            shutil.copytree(site.repository, labs[-1].backup, symlinks=True)
        yield Crew(request.node.nodeid, labs)


@pytest.fixture
def remote(tmp_path: Path, site: Site) -> Bare:
    """A remote with the two backups of the site."""
    bare = Bare(tmp_path / "remote.git")
    bare.fill(site.repository)
    return bare
