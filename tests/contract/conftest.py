"""Keyrings, and a good backup branch, made once and copied for each test."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pytest

from handler.process import Children
from handler.secret import Secret
from handler.tools.gpg import Gpg
from handler.watch import Watch
from tests.support.branch import NOW, Desk, PlainGit, copy
from tests.support.keys import KeyMaker, KeyPair

GpgOf = Callable[[KeyPair], Gpg]


@pytest.fixture(scope="session")
def gpg_of() -> Iterator[GpgOf]:
    """The adapter with a key in it; one keyring for all tests."""
    rings: dict[str, Gpg] = {}
    homes: list[Path] = []

    def get(pair: KeyPair) -> Gpg:
        if pair.fingerprint not in rings:
            home = Path(tempfile.mkdtemp(prefix="ring-", dir="/tmp"))
            homes.append(home)
            env = {"PATH": os.environ["PATH"], "HOME": str(home), "LC_ALL": "C.UTF-8"}
            gpg = Gpg(Children(Watch()), env, home, Secret(pair.passphrase) if pair.passphrase else None)
            gpg.import_cluster_key(Secret(pair.private))
            rings[pair.fingerprint] = gpg
        return rings[pair.fingerprint]

    yield get
    for home in homes:
        shutil.rmtree(home, ignore_errors=True)  # ends the agent too


@pytest.fixture
def plain(tmp_path: Path, key_maker: KeyMaker) -> PlainGit:
    return PlainGit(tmp_path / "plain-home", key_maker)


@pytest.fixture
def desk(
    tmp_path: Path, children: Children, tool_env: dict[str, str], gpg_of: GpgOf, cluster_key: KeyPair, plain: PlainGit
) -> Desk:
    return Desk(tmp_path / "desk", children, tool_env, gpg_of(cluster_key), cluster_key, plain)


@dataclass(frozen=True)
class Template:
    """A branch with two backups: ``older`` is small, ``newer`` large enough that git streams it into a pack."""

    directory: Path
    older: bytes
    newer: bytes


@pytest.fixture(scope="session")
def template(
    tmp_path_factory: pytest.TempPathFactory, key_maker: KeyMaker, gpg_of: GpgOf, cluster_key: KeyPair
) -> Template:
    root = tmp_path_factory.mktemp("template")
    home = root / "home"
    home.mkdir(mode=0o700)
    env = {"PATH": os.environ["PATH"], "HOME": str(home), "LC_ALL": "C.UTF-8"}
    desk = Desk(
        root / "desk", Children(Watch()), env, gpg_of(cluster_key), cluster_key, PlainGit(root / "plain", key_maker)
    )
    older, newer = os.urandom(50_000), os.urandom(1_300_000)
    desk.init()
    desk.take(older, NOW - timedelta(days=2))
    desk.take(newer, NOW - timedelta(days=1))
    return Template(desk.backup, older, newer)


@pytest.fixture
def branch(desk: Desk, template: Template) -> Path:
    """A copy of the good branch as the desk's backup/."""
    return copy(template.directory, desk.backup)
