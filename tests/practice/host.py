"""A practice host: sshd on a free port of 127.0.0.1, confined to a directory, with the stand-in k0s on it."""

import json
import os
import pwd
import shutil
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import ClassVar, Self

from tests.practice.cluster import K0sctlFaults, install_k0sctl, k0s_config, practice_cluster
from tests.practice.faults import HOST_FAULTS
from tests.practice.k0s.node import VERSION, Node
from tests.practice.k0s.service import stop
from tests.practice.k0s.store import State, Store, open_store, storage_type
from tests.practice.sshd import Sshd, end_process, make_key

__all__ = ["K0sctlFaults", "PracticeHost", "install_k0sctl", "practice_cluster"]

SOURCE = Path(__file__).resolve().parents[2]
DIRECTORIES = (
    "root",
    "tmp",
    "var/tmp",
    "var/log",
    "run/systemd/system",
    "run/k0s",
    "usr/local/bin",
    "usr/local/sbin",
    "etc/k0s-standin",
    "etc/systemd/system",
)
PLAIN_TOOLS = {
    "hostname": 'cat "$PRACTICE_ROOT/etc/hostname"',
    "id": 'if [ "$*" = -u ]; then echo 0; else exec /usr/bin/id "$@"; fi',
    "mount": ":",
    "sudo": 'while [ "${1#-}" != "$1" ]; do shift; done; exec "$@"',
    "curl": 'echo "curl: (6) Could not resolve host: github.com" >&2; exit 6',
    "ip": (
        'case "$*" in *default*|*route*) echo "default via 10.88.0.1 dev eth0 proto static metric 100 " ;; '
        '*) echo "2: eth0    inet 10.88.0.2/16 brd 10.88.255.255 scope global eth0" ;; esac'
    ),
}
# Asked several times in every run, hence without Python.
SHOW_VERSION = (
    'if [ "$1" = version ]; then echo "$(date -u +%FT%T.000Z) [$$] k0s version" >>"$PRACTICE_ROOT/var/log/calls.log"; '
    'exec cat "$PRACTICE_ROOT/etc/k0s-version"; fi'
)
SHOW = (
    'if [ "$1" = show ]; then for unit; do :; done; file="$PRACTICE_ROOT/etc/systemd/system/${unit%.service}.service"; '
    '[ -e "$file" ] || file=; echo "FragmentPath=$file"; exit 0; fi'
)


def python_command(module: str, function: str, *arguments: str) -> str:
    """A shell script that runs a function of a module with this interpreter, free of its site packages."""
    code = f"import sys; sys.path.insert(0, {str(SOURCE)!r}); from {module} import {function}; sys.exit({function}())"
    extra = "".join(f" {word}" for word in arguments)
    return f'#!/bin/sh\nexec \'{sys.executable}\' -I -S -c "{code}"{extra} "$@"\n'


def write_script(path: Path, text: str) -> None:
    """Writes an executable."""
    path.write_text(text, encoding="utf-8")
    path.chmod(0o755)


class PracticeHost:
    """One host. All it has is below `directory`/`name`; hosts in one directory share the private key for logging in."""

    plain_tools: ClassVar = PLAIN_TOOLS

    def __init__(self, directory: Path, *, name: str = "h1", storage: str = "etcd", role: str = "controller") -> None:
        self.base = Path(directory).resolve() / name
        self.root = self.base / "root"
        self.name, self.storage, self.role = name, storage, role
        self.address = "127.0.0.1"
        self.user = pwd.getpwuid(os.getuid()).pw_name
        self.private_key = self.base.parent / "id_ed25519"
        self.sshd = Sshd(self.base / "sshd", self.root, self.base.parent / "id_ed25519.pub")
        self.node = Node(self.root)

    @classmethod
    def open(cls, base: Path) -> "PracticeHost":
        """A host that another process started."""
        facts = json.loads((base / "host.json").read_text(encoding="utf-8"))
        host = cls(base.parent, name=base.name, storage=facts["storage"], role=facts["role"])
        host.sshd.port = facts["port"]
        return host

    @property
    def port(self) -> int:
        """The SSH port."""
        return self.sshd.port

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Makes the host's file system and starts its sshd."""
        self._furnish()
        if not self.private_key.exists():
            make_key(self.private_key, "ed25519")
        self.sshd.start()
        facts = {"storage": self.storage, "role": self.role, "port": self.port}
        (self.base / "host.json").write_text(json.dumps(facts), encoding="utf-8")

    def _furnish(self) -> None:
        for directory in DIRECTORIES:
            (self.root / directory).mkdir(parents=True, exist_ok=True)
        (self.root / ".dockerenv").touch()
        (self.root / "etc/hostname").write_text(self.name + "\n", encoding="utf-8")
        (self.root / "etc/k0s-version").write_text(VERSION + "\n", encoding="utf-8")
        self.install_binary()
        systemctl = python_command("tests.practice.k0s.service", "systemctl").replace("\n", f"\n{SHOW}\n", 1)
        write_script(self.root / "usr/local/bin/systemctl", systemctl)
        for tool in ("pgrep", "pidof", "ps"):
            script = python_command("tests.practice.k0s.service", "processes", tool)
            write_script(self.root / "usr/local/sbin" / tool, script)
        for tool, line in self.plain_tools.items():
            write_script(self.root / "usr/local/sbin" / tool, f"#!/bin/sh\n{line}\n")

    def stop(self) -> None:
        """Ends every process that the host started."""
        self.sshd.stop()
        for file in (self.root / "var/log/pids", self.base / "sshd/pids"):
            for pid in file.read_text(encoding="ascii").split() if file.exists() else []:
                end_process(int(pid), str(self.base))
            file.unlink(missing_ok=True)
        self.sshd.end_sessions()

    def install_binary(self) -> None:
        """Puts the k0s command on the host, as for `useExistingK0s`."""
        script = python_command("tests.practice.k0s.main", "main").replace("\n", f"\n{SHOW_VERSION}\n", 1)
        write_script(self.node.binary, script)

    def known_hosts_lines(self) -> str:
        """The host's keys as lines of a known_hosts file."""
        return self.sshd.known_hosts_lines()

    def install(self) -> None:
        """Installs and starts k0s past SSH and k0sctl, as `apply` would: a running cluster without the wait."""
        config = self.node.config
        config.parent.mkdir(parents=True, exist_ok=True)
        config.write_text(k0s_config(self.address, self.storage), encoding="utf-8")
        self.run(f"k0s install {self.role} --data-dir={self.node.data_dir} --config={config}")
        self.run(f"systemctl start k0s{self.role}")

    def fault(self, name: str, value: str = "") -> None:
        """Switches a fault on (see faults.py)."""
        if name not in HOST_FAULTS:
            raise ValueError(f"no host fault {name!r}; known: {', '.join(HOST_FAULTS)}")
        if name == "stopped":
            self.stop_service()
        if name == "ssh-hang":
            self.sshd.hang()
        (self.root / "etc/k0s-standin").mkdir(parents=True, exist_ok=True)
        (self.root / "etc/k0s-standin" / name).write_text(value, encoding="utf-8")

    def clear_fault(self, name: str) -> None:
        """Switches a fault off."""
        file = self.root / "etc/k0s-standin" / name
        if not file.exists():
            return
        file.unlink()
        if name == "stopped":
            for unit in self.node.units.glob("k0s*.service"):
                self.run(f"systemctl start {unit.stem}")
        if name == "ssh-hang":
            self.sshd.start()
        if name == "locked":
            (self.root / "tmp/k0sctl.lock").unlink(missing_ok=True)

    def run(self, command: str) -> str:
        """Runs a command on the host, past SSH, and returns what it prints."""
        shell = [sys.executable, "-I", "-S", str(Path(__file__).with_name("hostshell.py")), str(self.root)]
        environment = {"SSH_ORIGINAL_COMMAND": command}
        done = subprocess.run(
            shell, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise RuntimeError(f"{command}: exit status {done.returncode}: {done.stderr}")
        return done.stdout

    def running(self) -> bool:
        """Whether k0s runs."""
        return self.node.pid() is not None

    def _store(self) -> Store:
        config = self.node.config
        return open_store(storage_type(config) if config.exists() else self.storage, self.node.data_dir)

    def uid(self) -> str | None:
        """The UID of the cluster in the datastore, running or not."""
        store = self._store()
        return store.read().uid if store.exists() else None

    def set_uid(self, uid: str) -> None:
        """Makes the cluster in the datastore the one with this UID, without objects."""
        self._store().write(State(uid=uid))

    def objects(self) -> list[str]:
        """The names of the objects in the datastore, running or not."""
        store = self._store()
        return sorted(store.read().objects) if store.exists() else []

    def add_object(self, name: str) -> None:
        """Creates an object in the running cluster."""
        self.run(f"k0s kubectl create configmap {name}")

    def stop_service(self) -> None:
        """Stops k0s; it stays installed."""
        stop(self.node)

    def wipe(self) -> None:
        """As if the disk were new: data, unit, process and configuration gone, the k0s binary there."""
        self.stop_service()
        for directory in ("var/lib", "etc/k0s", "run/k0s", "etc/systemd/system", "tmp"):
            shutil.rmtree(self.root / directory, ignore_errors=True)
        for directory in DIRECTORIES:
            (self.root / directory).mkdir(parents=True, exist_ok=True)
        self.install_binary()

    def sshd_log(self) -> str:
        """What sshd has logged so far."""
        return (self.sshd.directory / "log").read_text(encoding="utf-8")

    def change_host_key(self) -> None:
        """New host keys on the same port, as after a reinstallation (or with an attacker in between)."""
        self.sshd.stop()
        self.sshd.make_keys(new=True)
        self.sshd.start()

    def files(self) -> list[str]:
        """Everything below the host's temporary and data directory, as absolute paths on the host."""
        found = []
        for top in ("tmp", "var/tmp", "var/lib/k0s"):
            found += [f"/{path.relative_to(self.root)}" for path in sorted((self.root / top).rglob("*"))]
        return found

    def calls(self) -> list[str]:
        """The k0s calls so far: `k0s version`, `k0s status -o json`, ..."""
        log = self.root / "var/log/calls.log"
        lines = log.read_text(encoding="utf-8").splitlines() if log.exists() else []
        return [line.partition("] ")[2] for line in lines]
