"""The host that a stand-in command runs on: its directories, faults, log of calls and k0s process."""

import os
import sys
import time
from pathlib import Path

TYPE_CHECKING = False
if TYPE_CHECKING:  # typing is slow to import
    from typing import NoReturn

VERSION = "v1.34.2+k0s.0"


class Failure(Exception):
    """A command of the stand-in fails: the text goes to stderr, the exit status is 1."""


class Node:
    """One practice host, seen from inside."""

    def __init__(self, root: Path) -> None:
        self.root = root

    @classmethod
    def here(cls) -> "Node":
        """The host whose shell started this command; in a container it is the whole file system."""
        return cls(Path(os.environ["PRACTICE_ROOT"] or "/"))

    @property
    def data_dir(self) -> Path:
        """Where k0s keeps its data."""
        return self.root / "var/lib/k0s"

    @property
    def config(self) -> Path:
        """The configuration that k0sctl writes."""
        return self.root / "etc/k0s/k0s.yaml"

    @property
    def binary(self) -> Path:
        """The k0s command."""
        return self.root / "usr/local/bin/k0s"

    @property
    def pid_file(self) -> Path:
        """Holds the process id of the running k0s."""
        return self.root / "run/k0s/k0s.pid"

    @property
    def args_file(self) -> Path:
        """Holds the arguments of the running k0s."""
        return self.root / "run/k0s/args"

    @property
    def units(self) -> Path:
        """Where the service manager looks for units."""
        return self.root / "etc/systemd/system"

    @property
    def hostname(self) -> str:
        """The name of the host."""
        return (self.root / "etc/hostname").read_text(encoding="utf-8").strip()

    def shown(self, path: Path | str) -> str:
        """A path as it is called on the host."""
        root = str(self.root).rstrip("/")
        return str(path).replace(root, "") if root else str(path)

    def fault(self, name: str) -> str | None:
        """The value of a fault that is switched on, else None."""
        try:
            return (self.root / "etc/k0s-standin" / name).read_text(encoding="utf-8").strip()
        except FileNotFoundError:
            return None

    def fail_if(self, name: str, default: str) -> None:
        """Fails with the fault's value (or the default) when the fault is on."""
        text = self.fault(name)
        if text is not None:
            raise Failure(f"Error: {text or default}")

    def sleep_if(self, name: str, default: float = 0) -> bool:
        """Sleeps for the fault's value when the fault is on."""
        text = self.fault(name)
        if text is None:
            return False
        time.sleep(float(text or default))
        return True

    def note_call(self, words: list[str]) -> None:
        """Adds one line to the log of k0s calls."""
        now = time.time()
        stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now)) + f".{int(now % 1 * 1000):03d}Z"
        line = f"{stamp} [{os.getpid()}] {self.shown(' '.join(words))}\n"
        with (self.root / "var/log/calls.log").open("a", encoding="utf-8") as log:
            log.write(line)

    def pid(self) -> int | None:
        """The process id of the running k0s, None when it is stopped."""
        try:
            pid = int(self.pid_file.read_text(encoding="ascii"))
        except (FileNotFoundError, ValueError):
            return None
        return pid if is_alive(pid) and self.fault("stopped") is None else None


def is_alive(pid: int) -> bool:
    """Whether a process exists and is no zombie."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] not in "ZX"


def die(text: str, status: int = 1) -> "NoReturn":
    """Ends a stand-in command with a text on stderr."""
    print(text, file=sys.stderr)
    sys.exit(status)


def option(words: list[str], name: str, default: str = "") -> str:
    """The value of `--name=value` or `--name value`."""
    for number, word in enumerate(words):
        if word.startswith(f"--{name}="):
            return word.partition("=")[2]
        if word == f"--{name}" and number + 1 < len(words):
            return words[number + 1]
    return default
