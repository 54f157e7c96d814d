"""One signed commit on top of a verified parent, in every kind of directory; a failed run leaves no trace."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from handler.archive import Names
from handler.digest import digest_of
from handler.errors import ConfigurationError, Conflict, HandlerError, IntegrityError, Interrupted, ToolFailed
from handler.opening import find
from handler.process import Children
from handler.publishing import Change, StagedFile, Target, prepared, publish, require_writing_key
from handler.secret import Secret
from handler.tools.git import Git
from handler.tools.gitstore import Identity
from handler.watch import Watch
from handler.workspace import locked
from tests.contract.conftest import GpgOf, Template
from tests.support.branch import NOW, PREFIX, Desk, PlainGit, copy, state
from tests.support.keys import KeyMaker, KeyPair
from tests.support.rights import powerless

pytestmark = pytest.mark.contract

NAMES = Names(taken_at=NOW)
root_only = pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount a small file system")


def clone(desk: Desk, source: Path, *options: str) -> None:
    """restore/ as a pipeline fetches it."""
    desk.plain(desk.root, "clone", "-q", "--depth", "1", *options, f"file://{source}", str(desk.restore))
    desk.plain(desk.restore, "checkout", "-q", "--detach")


def clean(desk: Desk) -> None:
    """What a user sees afterwards."""
    assert desk.plain(desk.backup, "status", "--porcelain", "--ignored") == ""
    desk.plain(desk.backup, "fsck", "--full", "--strict", "--no-dangling")
    assert not [path for path in (desk.backup / ".git").rglob("*") if "tmp_" in path.name or "lock" in path.name]
    assert not (desk.backup / ".git/k0sctl-handler").exists()


def test_the_first_commit_in_an_absent_directory(desk: Desk, plain: PlainGit) -> None:
    commit = desk.init()
    assert plain.head(desk.backup) == commit
    assert plain(desk.backup, "symbolic-ref", "HEAD") == "refs/heads/backup"
    assert plain(desk.backup, "rev-list", "--count", "HEAD") == "1"
    assert "GOODSIG" in subprocess.run(
        ["git", "verify-commit", "--raw", "HEAD"], cwd=desk.backup, env=plain.env, capture_output=True, text=True,
        check=True,
    ).stderr  # fmt: skip
    clean(desk)


def test_in_place(desk: Desk, branch: Path, plain: PlainGit) -> None:
    before = plain.head(branch)
    commit = desk.take(b"content")
    assert plain.head(branch) == commit
    assert plain(branch, "rev-parse", "HEAD^") == before
    assert desk.prove(branch) == b"content"
    assert (branch / f"{PREFIX}_latest").readlink() == Path(NAMES.ciphertext)
    assert plain(branch, "reflog", "-1", "--format=%gs") == "test"
    clean(desk)


def test_the_tree_is_the_parents_and_exactly_this_runs_files(desk: Desk, branch: Path, plain: PlainGit) -> None:
    (branch / "untracked").write_text("x")
    (branch / "README.md").write_text("changed by hand")
    before = set(plain(branch, "ls-tree", "-r", "HEAD").splitlines())
    desk.take(b"content")
    after = set(plain(branch, "ls-tree", "-r", "HEAD").splitlines())
    names = {line.partition("\t")[2] for line in after ^ before}
    new = {NAMES.ciphertext, NAMES.config, NAMES.manifest, NAMES.signature}
    assert names == {*new, "README.md", f"{PREFIX}_latest"}
    assert plain(branch, "status", "--porcelain") == "?? untracked"


def test_restore_becomes_backup(desk: Desk, template: Template, plain: PlainGit) -> None:
    """A depth-1 clone with a detached HEAD becomes a working tree that the user can push from."""
    remote = desk.root / "remote.git"
    plain(desk.root, "clone", "-q", "--bare", str(template.directory), str(remote))
    plain(remote, "update-ref", "refs/heads/prod", "refs/heads/backup")
    plain(remote, "update-ref", "-d", "refs/heads/backup")
    clone(desk, remote, "-b", "prod")
    before = state(desk.restore, plain)
    change = desk.change(b"content", NOW)
    with pytest.raises(IntegrityError, match="another branch"):
        desk.prove(desk.restore)  # the template's manifests are of the branch backup
    commit, problem = desk.write(change, at=NOW)
    assert problem is None
    assert state(desk.restore, plain) == before
    assert plain(desk.backup, "symbolic-ref", "HEAD") == "refs/heads/prod"
    assert plain(desk.backup, "config", "remote.origin.url") == f"file://{remote}"
    clean(desk)
    plain(desk.backup, "push", "-q")
    assert plain(remote, "rev-parse", "prod") == commit
    assert plain(remote, "rev-list", "--count", "prod") == "4"
    plain(remote, "fsck", "--full", "--strict")


def test_credentials_do_not_come_along(desk: Desk, template: Template, plain: PlainGit) -> None:
    clone(desk, template.directory)
    plain(desk.restore, "remote", "set-url", "origin", "https://user:pa@ss@host.example/x.git")
    plain(desk.restore, "config", "http.extraHeader", "Authorization: secret")
    desk.take(b"content")
    assert plain(desk.backup, "config", "remote.origin.url") == "https://host.example/x.git"
    assert "ss@" not in (desk.backup / ".git/config").read_text()
    assert "secret" not in (desk.backup / ".git/config").read_text()


@pytest.mark.parametrize("url", ["--upload-pack=x", "-x", 'a"b\nc', "a;b #c", "ext::sh -c x"])
def test_an_odd_origin_is_only_written_down(desk: Desk, template: Template, plain: PlainGit, url: str) -> None:
    clone(desk, template.directory)
    plain(desk.restore, "config", "--replace-all", "--", "remote.origin.url", url)
    desk.take(b"content")
    assert plain(desk.backup, "config", "remote.origin.url") == url
    assert plain(desk.backup, "config", "branch.backup.remote") == "origin"


def test_an_empty_mount_keeps_its_inode(desk: Desk, template: Template) -> None:
    desk.backup.mkdir()
    inode = desk.backup.stat().st_ino
    clone(desk, template.directory)
    desk.take(b"content")
    assert desk.backup.stat().st_ino == inode
    assert desk.prove(desk.backup) == b"content"
    clean(desk)


def test_a_fast_forward(desk: Desk, branch: Path, template: Template, plain: PlainGit) -> None:
    clone(desk, branch)
    plain(branch, "reset", "-q", "--hard", "HEAD^")
    (branch / "untracked").write_text("kept")
    desk.take(b"content")
    assert plain(branch, "rev-parse", "HEAD^") == plain.head(template.directory)
    assert desk.prove(branch) == b"content"
    assert plain(branch, "status", "--porcelain") == "?? untracked"
    (branch / "untracked").unlink()
    clean(desk)


def test_a_fast_forward_over_changes_is_refused(desk: Desk, branch: Path, plain: PlainGit) -> None:
    clone(desk, branch)
    plain(branch, "reset", "-q", "--hard", "HEAD^")
    (branch / "README.md").write_text("mine")
    before = state(branch, plain)
    with pytest.raises(Conflict, match="changes of its own") as caught:
        desk.take(b"content")
    assert caught.value.exit_code == 7
    assert state(branch, plain) == before
    plain(branch, "checkout", "README.md")
    # a file of the user's that the fast-forward would overwrite
    name = Names(taken_at=NOW - timedelta(days=1)).manifest
    (branch / name).write_text("mine")
    before = state(branch, plain)
    with pytest.raises(HandlerError):
        desk.take(b"content")
    assert state(branch, plain) == before
    assert (branch / name).read_text() == "mine"


def test_an_unborn_branch_beside_restore(desk: Desk, template: Template, plain: PlainGit) -> None:
    desk.backup.mkdir()
    plain(desk.backup, "init", "-q")
    clone(desk, template.directory)
    desk.take(b"content")
    assert desk.prove(desk.backup) == b"content"
    clean(desk)


def test_a_working_directory_inside_another_repository(desk: Desk, template: Template, plain: PlainGit) -> None:
    plain(desk.root, "init", "-q")
    (desk.root / "own").write_text("x")
    plain(desk.root, "add", "own")
    plain(desk.root, "commit", "-q", "-m", "own")
    head = plain.head(desk.root)
    desk.backup.mkdir()
    copy(template.directory, desk.restore)
    desk.take(b"content")
    assert plain.head(desk.root) == head
    assert desk.prove(desk.backup) == b"content"


def test_a_git_worktree_and_a_submodule(desk: Desk, template: Template, plain: PlainGit) -> None:
    main = copy(template.directory, desk.root / "main")
    plain(main, "checkout", "-q", "-b", "other")
    plain(main, "worktree", "add", "-q", str(desk.backup), "backup")
    desk.take(b"content")
    assert desk.prove(desk.backup) == b"content"
    assert plain(desk.backup, "status", "--porcelain") == ""
    assert plain(main, "status", "--porcelain") == ""
    assert plain(main, "rev-parse", "backup") == plain.head(desk.backup)
    assert plain(main, "config", "core.bare") == "false"
    plain(main, "fsck", "--full")


def test_a_submodule(desk: Desk, template: Template, plain: PlainGit) -> None:
    plain(desk.root, "init", "-q")
    plain(desk.root, "submodule", "add", "-q", f"file://{template.directory}", "backup")
    desk.take(b"content")
    assert desk.prove(desk.backup) == b"content"
    assert plain(desk.backup, "status", "--porcelain") == ""


def test_sha256_objects(desk: Desk, plain: PlainGit) -> None:
    desk.backup.mkdir()
    plain(desk.backup, "init", "-q", "--object-format=sha256")
    desk.init()
    desk.take(b"one", NOW - timedelta(days=1))
    assert len(plain.head(desk.backup)) == 64
    assert desk.prove(desk.backup) == b"one"
    desk.backup.rename(desk.restore)
    desk.take(b"two")
    assert len(plain.head(desk.backup)) == 64
    assert desk.prove(desk.backup) == b"two"
    plain(desk.backup, "verify-commit", "HEAD")
    clean(desk)


def test_attributes_of_the_branch_change_no_byte(
    desk: Desk, branch: Path, plain: PlainGit, cluster_key: KeyPair
) -> None:
    attributes = b"* text eol=crlf ident filter=evil\n*.md working-tree-encoding=UTF-16\n"
    odd = b"\r\n\n\r $Id$ \n\xff\n"
    plain.commit(branch, {".gitattributes": attributes, "odd": odd}, signer=cluster_key.fingerprint)
    branch.rename(desk.restore)
    change = desk.change(b"content", NOW)
    desk.write(Change(files={**change.files, "odd2": odd + b"2"}, links=change.links), at=NOW)
    assert (desk.backup / "odd").read_bytes() == odd
    assert (desk.backup / "odd2").read_bytes() == odd + b"2"
    clean(desk)
    os.utime(desk.backup / "odd", (0, 0))  # git compares the content again
    os.utime(desk.backup / "odd2", (0, 0))
    assert plain(desk.backup, "status", "--porcelain") == ""


def test_attributes_in_place(desk: Desk, branch: Path, plain: PlainGit, cluster_key: KeyPair) -> None:
    plain.commit(branch, {".gitattributes": b"* text eol=crlf ident filter=evil\n"}, signer=cluster_key.fingerprint)
    plain(branch, "reset", "-q", "--hard")
    odd = b"\r\n\n\r $Id$ \n\xff\n"
    change = desk.change(b"content", NOW)
    desk.write(Change(files={**change.files, "odd": odd}, links=change.links), at=NOW)
    assert (branch / "odd").read_bytes() == odd
    clean(desk)


def test_a_users_own_clone_keeps_its_settings(desk: Desk, template: Template, plain: PlainGit) -> None:
    """Nothing but HEAD, its branch, the index, objects and the files of this run changes in it."""
    plain(desk.root, "clone", "-q", str(template.directory), str(desk.backup))
    before = {path: path.read_bytes() for path in sorted((desk.backup / ".git").rglob("*")) if path.is_file()}
    desk.take(b"content")
    allowed = {"index", "backup", "HEAD"}  # the branch, and the logs of both
    for path, content in before.items():
        assert path.name in allowed or path.read_bytes() == content, path
    new = {path for path in (desk.backup / ".git").rglob("*") if path.is_file()} - set(before)
    assert all("objects" in path.parts for path in new), new


def test_a_second_init_moves_everything_aside(desk: Desk, branch: Path, plain: PlainGit) -> None:
    at, again = "archive/2026-01-01T00-00-00Z", "archive/2026-02-01T00-00-00Z"
    before = plain(branch, "ls-tree", "-r", "HEAD").splitlines()
    desk.init(at=NOW - timedelta(hours=2), moved_to=at)
    tree = plain(branch, "ls-tree", "-r", "HEAD").splitlines()
    assert {line.replace("\t", f"\t{at}/") for line in before} < set(tree)
    assert {line.partition("\t")[2] for line in tree if "archive/" not in line} == {"README.md", "secret.gpg"}
    assert plain(branch, "status", "--porcelain") == ""
    desk.init(at=NOW - timedelta(hours=1), moved_to=again)
    twice = plain(branch, "ls-tree", "-r", "--name-only", "HEAD").splitlines()
    assert {line.partition("\t")[2] for line in tree if at in line} < set(twice)
    assert f"{again}/secret.gpg" in twice
    assert not [name for name in twice if name.count("archive") > 1]
    clean(desk)


def test_an_existing_directory_where_a_file_goes_is_only_a_warning(desk: Desk, branch: Path, plain: PlainGit) -> None:
    (branch / NAMES.manifest).mkdir()
    (branch / NAMES.manifest / "x").touch()
    commit, problem = desk.write(desk.change(b"content", NOW), at=NOW)
    assert problem
    assert plain.head(branch) == commit
    assert desk.prove(branch) == b"content"


# --- failures ----------------------------------------------------------------------------------------------------

Fail = Callable[[Target], None]


def attempt(desk: Desk, at: datetime = NOW, before_publish: Fail = lambda _: None) -> None:
    """`Desk.write` with something in between."""
    change = desk.change(os.urandom(2_000_000), at)
    opened = find(desk.git, restore=desk.restore, backup=desk.backup)
    assert opened.source is not None
    parent = desk.trust(opened.source.directory)
    with prepared(desk.git, opened, parent, desk.backup) as target:
        before_publish(target)
        publish(
            target, change, git=desk.git, gpg=desk.gpg, children=desk.children, identity=desk.identity, message="m",
            at=at,
        )  # fmt: skip


def test_gpg_fails(desk: Desk, branch: Path, plain: PlainGit, gpg_of: GpgOf, foreign_key: KeyPair) -> None:
    """The keyring has no key of the cluster to sign with."""
    before, objects = state(branch, plain), plain(branch, "count-objects", "-v")
    opened = find(desk.git, restore=desk.restore, backup=desk.backup)
    change = Change(files={"big": os.urandom(2_000_000), "small": b"x"}, links={})
    verified = desk.trust(branch)
    with (
        pytest.raises(ToolFailed, match="gpg could not sign"),
        prepared(desk.git, opened, verified, desk.backup) as target,
    ):
        publish(
            target, change, git=desk.git, gpg=gpg_of(foreign_key), children=desk.children, identity=desk.identity,
            message="m", at=NOW,
        )  # fmt: skip
    assert state(branch, plain) == before
    assert plain(branch, "count-objects", "-v") == objects


def test_another_key_than_the_clusters_signs(desk: Desk, branch: Path, plain: PlainGit, foreign_key: KeyPair) -> None:
    before = state(branch, plain)
    opened = find(desk.git, restore=desk.restore, backup=desk.backup)
    wrong = Identity(name=desk.pair.name, mail=desk.pair.mail, fingerprint=foreign_key.fingerprint)
    with pytest.raises(ToolFailed), prepared(desk.git, opened, desk.trust(branch), desk.backup) as target:
        publish(
            target, Change(files={"x": b"x"}, links={}), git=desk.git, gpg=desk.gpg, children=desk.children,
            identity=wrong, message="m", at=NOW,
        )  # fmt: skip
    assert state(branch, plain) == before


def test_a_staged_file_that_is_not_what_was_proven(desk: Desk, branch: Path, plain: PlainGit) -> None:
    before = state(branch, plain)
    evil = desk.scratch / "evil"
    evil.write_bytes(b"other bytes")
    change = Change(files={"x": StagedFile(path=evil, digest=digest_of(b"proven bytes"))}, links={})
    with pytest.raises(IntegrityError, match="other bytes"):
        desk.write(change, at=NOW)
    assert state(branch, plain) == before


@pytest.mark.parametrize("lock", ["HEAD.lock", "index.lock", "refs/heads/backup.lock"])
def test_a_lock_of_another_git(desk: Desk, branch: Path, plain: PlainGit, lock: str) -> None:
    (branch / ".git" / lock).touch()
    before = state(branch, plain)
    with pytest.raises(Conflict, match="another git works") as caught:
        desk.take(b"content")
    assert f"rm {branch / '.git' / lock}" in caught.value.resolution
    assert caught.value.exit_code == 7
    assert state(branch, plain) == before


@pytest.mark.parametrize("lock", ["HEAD.lock", "refs/heads/backup.lock"])
def test_a_lock_that_comes_during_the_run(desk: Desk, branch: Path, plain: PlainGit, lock: str) -> None:
    before = state(branch, plain)
    with pytest.raises(Conflict, match="cannot be moved to the new commit") as caught:
        attempt(desk, before_publish=lambda _: (branch / ".git" / lock).touch())
    assert "*.lock" in caught.value.resolution
    (branch / ".git" / lock).unlink()
    assert state(branch, plain) == before


def test_head_moves_during_the_run(desk: Desk, branch: Path, plain: PlainGit) -> None:
    moved: list[str] = []
    with pytest.raises(Conflict, match="changed by somebody else"):
        attempt(desk, before_publish=lambda _: moved.append(plain.commit(branch, {"theirs": b"x"})))
    assert plain.head(branch) == moved[0]
    assert not (branch / NAMES.ciphertext).exists()


def test_backup_is_made_by_another_run_meanwhile(desk: Desk, branch: Path, plain: PlainGit) -> None:
    """Both saw an empty backup/; the second must not put HEAD back."""
    branch.rename(desk.restore)
    opened = find(desk.git, restore=desk.restore, backup=desk.backup)
    parent = desk.trust(desk.restore)
    first = desk.take(b"first")
    with pytest.raises(Conflict, match="changed by somebody else"), prepared(desk.git, opened, parent, desk.backup):
        pytest.fail("went on")
    assert plain.head(desk.backup) == first
    in_place = find(desk.git, restore=desk.restore, backup=desk.backup)
    parent = desk.trust(desk.backup)
    second = desk.take(b"second", NOW + timedelta(seconds=1))
    with pytest.raises(Conflict, match="changed by somebody else"), prepared(desk.git, in_place, parent, desk.backup):
        pytest.fail("went on")
    assert plain.head(desk.backup) == second


def test_two_runs_at_once(desk: Desk, branch: Path, plain: PlainGit) -> None:
    before = state(branch, plain)
    with locked(branch), pytest.raises(Conflict, match="another run of k0sctl-handler") as caught:
        desk.take(b"content")
    assert caught.value.exit_code == 7
    assert state(branch, plain) == before


def test_what_a_killed_run_left_is_swept(desk: Desk, branch: Path) -> None:
    left = branch / ".git/k0sctl-handler/objects/pack"
    left.mkdir(parents=True)
    (left / "tmp_pack_x").write_bytes(b"x" * 1000)
    desk.take(b"content")
    clean(desk)


@pytest.fixture
def small_disk(desk: Desk) -> Iterator[Path]:
    mount = desk.root / "small"
    mount.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "none", str(mount)], check=True)
    yield mount
    subprocess.run(["umount", "-l", str(mount)], check=True)


@root_only
def test_a_full_disk(desk: Desk, template: Template, plain: PlainGit, small_disk: Path) -> None:
    copy(template.directory, small_disk / "backup")
    (small_disk / "fill").write_bytes(b"x" * 400_000)
    desk.backup.symlink_to(small_disk / "backup")
    before, objects = state(small_disk / "backup", plain), plain(desk.backup, "count-objects", "-v")
    with pytest.raises(ToolFailed, match="no space left") as caught:
        attempt(desk)
    assert caught.value.exit_code == 4
    assert state(small_disk / "backup", plain) == before
    assert plain(desk.backup, "count-objects", "-v") == objects
    assert desk.prove(desk.backup) == template.newer


@root_only
def test_a_disk_that_is_full_at_the_clone(desk: Desk, template: Template, small_disk: Path) -> None:
    copy(template.directory, desk.restore)
    (small_disk / "fill").write_bytes(b"x" * 2_500_000)
    (small_disk / "backup").mkdir()
    desk.backup.symlink_to(small_disk / "backup")
    with pytest.raises(ToolFailed, match="no space left"):
        desk.take(b"content")
    assert list((small_disk / "backup").iterdir()) == []


@root_only
def test_a_disk_that_is_full_at_the_fast_forward(
    desk: Desk, template: Template, small_disk: Path, plain: PlainGit
) -> None:
    copy(template.directory, desk.restore)
    desk.backup.symlink_to(copy(template.directory, small_disk / "backup"))
    plain(desk.backup, "reset", "-q", "--hard", "HEAD^")
    plain(desk.restore, "repack", "-q", "-d")
    (small_disk / "fill").write_bytes(b"x" * 1_500_000)
    before = state(small_disk / "backup", plain)
    with pytest.raises(ToolFailed, match="no space left"):
        desk.take(b"content")
    assert state(small_disk / "backup", plain) == before
    (small_disk / "fill").unlink()
    desk.take(b"content")
    assert plain(desk.backup, "status", "--porcelain") == ""


READ_ONLY = """
import os, sys, traceback
from pathlib import Path
from datetime import datetime, UTC
from types import SimpleNamespace
from handler.errors import HandlerError
from handler.opening import find
from handler.process import Children
from handler.publishing import prepared
from handler.repository import Repository
from handler.secret import Secret
from handler.tools.git import Git
from handler.tools.gitstore import Identity
from handler.tools.gitstore import Store
from handler.watch import Watch
root = Path(sys.argv[1])
private = root / "private2"
private.mkdir()
git = Git(Children(Watch()), {"PATH": os.environ["PATH"], "HOME": str(root)}, private)
try:
    opened = find(git, restore=root / "restore", backup=root / "backup")
    store = Store(git, opened.source)
    commit = store.commit(opened.source.head)
    parent = SimpleNamespace(located=opened.source, store=store, commit=commit)
    with prepared(git, opened, parent, root / "backup"):
        print("went on")
except HandlerError as error:
    print(error.exit_code, error.message, error.resolution)
"""


@pytest.mark.parametrize("what", ["backup", "backup/.git", "backup/.git/objects", "backup/.git/objects/pack", "empty", "absent"])  # fmt: skip  # noqa: E501
def test_read_only_directories(desk: Desk, branch: Path, plain: PlainGit, what: str) -> None:
    if what in {"empty", "absent"}:
        branch.rename(desk.restore)
        if what == "empty":
            desk.backup.mkdir()
        (desk.root / "private2").mkdir()
    code = READ_ONLY.replace("private.mkdir()", "private.mkdir(exist_ok=True)")
    path = desk.root if what == "absent" else desk.backup if what == "empty" else desk.root / what
    before = state(branch, plain) if branch.exists() and what != "empty" else {}
    path.chmod(0o500)
    done = powerless(code, str(desk.root))
    path.chmod(0o755)
    user = os.geteuid()
    assert done.stdout.startswith("2 not allowed while writing"), done.stdout + done.stderr
    assert f"it belongs to user {user}, this process runs as user {user}" in done.stdout
    assert f"docker run --user {user}:{os.getegid()}" in done.stdout
    if before:
        assert state(branch, plain) == before
    if what == "empty":
        assert list(desk.backup.iterdir()) == []


@root_only
def test_a_read_only_mount(desk: Desk, branch: Path) -> None:
    subprocess.run(["mount", "--bind", "-o", "ro", str(branch), str(branch)], check=True)
    subprocess.run(["mount", "-o", "remount,bind,ro", str(branch)], check=True)
    try:
        with pytest.raises(ConfigurationError, match="Read-only file system") as caught:
            desk.take(b"content")
    finally:
        subprocess.run(["umount", "-l", str(branch)], check=True)
    assert "mount it writable" in caught.value.resolution


# --- signals -----------------------------------------------------------------------------------------------------


def test_a_signal_before_the_commit_leaves_no_trace(desk: Desk, branch: Path, plain: PlainGit) -> None:
    before = state(branch, plain)
    watch = Watch()
    desk.children = Children(watch)
    with pytest.raises(Interrupted):
        attempt(desk, before_publish=lambda _: setattr(watch, "signum", signal.SIGTERM))
    assert state(branch, plain) == before


def test_a_signal_while_head_moves_counts_afterwards(
    desk: Desk, branch: Path, plain: PlainGit, monkeypatch: pytest.MonkeyPatch
) -> None:
    """HEAD, index and work tree belong together."""
    watch = Watch()
    children = Children(watch)
    desk.children = children
    desk.git = Git(children, desk.env, desk.root / "scratch")
    advance = Git.advance

    def interrupted(self: Git, *args: object, **more: object) -> None:
        watch.signum = signal.SIGTERM
        advance(self, *args, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(Git, "advance", interrupted)
    before = plain.head(branch)
    attempt(desk)
    with pytest.raises(Interrupted):
        children.check()
    assert plain(branch, "rev-parse", "HEAD^") == before
    assert plain(branch, "status", "--porcelain") == ""
    clean(desk)


def test_publishing_from_a_thread_keeps_no_lock(desk: Desk, branch: Path) -> None:
    """The lock belongs to the directory and goes with the block."""
    errors: list[BaseException] = []

    def run() -> None:
        try:
            desk.take(b"content")
        except BaseException as error:  # noqa: BLE001
            errors.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert not errors
    with locked(branch):
        pass


# --- keys that may write -----------------------------------------------------------------------------------------


def test_keys_that_must_not_write(
    gpg_of: GpgOf, cluster_key: KeyPair, expired_key: KeyPair, key_maker: KeyMaker
) -> None:
    assert require_writing_key(gpg_of(cluster_key), NOW) is None
    with pytest.raises(ConfigurationError, match="expired on 20") as caught:
        require_writing_key(gpg_of(expired_key), NOW)
    assert "--quick-set-expire" in caught.value.resolution
    signer = key_maker.make("only-signs", encrypt=False)
    with pytest.raises(ConfigurationError, match="cannot encrypt"):
        require_writing_key(gpg_of(signer), NOW)
    soon = key_maker.make("soon", expires="20d")
    warning = require_writing_key(gpg_of(soon), datetime.now(UTC))
    assert warning is not None
    assert "expires on" in warning


# --- break glass -------------------------------------------------------------------------------------------------


def break_glass(directory: Path, plain: PlainGit) -> subprocess.CompletedProcess[str]:
    """The block of the README, as somebody with nothing but the key runs it."""
    (block,) = re.findall(r"^```sh\n(.*?)^```$", (directory / "README.md").read_text(), re.MULTILINE | re.DOTALL)
    return subprocess.run(
        ["sh", "-eu"], cwd=directory, env=plain.env, input=block, capture_output=True, text=True, check=False
    )


def test_break_glass(desk: Desk, branch: Path, plain: PlainGit) -> None:
    content = os.urandom(300_000)
    desk.take(content)
    somewhere = desk.root / "clone"
    plain(desk.root, "clone", "-q", str(branch), str(somewhere))
    done = break_glass(somewhere, plain)
    assert done.returncode == 0, done.stderr
    assert (somewhere / NAMES.archive).read_bytes() == content
    assert (somewhere / NAMES.archive).stat().st_mode & 0o777 == 0o600
    assert "WARNING: tar cannot list" in done.stderr  # these are no archives


def test_break_glass_refuses_what_was_changed(desk: Desk, branch: Path, plain: PlainGit) -> None:
    desk.take(b"content")
    for name, says in ((NAMES.manifest, "was changed after"), (NAMES.ciphertext, "is damaged")):
        here = copy(branch, desk.root / name)
        (here / name).write_bytes((here / name).read_bytes() + b" ")
        done = break_glass(here, plain)
        assert done.returncode == 1
        assert says in done.stderr
        assert not (here / NAMES.archive).exists()
    here = copy(branch, desk.root / "password")
    (here / "secret.gpg").write_bytes(desk.sealed(Secret("another")))
    done = break_glass(here, plain)
    assert done.returncode == 1
    assert "wrong password" in done.stderr
