"""The objects of one backup repository: read with their ids checked, written without a working tree."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import IO, BinaryIO, Final, cast

from handler.digest import Digest, Meter
from handler.errors import HandlerError, IntegrityError, ToolFailed, disk_full
from handler.tools.git import Git
from handler.tools.gitlocated import Located
from handler.tools.gitobjects import (
    Commit,
    Entry,
    Kind,
    check_oid,
    damaged,
    parents_in,
    parse_batch,
    parse_commit,
    parse_tree,
)
from handler.tools.gitremote import Remote
from handler.tools.gitsink import Limited, Sink
from handler.workspace import write_atomic

#: Larger objects are not held in memory; manifests, trees and keys are far smaller.
_LARGEST_READ: Final = 64 << 20
#: Attributes under which files are bytes; git-config's and the tree's own come before and count less.
RAW: Final = "* -text -eol -ident -filter -working-tree-encoding\n"


@dataclass(frozen=True, kw_only=True)
class Identity:
    """Who a commit says has made it, and the fingerprint that signs it."""

    name: str
    mail: str
    fingerprint: str


class Store:
    """Access to the objects of ``located`` through a git directory of our own.

    Args:
        incoming: where new objects wait until `keep`, so that nothing is left of them when the run fails: a new
            directory on the file system of the repository. Without it nothing can be written.
    """

    def __init__(self, git: Git, located: Located, *, incoming: Path | None = None) -> None:
        self._git = git
        self.located = located
        self._incoming = incoming
        self._private = git.new_private_directory(located.object_format)
        sources = [*([incoming] if incoming else []), located.objects]
        _write(self._private / "objects" / "info" / "alternates", "".join(f"{path}\n" for path in sources))
        if incoming:
            _write(incoming / "info" / "alternates", f"{located.objects}\n")
        if located.shallow:
            (self._private / "shallow").write_text("".join(f"{oid}\n" for oid in located.shallow))
        # No attribute of the tree changes a byte: files are written and compared as they are.
        _write(self._private / "info" / "attributes", RAW)
        self._env = {"GIT_DIR": str(self._private)}

    def commit(self, oid: str) -> Commit:
        return parse_commit(oid, self._read(oid, "commit"))

    def tree(self, oid: str) -> tuple[Entry, ...]:
        """All entries below a tree, directories left out.

        Raises:
            IntegrityError: a tree is missing or damaged.
        """
        found: list[Entry] = []
        waiting = [(oid, "")]
        while waiting:
            tree, prefix = waiting.pop()
            for entry in parse_tree(tree, self._read(tree, "tree"), prefix):
                if entry.mode.lstrip("0") == "40000":
                    waiting.append((entry.oid, f"{entry.path}/"))
                else:
                    found.append(entry)
        return tuple(found)

    def blob(self, oid: str) -> bytes:
        """A small blob, whole."""
        return self._read(oid, "blob")

    def blobs(self, oids: Sequence[str], largest: int) -> dict[str, bytes]:
        """Many small blobs at once, by their ids.

        One that is missing or damaged, or has more than ``largest`` bytes, is left out.
        """
        known = self._batch("--batch-check", "\n".join(oids).encode() + b"\n").split(b"\n")
        small = [words[0] for line in known if len(words := line.split()) == 3 and words[1] == b"blob"  # noqa: PLR2004
                 and int(words[2]) <= largest]  # fmt: skip
        return self._readable(small)

    def _readable(self, oids: Sequence[bytes]) -> dict[str, bytes]:
        """Read in halves where one of them is damaged, so that it hides no other."""
        if not oids:
            return {}
        try:
            found = parse_batch(self._batch("--batch", b"\n".join(oids) + b"\n"))
            return {oid: content for oid, _, content in found}
        except (ToolFailed, IntegrityError):
            middle = len(oids) // 2
            return self._readable(oids[:middle]) | self._readable(oids[middle:]) if middle else {}

    def _batch(self, how: str, oids: bytes) -> bytes:
        scratch = self._private / "wanted"
        scratch.write_bytes(oids)
        with scratch.open("rb") as file:
            return self._git.run("cat-file", how, "--buffer", stdin=file, env=self._env)

    def size(self, oid: str) -> int:
        try:
            return int(self._git.text("cat-file", "-s", oid, env=self._env))
        except (ToolFailed, ValueError) as error:
            raise damaged(oid, "blob", "it is missing or cannot be read") from error

    def copy_blob(self, oid: str, target: IO[bytes] | None, progress: Callable[[int], None]) -> Digest:
        """Stream a blob into an open file; its content is checked against its id on the way."""
        sink = Sink(oid, self.size(oid), Meter(target, progress))
        try:
            self._git.run("cat-file", "blob", oid, env=self._env, output=cast(BinaryIO, sink))
        except ToolFailed as error:
            raise damaged(oid, "blob", "it cannot be read") from error
        sink.check()
        return sink.digest

    def history(self, oid: str) -> dict[str, tuple[str, ...]]:
        """The commits that are here of those which ``oid`` descends from, with their parents.

        Each is compared with its id. A shallow clone lacks some; what it has still names its parents.
        """
        try:
            return parents_in(self._batch("--batch", self._git.run("rev-list", oid, env=self._env)))
        except (ToolFailed, ValueError) as error:
            raise damaged(oid, "commit", "its history cannot be read") from error

    def deepen(self, remote: Remote) -> bool:
        """Fetch what a shallow clone left out, into our own git directory; False where that fails."""
        return bool(self.located.shallow) and remote.deepen(self._private)

    def fetch_tip(self, remote: Remote, known: str) -> str:
        """Fetch the newest commit of a remote branch, and what is new since ``known``; returns its id."""
        self._git.run("update-ref", "refs/heads/known", known, env=self._env)
        return remote.fetch(self._private, self._writing)

    def push(self, remote: Remote, commit: str) -> bool:
        """Move a remote branch on to a commit (`Remote.push`)."""
        return remote.push(self._private, commit)

    def fetch(self, other: Store, commit: str) -> None:
        """Bring a commit and all that belongs to it from another store, by none of the two configurations."""
        tip = "refs/heads/verified"
        self._git.run("update-ref", tip, commit, env={"GIT_DIR": str(other._private)})
        env = {**self._writing, "GIT_ALLOW_PROTOCOL": "file"}
        self._git.run("-c", "transfer.fsckObjects=true", "fetch", "--quiet", "--update-shallow", "--no-tags",
                      "--no-write-fetch-head", "--", str(other._private), tip, env=env)  # fmt: skip

    def keep(self) -> None:
        """Move the new objects into the repository: the index of a pack last, since it is what git looks for."""
        if self._incoming is None:
            return
        found = [path for path in self._incoming.rglob("*") if path.is_file() and path.parent.name != "info"]
        for path in sorted(found, key=lambda path: path.suffix == ".idx"):
            target = self.located.objects / path.relative_to(self._incoming)
            if not path.name.startswith("tmp_") and not target.exists():
                target.parent.mkdir(exist_ok=True)
                path.replace(target)
        if (self._private / "shallow").exists():
            write_atomic(self.located.shallow_file, (self._private / "shallow").read_bytes())

    def write_file(self, path: Path) -> str:
        """Store a file's bytes as they are, streamed; returns the blob's id."""
        with path.open("rb") as file:
            return self._git.run("hash-object", "-w", "--stdin", stdin=file, env=self._writing).decode().strip()

    def write_bytes(self, data: bytes) -> str:
        scratch = self._private / "scratch"
        scratch.write_bytes(data)
        return self.write_file(scratch)

    def write_tree(self, entries: Iterable[Entry]) -> str:
        """A tree of exactly these entries."""
        index = {**self._writing, "GIT_INDEX_FILE": str(self._private / "new-index")}
        lines = b"".join(f"{e.mode} {e.oid}\t{e.path}\0".encode("utf-8", "surrogateescape") for e in entries)
        self._git.run("read-tree", "--empty", env=index)
        scratch = self._private / "index-info"
        scratch.write_bytes(lines)
        with scratch.open("rb") as file:
            self._git.run("update-index", "-z", "--index-info", stdin=file, env=index)
        return self._git.text("write-tree", env=index)

    def write_commit(
        self, *, tree: str, parents: Sequence[str], message: str, identity: Identity, at: datetime, gnupg: Path
    ) -> str:
        """A commit signed by ``identity``; nothing points to it yet.

        Raises:
            ToolFailed: git or gpg refused.
        """
        date = f"{int(at.timestamp())} +0000"
        env: Mapping[str, str] = {
            **self._writing,
            "GNUPGHOME": str(gnupg),
            "GIT_AUTHOR_NAME": identity.name,
            "GIT_AUTHOR_EMAIL": identity.mail,
            "GIT_AUTHOR_DATE": date,
            "GIT_COMMITTER_NAME": identity.name,
            "GIT_COMMITTER_EMAIL": identity.mail,
            "GIT_COMMITTER_DATE": date,
        }
        words = [word for parent in parents for word in ("-p", parent)]
        scratch = self._private / "message"
        scratch.write_text(message, encoding="utf-8")
        try:
            with scratch.open("rb") as file:
                done = self._git.run("commit-tree", f"-S{identity.fingerprint}", *words, tree, stdin=file, env=env)
        except ToolFailed as error:
            raise _signing(error) from error
        return done.decode().strip()

    def reset_index(self, commit: str) -> None:
        """Make the working tree's index that of ``commit``; files are left as they are."""
        # -m keeps what the index knows of unchanged files, so that nobody has to read them again
        if self._git.attempt("read-tree", "-m", commit, env=self._worktree)[0] != 0:
            self._git.run("read-tree", commit, env=self._worktree)

    def check_out(self, before: str | None, commit: str) -> None:
        """Bring the working tree from one commit to another; files changed by others stop it (git-read-tree(1)).

        Raises:
            ToolFailed: it could not; the files are as they were.
        """
        old = {entry.path for entry in self.tree(self.commit(before).tree)} if before else set()
        added = [self.located.directory / entry.path for entry in self.tree(self.commit(commit).tree)
                 if entry.path not in old]  # fmt: skip
        absent = [path for path in added if not os.path.lexists(path)]
        if before:
            self._git.run("update-index", "-q", "--refresh", env=self._worktree, ok=(0, 1))
        trees = [before, commit] if before else [commit]
        try:
            self._git.run("read-tree", "-m", "-u", *trees, env=self._worktree, cwd=self.located.directory)
        except HandlerError as error:
            full = os.statvfs(self.located.directory).f_bavail == 0  # git does not say so here
            for path in absent:
                path.unlink(missing_ok=True)
            self._git.attempt("checkout-index", "-q", "-f", "-a", env=self._worktree, cwd=self.located.directory)
            raise disk_full(f"writing {self.located.shown}", error.details) if full else error from None

    def is_clean(self, commit: str) -> bool:
        """Whether the working tree is exactly ``commit``, untracked files aside."""
        self._git.run("update-index", "-q", "--refresh", env=self._worktree, ok=(0, 1), cwd=self.located.directory)
        status, _, _ = self._git.attempt(
            "diff-index", "--quiet", commit, "--", env=self._worktree, cwd=self.located.directory
        )
        return status == 0

    @property
    def _writing(self) -> dict[str, str]:
        return {**self._env, "GIT_OBJECT_DIRECTORY": str(self._incoming)} if self._incoming else self._env

    @property
    def _worktree(self) -> dict[str, str]:
        return {
            **self._env,
            "GIT_WORK_TREE": str(self.located.directory),
            "GIT_INDEX_FILE": str(self.located.git_dir / "index"),
        }

    def _read(self, oid: str, kind: Kind) -> bytes:
        taken = Limited(_LARGEST_READ)
        env = {**self._env, "GIT_ALLOC_LIMIT": str(2 * _LARGEST_READ)}
        status, _, stderr = self._git.attempt("cat-file", kind, oid, env=env, output=cast(BinaryIO, taken))
        if status != 0:
            raise damaged(oid, kind, stderr.strip() or "it cannot be read")
        if taken.over:
            raise damaged(oid, kind, "it is too large for what it should be")
        check_oid(oid, kind, taken.data)
        return taken.data


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def _signing(error: ToolFailed) -> HandlerError:
    if "gpg failed to sign" in " ".join(error.details):
        return ToolFailed("gpg could not sign the commit", details=error.details)
    return error
