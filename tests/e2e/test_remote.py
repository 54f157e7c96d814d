"""A remote of its own: the handler clones, commits and pushes by itself (K0SCTL_GIT_URL)."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.e2e.conftest import Site
from tests.support.keys import KeyMaker, KeyPair
from tests.support.lab import Lab

pytestmark = pytest.mark.e2e

#: What a hook has to forget before it may write to the repository itself.
OUT_OF_QUARANTINE = "unset GIT_QUARANTINE_PATH GIT_OBJECT_DIRECTORY GIT_ALTERNATE_OBJECT_DIRECTORIES"
SOMEBODY = (
    "export GIT_COMMITTER_NAME=x GIT_COMMITTER_EMAIL=x@example.org GIT_AUTHOR_NAME=x GIT_AUTHOR_EMAIL=x@example.org"
)


@dataclass
class Hub:
    """A bare repository with the site's backups, and labs that push to it."""

    bare: Path
    directory: Path
    site: Site
    key: KeyPair

    @property
    def url(self) -> str:
        return f"file://{self.bare}"

    def lab(self, name: str) -> Lab:
        lab = Lab(self.directory / name, [self.site.host], self.key)
        lab.extra["K0SCTL_GIT_URL"] = self.url
        return lab

    def git(self, *words: str) -> str:
        done = subprocess.run(["git", *words], cwd=self.bare, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    @property
    def head(self) -> str:
        return self.git("rev-parse", "backup")

    def subjects(self) -> list[str]:
        return self.git("log", "--format=%s", "backup").splitlines()

    def hook(self, script: str) -> Path:
        """What the server does with each push before it takes it."""
        path = self.bare / "hooks" / "pre-receive"
        path.write_text(f"#!/bin/sh\n{OUT_OF_QUARANTINE}\n{SOMEBODY}\n{script}\n")
        path.chmod(0o755)
        return path

    def signers(self, maker: KeyMaker) -> set[str]:
        """Who signed the commits, all of them, as git and gpg say; empty for one that nobody did."""
        done = subprocess.run(
            ["git", "log", "--format=%G? %GP", "backup"], cwd=self.bare, capture_output=True, text=True, check=True,
            env={**maker.env, "HOME": str(maker.home)},
        )  # fmt: skip
        return {line.partition(" ")[2] for line in done.stdout.splitlines() if line[0] in "GU"} | {
            "" for line in done.stdout.splitlines() if line[0] not in "GU"
        }


@pytest.fixture
def hub(tmp_path: Path, site: Site, cluster_key: KeyPair) -> Iterator[Hub]:
    bare = tmp_path / "hub.git"
    subprocess.run(["git", "clone", "-q", "--bare", str(site.repository), str(bare)], check=True)
    yield Hub(bare, tmp_path, site, cluster_key)
    assert site.host.running()


@pytest.fixture
def new_hub(tmp_path: Path, site: Site, cluster_key: KeyPair) -> Hub:
    bare = tmp_path / "new.git"
    subprocess.run(["git", "init", "-q", "--bare", str(bare)], check=True)
    return Hub(bare, tmp_path, site, cluster_key)


def test_a_new_branch_from_nothing(new_hub: Hub, key_maker: KeyMaker) -> None:
    hub = new_hub
    lab = hub.lab("one")
    for command in ("list", "backup", "status"):
        lab.run(command).failed(2, f"there is no backup repository with a commit in {hub.url} (branch backup)", "init")
    done = lab.ok("init")
    assert f"in {hub.url} (branch backup). Report" in done.last
    assert "git -C backup push" not in done.stderr
    assert hub.head == lab.head()
    lab.run("init").failed(2, "is a backup branch already", f"K0SCTL_CONFIRM_INIT={hub.key.name}")
    done = lab.ok("backup")
    assert f"pushed to {hub.url} (branch backup)" in done.last
    # another machine, with nothing but the settings
    other = hub.lab("two")
    other.ok("backup")
    assert len(other.ok("list").stdout.splitlines()) == 4
    assert not other.restore.exists()
    assert other.git("config", "remote.origin.url") == hub.url
    assert other.git("status", "--porcelain", "--branch").splitlines() == ["## backup...origin/backup"]
    # the first one is behind now, and goes on
    lab.ok("backup")
    assert hub.head == lab.head()
    assert len(hub.subjects()) == 4
    assert hub.signers(key_maker) == {hub.key.fingerprint}
    assert lab.ok("verify", "--all").stdout.count(" good\n") == 3
    assert not lab.leftovers()


def test_a_restore_reads_the_remote(hub: Hub, lab: Lab, site: Site) -> None:
    lab.extra["K0SCTL_GIT_URL"] = hub.url
    done = lab.ok("apply", K0SCTL_RESTORE="require")
    assert f"apply: restoring {site.latest}" in done.stderr
    assert (lab.host.uid(), lab.host.objects()) == (site.uid, ["one", "two"])
    assert not lab.backup.exists()
    assert not lab.restore.exists()


def test_a_branch_that_is_not_there(hub: Hub) -> None:
    done = hub.lab("one").run("list", K0SCTL_GIT_BRANCH="typo").failed(2, "(branch typo)")
    assert "has no branch typo (K0SCTL_GIT_BRANCH); it has: backup" in done.stderr


def test_a_remote_that_is_not_there_is_never_an_empty_one(hub: Hub, lab: Lab) -> None:
    lab.extra["K0SCTL_GIT_URL"] = f"{hub.url}.gone"
    for command in ("apply", "backup", "list", "init", "status"):
        done = lab.run(command).failed(4, "fetching from", "K0SCTL_GIT_URL")
        assert "no backup" not in done.last
    assert lab.host.calls() == []


def test_a_night_without_the_remote(hub: Hub) -> None:
    """A backup is taken all the same where backup/ has the branch; it is pushed when the remote is back."""
    lab = hub.lab("one")
    lab.ok("backup")
    away = hub.bare.rename(hub.bare.with_name("away.git"))
    done = lab.run("backup").failed(4, "and is pushed later", "what was not pushed is committed in backup")
    assert f"git -C backup push {hub.url} HEAD:refs/heads/backup" in done.last
    kept = lab.latest()
    away.rename(hub.bare)
    lab.ok("backup")
    assert [subject.split()[-1] for subject in hub.subjects()[:2]] == [lab.latest(), kept]


def test_a_refused_push_is_kept_and_goes_first(hub: Hub) -> None:
    lab = hub.lab("one")
    before = hub.head
    hook = hub.hook('echo "no room here" >&2; exit 1')
    done = lab.run("backup").failed(4, "no room here", "what was not pushed is committed in backup")
    kept = lab.latest()
    assert hub.head == before
    warned = lab.ok("list")
    assert "warning: backup has commits that" in warned.stderr
    assert "and it is read; the next backup pushes them" in warned.stderr
    assert f"{kept} *" in warned.stdout
    # the line of the message works
    hook.unlink()
    line = re.search(r"by hand: (git -C backup push \S+ \S+)\. Report", done.last)
    assert line
    subprocess.run(line[1].split(), cwd=lab.work, check=True, capture_output=True)
    assert hub.head == lab.head()
    hub.git("update-ref", "refs/heads/backup", before)
    # and so does the next run
    done = lab.ok("backup")
    assert "1 commit(s) of an earlier run were not pushed; they go first" in done.stderr
    assert [subject.split()[-1] for subject in hub.subjects()[:2]] == [lab.latest(), kept]


def test_backups_that_were_left_go_on_top_of_what_others_pushed(hub: Hub, key_maker: KeyMaker) -> None:
    """Two nights could not be pushed, and another machine has pushed its own since."""
    lab, other = hub.lab("one"), hub.lab("two")
    hook = hub.hook("exit 1")
    kept = []
    for _ in range(2):
        lab.run("backup").failed(4)
        kept.append(lab.latest())
    hook.unlink()
    other.ok("backup")
    theirs = other.latest()
    done = lab.ok("backup")
    assert "2 commit(s) of an earlier run were not pushed" in done.stderr
    assert hub.subjects()[1] == f"backup: {hub.key.name}, kept from an earlier run"
    listed = [line.split()[0] for line in lab.ok("list").stdout.splitlines()[1:-1]]
    assert listed[:2] == [lab.latest(), theirs]
    assert set(kept) < set(listed)
    assert hub.signers(key_maker) == {hub.key.fingerprint}
    assert "BAD" not in lab.ok("verify", "--all").stdout
    assert lab.git("status", "--porcelain") == ""
    lab.git("fsck", "--strict", "--no-progress")


def test_what_a_new_password_would_lock_out_is_not_put_on_top(hub: Hub) -> None:
    lab, other = hub.lab("one"), hub.lab("two")
    hook = hub.hook("exit 1")
    lab.run("backup").failed(4)
    hook.unlink()
    other.ok("init", K0SCTL_CONFIRM_INIT=hub.key.name)
    before, kept = hub.head, lab.head()
    done = lab.run("backup").failed(7, "holds another password", "refs/heads/rescue", f"not pushed: {kept}")
    assert (hub.head, lab.head()) == (before, kept)
    line = re.search(r"keep them: (git -C backup push \S+ \S+);", done.last)
    assert line
    subprocess.run(line[1].split(), cwd=lab.work, check=True, capture_output=True)
    assert hub.git("rev-parse", "rescue") == kept


def test_somebody_was_faster(hub: Hub, key_maker: KeyMaker) -> None:
    """The branch moves between our commit and our push: manifest and commit are made again, nothing else is."""
    lab, other = hub.lab("one"), hub.lab("two")
    other.ok("backup")
    after = hub.head
    hub.git("update-ref", "refs/heads/backup", "backup~1")
    hub.hook(f"[ -e moved ] || {{ touch moved; git update-ref refs/heads/backup {after}; }}")
    done = lab.ok("backup")
    assert "somebody else was faster" in done.stderr
    assert done.stderr.count("encrypt the archive") == 1
    assert hub.git("rev-parse", "backup~1") == after
    assert lab.head() == hub.head
    assert lab.git("status", "--porcelain") == ""
    assert lab.ok("verify", "--all").stdout.count(" good\n") == 4
    assert hub.signers(key_maker) == {hub.key.fingerprint}


def let_others_in(hub: Hub, key_maker: KeyMaker, count: int) -> None:
    """With each push another signed commit goes on top of what is there, ``count`` times."""
    hub.hook(f"""\
number=$(cat number 2>/dev/null || echo 0)
[ "$number" -lt {count} ] || exit 0
echo $((number + 1)) > number
export GNUPGHOME={key_maker.home}
new=$(git commit-tree -S{hub.key.fingerprint} -p backup -m "moved $number" 'backup^{{tree}}')
git update-ref refs/heads/backup "$new"
""")


def test_a_branch_that_moves_five_times(hub: Hub, key_maker: KeyMaker) -> None:
    lab = hub.lab("one")
    let_others_in(hub, key_maker, 100)
    done = lab.run("backup").failed(7, "was moved by others 5 times", "committed in backup")
    assert hub.subjects()[:5] == [f"moved {number}" for number in (4, 3, 2, 1, 0)]
    assert f"git -C backup push {hub.url} HEAD:refs/heads/backup" in done.last
    kept = lab.latest()
    (hub.bare / "hooks" / "pre-receive").unlink()
    lab.ok("backup")
    assert kept in lab.ok("list").stdout


def test_a_branch_that_moves_four_times(hub: Hub, key_maker: KeyMaker) -> None:
    lab = hub.lab("one")
    let_others_in(hub, key_maker, 4)
    lab.ok("backup")
    assert hub.subjects()[1:5] == [f"moved {number}" for number in (3, 2, 1, 0)]


def test_a_history_that_was_rewritten(hub: Hub) -> None:
    """An older signed commit is forced onto the branch during the run: nothing goes on top of that."""
    lab = hub.lab("one")
    older = hub.git("rev-parse", "backup~1")
    hub.hook(f"git update-ref refs/heads/backup {older}")
    lab.run("backup").failed(7, "the history of", "was rewritten", "committed in backup")
    assert hub.head == older
    lab.git("fsck", "--strict", "--no-progress")


def test_an_unsigned_tip_is_not_built_upon(hub: Hub) -> None:
    lab = hub.lab("one")
    hub.hook("git update-ref refs/heads/backup \"$(git commit-tree -p backup -m evil 'backup^{tree}')\"")
    lab.run("backup").failed(5, "is not signed", "committed in backup")
    assert hub.subjects()[0] == "evil"


def test_init_does_not_build_on_somebody_elses_branch(new_hub: Hub) -> None:
    first, second = new_hub.lab("one"), new_hub.lab("two")
    first.ok("init")
    after = new_hub.head
    new_hub.git("update-ref", "-d", "refs/heads/backup")
    new_hub.hook(f"git update-ref refs/heads/backup {after}")
    second.run("init").failed(7, "somebody else has moved", "empty backup")
    assert new_hub.head == after
    # emptied, it goes on with the other's branch
    shutil.rmtree(second.backup)
    (new_hub.bare / "hooks" / "pre-receive").unlink()
    second.ok("backup")


def test_a_signal_during_the_push(hub: Hub) -> None:
    lab = hub.lab("one")
    hub.hook("touch waiting; sleep 30; exit 1")
    process = lab.start("backup")
    while not (hub.bare / "waiting").exists():
        assert process.poll() is None, process.communicate()
    process.terminate()
    done = lab.end(process, timeout=20)
    assert done.code == 143
    assert f"what was not pushed is committed in backup; by hand: git -C backup push {hub.url}" in done.stderr
    assert lab.git("log", "-1", "--format=%s").endswith(lab.latest())
    assert not lab.leftovers()


def test_a_slow_remote(hub: Hub) -> None:
    lab = hub.lab("one")
    lab.tool("git", 'case "$*" in *fetch*file:*) sleep 60 ;; esac')
    lab.run("list", K0SCTL_TIMEOUT="2s").failed(6, "did not answer within 2 s (K0SCTL_TIMEOUT)", hub.url)
