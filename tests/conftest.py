"""Fixtures for all tests."""

from __future__ import annotations

import os
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import pytest

from handler.process import Children
from handler.watch import Watch
from tests.support.keys import KeyMaker, KeyPair


def pytest_configure(config: pytest.Config) -> None:
    """Only processes that run tests are measured: what they start is as fast as it is for users."""
    if config.getoption("numprocesses", default=None):
        raise pytest.UsageError("-n: tests side by side disturb each other in /dev/shm; `./dev test` keeps them apart")
    if hasattr(config, "workerinput") or not config.getoption("tx", default=None):
        os.environ.pop("COVERAGE_PROCESS_CONFIG", None)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Side by side the long ones come first, so that no process waits for another one at the end."""
    if hasattr(config, "workerinput"):
        items.sort(key=lambda item: [item.get_closest_marker(name) is None for name in ("long", "e2e")])


@pytest.fixture(scope="session")
def key_maker() -> Iterator[KeyMaker]:
    maker = KeyMaker()
    yield maker
    maker.close()


@pytest.fixture(scope="session")
def cluster_key(key_maker: KeyMaker) -> KeyPair:
    return key_maker.make("prod", "prod@example.org")


@pytest.fixture(scope="session")
def locked_key(key_maker: KeyMaker) -> KeyPair:
    return key_maker.make("Jörg Müller", "joerg@example.org", passphrase="pässwörd €")


@pytest.fixture(scope="session")
def foreign_key(key_maker: KeyMaker) -> KeyPair:
    return key_maker.make("mallory")


@pytest.fixture(scope="session")
def recovery_key(key_maker: KeyMaker) -> KeyPair:
    return key_maker.make("offline", "recovery@example.org")


@pytest.fixture(scope="session")
def expired_key(key_maker: KeyMaker) -> KeyPair:
    return key_maker.make("old", "old@example.org", expires="1y", when="20200101T000000")


@pytest.fixture
def children() -> Children:
    return Children(Watch())


@pytest.fixture
def tool_env(tmp_path: Path) -> dict[str, str]:
    home = tmp_path / "home"
    home.mkdir(mode=0o700)
    return {"PATH": os.environ["PATH"], "HOME": str(home), "LC_ALL": "C.UTF-8"}


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Generator[None, Any, Any]:
    """In CI, as root, nothing is skipped: a check that is not made there is made nowhere."""
    report = yield
    if report.skipped and os.environ.get("CI") and os.geteuid() == 0:
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        report.outcome = "failed"
        report.longrepr = f"skipped in CI: {reason}"
    return report
