"""A remote branch that is hidden, gone or set back is no reason to overlook the backups that backup/ has."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.e2e.conftest import Site
from tests.practice.choice import Host
from tests.support.keys import KeyPair
from tests.support.lab import Lab
from tests.support.remotes import Bare

pytestmark = pytest.mark.e2e


@pytest.fixture
def lab(tmp_path: Path, site: Site, host: Host, cluster_key: KeyPair, remote: Bare) -> Lab:
    """A new host, the site's two backups in backup/, and a remote that had them."""
    lab = Lab(tmp_path / "lab", [host], cluster_key)
    shutil.copytree(site.repository, lab.backup, symlinks=True)
    lab.extra["K0SCTL_GIT_URL"] = remote.url
    return lab


@pytest.mark.parametrize("to", ["", "refs/heads/backup~1"])
def test_an_apply_restores_what_is_here(lab: Lab, site: Site, remote: Bare, to: str) -> None:
    """Never a new, empty cluster, and never the older backup, with exit code 0."""
    remote("update-ref", *(("refs/heads/backup", to) if to else ("-d", "refs/heads/backup")))
    with lab.repository_unchanged():
        done = lab.ok("apply")
    assert f"restoring {site.latest}" in done.stderr
    assert lab.host.uid() == site.uid
    assert "backup has commits that" in done.stderr
    assert "it is read" in done.stderr
    assert "git -C backup push" in done.stderr


def test_what_is_told_of_it(lab: Lab, site: Site, remote: Bare) -> None:
    remote("update-ref", "-d", "refs/heads/backup")
    assert site.latest in lab.ok("list").stdout
    assert "there is no such branch" in lab.ok("status").stderr
    told = " ".join(lab.run("check").stdout.split())
    assert "only runs in this directory read them" in told
    assert "git -C backup push" in told


def test_another_branch_has_nothing_to_do_with_it(lab: Lab) -> None:
    """backup/ is of the branch backup; what another one has not is not looked for there."""
    done = lab.run("apply", K0SCTL_GIT_BRANCH="other", K0SCTL_RESTORE="require")
    done.failed(5, "there is no backup in")
