"""A practice host as a container: sshd on port 22 of a network of its own, the stand-in k0s in its real places."""

import json
import os
import secrets
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from types import TracebackType
from typing import Any, Self, cast

from tests.practice.container.engine import ENGINE, IMAGE, LABEL, image, network
from tests.practice.faults import HOST_FAULTS
from tests.practice.k0s.node import Node
from tests.practice.sshd import make_key

__all__ = ["IMAGE", "ContainerHost"]


class Inside:
    """The first process of the container, asked by its stdin; the container lives as long as this is open."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[str] | None = None
        self._lock = threading.Lock()

    def start(self, command: list[str], *facts: str) -> dict[str, str]:
        """Starts the container and waits until the host is there."""
        # a session of its own: Ctrl-C is for the tests, which then stop their hosts
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
        )
        told: dict[str, str] = self._ask(facts)["result"]
        return told

    def ask(self, call: str, *arguments: object, path: str = "") -> Any:  # noqa: ANN401
        """What a method of the host, or of a path there, returns."""
        told = self._ask({"call": call, "arguments": arguments, **({"path": path} if path else {})})
        if "missing" in told:
            raise FileNotFoundError(told["missing"])
        if "error" in told:
            raise RuntimeError(told["error"])
        if "paths" in told:
            found = told["paths"]
            return HostPath(self, found) if isinstance(found, str) else iter([HostPath(self, name) for name in found])
        return told["result"]

    def _ask(self, request: object) -> dict[str, Any]:
        with self._lock:
            process = self._process
            if process is None or process.stdin is None or process.stdout is None:
                raise RuntimeError("the practice host does not run")
            process.stdin.write(json.dumps(request) + "\n")
            process.stdin.flush()
            line = process.stdout.readline()
        if not line:
            raise RuntimeError(f"the practice host has ended with exit status {process.wait()}")
        told: dict[str, Any] = json.loads(line)
        return told

    def stop(self) -> None:
        """Ends the container."""
        process, self._process = self._process, None
        if process:
            process.communicate()


class HostPath:
    """A path on the host, used as a `Path` is: what is no question about its name is asked there."""

    def __init__(self, inside: Inside, path: str) -> None:
        self._inside = inside
        self._path = PurePosixPath(path)

    def __truediv__(self, name: str) -> "HostPath":
        return HostPath(self._inside, str(self._path / name))

    def __str__(self) -> str:
        return str(self._path)

    def __fspath__(self) -> str:
        raise TypeError(f"{self._path} is on a practice host, not on this machine")

    def __lt__(self, other: "HostPath") -> bool:
        return self._path < other._path

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401
        if name.startswith("_"):
            raise AttributeError(name)
        if name in {"name", "stem", "suffix", "parts"}:
            return getattr(self._path, name)
        if name == "parent":
            return HostPath(self._inside, str(self._path.parent))
        return lambda *words: self._inside.ask(name, *words, path=str(self._path))

    # these take arguments by name
    def mkdir(self, mode: int = 0o777, parents: bool = False, exist_ok: bool = False) -> None:
        self._inside.ask("mkdir", mode, parents, exist_ok, path=str(self._path))

    def unlink(self, missing_ok: bool = False) -> None:
        self._inside.ask("unlink", missing_ok, path=str(self._path))

    def read_text(self, encoding: str = "utf-8") -> str:
        return str(self._inside.ask("read_text", encoding, path=str(self._path)))

    def write_text(self, text: str, encoding: str = "utf-8") -> None:
        self._inside.ask("write_text", text, encoding, path=str(self._path))

    def rglob(self, pattern: str) -> Iterator["HostPath"]:
        found: Iterator[HostPath] = self._inside.ask("rglob", pattern, path=str(self._path))
        return found


class ContainerHost:
    """What `PracticeHost` is, in a container. What is asked of it is done inside (see inside.py)."""

    def __init__(self, directory: Path, *, name: str = "h1", storage: str = "etcd", role: str = "controller") -> None:
        self.base = Path(directory).resolve() / name
        self.name, self.storage, self.role = name, storage, role
        self.address, self.user, self.port = "", "root", 22
        self.private_key = self.base.parent / "id_ed25519"
        self._inside = Inside()
        #: Its file system: good for what a `Path` is good for, except that this machine cannot open it.
        self.root = cast("Path", HostPath(self._inside, "/"))
        self.node = Node(self.root)
        self.container = ""

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Starts a new container, as a machine with a new disk."""
        self.base.mkdir(parents=True, exist_ok=True)
        if not self.private_key.exists():
            make_key(self.private_key, "ed25519")
        public = self.private_key.with_suffix(".pub").read_text(encoding="ascii")
        self.container = f"k0sctl-practice-{os.getpid()}-{secrets.token_hex(4)}"
        command = [ENGINE, "run", "--rm", "--interactive", "--pull=never", f"--name={self.container}",
                   f"--label={LABEL}=", f"--hostname={self.name}", f"--network={network()}", image()]  # fmt: skip
        facts = self._inside.start(command, self.name, self.storage, self.role, public)
        self.address = facts["address"]

    def stop(self) -> None:
        """Ends the container; nothing of it is kept."""
        self._inside.stop()

    def known_hosts_lines(self) -> str:
        """The host's keys as lines of a known_hosts file."""
        return str(self._inside.ask("known_hosts_lines"))

    def install_binary(self) -> None:
        """Puts the k0s command on the host, as for `useExistingK0s`."""
        self._inside.ask("install_binary")

    def install(self) -> None:
        """Installs and starts k0s past SSH and k0sctl, as `apply` would: a running cluster without the wait."""
        self._inside.ask("install")

    def fault(self, name: str, value: str = "") -> None:
        """Switches a fault on (see faults.py)."""
        if name not in HOST_FAULTS:
            raise ValueError(f"no host fault {name!r}; known: {', '.join(HOST_FAULTS)}")
        self._inside.ask("fault", name, value)

    def clear_fault(self, name: str) -> None:
        """Switches a fault off."""
        self._inside.ask("clear_fault", name)

    def run(self, command: str) -> str:
        """Runs a command on the host, past SSH, and returns what it prints."""
        return str(self._inside.ask("run", command))

    def running(self) -> bool:
        """Whether k0s runs."""
        return bool(self._inside.ask("running"))

    def uid(self) -> str | None:
        """The UID of the cluster in the datastore, running or not."""
        told: str | None = self._inside.ask("uid")
        return told

    def set_uid(self, uid: str) -> None:
        """Makes the cluster in the datastore the one with this UID, without objects."""
        self._inside.ask("set_uid", uid)

    def objects(self) -> list[str]:
        """The names of the objects in the datastore, running or not."""
        told: list[str] = self._inside.ask("objects")
        return told

    def add_object(self, name: str) -> None:
        """Creates an object in the running cluster."""
        self._inside.ask("add_object", name)

    def stop_service(self) -> None:
        """Stops k0s; it stays installed."""
        self._inside.ask("stop_service")

    def wipe(self) -> None:
        """As if the disk were new: data, unit, process and configuration gone, the k0s binary there."""
        self._inside.ask("wipe")

    def change_host_key(self) -> None:
        """New host keys on the same port, as after a reinstallation (or with an attacker in between)."""
        self._inside.ask("change_host_key")

    def sshd_log(self) -> str:
        """What sshd has logged so far."""
        return str(self._inside.ask("sshd_log"))

    def files(self) -> list[str]:
        """Everything below the host's temporary and data directory, as absolute paths on the host."""
        told: list[str] = self._inside.ask("files")
        return told

    def calls(self) -> list[str]:
        """The k0s calls so far: `k0s version`, `k0s status -o json`, ..."""
        told: list[str] = self._inside.ask("calls")
        return told
