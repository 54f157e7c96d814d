"""With K0SCTL_GIT_URL the handler fetches and pushes by itself, and no backup is lost whatever the remote does."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import pytest

from tests.e2e.conftest import Site
from tests.practice.choice import Host
from tests.support.keys import KeyMaker, KeyPair
from tests.support.lab import Ended, Lab
from tests.support.plain import PlainTools
from tests.support.remotes import Bare
from tests.support.watcher import wait_for

pytestmark = pytest.mark.e2e

#: What a server says that does not let a backup in.
REFUSED = "this branch is protected: ask the operators"
REFUSE = f"echo '{REFUSED}' >&2; exit 1"


def lab_at(directory: Path, host: Host, key: KeyPair, bare: Bare) -> Lab:
    lab = Lab(directory, [host], key)
    lab.extra["K0SCTL_GIT_URL"] = bare.url
    return lab


@pytest.fixture
def pushing(tmp_path: Path, site: Site, cluster_key: KeyPair, remote: Bare) -> Iterator[Lab]:
    """The site's running cluster, and an empty working directory that knows of the remote."""
    yield lab_at(tmp_path / "pushing", site.host, cluster_key, remote)
    (site.host.root / "tmp" / "k0sctl.lock").unlink(missing_ok=True)  # of a k0sctl that was killed


@pytest.fixture(scope="module")
def rival(tmp_path_factory: pytest.TempPathFactory, site: Site, cluster_key: KeyPair) -> Bare:
    """A copy of the remote on which another writer has put one more backup."""
    directory = tmp_path_factory.mktemp("rival")
    bare = Bare(directory / "rival.git")
    bare.fill(site.repository)
    lab_at(directory / "lab", site.host, cluster_key, bare).ok("backup")
    return bare


@pytest.fixture
def plain(tmp_path: Path, cluster_key: KeyPair) -> Iterator[PlainTools]:
    tools = PlainTools(tmp_path / "plain", cluster_key.private)
    yield tools
    tools.close()


def require_good(bare: Bare, plain: PlainTools) -> None:
    """Every commit is signed; latest is the greatest taken_at; nothing is named that is not there."""
    for commit in bare.commits():
        assert plain.verify_commit(bare.path, commit) == plain.fingerprint
    taken = {
        name: datetime.fromisoformat(json.loads(bare.file(name.replace(".tar.gz.enc", ".json")))["taken_at"])
        for name in bare.names()
        if "archive/" not in name
    }
    assert len(set(taken.values())) == len(taken)
    assert bare.file("k0s_backup_latest") == max(taken, key=lambda name: taken[name])
    times = [int(second) for second in bare("log", "--format=%ct", "backup").split()]
    assert times == sorted(set(times), reverse=True)


def push_line(said: Ended) -> str:
    """The line that pushes by hand, as it is told to the operator."""
    found = re.search(r"git -C backup push \S+ HEAD:refs/heads/[\w/-]+", said.stderr)
    assert found, said.stderr
    return found[0]


def meanwhile(lab: Lab, script: str) -> None:
    """Let something happen on the remote while k0sctl takes the backup."""
    lab.tool("k0sctl", f'case "$*" in *"backup "*) ( unset GIT_DIR; {script} ) >&2 || exit 77 ;; esac')


def takes_over(bare: Bare, other: Bare) -> str:
    return f"git -C {bare.path} fetch -q {other.path} +backup:backup"


# --- reading ----------------------------------------------------------------------------------------------------


def test_reading_fetches_and_leaves_nothing(pushing: Lab, remote: Bare, site: Site) -> None:
    pushing.restore.mkdir()
    (pushing.restore / "junk").touch()  # not read in this mode
    listed = pushing.ok("list", "--json")
    assert {site.older, site.latest} <= set(re.findall(r"k0s_backup_[0-9TZ-]+", listed.stdout))
    assert remote.url in pushing.ok("status").stderr
    assert "all 2 backups in" in pushing.ok("verify", "--all").last
    pushing.ok("restore", "--to", "../out.tar.gz")
    assert (pushing.directory / "out.tar.gz").stat().st_size > 1000
    assert site.latest in pushing.ok("apply").stderr
    assert not pushing.backup.exists()
    assert remote.commits() == Bare.commits(remote)
    assert not pushing.leftovers()


def test_a_branch_that_is_not_there_is_no_backup(
    tmp_path: Path, host: Host, cluster_key: KeyPair, remote: Bare
) -> None:
    """The one case in which a new cluster is right; said, with the names of what is there."""
    lab = lab_at(tmp_path / "new", host, cluster_key, remote)
    lab.run("list", K0SCTL_GIT_BRANCH="prod").failed(2, remote.url, "it has: backup", "k0sctl-handler init")
    lab.run("backup", K0SCTL_GIT_BRANCH="prod").failed(2, remote.url, "k0sctl-handler init")
    lab.run("apply", K0SCTL_GIT_BRANCH="prod", K0SCTL_RESTORE="require").failed(5)
    done = lab.ok("apply", K0SCTL_GIT_BRANCH="prod")
    assert "no backup in" in done.stderr
    assert remote.url in done.stderr
    assert "it has: backup" in done.stderr


def test_a_remote_that_cannot_be_reached_is_never_no_backup(
    tmp_path: Path, host: Host, cluster_key: KeyPair, remote: Bare
) -> None:
    lab = lab_at(tmp_path / "new", host, cluster_key, remote)
    moved = remote.path.rename(tmp_path / "moved.git")
    for command in ("apply", "backup", "list", "status", "init"):
        done = lab.run(command).failed(4, remote.url)
        assert "new cluster" not in done.stderr
    assert host.uid() is None
    # a repository that is there, and damaged
    moved.rename(remote.path)
    (remote.path / "HEAD").write_text("garbage\n")
    lab.run("apply").failed(4, remote.url)
    assert host.uid() is None


def test_another_branch_of_the_same_remote_is_refused(pushing: Lab, remote: Bare) -> None:
    """A backup of one branch that is put into another is not taken for that one's."""
    remote("branch", "prod", "backup")
    pushing.run("restore", "--to", "../out", K0SCTL_GIT_BRANCH="prod").failed(5, "branch")


def test_check_looks_at_the_remote(pushing: Lab, remote: Bare, tmp_path: Path) -> None:
    before = remote.commits()
    done = pushing.run("check")
    assert remote.url in done.stdout
    assert not pushing.backup.exists()
    assert remote.commits() == before
    remote.path.rename(tmp_path / "moved.git")
    pushing.run("check").failed(4)


def test_reset_asks_the_remote(tmp_path: Path, host: Host, cluster_key: KeyPair, remote: Bare) -> None:
    lab = lab_at(tmp_path / "new", host, cluster_key, remote)
    lab.ok("apply")
    away = remote.path.rename(tmp_path / "moved.git")
    lab.run("reset").failed(4, remote.url)
    assert host.running()
    away.rename(remote.path)
    lab.ok("reset")
    assert not host.running()


# --- init -------------------------------------------------------------------------------------------------------


def test_init_beside_other_branches(pushing: Lab, remote: Bare) -> None:
    others = remote("for-each-ref")
    done = pushing.ok("init", K0SCTL_GIT_BRANCH="clusters/prod")
    assert "it has: backup" in done.stderr
    assert remote.tip("clusters/prod") == pushing.head()
    assert len(remote.commits("clusters/prod")) == 1
    assert pushing.git("symbolic-ref", "HEAD") == "refs/heads/clusters/prod"
    assert others in remote("for-each-ref")
    pushing.ok("backup", K0SCTL_GIT_BRANCH="clusters/prod")
    assert pushing.manifest()["branch"] == "clusters/prod"
    pushing.ok("verify", "--all", K0SCTL_GIT_BRANCH="clusters/prod")


def test_a_second_init(pushing: Lab, remote: Bare, plain: PlainTools) -> None:
    before = remote.commits()
    pushing.run("init").failed(2, "K0SCTL_CONFIRM_INIT=prod", remote.url)
    assert remote.commits() == before
    pushing.ok("init", K0SCTL_CONFIRM_INIT="prod")
    assert remote.commits()[1:] == before
    assert all(name.startswith("archive/") for name in remote.names())
    pushing.ok("backup")
    require_good(remote, plain)
    assert len(remote.names()) == 3


# --- writing ----------------------------------------------------------------------------------------------------


def test_a_backup_is_pushed(pushing: Lab, remote: Bare, plain: PlainTools) -> None:
    before = remote.commits()
    done = pushing.ok("backup")
    assert remote.url in done.last
    assert remote.commits()[1:] == before
    assert remote.tip() == pushing.head()
    assert pushing.git("status", "--porcelain") == ""
    assert pushing.git("config", "--get", "remote.origin.url") == remote.url
    assert pushing.latest() in done.last
    # used again, and when it is gone
    pushing.ok("backup")
    shutil.rmtree(pushing.backup)
    pushing.ok("backup")
    assert len(remote.commits()) == len(before) + 3
    assert remote.tip() == pushing.head()
    require_good(remote, plain)
    pushing.ok("verify", "--all")
    assert not pushing.leftovers()


def test_what_is_not_committed_in_backup_is_left_alone(pushing: Lab, remote: Bare, rival: Bare) -> None:
    pushing.ok("backup")
    head = pushing.head()
    # behind, and with a change of its own
    newer = _signed(remote, remote.tip(), pushing)
    remote("update-ref", "refs/heads/backup", newer)
    (pushing.backup / "README.md").write_text("mine\n")
    pushing.run("backup").failed(7, "changes of its own")
    assert (pushing.backup / "README.md").read_text() == "mine\n"
    assert pushing.head() == head
    assert remote.tip() == newer
    # no repository
    shutil.rmtree(pushing.backup)
    pushing.backup.mkdir()
    (pushing.backup / "notes").touch()
    pushing.run("backup").failed(2, "backup")
    assert (pushing.backup / "notes").exists()


def _signed(bare: Bare, parent: str, lab: Lab, tree: str = "") -> str:
    """A commit on top of another that the cluster's key has signed, and that changes nothing or all."""
    tools = PlainTools(lab.directory / f"signer-{parent[:8]}", lab.key.private)
    try:
        who = ("-c", "user.name=prod", "-c", "user.email=prod@example.org")
        words = ("commit-tree", f"-S{tools.fingerprint}", "-p", parent, "-m", "by another")
        return bare(*who, *words, tree or f"{parent}^{{tree}}", GNUPGHOME=str(tools.home))
    finally:
        tools.close()


def test_backup_is_on_another_branch(tmp_path: Path, site: Site, cluster_key: KeyPair) -> None:
    """Manifests name their branch: pushed to another one, they would be refused by all who read it."""
    bare = Bare(tmp_path / "new.git")
    lab = lab_at(tmp_path / "new", site.host, cluster_key, bare)
    lab.ok("init", K0SCTL_GIT_BRANCH="bakcup")
    for command in ("backup", "init"):
        lab.run(command).failed(2, "backup is on the branch bakcup", "K0SCTL_GIT_BRANCH=bakcup")
    away = bare.path.rename(tmp_path / "away.git")
    lab.run("backup").failed(2, "K0SCTL_GIT_BRANCH=bakcup")
    away.rename(bare.path)
    assert not bare.has()
    assert "warning: backup" not in lab.run("list").failed(2, "it has: bakcup").stderr
    lab.ok("backup", K0SCTL_GIT_BRANCH="bakcup")
    # a branch that was only just made, with another name than ours
    shutil.rmtree(lab.backup)
    subprocess.run(["git", "init", "-q", "-b", "main", str(lab.backup)], check=True)
    lab.run("backup", K0SCTL_GIT_BRANCH="bakcup").failed(2, "is on the branch main")


# --- a server that refuses ----------------------------------------------------------------------------------------


def test_init_that_is_refused(tmp_path: Path, site: Site, cluster_key: KeyPair) -> None:
    bare = Bare(tmp_path / "new.git")
    lab = lab_at(tmp_path / "new", site.host, cluster_key, bare)
    hook = bare.hook("pre-receive", REFUSE)
    done = lab.run("init").failed(4, REFUSED)
    assert not bare.has()
    hook.unlink()
    subprocess.run(push_line(done), shell=True, cwd=lab.work, check=True, capture_output=True)
    assert bare.tip() == lab.head()
    lab.ok("backup")


def test_a_backup_of_another_cluster_is_pushed_too(
    tmp_path: Path, host: Host, cluster_key: KeyPair, remote: Bare, site: Site
) -> None:
    """Stored and pushed, and still exit 5: it is never latest."""
    host.install()
    lab = lab_at(tmp_path / "other", host, cluster_key, remote)
    lab.run("backup").failed(5, site.uid, str(host.uid()))
    assert len(remote.names()) == 3
    assert remote.tip() == lab.head()
    assert remote.file("k0s_backup_latest") == f"{site.latest}.tar.gz.enc"


# --- a remote that moves ------------------------------------------------------------------------------------------


def test_another_writer_is_built_upon(pushing: Lab, remote: Bare, rival: Bare, plain: PlainTools) -> None:
    meanwhile(pushing, takes_over(remote, rival))
    done = pushing.ok("backup")
    assert remote.commits()[1:] == rival.commits()
    assert remote.tip() == pushing.head()
    assert remote.url in done.last
    require_good(remote, plain)
    assert len(remote.names()) == 4
    assert f"{pushing.latest()}.tar.gz.enc" == remote.file("k0s_backup_latest")
    # all of it is in the working tree
    assert pushing.git("status", "--porcelain") == ""
    assert sorted(path.name for path in pushing.backup.glob("*.tar.gz.enc")) == sorted(remote.names())
    # one run of k0sctl was enough, and it is proven
    assert remote.names()
    pushing.ok("verify", "--all")
    pushing.git("fsck", "--strict", "--no-progress")
    assert not list((pushing.backup / ".git").glob("*k0sctl-handler*"))
    assert not pushing.leftovers()


def test_a_branch_that_was_taken_away(pushing: Lab, remote: Bare, site: Site) -> None:
    """A clone of depth 1 cannot bring it back; the reason is told, and a full clone can."""
    tip = remote.tip()
    meanwhile(pushing, f"git -C {remote.path} update-ref -d refs/heads/backup")
    done = pushing.run("backup").failed(4, "shallow update not allowed", "from a full clone", "git -C backup")
    assert not remote.has()
    assert pushing.git("rev-parse", "HEAD^") == tip
    remote.fill(site.repository)
    subprocess.run(push_line(done), shell=True, cwd=pushing.work, check=True, capture_output=True)
    assert remote.commits()[1] == tip


def test_begun_anew_while_a_backup_is_taken(
    tmp_path: Path, pushing: Lab, remote: Bare, site: Site, cluster_key: KeyPair
) -> None:
    anew = Bare(tmp_path / "anew.git")
    anew.fill(site.repository)
    lab_at(tmp_path / "second", site.host, cluster_key, anew).ok("init", K0SCTL_CONFIRM_INIT="prod")
    meanwhile(pushing, takes_over(remote, anew))
    pushing.run("backup").failed(7, "git -C backup")
    assert remote.tip() == anew.tip()
    assert len(list(pushing.backup.glob("*.tar.gz.enc"))) == 3


def test_other_commits_that_were_not_pushed(pushing: Lab, remote: Bare, rival: Bare, plain: PlainTools) -> None:
    """Only backups are put on top of another's; anything else is for a person to look at."""
    pushing.ok("backup")
    (pushing.backup / "notes").write_text("by hand\n")
    head = plain.commit(pushing.backup, "notes")
    remote("update-ref", "refs/heads/backup", _signed(remote, remote.tip(), pushing))
    tip = remote.tip()
    pushing.run("backup").failed(7, head[:7], "git -C backup")
    assert pushing.head() == head
    assert remote.tip() == tip


def test_unpushed_commits_that_nobody_signed(pushing: Lab, remote: Bare) -> None:
    pushing.ok("backup")
    tip = remote.tip()
    (pushing.backup / "notes").write_text("by hand\n")
    head = pushing.commit()
    done = pushing.run("backup")
    assert done.code in {5, 7}, done.stderr
    assert remote.tip() == tip
    assert pushing.head() == head


def test_unpushed_backups_of_another_prefix(pushing: Lab, remote: Bare, rival: Bare, plain: PlainTools) -> None:
    """Put on top of what others have pushed, each prefix has its own latest."""
    hook = remote.hook("pre-receive", REFUSE)
    pushing.run("backup", K0SCTL_PREFIX_BAK="nightly").failed(4)
    hook.unlink()
    remote("fetch", "-q", str(rival.path), "+backup:backup")
    # who reads is told that there is more, although the remote has gone on
    assert push_line(pushing.ok("list"))
    pushing.host.fault("fail-backup", "not tonight")
    try:
        pushing.run("backup").failed(4, "not tonight")
    finally:
        pushing.host.clear_fault("fail-backup")
    assert len(remote.names()) == 4
    assert remote.file("nightly_latest").startswith("nightly_")
    assert remote.file("k0s_backup_latest") == rival.file("k0s_backup_latest")
    pushing.ok("verify", K0SCTL_PREFIX_BAK="nightly")
    pushing.ok("verify")
    assert "warning" not in pushing.ok("list").stderr


def test_unpushed_backups_of_another_cluster_are_never_latest(
    tmp_path: Path, host: Host, cluster_key: KeyPair, remote: Bare, rival: Bare
) -> None:
    host.install()
    lab = lab_at(tmp_path / "other", host, cluster_key, remote)
    hook = remote.hook("pre-receive", REFUSE)
    done = lab.run("backup").failed(5, "another cluster", str(host.uid()), REFUSED)
    assert push_line(done)
    hook.unlink()
    remote("fetch", "-q", str(rival.path), "+backup:backup")
    lab.run("backup").failed(5, str(host.uid()))
    assert len(remote.names()) == 5
    assert remote.file("k0s_backup_latest") == rival.file("k0s_backup_latest")
    lab.ok("verify", "--all")


def test_a_disk_that_is_full_there(pushing: Lab, remote: Bare) -> None:
    remote.hook("pre-receive", "echo 'fatal: write error: No space left on device' >&2; exit 1")
    done = pushing.run("backup").failed(4, "No space left on device", "its disk is full")
    assert pushing.report()["facts"]["backup"] == pushing.latest()
    assert "TMPDIR" not in done.last
    assert push_line(done)


def test_a_branch_that_moves_while_earlier_backups_are_pushed(
    pushing: Lab, remote: Bare, rival: Bare, plain: PlainTools
) -> None:
    """They are nowhere else: nobody is told to throw them away, and the next run finds the way."""
    hook = remote.hook("pre-receive", REFUSE)
    pushing.run("backup").failed(4)
    stem = pushing.latest()
    remote("fetch", "-q", str(rival.path), "+backup:refs/rival/backup")
    hook.write_text(
        "#!/bin/sh\nunset GIT_QUARANTINE_PATH GIT_OBJECT_DIRECTORY GIT_ALTERNATE_OBJECT_DIRECTORIES\n"
        "[ -e moved ] || git update-ref refs/heads/backup refs/rival/backup\ntouch moved\n"
    )
    done = pushing.run("backup")
    if done.code:
        done.failed(7, "git -C backup")
        assert "empty" not in done.last
        pushing.ok("backup")
    assert f"{stem}.tar.gz.enc" in remote.names()
    require_good(remote, plain)


def test_a_remote_that_was_made_anew_and_is_empty(tmp_path: Path, pushing: Lab, remote: Bare) -> None:
    """A clone of depth 1 cannot be pushed there; what is in backup/ is kept, and the reason is told."""
    pushing.ok("backup")
    shutil.rmtree(remote.path)
    Bare(remote.path)
    head = pushing.head()
    pushing.run("backup").failed(4, "from a full clone")
    assert head in pushing.git("rev-list", "HEAD")


# --- a run that is stopped ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_stopped_while_it_pushes(pushing: Lab, remote: Bare, plain: PlainTools, number: int, code: int) -> None:
    tip = remote.tip()
    hook = remote.hook("pre-receive", "touch pushing; exec sleep 60")
    process = pushing.start("backup")
    wait_for((remote.path / "pushing").exists)
    process.send_signal(number)
    done = pushing.end(process, 10).failed(code, "git -C backup")
    assert push_line(done)
    assert remote.tip() == tip
    head = pushing.head()
    assert pushing.git("rev-parse", "HEAD^") == tip
    assert not pushing.leftovers()
    hook.unlink()
    pushing.ok("backup")
    assert head in remote.commits()
    require_good(remote, plain)


def test_killed_while_it_pushes(pushing: Lab, remote: Bare, plain: PlainTools) -> None:
    tip = remote.tip()
    hook = remote.hook("pre-receive", "echo $$ > pushing; sleep 60")
    process = pushing.start("backup")
    wait_for(lambda: (remote.path / "pushing").exists() and (remote.path / "pushing").read_text())
    process.kill()
    process.communicate()
    hook.unlink()
    server = int((remote.path / "pushing").read_text())
    os.kill(server, signal.SIGKILL)
    head = pushing.head()
    assert pushing.git("rev-parse", "HEAD^") == tip
    pushing.ok("backup")
    assert head in remote.commits()
    require_good(remote, plain)
    assert not list((pushing.backup / ".git").glob("*k0sctl-handler*"))


def test_a_push_that_takes_too_long(pushing: Lab, remote: Bare) -> None:
    hook = remote.hook("pre-receive", "echo $$ > pushing; sleep 60")
    done = pushing.run("backup", K0SCTL_TIMEOUT="8s").failed(6, remote.url)
    assert push_line(done)
    hook.unlink()
    with pytest.raises(ProcessLookupError):
        os.kill(int((remote.path / "pushing").read_text()), 0)
    pushing.ok("backup")
    assert remote.tip() == pushing.head()
    assert len(remote.names()) == 4


def test_two_runs_in_one_directory(pushing: Lab, remote: Bare, key_maker: KeyMaker) -> None:
    remote.hook("pre-receive", "touch pushing; while [ -e pushing ]; do sleep 0.05; done")
    process = pushing.start("backup")
    wait_for((remote.path / "pushing").exists)
    pushing.run("backup").failed(7, "another run")
    (remote.path / "pushing").unlink()
    assert pushing.end(process).code == 0
    assert len(remote.names()) == 3
