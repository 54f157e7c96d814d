"""git, with nothing of a repository's own configuration. The only user of GitPython.

A backup repository comes from elsewhere, so git never runs *in* it with its configuration: objects are read
through a private git directory that only borrows the other's object store (gitrepository-layout(5), alternates).
Hooks, filters, fsmonitor, replace refs, ``gpg.program`` and lazy fetches of a hostile ``.git/config`` are thereby
not switched off one by one: they are never seen. What must touch the real git directory is reading and moving HEAD.
"""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Final

from handler.errors import Conflict, HandlerError, IntegrityError, ToolFailed, ToolMissing, disk_full
from handler.process import CHUNK, Children, Command, Result
from handler.tools.gitlocated import Located, shown, without_credentials

if TYPE_CHECKING:
    from git.cmd import Git as GitPython

#: Transport is refused unless a call names the protocol it needs: git fetches missing objects of a partial clone
#: by itself, with a command that the repository's configuration chooses.
_NO_TRANSPORT: Final = "none"
_SAFE: Final = (
    "core.hooksPath=/dev/null",
    "core.fsmonitor=false",
    "core.attributesFile=/dev/null",
    "core.compression=0",
    "core.bigFileThreshold=1m",
    "core.commitGraph=false",  # it may claim other parents than the commits themselves
    # git maps packs into memory by the gigabyte otherwise, and a backup is one object of one pack
    "core.packedGitWindowSize=4m",
    "core.packedGitLimit=16m",
    "gc.auto=0",
    "maintenance.auto=false",
    "commit.gpgSign=false",
    "gpg.format=openpgp",
    "gpg.program=gpg",
    "advice.detachedHead=false",
    "init.defaultBranch=backup",
)
_DISK_FULL: Final = re.compile("no space left on device|out of diskspace|disk quota", re.IGNORECASE)


class Git:
    """Runs git.

    Args:
        private: a private directory for git directories of our own.
    """

    def __init__(self, children: Children, env: Mapping[str, str], private: Path) -> None:
        self._children = children
        self._private = private
        global_config = private / "gitconfig"
        # Directories of another owner are normal here, and only this file can say so (git-config(1), safe.directory).
        global_config.write_text("[safe]\n\tdirectory = *\n")
        self._env = {
            **env,
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_CONFIG_GLOBAL": str(global_config),
            "GIT_ATTR_NOSYSTEM": "1",
            "GIT_NO_REPLACE_OBJECTS": "1",
            "GIT_NO_LAZY_FETCH": "1",
            "GIT_TERMINAL_PROMPT": "0",
            "GIT_OPTIONAL_LOCKS": "0",
            "GIT_ALLOW_PROTOCOL": _NO_TRANSPORT,
        }

    def new_private_directory(self, object_format: str) -> Path:
        """An empty bare git directory of our own."""
        path = self._private / f"git{sum(1 for _ in self._private.iterdir())}"
        self.run("init", "--quiet", "--bare", "--template=", f"--object-format={object_format}", "--", str(path))
        return path

    def run(
        self,
        *args: str,
        env: Mapping[str, str] | None = None,
        stdin: BinaryIO | None = None,
        output: BinaryIO | None = None,
        ok: Sequence[int] = (0,),
        cwd: Path | None = None,
    ) -> bytes:
        """One git command; returns stdout.

        Raises:
            ToolFailed: it ended with a code that is not in ``ok``.
        """
        status, out, err = self.attempt(*args, env=env, stdin=stdin, output=output, cwd=cwd)
        if status not in ok:
            raise self._failed(args, status, err)
        return out

    def attempt(
        self,
        *args: str,
        env: Mapping[str, str] | None = None,
        stdin: BinaryIO | None = None,
        output: BinaryIO | None = None,
        cwd: Path | None = None,
    ) -> tuple[int, bytes, str]:
        """One git command; returns exit code, stdout and stderr."""
        from git.exc import GitCommandNotFound  # noqa: PLC0415

        self._children.check()
        options = [word for setting in _SAFE for word in ("-c", setting)]
        try:
            status, out, err = self._git(cwd).execute(
                ["git", *options, *args],
                istream=stdin,
                env={**self._env, **(env or {})},
                with_extended_output=True,
                with_exceptions=False,
                stdout_as_string=False,
                strip_newline_in_stdout=False,
                output_stream=output,
                max_chunk_size=CHUNK,
            )
        except GitCommandNotFound as error:
            raise ToolMissing("git was not found in PATH") from error
        self._children.check()
        return int(status), b"" if output else out, str(err)

    def text(self, *args: str, env: Mapping[str, str] | None = None, ok: Sequence[int] = (0,)) -> str:
        return self.run(*args, env=env, ok=ok).decode("utf-8", "surrogateescape").strip("\n")

    def transfer(
        self,
        *args: str,
        env: Mapping[str, str],
        options: Sequence[str] = (),
        limit: timedelta,
        on_line: Callable[[str], None] | None = None,
    ) -> Result:
        """One git command that talks to another machine, and may take ``limit``; how it ended is for the caller.

        GitPython can end a command after a time only where there is ``ps``, so this one is not run by it.

        Raises:
            TimedOut: it took longer; it was ended, with all that it had started.
        """
        words = [word for setting in (*_SAFE, *options) for word in ("-c", setting)]
        command = Command(
            argv=("git", *words, *args),
            env={**self._env, **env},
            timeout=limit.total_seconds(),
            cwd=self._private,
            on_line=on_line,
        )
        return self._children.run(command)

    def locate(self, directory: Path) -> Located | None:
        """The repository whose working tree is exactly this directory.

        Raises:
            IntegrityError: there is a ``.git`` that git cannot read.
            PermissionError: this user may not read it.
        """
        dot_git = directory / ".git"
        if not os.path.lexists(dot_git):
            return None
        if not os.access(dot_git, os.R_OK, effective_ids=True):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(dot_git))
        env = {"GIT_DIR": str(dot_git)}
        try:
            places = self.text("rev-parse", "--path-format=absolute", "--absolute-git-dir", "--git-path", "objects",
                               "--git-path", "shallow", "--show-object-format", env=env)  # fmt: skip
            *paths, object_format = places.split("\n")
            git_dir, objects, shallow = map(Path, paths)
            head = self.text("rev-parse", "--quiet", "--verify", "HEAD", env=env, ok=(0, 1)) or None
            branch = self._branch(head, env)
            if head is None:
                self._require_empty(directory, objects, env)
            origin = self.text("config", "--local", "--get", "remote.origin.url", env=env, ok=(0, 1)) or None
        except (ToolFailed, ValueError) as error:
            details = (error.message, *error.details) if isinstance(error, ToolFailed) else (str(error),)
            raise IntegrityError(
                f"{shown(directory)} is a git repository that git cannot read", details=details
            ) from error
        return Located(
            directory=directory,
            git_dir=git_dir,
            objects=objects,
            head=head,
            branch=branch,
            origin=without_credentials(origin) if origin else None,
            shallow=tuple(shallow.read_text().split()) if shallow.is_file() else (),
            shallow_file=shallow,
            object_format=object_format,
        )

    def _require_empty(self, directory: Path, objects: Path, env: Mapping[str, str]) -> None:
        """Tell a branch that was never begun from one that was lost: a host whose HEAD points nowhere is enough.

        Raises:
            IntegrityError: HEAD names no commit although there are branches or objects.
        """
        refs = self.text("for-each-ref", "--format=%(refname)", env=env).split()
        packs = any((objects / "pack").glob("*.pack"))
        loose = any(path.is_dir() and len(path.name) == 2 and any(path.iterdir()) for path in objects.iterdir())  # noqa: PLR2004
        if refs or packs or loose:
            raise IntegrityError(
                f"HEAD in {shown(directory)} names no commit, although there are "
                + (f"branches: {', '.join(refs[:5])}" if refs else "objects of one"),
                resolution=f"check out the backup branch: git -C {shown(directory)} checkout BRANCH; or clone it again",
            )

    def _branch(self, head: str | None, env: Mapping[str, str]) -> str | None:
        if branch := self.text("symbolic-ref", "--quiet", "HEAD", env=env, ok=(0, 1)):
            return branch.removeprefix("refs/heads/")
        refspecs = self.text("config", "--local", "--get-all", "remote.origin.fetch", env=env, ok=(0, 1)).split()
        single = re.fullmatch(r"\+?refs/heads/([^:*]+):[^*]+", refspecs[0]) if len(refspecs) == 1 else None
        if single:
            return single[1]
        refs = self.text("for-each-ref", "--format=%(objectname) %(refname)", "refs/remotes", env=env).splitlines()
        names = {
            ref.split("/", 3)[3]
            for oid, _, ref in (line.partition(" ") for line in refs)
            if oid == head and ref.count("/") > 2 and not ref.endswith("/HEAD")  # noqa: PLR2004
        }
        return names.pop() if len(names) == 1 else None

    def advance(self, located: Located, new: str, message: str) -> None:
        """Move HEAD, and its branch, from where it was found to ``new``: the moment from which a commit exists.

        Raises:
            Conflict: somebody else moved it, or holds git's lock on it.
        """
        old = located.head or "0" * len(new)
        args = ("update-ref", "-m", message, "HEAD", new, old)
        status, _, err = self.attempt(*args, env={"GIT_DIR": str(located.git_dir)})
        if status and ("cannot lock ref" in err or "Unable to create" in err):
            raise Conflict(
                f"the branch in {located.shown} cannot be moved to the new commit",
                details=tuple(err.splitlines()[:3]),
                resolution=f"see that no other git works there, then remove what it left: "
                f"find {located.git_dir} -name '*.lock'; and run again",
            )
        if status:
            raise self._failed(args, status, err)

    def _git(self, cwd: Path | None) -> GitPython:
        from git.cmd import Git as GitPython  # noqa: PLC0415  # start-up time

        return GitPython(str(cwd or self._private))

    @staticmethod
    def _failed(args: Sequence[str], status: int, stderr: str) -> HandlerError:
        lines = tuple(line for line in stderr.splitlines() if line.strip())[-5:]
        name = next((word for word in args if not word.startswith("-") and "=" not in word), "")
        if _DISK_FULL.search(stderr):
            return disk_full(f"git was writing ({name})", lines)
        return ToolFailed(f"git {name} failed (exit {status})", details=lines)
