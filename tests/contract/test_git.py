"""The git adapter against the real git."""

from __future__ import annotations

import os
import zlib
from hashlib import sha1
from pathlib import Path

import pytest

from handler.digest import digest_of
from handler.errors import IntegrityError, ToolFailed, ToolMissing
from handler.process import Children
from handler.tools.git import Git
from handler.tools.gitobjects import FILE, SYMLINK, Entry, check_oid, parents_in, parse_commit, parse_tree
from handler.tools.gitstore import Store
from tests.support.branch import NOW, Desk, PlainGit

pytestmark = pytest.mark.contract


def nobody(_: int) -> None:
    """Nobody looks at the progress."""


@pytest.fixture
def store(desk: Desk, branch: Path) -> Store:
    incoming = desk.root / "incoming"
    incoming.mkdir()
    return Store(desk.git, desk.locate(branch), incoming=incoming)


def test_a_missing_git(children: Children, tmp_path: Path) -> None:
    private = tmp_path / "private"
    private.mkdir()
    git = Git(children, {"PATH": "/nowhere"}, private)
    with pytest.raises(ToolMissing, match="git was not found"):
        git.run("version")


def test_a_failure_names_the_command(desk: Desk) -> None:
    with pytest.raises(ToolFailed, match=r"git rev-parse failed \(exit 128\)") as caught:
        desk.git.run("-c", "a.b=c", "rev-parse", "HEAD", env={"GIT_DIR": "/nowhere"})
    assert "not a git repository" in caught.value.details[0]


def test_the_users_configuration_is_not_read(desk: Desk, tool_env: dict[str, str]) -> None:
    home = Path(tool_env["HOME"])
    (home / ".gitconfig").write_text("[alias]\n  x = !touch ran\n[user]\n  name = somebody\n")
    (home / ".config/git").mkdir(parents=True)
    (home / ".config/git/config").write_text("[user]\n  name = somebody\n")
    assert "somebody" not in desk.git.text("config", "--list")
    assert "hookspath=/dev/null" in desk.git.text("config", "--list").lower()


def test_a_path_with_odd_characters(desk: Desk, plain: PlainGit) -> None:
    directory = desk.root / "a b\"c'd$(e)\\f:g#h;ü"
    directory.mkdir()
    plain(directory, "init", "-q")
    plain(directory, "commit", "-q", "--allow-empty", "-m", "x")
    located = desk.locate(directory)
    assert located.head == plain.head(directory)
    assert Store(desk.git, located).commit(located.head).oid == located.head


# --- writing -----------------------------------------------------------------------------------------------------


def test_bytes_are_stored_as_they_are(store: Store, tmp_path: Path) -> None:
    for data in (b"", b"\r\n$Id$\n\xff", os.urandom(3_000_000)):
        oid = store.write_bytes(data)
        assert oid == sha1(b"blob %d\0" % len(data) + data).hexdigest()
        assert store.blob(oid) == data
        assert store.size(oid) == len(data)
        with (tmp_path / "out").open("wb") as file:
            assert store.copy_blob(oid, file, nobody) == digest_of(data)
        assert (tmp_path / "out").read_bytes() == data


def test_nothing_is_in_the_repository_before_keep(store: Store, branch: Path, plain: PlainGit, desk: Desk) -> None:
    before = plain(branch, "count-objects", "-v")
    oids = [store.write_bytes(b"small"), store.write_bytes(os.urandom(2_000_000))]
    assert plain(branch, "count-objects", "-v") == before
    store.keep()
    for oid in oids:
        assert plain(branch, "cat-file", "-t", oid) == "blob"
    plain(branch, "fsck", "--full")
    store.keep()  # a second time changes nothing
    assert Store(desk.git, desk.locate(branch)).blob(oids[0]) == b"small"


def test_a_tree_of_exactly_these_entries(store: Store) -> None:
    file, link = store.write_bytes(b"x"), store.write_bytes(b"target")
    entries = {
        Entry(path="a", mode=FILE, oid=file),
        Entry(path="archive/2020/b c", mode=FILE, oid=file),
        Entry(path="link", mode=SYMLINK, oid=link),
        Entry(path="ünï\udcff", mode="100755", oid=file),
        Entry(path="sub", mode="160000", oid="1" * 40),
    }
    assert set(store.tree(store.write_tree(entries))) == entries
    assert store.tree(store.write_tree([])) == ()


def test_a_signed_commit(store: Store, desk: Desk, branch: Path, plain: PlainGit) -> None:
    tree = store.write_tree([Entry(path="a", mode=FILE, oid=store.write_bytes(b"x"))])
    message = "title ü\n\n# not a comment\n  body\n"
    head = plain.head(branch)
    oid = store.write_commit(
        tree=tree, parents=[head], message=message, identity=desk.identity, at=NOW, gnupg=desk.gpg.home
    )
    commit = store.commit(oid)
    assert (commit.tree, commit.parents, commit.committed_at) == (tree, (head,), NOW)
    assert commit.payload.decode().endswith(f"\n\n{message}")
    assert f"author {desk.pair.name} <{desk.pair.mail}> " in commit.payload.decode()
    assert commit.signature is not None
    assert desk.gpg.require_signed(commit.payload, commit.signature, "x").signer == desk.pair.fingerprint
    store.keep()
    plain(branch, "verify-commit", oid)
    assert plain.head(branch) == head  # nothing points to it yet


def test_history(store: Store, branch: Path, plain: PlainGit) -> None:
    commits = plain(branch, "rev-list", "HEAD").split()
    expected = {one: tuple(plain(branch, "log", "-1", "--format=%P", one).split()) for one in commits}
    assert store.history(commits[0]) == expected
    with pytest.raises(IntegrityError, match="history cannot be read"):
        store.history("1" * 40)


def test_an_object_that_is_too_large_is_not_read_into_memory(store: Store, tmp_path: Path) -> None:
    big = tmp_path / "big"
    with big.open("wb") as file:
        file.truncate((64 << 20) + 1)
    oid = store.write_file(big)
    with pytest.raises(IntegrityError, match="too large"):
        store.blob(oid)


def test_an_object_of_another_kind(store: Store, branch: Path, plain: PlainGit) -> None:
    head = plain.head(branch)
    for read in (store.blob, store.tree, lambda oid: store.copy_blob(oid, None, nobody)):
        with pytest.raises(IntegrityError, match="damaged"):
            read(head)
    with pytest.raises(IntegrityError, match="damaged"):
        store.commit(plain(branch, "rev-parse", "HEAD^{tree}"))


def test_a_loose_object_that_unpacks_to_very_much(store: Store, branch: Path) -> None:
    oid = "ab" + "0" * 38
    path = branch / ".git/objects/ab" / oid[2:]
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(zlib.compress(b"blob 100000000000\0" + bytes(1_000_000)))
    with pytest.raises(IntegrityError, match="damaged"):
        store.blob(oid)
    with pytest.raises(IntegrityError, match="damaged"):
        store.copy_blob(oid, None, nobody)


# --- objects as bytes: pure --------------------------------------------------------------------------------------

HEAD = b"tree " + b"1" * 40 + b"\nparent " + b"2" * 40 + b"\nauthor a <b> 1 +0000\ncommitter a <b> 1700000000 +0100\n"


def test_parse_commit() -> None:
    plain = parse_commit("3" * 40, HEAD + b"\nmessage\n\ngpgsig in the text\n")
    assert (plain.tree, plain.parents, plain.signature) == ("1" * 40, ("2" * 40,), None)
    signed = HEAD + b"gpgsig -----BEGIN\n \n abc\n -----END\nencoding x\n\nmessage"
    commit = parse_commit("3" * 40, signed)
    assert commit.signature == b"-----BEGIN\n\nabc\n-----END\n"
    assert commit.payload == HEAD + b"encoding x\n\nmessage"
    merged = HEAD + b"mergetag object x\n gpgsig inner\n\nmessage"
    assert parse_commit("3" * 40, merged).signature is None


@pytest.mark.parametrize(
    "data",
    [
        b"", b"\n\n", b"garbage", HEAD.replace(b"tree", b"trea") + b"\n", b"tree " + b"4" * 40 + b"\n" + HEAD + b"\n",
        HEAD.replace(b"committer", b"commuter") + b"\n", HEAD.replace(b"1700000000", b"x") + b"\n",
        HEAD.replace(b"1700000000", b"9" * 30) + b"\n", HEAD + b"gpgsig a\ngpgsig-sha256 b\n\nx",
        HEAD + b"committer x <y> 1 +0000\n\n",
    ],
)  # fmt: skip
def test_commits_that_are_refused(data: bytes) -> None:
    with pytest.raises(IntegrityError):
        parse_commit("3" * 40, data)


def test_parse_tree() -> None:
    oid = bytes(range(20))
    data = b"100644 a\0" + oid + b"40000 d\0" + oid
    assert [entry.path for entry in parse_tree("1" * 40, data, "x/")] == ["x/a", "x/d"]
    assert parse_tree("1" * 64, b"100644 a\0" + oid + bytes(12))[0].oid == (oid + bytes(12)).hex()
    for evil in (data[:-1], data + b"1", b"100644 a", b"100644 \0" + oid, b"100644 ..\0" + oid, b"100644 a/b\0" + oid):
        with pytest.raises(IntegrityError, match="damaged"):
            parse_tree("1" * 40, evil)


def test_check_oid() -> None:
    check_oid(sha1(b"blob 1\0x").hexdigest(), "blob", b"x")
    with pytest.raises(IntegrityError, match="does not fit its id"):
        check_oid(sha1(b"blob 1\0x").hexdigest(), "blob", b"y")
    with pytest.raises(IntegrityError):
        check_oid(sha1(b"blob 1\0x").hexdigest(), "tree", b"x")


def test_parents_in() -> None:
    content = HEAD + b"\nparent in the text\n"
    oid = sha1(b"commit %d\0" % len(content) + content).hexdigest()
    entry = b"%s commit %d\n%s\n" % (oid.encode(), len(content), content)
    assert parents_in(entry) == {oid: ("2" * 40,)}
    assert parents_in(b"") == {}
    for evil in (
        entry.replace(b"2" * 40, b"3" * 40),
        entry[:-10],
        b"x missing\n",
        entry.replace(b" commit ", b" blob "),
    ):
        with pytest.raises(IntegrityError):
            parents_in(evil)
