"""A repository that was lost is never taken for one that was never begun: that would make a new, empty cluster."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from handler.errors import ConfigurationError, IntegrityError
from handler.opening import find
from tests.support.branch import NOW, Desk, PlainGit

pytestmark = pytest.mark.contract


def points_nowhere(branch: Path) -> None:
    (branch / ".git" / "HEAD").write_text("ref: refs/heads/gone\n")


def without_its_ref(branch: Path) -> None:
    (branch / ".git" / "packed-refs").unlink(missing_ok=True)
    shutil.rmtree(branch / ".git" / "refs" / "heads")
    (branch / ".git" / "refs" / "heads").mkdir()


@pytest.mark.parametrize("lost", [points_nowhere, without_its_ref])
def test_a_lost_head(desk: Desk, branch: Path, lost: Callable[[Path], None]) -> None:
    lost(branch)
    with pytest.raises(IntegrityError, match="names no commit, although"):
        find(desk.git, restore=desk.root / "none", backup=branch)


def test_a_host_whose_default_branch_does_not_exist(desk: Desk, branch: Path, plain: PlainGit) -> None:
    bare = desk.root / "host.git"
    plain(desk.root, "clone", "-q", "--bare", str(branch), str(bare))
    (bare / "HEAD").write_text("ref: refs/heads/main\n")
    restore = desk.root / "restore"
    plain(desk.root, "clone", "-q", str(bare), str(restore))
    with pytest.raises(IntegrityError, match=r"names no commit, although there are branches: .*backup"):
        find(desk.git, restore=restore, backup=desk.root / "none")


def test_an_empty_clone_is_none_yet(desk: Desk, plain: PlainGit) -> None:
    bare = desk.root / "host.git"
    plain(desk.root, "init", "-q", "--bare", str(bare))
    restore = desk.root / "restore"
    plain(desk.root, "clone", "-q", str(bare), str(restore))
    opened = find(desk.git, restore=restore, backup=desk.root / "none")
    assert opened.source is not None
    assert opened.source.head is None


@pytest.mark.parametrize("target", ["nowhere", "restore"])
def test_a_directory_that_is_not_mounted(desk: Desk, target: str) -> None:
    restore = desk.root / "restore"
    restore.symlink_to(target)
    with pytest.raises(ConfigurationError, match="a symbolic link to nothing"):
        find(desk.git, restore=restore, backup=desk.root / "none")


def test_another_prefix_knows_the_cluster(desk: Desk, branch: Path) -> None:
    assert desk.trust(branch).known_uid("other", now=NOW) == desk.trust(branch).known_uid("k0s_backup", now=NOW)
    assert desk.trust(branch).known_uid("other", now=NOW) is not None
