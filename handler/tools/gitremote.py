"""A branch of a repository on another machine: fetched, and pushed to, never by force."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Final

from handler.errors import HandlerError, IntegrityError, TimedOut, ToolFailed, disk_full
from handler.process import Result
from handler.tools.git import Git
from handler.tools.gitaccess import Access, keyscan
from handler.tools.gitlocated import Located

_NO_BRANCH: Final = "couldn't find remote ref"
_OTHER_HASH: Final = re.compile(r"mismatched algorithms: client sha1; server sha256|server sha256")
_HOST_KEY: Final = re.compile(r"host key verification failed|remote host identification has changed", re.IGNORECASE)
_ABOUT_HOST_KEY: Final = re.compile(r"fingerprint for|SHA256:|host key is known for|Host key for|marked as revoked")
_STALLED: Final = re.compile(r"operation too slow|timed out|timeout|not responding|operation timed out", re.IGNORECASE)
_DISK_FULL: Final = re.compile(r"no space left on device|disk quota", re.IGNORECASE)
#: What a server says of a branch that somebody else has moved, or is just moving.
_MOVED: Final = re.compile(
    r"fetch first|non-fast-forward|cannot lock ref|failed to update ref|incorrect old value|reference already exists"
    r"|stale info",
    re.IGNORECASE,
)
#: What to do about it, by what git or the server says; the first one counts.
_MENDS: Final = {
    r"no space left on device|disk quota": "its disk is full: free space there, then run again",
    "dubious ownership": "it belongs to another user, and its hooks would run beside the keys of this run: run as its "
    "owner, or give it to this user by chown, or use ssh",
    r"certificate (?:verification|problem)|server verification failed": "name a file with the authority of its "
    "certificate in SSL_CERT_FILE",
    r"returned error: 3\d\d|redirection": "it redirects: set K0SCTL_GIT_URL to the address it redirects to",
    r"error: 413|too large": "the host takes no file of this size: raise its limit",
    r"authentication failed|permission denied|could not read (?:username|password)|error: 40[13]": "look at {way_in}, "
    "and whether it may read and write there",
    "shallow update not allowed": "the branch there is gone or begins anew, and a clone of depth 1 cannot bring it "
    "back: push it there from a full clone; or put this one aside and begin anew: k0sctl-handler init",
    r"not found|does not appear to be a git repository": "look at K0SCTL_GIT_URL, and whether {way_in} may read there",
    r"rejected|declined": "read what that host says; a protected branch, or a limit on the size of files, are the "
    "usual reasons",
}
_MOST_BRANCHES: Final = 1000


class Remote:
    """One branch at one URL.

    Args:
        limit: for one transfer.
    """

    def __init__(self, git: Git, access: Access, branch: str, limit: timedelta) -> None:
        self._git = git
        self._access = access
        self._limit = limit
        self.branch = branch

    @property
    def url(self) -> str:
        """Without credentials."""
        return self._access.url

    @property
    def shown(self) -> str:
        return f"{self.url} (branch {self.branch})"

    def located(self) -> Located:
        """The newest commit (depth 1), fetched into a private git directory; its ``head`` is None without the branch.

        Raises:
            ToolFailed: the repository cannot be reached or read.
            TimedOut: it does not answer in time.
            IntegrityError: its host shows a wrong key.
        """
        object_format = "sha1"
        directory = self._git.new_private_directory(object_format)
        result = self._fetch(directory, "--depth=1")
        if result.exit_code and _OTHER_HASH.search(result.stderr):
            object_format = "sha256"
            directory = self._git.new_private_directory(object_format)
            result = self._fetch(directory, "--depth=1")
        if result.exit_code and _NO_BRANCH not in result.stderr:
            raise self._failed(result, "fetching from")
        shallow = directory / "shallow"
        return Located(
            directory=directory,
            git_dir=directory,
            objects=directory / "objects",
            head=None if result.exit_code else self._tip(directory),
            branch=self.branch,
            origin=self.url,
            shallow=tuple(shallow.read_text().split()) if shallow.is_file() else (),
            shallow_file=shallow,
            object_format=object_format,
            label=self.shown,
        )

    def branches(self) -> tuple[str, ...]:
        """The names of all branches there are."""
        lines: list[str] = []

        def take(line: str) -> None:
            if len(lines) < _MOST_BRANCHES:
                lines.append(line)

        result = self._transfer("ls-remote", "--heads", "--", self.url, on_line=take)
        if result.exit_code:
            raise self._failed(result, "asking for the branches of")
        return tuple(line.partition("\trefs/heads/")[2] for line in lines if "\trefs/heads/" in line)

    def fetch(self, git_dir: Path, env: dict[str, str]) -> str:
        """The newest commit and what leads to it from those that ``git_dir`` has; returns its id.

        Raises:
            ToolFailed: the branch cannot be fetched, or is gone.
        """
        result = self._fetch(git_dir, env=env)
        if result.exit_code:
            raise self._failed(result, "fetching from")
        return self._tip(git_dir)

    def deepen(self, git_dir: Path) -> bool:
        """Fetch the commits, not the files, that a shallow clone left out; False where that fails."""
        try:
            return self._fetch(git_dir, "--unshallow", "--filter=tree:0").exit_code == 0
        except TimedOut:
            return False

    def push(self, git_dir: Path, commit: str) -> bool:
        """Move the branch on to a commit that descends from it; False where somebody else has moved it meanwhile.

        Raises:
            ToolFailed: it is refused, or the repository cannot be reached.
            TimedOut: it does not answer in time.
        """
        words = ("push", "--porcelain", "--no-verify", "--", self.url, f"{commit}:refs/heads/{self.branch}")
        result = self._transfer(*words, env={"GIT_DIR": str(git_dir)})
        if result.exit_code == 0:
            return True
        said = f"{result.stdout}\n{result.stderr}"
        if any(line.startswith("!") and _MOVED.search(line) for line in said.splitlines()):
            return False
        raise self._failed(result, "pushing to")

    def _fetch(self, git_dir: Path, *how: str, env: dict[str, str] | None = None) -> Result:
        return self._transfer(
            "fetch", "--quiet", "--no-tags", "--no-write-fetch-head",
            "--update-shallow", *how, "--", self.url, f"+refs/heads/{self.branch}:refs/fetched/{self.branch}",
            env={"GIT_DIR": str(git_dir), **(env or {})},
        )  # fmt: skip

    def _tip(self, git_dir: Path) -> str:
        return self._git.text("rev-parse", "--verify", f"refs/fetched/{self.branch}", env={"GIT_DIR": str(git_dir)})

    def _transfer(
        self, *args: str, env: dict[str, str] | None = None, on_line: Callable[[str], None] | None = None
    ) -> Result:
        try:
            return self._git.transfer(
                *args,
                env={**self._access.env, **(env or {})},
                options=self._access.options,
                limit=self._limit,
                on_line=on_line,
            )
        except TimedOut:
            raise TimedOut(
                f"{self.url} did not answer within {self._limit.total_seconds():g} s (K0SCTL_TIMEOUT)",
                resolution="look at the network and at that host, then run again",
            ) from None

    def _failed(self, result: Result, doing: str) -> HandlerError:
        lines = [line.rstrip() for line in f"{result.stdout}\n{result.stderr}".splitlines() if line.strip()]
        # push --porcelain says "Done" of what it did not do
        told = [line for line in lines if line != "Done" and not line.startswith("To ")][-10:]
        # what a server's hook says is for people: it may speak of a host key or a disk of its own
        here = "\n".join(line for line in lines if not line.startswith(("remote:", "!")))
        what = f"{doing} {self.url} failed"
        if _HOST_KEY.search(here):
            return self._wrong_host_key(lines)
        if _DISK_FULL.search(here):
            return disk_full(f"{doing} {self.url}", told)
        if _STALLED.search(here):
            return TimedOut(what, details=told, resolution="look at the network and at that host, then run again")
        return ToolFailed(what, details=told, resolution=_mend("\n".join(lines), self.url))

    def _wrong_host_key(self, lines: list[str]) -> IntegrityError:
        """Without ssh's advice to take the old key out of a file, which is a private one of this run."""
        return IntegrityError(
            f"the SSH host key of {self.url} is not a pinned one",
            details=[line for line in lines if _ABOUT_HOST_KEY.search(line)] or lines[-10:],
            resolution=f"make its lines with: {keyscan(self.url)}; compare the fingerprints with what its operator "
            "publishes, and put them into K0SCTL_GIT_KNOWN_HOSTS",
        )


def _mend(said: str, url: str) -> str:
    """What to do about it, by git's words."""
    way_in = "K0SCTL_GIT_TOKEN" if url.startswith("https://") else "K0SCTL_GIT_SSH_KEY"
    for words, what in _MENDS.items():
        if re.search(words, said, re.IGNORECASE):
            return what.format(way_in=way_in)
    return "look at K0SCTL_GIT_URL, the network and that host, then run again"
