"""A working directory as a user has it, beside a practice cluster, and the handler run in it."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from tests.practice.choice import Host, chosen_k0sctl
from tests.practice.cluster import practice_cluster
from tests.support.keys import KeyPair

ROOT = Path(__file__).resolve().parents[2]
#: The form of the last line on stderr, whatever happens.
CLOSING: Final = re.compile(r"k0sctl-handler: \S+ (ok|FAILED \(\d+ [a-z ]+\)): .*\. Report: \S+")
_FAILED: Final = re.compile(r"k0sctl-handler: \S+ FAILED \((\d+) [a-z ]+\): .+ Next: .+")


@dataclass(frozen=True)
class Ended:
    """How a run of the handler ended."""

    code: int
    stdout: str
    stderr: str

    @property
    def first(self) -> str:
        return self.stderr.splitlines()[0]

    @property
    def last(self) -> str:
        return self.stderr.rstrip("\n").splitlines()[-1]

    def checked(self) -> Ended:
        """Self, its last line checked for the form that is promised."""
        assert CLOSING.fullmatch(self.last), self.stderr
        assert self.code == 1 or "Traceback (most recent call last)" not in self.stderr, self.stderr
        failed = _FAILED.match(self.last)
        assert (int(failed[1]) if failed else 0) == self.code, self.stderr
        return self

    def failed(self, code: int, *said: str) -> Ended:
        """Self, checked to have failed with this code and these words."""
        assert self.code == code, self.stderr
        for words in said:
            assert words in self.stderr, (words, self.stderr)
        return self


class Lab:
    """One working directory: config/, restore/, backup/, auditlog/."""

    def __init__(self, directory: Path, hosts: list[Host], key: KeyPair) -> None:
        self.directory = directory
        self.hosts = hosts
        self.work = directory / "work"
        self.tmp = directory / "tmp"
        self.bin = directory / "bin"
        for path in (self.work / "config", self.tmp, self.bin):
            path.mkdir(parents=True)
        self.k0sctl, self.faults = chosen_k0sctl(self.bin, hosts)
        self.config = practice_cluster(self.work / "config", hosts)
        self.pin()
        self.key = key
        self.extra: dict[str, str] = {}
        self.prefix: list[str] = []

    @property
    def host(self) -> Host:
        return self.hosts[0]

    @property
    def backup(self) -> Path:
        return self.work / "backup"

    @property
    def restore(self) -> Path:
        return self.work / "restore"

    @property
    def auditlog(self) -> Path:
        return self.work / "auditlog"

    def pin(self) -> None:
        lines = "".join(host.known_hosts_lines() for host in self.hosts)
        (self.work / "config" / "known_hosts").write_text(lines)

    # --- running the handler -----------------------------------------------------------------------------------

    def keys(self) -> dict[str, str]:
        """The keys that a run is given."""
        return {
            "K0SCTL_SSH_KEY": self.host.private_key.read_text(),
            "K0SCTL_GPG_KEY": self.key.private,
            "K0SCTL_GPG_PASSPHRASE": self.key.passphrase,
        }

    def env(self, **changes: str | None) -> dict[str, str]:
        base = {
            "PATH": f"{self.bin}:{os.environ['PATH']}",
            "HOME": str(self.directory / "nobody"),
            "TMPDIR": str(self.tmp),
            "PYTHONPATH": str(ROOT),
            "K0SCTL_SSH_WAIT": "5s",
            **self.keys(),
            **self.extra,
        }
        for name, value in changes.items():
            if value is None:
                base.pop(name, None)
            else:
                base[name] = value
        return base

    def command(self, *arguments: str) -> list[str]:
        return [*self.prefix, sys.executable, "-m", "handler", *arguments]

    def run(self, *arguments: str, **env: str | None) -> Ended:
        done = subprocess.run(
            self.command(*arguments), cwd=self.work, env=self.env(**env), timeout=300,
            capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False,
        )  # fmt: skip
        return Ended(done.returncode, done.stdout, done.stderr).checked()

    def start(self, *arguments: str, **env: str | None) -> subprocess.Popen[str]:
        return subprocess.Popen(
            self.command(*arguments), cwd=self.work, env=self.env(**env), text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL,
        )  # fmt: skip

    def end(self, process: subprocess.Popen[str], timeout: float = 60) -> Ended:
        stdout, stderr = process.communicate(timeout=timeout)
        return Ended(process.returncode, stdout, stderr).checked()

    def ok(self, *arguments: str, **env: str | None) -> Ended:
        done = self.run(*arguments, **env)
        assert done.code == 0, done.stderr
        return done

    def tool(self, name: str, script: str) -> None:
        """Put a shell script in the place of a tool; ``$real`` is the tool itself."""
        real = shutil.which(name, path=os.environ["PATH"]) or ""
        if name == "k0sctl":
            real = str(self.k0sctl.rename(self.bin / "real-k0sctl"))
        path = self.bin / name
        path.write_text(f'#!/bin/sh\nreal={real}\n{script}\nexec "$real" "$@"\n')
        path.chmod(0o755)

    def on_host(self, command: str) -> str:
        """A line for this machine's shell that runs a command on the host, past k0sctl."""
        options = "-o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR"
        login = f"-i {self.host.private_key} -p {self.host.port} {self.host.user}@{self.host.address}"
        return f"ssh {options} {login} {shlex.quote(command)} < /dev/null"

    # --- the repository ----------------------------------------------------------------------------------------

    def git(self, *arguments: str, directory: Path | None = None) -> str:
        done = subprocess.run(
            ["git", "-c", "safe.directory=*", *arguments], cwd=directory or self.backup, capture_output=True,
            text=True, check=False, env={**os.environ, "GIT_OPTIONAL_LOCKS": "0"},
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def commit(self, message: str = "by hand") -> str:
        """Commit the whole working tree of backup/ by plain git, unsigned; returns the id."""
        self.git("add", "-A")
        who = ("-c", "user.name=hand", "-c", "user.email=hand@example.org")
        self.git(*who, "commit", "-q", "-m", message, "--no-gpg-sign")
        return self.head()

    def head(self, directory: Path | None = None) -> str:
        return self.git("rev-parse", "HEAD", directory=directory)

    def clone_to_restore(self, *options: str) -> None:
        """Make restore/ what a pipeline fetches: depth 1, HEAD detached."""
        self.git("clone", "-q", "--depth", "1", *options, f"file://{self.backup}", str(self.restore),
                 directory=self.work)  # fmt: skip
        self.git("checkout", "-q", "--detach", directory=self.restore)

    def latest(self) -> str:
        """Stem of the latest backup."""
        return re.sub(r"\.tar\.gz\.enc$", "", (self.backup / "k0s_backup_latest").readlink().name)

    def manifest(self, stem: str = "") -> dict[str, Any]:
        return self.load(self.backup / f"{stem or self.latest()}.json")

    @staticmethod
    def load(path: Path) -> dict[str, Any]:
        loaded: dict[str, Any] = json.loads(path.read_bytes())
        return loaded

    @contextlib.contextmanager
    def repository_unchanged(self) -> Iterator[None]:
        """HEAD, index and every file of the working tree are as before after the block."""
        before = self._state()
        yield
        assert self._state() == before
        self.git("fsck", "--strict", "--no-progress")

    def _state(self) -> tuple[str, str, str, dict[str, str]]:
        files = {
            str(path): str(path.readlink()) if path.is_symlink() else sha256(path)
            for path in sorted(self.backup.rglob("*"))
            if ".git" not in path.parts and (path.is_file() or path.is_symlink())
        }
        return self.head(), self.git("status", "--porcelain"), self.git("for-each-ref"), files

    # --- what a run leaves -------------------------------------------------------------------------------------

    def report(self) -> dict[str, Any]:
        """The newest report."""
        path = max(self.auditlog.glob("*.json"), key=lambda file: file.stat().st_mtime_ns)
        return self.load(path)

    def leftovers(self) -> list[str]:
        """What the handler has left in private places; those of a run that lives are locked, and are not counted."""
        places = [self.tmp, Path("/dev/shm")]
        return [str(path) for place in places for path in place.glob("*k0sctl-handler*") if not _locked(path)]


def ssh_to(host: Host, user: str = "") -> str:
    """How a line that is told to the operator begins: only an unusual port is in it."""
    port = "" if host.port == 22 else f"-p {host.port} "
    return f"ssh {port}{user and f'{user}@'}{host.address}"


def _locked(directory: Path) -> bool:
    try:
        fd = os.open(directory, os.O_RDONLY)
    except FileNotFoundError:
        return True  # gone meanwhile
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(fd)
    return False


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
