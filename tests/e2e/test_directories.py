"""Which directories are read and written: those of a pipeline, of plain docker, and of two runs that went apart."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.e2e.conftest import Site
from tests.support.keys import KeyPair
from tests.support.lab import Lab, sha256
from tests.support.watcher import wait_for

pytestmark = pytest.mark.e2e


def files_below(directory: Path) -> dict[str, str]:
    return {
        str(path.relative_to(directory)): sha256(path)
        for path in sorted(directory.rglob("*"))
        if path.is_file() and not path.is_symlink()
    }


@pytest.fixture
def pipeline(running: Lab) -> Lab:
    """As Concourse lays it out: restore/ a depth-1 clone, its HEAD detached, backup/ an empty mount."""
    running.git("clone", "-q", "--bare", f"file://{running.backup}", str(running.directory / "origin.git"))
    shutil.rmtree(running.backup)
    clone(running)
    running.backup.mkdir()
    return running


def clone(lab: Lab, *options: str) -> None:
    lab.git("clone", "-q", "--depth", "1", *options, f"file://{lab.directory / 'origin.git'}", str(lab.restore),
            directory=lab.work)  # fmt: skip
    lab.git("checkout", "-q", "--detach", directory=lab.restore)


def test_a_pipeline_backs_up(pipeline: Lab, site: Site) -> None:
    before = pipeline.head(pipeline.restore)
    inode = pipeline.backup.stat().st_ino
    restored = files_below(pipeline.restore)
    config = files_below(pipeline.work / "config")
    pipeline.ok("backup")
    assert pipeline.backup.stat().st_ino == inode
    assert pipeline.git("rev-parse", "HEAD^") == before
    assert pipeline.git("symbolic-ref", "HEAD") == "refs/heads/backup"
    assert pipeline.git("status", "--porcelain") == ""
    assert pipeline.manifest()["branch"] == "backup"
    assert pipeline.git("config", "remote.origin.url") == f"file://{pipeline.directory / 'origin.git'}"
    assert files_below(pipeline.restore) == restored
    assert files_below(pipeline.work / "config") == config
    # nothing is written anywhere else
    assert {path.name for path in pipeline.work.iterdir()} == {"config", "restore", "backup", "auditlog"}
    assert list(pipeline.tmp.iterdir()) == []
    assert not (pipeline.directory / "nobody").exists()
    assert not pipeline.leftovers()
    # what a git put does next
    pipeline.git("push", "-q")
    assert pipeline.git("rev-parse", "backup", directory=pipeline.directory / "origin.git") == pipeline.head()
    # the next night: restore/ has moved on, backup/ is ahead, equal, or empty again
    pipeline.ok("backup")
    assert pipeline.git("rev-parse", "HEAD~2") == before
    pipeline.git("push", "-q")
    head = pipeline.head()
    shutil.rmtree(pipeline.restore)
    clone(pipeline)
    shutil.rmtree(pipeline.backup)
    pipeline.ok("restore", "--to", "../out")
    assert not pipeline.backup.exists()
    pipeline.ok("init", K0SCTL_CONFIRM_INIT="prod")
    assert pipeline.git("rev-parse", "HEAD^") == head


def test_a_pipeline_with_a_read_only_configuration(pipeline: Lab) -> None:
    """As the handler sees it when everything that is an input cannot be written (for root: only by its mode)."""
    for path in (pipeline.work / "config", pipeline.restore):
        for entry in [path, *path.rglob("*")]:
            if not entry.is_symlink():
                entry.chmod(entry.stat().st_mode & ~0o222)
    pipeline.ok("restore", "--to", "../out")
    pipeline.ok("init", K0SCTL_CONFIRM_INIT="prod")


def test_credentials_of_the_origin_are_not_kept(pipeline: Lab) -> None:
    pipeline.git("remote", "set-url", "origin", "https://user:hunter2hunter2@git.example.org/x.git",
                 directory=pipeline.restore)  # fmt: skip
    done = pipeline.ok("init", K0SCTL_CONFIRM_INIT="prod")
    assert pipeline.git("config", "remote.origin.url") == "https://git.example.org/x.git"
    assert "hunter2" not in done.stderr
    for path in [*pipeline.backup.rglob("*"), *pipeline.auditlog.rglob("*")]:
        assert not path.is_file() or b"hunter2" not in path.read_bytes()


def test_behind_and_fast_forwarded(pipeline: Lab) -> None:
    pipeline.ok("init", K0SCTL_CONFIRM_INIT="prod")
    pipeline.git("push", "-q")
    old = pipeline.directory / "old-backup"
    shutil.copytree(pipeline.backup, old, symlinks=True)
    pipeline.ok("init", K0SCTL_CONFIRM_INIT="prod")
    pipeline.git("push", "-q")
    head = pipeline.head()
    shutil.rmtree(pipeline.restore)
    clone(pipeline)
    shutil.rmtree(pipeline.backup)
    shutil.copytree(old, pipeline.backup, symlinks=True)
    # what is behind but has changes of its own is left alone
    (pipeline.backup / "README.md").write_text("changed\n")
    with pipeline.repository_unchanged():
        pipeline.run("init", K0SCTL_CONFIRM_INIT="prod").failed(7, "behind", "git -C")
    pipeline.git("checkout", "-q", "README.md")
    pipeline.ok("init", K0SCTL_CONFIRM_INIT="prod")
    assert pipeline.git("rev-parse", "HEAD^") == head
    assert pipeline.git("status", "--porcelain") == ""


def test_diverged(pipeline: Lab) -> None:
    """Both have a commit that the other has not: nothing is chosen and nothing is touched."""
    pipeline.ok("init", K0SCTL_CONFIRM_INIT="prod")
    kept = pipeline.directory / "kept"
    pipeline.backup.rename(kept)
    pipeline.ok("init", K0SCTL_CONFIRM_INIT="prod")
    pipeline.git("push", "-q")
    shutil.rmtree(pipeline.backup)
    kept.rename(pipeline.backup)
    shutil.rmtree(pipeline.restore)
    clone(pipeline)
    calls = pipeline.host.calls()
    with pipeline.repository_unchanged():
        for command in ("backup", "restore", "apply", "init"):
            done = pipeline.run(command).failed(7, pipeline.head(), pipeline.head(pipeline.restore))
            assert "push" in done.last
    assert pipeline.host.calls() == calls


def test_a_shallow_clone_that_hides_the_relation(pipeline: Lab) -> None:
    pipeline.ok("init", K0SCTL_CONFIRM_INIT="prod")
    kept = pipeline.directory / "kept"
    pipeline.backup.rename(kept)
    for _ in range(2):
        pipeline.ok("init", K0SCTL_CONFIRM_INIT="prod")
    pipeline.git("push", "-q")
    shutil.rmtree(pipeline.backup)
    kept.rename(pipeline.backup)
    shutil.rmtree(pipeline.restore)
    clone(pipeline)
    with pipeline.repository_unchanged():
        pipeline.run("restore").failed(7, "diverged")  # the origin was asked
        pipeline.git("remote", "set-url", "origin", "file:///nowhere.git", directory=pipeline.restore)
        pipeline.git("remote", "set-url", "origin", "file:///nowhere.git")
        pipeline.run("restore").failed(7, "cannot tell", "empty", "push")


def test_a_directory_that_is_no_repository(running: Lab, tmp_path: Path, site: Site, cluster_key: KeyPair) -> None:
    running.restore.mkdir()
    (running.restore / "file").write_text("x")
    for command in ("backup", "restore", "init"):
        running.run(command).failed(2, "restore is not empty, and no git repository")
    assert (running.restore / "file").read_text() == "x"
    # a file where a directory should be
    shutil.rmtree(running.restore)
    running.restore.write_text("x")
    running.run("restore", "--to", "../out").failed(2, "restore")
    running.restore.unlink()
    # a repository above is not the repository of a directory
    other = Lab(tmp_path / "other", [site.host], cluster_key)
    other.git("init", "-q", directory=other.work)
    other.run("restore").failed(2, "there is no backup repository")


def test_other_directories(running: Lab, site: Site) -> None:
    away = running.directory / "away"
    shutil.copytree(running.backup, away / "bak", symlinks=True)
    shutil.rmtree(running.backup)
    settings = {"K0SCTL_DIR_BAK": str(away / "bak"), "K0SCTL_DIR_LOG": str(away / "log"), "K0SCTL_DIR_RES": "r"}
    settings["K0SCTL_CFG_PATH"] = str(running.config)
    settings["K0SCTL_SUFFIX_LOG"] = "txt"
    settings["K0SCTL_LOG_PATH"] = str(running.directory / "cache/k0sctl/k0sctl.log")
    done = running.ok("backup", **settings)
    assert f"Report: {away / 'log'}/" in done.last
    assert sorted(path.suffix for path in (away / "log").iterdir()) == [".json", ".txt"]
    assert not running.auditlog.exists()
    assert not running.backup.exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files to another user")
def test_directories_of_another_owner(running: Lab) -> None:
    for entry in [running.backup, *running.backup.rglob("*")]:
        os.chown(entry, 65534, 65534, follow_symlinks=False)
    running.ok("init", K0SCTL_CONFIRM_INIT="prod")


# --- the operator's own home ------------------------------------------------------------------------------------


def test_the_operators_own_keys(running: Lab) -> None:
    """Without K0SCTL_SSH_KEY those of ~/.ssh are used, and nothing there is touched."""
    home = running.directory / "nobody" / ".ssh"
    home.mkdir(parents=True)
    shutil.copy(running.host.private_key, home / "id_ed25519")
    (home / "config").write_text("Host *\n  User nobody\n  StrictHostKeyChecking no\n")
    (home / "known_hosts").write_text("")
    (running.directory / "nobody" / ".gnupg").mkdir()
    before = files_below(running.directory / "nobody")
    done = running.ok("backup", K0SCTL_SSH_KEY=None)
    assert "using id_ed25519" in done.stderr
    assert files_below(running.directory / "nobody") == before


def test_the_operators_agent(running: Lab) -> None:
    socket = f"/tmp/agent-{os.getpid()}"
    agent = subprocess.Popen(["ssh-agent", "-D", "-a", socket], stdout=subprocess.DEVNULL)
    try:
        wait_for(lambda: Path(socket).exists())
        environment = {**os.environ, "SSH_AUTH_SOCK": socket}
        subprocess.run(["ssh-add", "-q", str(running.host.private_key)], env=environment, check=True)
        running.ok("backup", K0SCTL_SSH_KEY=None, SSH_AUTH_SOCK=socket)
    finally:
        agent.terminate()
        agent.wait()
        Path(socket).unlink(missing_ok=True)
