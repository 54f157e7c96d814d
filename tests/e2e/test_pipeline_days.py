"""The lines of docs/pipeline.md for the day when a backup could not be put."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.e2e.conftest import Site
from tests.support.documents import block
from tests.support.lab import Lab

pytestmark = pytest.mark.e2e


def test_a_rescued_backup_is_restored(spare: Lab, site: Site, tmp_path: Path) -> None:
    """It was made for its branch, and is a backup of that branch only."""
    remote, branch = tmp_path / "remote.git", spare.git("branch", "--show-current", directory=site.repository)
    spare.git("clone", "-q", "--bare", str(site.repository), str(remote), directory=tmp_path)
    spare.git("branch", "-m", branch, "rescue-0123", directory=remote)
    subprocess.run(["rm", "-rf", spare.backup, spare.restore], check=True)
    spare.git("clone", "-q", "--branch", "rescue-0123", f"file://{remote}", str(spare.restore), directory=spare.work)
    spare.run("restore", "--to", "../out").failed(5, "branch")
    subprocess.run(["rm", "-rf", spare.restore], check=True)
    names = {"rescue": "rescue-0123", "branch": branch, "url": f"file://{remote}"}
    subprocess.run(["sh", "-eu", "-c", block("pipeline", "rescue")], cwd=spare.work, env=spare.env(**names), check=True)
    assert spare.ok("apply", K0SCTL_RESTORE="require").first == f"apply: restoring {site.latest}"
    assert spare.host.uid() == site.uid
