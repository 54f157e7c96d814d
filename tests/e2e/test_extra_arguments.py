"""K0SCTL_EXTRA_ARGS: what k0sctl really gets, and what it never gets."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.lab import Lab

pytestmark = pytest.mark.e2e


def recorded(lab: Lab) -> Path:
    """Make k0sctl's words be written down, a run a line."""
    path = lab.directory / "k0sctl-words"
    lab.tool("k0sctl", f'echo "$*" >> {path}')
    return path


def runs(path: Path, action: str) -> list[str]:
    """The words of the runs that act: no looks at the help or the version, no probe."""
    lines = path.read_text().splitlines() if path.exists() else []
    return [
        line for line in lines if line.startswith(f"{action} ") and "--dry-run" not in line and "--help" not in line
    ]


def test_apply_gets_them(running: Lab) -> None:
    words = recorded(running)
    kubeconfig = running.directory / "kubeconfig"
    running.ok("apply", K0SCTL_EXTRA_ARGS=f"-concurrency 5 --no-wait --kubeconfig-out '{kubeconfig}'")
    assert len(runs(words, "apply")) == 1
    assert f"--concurrency=5 --no-wait=true --kubeconfig-out={kubeconfig}" in runs(words, "apply")[0]
    assert kubeconfig.read_text()
    probes = [line for line in words.read_text().splitlines() if "--dry-run" in line]
    assert probes
    assert not any("--no-wait" in line for line in probes)


def test_backup_gets_its_own(running: Lab) -> None:
    words = recorded(running)
    running.ok("backup", K0SCTL_EXTRA_ARGS="--concurrency=7")
    assert len(runs(words, "backup")) == 1
    assert "--concurrency=7" in runs(words, "backup")[0].split()


def test_the_shell_does_not_see_them(running: Lab) -> None:
    mark = running.directory / "mark"
    words = recorded(running)
    running.ok("apply", K0SCTL_EXTRA_ARGS=f"--kubeconfig-user='$(touch {mark})'")
    assert f"--kubeconfig-user=$(touch {mark})" in runs(words, "apply")[0]
    assert not mark.exists()


@pytest.mark.parametrize(
    ("command", "text", "told"),
    [
        ("apply", "--dry-run", "'--dry-run' is not passed on for `apply`; allowed: concurrency, "),
        ("backup", "--output=x.tar.gz", "'--output' is not passed on for `backup`; allowed: concurrency, force"),
        ("apply", "--kubeconfig-out=auditlog/admin.conf", "must not lie inside K0SCTL_DIR_LOG"),
    ],
)
def test_what_is_not_passed_on_stops_before_anything_is_done(running: Lab, command: str, text: str, told: str) -> None:
    words = recorded(running)
    with running.repository_unchanged():
        running.run(command, K0SCTL_EXTRA_ARGS=text).failed(2, told)
    assert not words.exists()
    assert running.report()["exit_code"] == 2


def test_a_restore_is_never_forced(spare: Lab) -> None:
    words = recorded(spare)
    spare.run("apply", K0SCTL_EXTRA_ARGS="--force").failed(2, "--force", "K0SCTL_EXTRA_ARGS")
    assert runs(words, "apply") == []
    assert not spare.host.running()
    spare.ok("apply", K0SCTL_EXTRA_ARGS="--force=false")
    assert "--restore-from" in runs(words, "apply")[0]


def test_a_running_cluster_may_be_forced(running: Lab) -> None:
    words = recorded(running)
    running.ok("apply", K0SCTL_EXTRA_ARGS="--force")
    assert "--force=true" in runs(words, "apply")[0].split()
    assert "--restore-from" not in runs(words, "apply")[0]
