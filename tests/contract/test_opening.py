"""Which of restore/ and backup/ is read, with real clones."""

from __future__ import annotations

import os
from datetime import timedelta
from pathlib import Path

import pytest

from handler.errors import ConfigurationError, Conflict, HandlerError, IntegrityError
from handler.opening import Opened, Relation, find
from handler.tools.gitlocated import without_credentials
from tests.contract.conftest import Template
from tests.support.branch import NOW, Desk, PlainGit, copy
from tests.support.rights import powerless

pytestmark = pytest.mark.contract


def opened(desk: Desk) -> Opened:
    return find(desk.git, restore=desk.restore, backup=desk.backup)


def clone(desk: Desk, source: Path, target: Path, *options: str) -> Path:
    """As a pipeline fetches it: depth 1, HEAD detached."""
    words = ("clone", "-q", "--depth", "1", *options, f"file://{source}", str(target))
    desk.plain(desk.root, *words)
    desk.plain(target, "checkout", "-q", "--detach")
    return target


@pytest.fixture
def remote(desk: Desk, template: Template, plain: PlainGit) -> Path:
    """A bare host whose default branch is another one than that of the backups."""
    target = desk.root / "remote.git"
    plain(desk.root, "clone", "-q", "--bare", str(template.directory), str(target))
    main = plain.commit_tree(target, plain(target, "write-tree"), [])
    plain(target, "update-ref", "refs/heads/main", main)
    plain(target, "symbolic-ref", "HEAD", "refs/heads/main")
    return target


def pushed(desk: Desk, remote: Path, count: int) -> None:
    """More backups on the host, by somebody else."""
    other = desk.root / f"other-{count}-{len(list(desk.root.iterdir()))}"
    desk.plain(desk.root, "clone", "-q", "-b", "backup", str(remote), str(other))
    for _ in range(count):
        desk.plain.commit(other, {f"file-{os.urandom(4).hex()}": b"x"}, signer=desk.pair.fingerprint)
    desk.plain(other, "push", "-q", "origin", "HEAD:backup")


def test_nothing_at_all(desk: Desk) -> None:
    assert opened(desk) == Opened(source=None, target=None, relation=Relation.EQUAL)
    desk.backup.mkdir()
    desk.restore.mkdir()
    assert opened(desk).source is None


def test_one_of_both(desk: Desk, template: Template) -> None:
    copy(template.directory, desk.backup)
    in_place = opened(desk)
    assert in_place.source == in_place.target
    assert in_place.source is not None
    desk.backup.rename(desk.restore)
    only_restore = opened(desk)
    assert only_restore.target is None
    assert only_restore.source is not None
    assert only_restore.source.directory == desk.restore


@pytest.mark.parametrize("content", ["file", "bare", "file-itself"])
def test_no_repository_and_not_empty(desk: Desk, plain: PlainGit, content: str) -> None:
    if content == "file-itself":
        desk.backup.write_text("x")
    else:
        desk.backup.mkdir()
    if content == "file":
        (desk.backup / "file").touch()
    if content == "bare":
        plain(desk.backup, "init", "-q", "--bare")
    with pytest.raises(ConfigurationError, match="not empty, and no git repository") as caught:
        opened(desk)
    assert str(desk.backup) in caught.value.message


def test_inside_of_another_repository(desk: Desk, plain: PlainGit) -> None:
    plain(desk.root, "init", "-q")
    desk.backup.mkdir()
    assert opened(desk).source is None
    assert desk.git.locate(desk.backup) is None


def test_a_git_directory_that_is_none(desk: Desk, template: Template) -> None:
    (desk.backup / ".git").mkdir(parents=True)
    with pytest.raises(IntegrityError, match="git cannot read"):
        opened(desk)
    (desk.backup / ".git").rmdir()
    (desk.backup / ".git").write_text("gitdir: /nowhere\n")
    with pytest.raises(IntegrityError, match="git cannot read"):
        opened(desk)


def test_an_unborn_head(desk: Desk, template: Template, plain: PlainGit) -> None:
    desk.backup.mkdir()
    plain(desk.backup, "init", "-q", "-b", "other")
    found = opened(desk)
    assert found.source is not None
    assert (found.source.head, found.source.branch) == (None, "other")
    copy(template.directory, desk.restore)
    both = opened(desk)
    assert both.relation is Relation.BEHIND
    assert both.source is not None
    assert both.source.directory == desk.restore


# --- how they stand to each other --------------------------------------------------------------------------------


def test_equal_ahead_behind_diverged(desk: Desk, branch: Path, plain: PlainGit) -> None:
    clone(desk, branch, desk.restore)
    assert opened(desk).relation is Relation.EQUAL
    desk.take(b"one", NOW - timedelta(hours=2))
    desk.take(b"two", NOW - timedelta(hours=1))
    ahead = opened(desk)
    assert ahead.relation is Relation.AHEAD
    assert ahead.source == ahead.target
    plain(branch, "reset", "-q", "--hard", "HEAD~3")
    behind = opened(desk)
    assert behind.relation is Relation.BEHIND
    assert behind.source is not None
    assert behind.source.directory == desk.restore
    plain.commit(branch, {"own": b"x"}, signer=desk.pair.fingerprint)
    before = plain.head(branch), plain.head(desk.restore)
    with pytest.raises(Conflict, match="diverged") as caught:
        opened(desk)
    assert caught.value.exit_code == 7
    assert (plain.head(branch), plain.head(desk.restore)) == before


def test_one_behind_is_seen_in_a_depth_1_clone(desk: Desk, branch: Path, plain: PlainGit) -> None:
    clone(desk, branch, desk.restore)
    plain(branch, "reset", "-q", "--hard", "HEAD^")
    plain(desk.restore, "remote", "set-url", "origin", "file:///nowhere")
    assert opened(desk).relation is Relation.BEHIND


def test_history_is_deepened_from_origin(desk: Desk, remote: Path, plain: PlainGit) -> None:
    """Of the right branch: the host's default one is another."""
    clone(desk, remote, desk.backup, "-b", "backup")
    pushed(desk, remote, 3)
    clone(desk, remote, desk.restore, "-b", "backup")
    assert opened(desk).relation is Relation.BEHIND
    plain.commit(desk.backup, {"own": b"x"}, signer=desk.pair.fingerprint)
    with pytest.raises(Conflict, match="diverged"):
        opened(desk)
    assert plain(desk.restore, "rev-list", "--count", "HEAD") == "1"  # theirs is as it was


def test_a_stale_restore_is_deepened_through_backup(desk: Desk, remote: Path, plain: PlainGit) -> None:
    plain(desk.root, "clone", "-q", "-b", "backup", str(remote), str(desk.restore))
    pushed(desk, remote, 3)
    clone(desk, remote, desk.backup, "-b", "backup")
    assert opened(desk).relation is Relation.AHEAD


def test_nobody_can_tell(desk: Desk, remote: Path, plain: PlainGit) -> None:
    clone(desk, remote, desk.backup, "-b", "backup")
    pushed(desk, remote, 3)
    clone(desk, remote, desk.restore, "-b", "backup")
    for directory in (desk.backup, desk.restore):
        plain(directory, "remote", "set-url", "origin", f"file://{desk.root}/gone.git")
    with pytest.raises(Conflict, match="cannot tell") as caught:
        opened(desk)
    assert "empty" in caught.value.resolution
    assert "push" in caught.value.resolution
    for directory in (desk.backup, desk.restore):
        plain(directory, "remote", "remove", "origin")
    with pytest.raises(Conflict, match="cannot tell"):
        opened(desk)


@pytest.mark.parametrize("url", ["--upload-pack=touch /tmp/x", "ext::sh -c true", "ssh://nobody@localhost/x", "nobody@localhost:x"])  # fmt: skip  # noqa: E501
def test_an_origin_that_git_must_not_reach(desk: Desk, remote: Path, plain: PlainGit, url: str, tmp_path: Path) -> None:
    clone(desk, remote, desk.backup, "-b", "backup")
    pushed(desk, remote, 3)
    clone(desk, remote, desk.restore, "-b", "backup")
    url = url.replace("/tmp/x", str(tmp_path / "ran"))
    for directory in (desk.backup, desk.restore):
        plain(directory, "config", "--replace-all", "--", "remote.origin.url", url)
    with pytest.raises(Conflict, match="cannot tell"):
        opened(desk)
    assert not (tmp_path / "ran").exists()


# --- kinds of repositories ---------------------------------------------------------------------------------------


def test_the_branch(desk: Desk, remote: Path, plain: PlainGit) -> None:
    detached = desk.locate(clone(desk, remote, desk.restore, "-b", "backup"))
    assert detached.branch == "backup"
    assert detached.shallow == (plain.head(desk.restore),)
    whole = desk.root / "whole"
    plain(desk.root, "clone", "-q", str(remote), str(whole))
    plain(whole, "checkout", "-q", "--detach", "origin/backup")
    assert desk.locate(whole).branch == "backup"
    plain(whole, "update-ref", "refs/remotes/origin/twin", "HEAD")
    assert desk.locate(whole).branch is None


@pytest.mark.parametrize(
    ("url", "kept"),
    [
        ("https://user:pa@ss@host/x.git", "https://host/x.git"),
        ("https://TOKEN@host/x.git", "https://host/x.git"),
        ("https://user:p:w@host:8443/a@b.git", "https://host:8443/a@b.git"),
        ("ssh://git@host/x.git", "ssh://git@host/x.git"),
        ("ssh://git:secret@host:22/x.git", "ssh://git@host:22/x.git"),
        ("git@host:x.git", "git@host:x.git"),
        ("/srv/x@y.git", "/srv/x@y.git"),
        ("file:///srv/x@y.git", "file:///srv/x@y.git"),
    ],
)
def test_credentials_in_a_url(url: str, kept: str) -> None:
    assert without_credentials(url) == kept


def test_a_work_tree_and_a_submodule(desk: Desk, branch: Path, template: Template, plain: PlainGit) -> None:
    plain(branch, "worktree", "add", "-q", "--detach", str(desk.restore))
    assert (desk.restore / ".git").is_file()
    assert opened(desk).relation is Relation.EQUAL
    assert desk.prove(desk.restore) == template.newer
    outer = desk.root / "outer"
    outer.mkdir()
    plain(outer, "init", "-q")
    plain(outer, "submodule", "add", "-q", f"file://{template.directory}", "backup")
    assert (outer / "backup/.git").is_file()
    assert desk.prove(outer / "backup") == template.newer


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files to another user")
def test_another_owner(desk: Desk, branch: Path, template: Template) -> None:
    for path in [branch, *branch.rglob("*")]:
        os.chown(path, 12345, 12345, follow_symlinks=False)
    assert desk.prove(branch) == template.newer
    desk.take(b"content", NOW)
    assert desk.prove(branch) == b"content"


CLOSED = """
import os, sys
from pathlib import Path
from handler.errors import HandlerError
from handler.opening import find
from handler.process import Children
from handler.tools.git import Git
from handler.watch import Watch
root = Path(sys.argv[1])
(root / "private2").mkdir()
git = Git(Children(Watch()), {"PATH": os.environ["PATH"], "HOME": str(root)}, root / "private2")
try:
    find(git, restore=root / "restore", backup=root / "backup")
except HandlerError as error:
    print(error.exit_code, error.message, error.resolution)
"""


@pytest.mark.parametrize("closed", ["backup", "backup/.git"])
def test_a_directory_that_may_not_be_read(desk: Desk, branch: Path, closed: str) -> None:
    path = desk.root / closed
    path.chmod(0)
    done = powerless(CLOSED, str(desk.root))
    path.chmod(0o755)
    user = os.geteuid()
    assert done.stdout.startswith("2 not allowed while looking into"), done.stdout + done.stderr
    assert f"belongs to user {user}, this process runs as user {user}" in done.stdout
    assert f"--user {user}:{os.getegid()}" in done.stdout


def test_every_failure_has_an_exit_code(desk: Desk) -> None:
    (desk.backup / ".git").mkdir(parents=True)
    (desk.backup / ".git" / "HEAD").write_text("garbage")
    with pytest.raises(HandlerError) as caught:
        opened(desk)
    assert caught.value.exit_code == 5
