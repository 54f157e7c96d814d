"""A practice host with a client beside it, for the tests of the practice cluster itself."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.practice.client import Client
from tests.practice.host import PracticeHost


@pytest.fixture
def host(tmp_path: Path) -> Iterator[PracticeHost]:
    with PracticeHost(tmp_path / "hosts") as started:
        yield started


@pytest.fixture
def client(tmp_path: Path, host: PracticeHost) -> Client:
    return Client(tmp_path, host)
