"""A client of the practice cluster: runs the stand-in k0sctl and takes what it printed apart."""

import os
import subprocess
from pathlib import Path

from tests.practice.host import K0sctlFaults, PracticeHost, install_k0sctl, practice_cluster


class Outcome:
    """What a run printed, the host's address replaced by H."""

    def __init__(self, status: int, stdout: str, stderr: str) -> None:
        self.status, self.stdout, self.stderr = status, stdout, stderr

    @property
    def phases(self) -> list[str]:
        """The phases in their order."""
        start = 'level=info msg="==> Running phase: '
        return [line.removeprefix(start)[:-1] for line in self.stdout.splitlines() if line.startswith(start)]

    def messages(self, level: str) -> list[str]:
        """The messages of a level, still quoted as in the log."""
        start = f'level={level} msg="'
        return [line.removeprefix(start)[:-1] for line in self.stdout.splitlines() if line.startswith(start)]

    @property
    def fatal(self) -> str:
        """The reason of a failure, without the path of the log file."""
        text = self.messages("fatal")[-1]
        head, mark, tail = text.partition(" - log file saved to ")
        return f"{head}: {tail.partition(': ')[2]}" if mark else text


class Client:
    """Runs the stand-in k0sctl in a working directory and a home of its own."""

    def __init__(self, directory: Path, *hosts: PracticeHost) -> None:
        self.work = directory / "work"
        self.home = directory / "home"
        self.home.mkdir(parents=True)
        self.k0sctl = install_k0sctl(directory / "bin")
        self.faults = K0sctlFaults(directory / "bin")
        self.config = practice_cluster(self.work, hosts, key_path=hosts[0].private_key)
        self.label = f"{hosts[0].address}:{hosts[0].port}"

    def environment(self, **extra: str) -> dict[str, str]:
        """What k0sctl finds in its environment."""
        return {"PATH": os.environ["PATH"], "HOME": str(self.home), **extra}

    def start(self, *words: str, **extra: str) -> subprocess.Popen[str]:
        """Starts k0sctl."""
        return subprocess.Popen(
            [self.k0sctl, *words],
            cwd=self.work,
            env=self.environment(**extra),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, *words: str, **extra: str) -> Outcome:
        """Runs k0sctl to its end."""
        return self.end(self.start(*words, **extra))

    def end(self, process: subprocess.Popen[str]) -> Outcome:
        """Waits for a k0sctl that was started."""
        stdout, stderr = process.communicate(timeout=60)
        return Outcome(process.returncode, stdout.replace(self.label, "H"), stderr)

    @property
    def log(self) -> str:
        """k0sctl's log file."""
        return (self.home / ".cache/k0sctl/k0sctl.log").read_text(encoding="utf-8").replace(self.label, "H")
