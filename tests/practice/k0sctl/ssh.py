"""Hosts over real SSH, with OpenSSH's client: one connection a host, one session a command (or a batch of them)."""

import os
import shlex
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.practice.k0sctl import hostkey
from tests.practice.k0sctl.run import Run

NO_KEY = "create config: operation cannot be completed: no usable authentication method found"
NO_AUTH = (
    "authentication failed: ssh dial: ssh: handshake failed: ssh: unable to authenticate, "
    "attempted methods [none publickey], no supported methods remain"
)
LOST = "wait: remote command exited without exit status or exit signal"
SETTINGS = {
    "userknownhostsfile", "globalknownhostsfile", "stricthostkeychecking", "hostkeyalgorithms", "identityfile",
    "identitiesonly", "connecttimeout", "serveraliveinterval", "serveralivecountmax", "ciphers", "kexalgorithms",
    "macs", "pubkeyacceptedalgorithms", "hashknownhosts", "port", "user", "hostname", "proxyjump", "compression",
    "loglevel", "identityagent", "addressfamily", "tcpkeepalive", "checkhostip", "updatehostkeys", "batchmode",
}  # fmt: skip
MARK = "\x1e"


class CommandError(Exception):
    """A remote command failed."""

    def __init__(self, status: int, stderr: str) -> None:
        self.status, self.stderr = status, stderr
        text = stderr.strip()
        text = text if len(text) <= 100 else text[:97] + "..."
        ended = f"Process exited with status {status}" + (f" ({text})" if text else "")
        super().__init__(f"process finished with error: {LOST if status == 255 else ended}")


class Unreachable(Exception):
    """No connection to a host; `final` when trying again is useless."""

    def __init__(self, text: str, *, final: bool = False) -> None:
        self.final = final
        super().__init__(text)


@dataclass
class Result:
    """What a remote command did."""

    status: int
    stdout: bytes
    stderr: str

    @property
    def text(self) -> str:
        """Its stdout as text."""
        return self.stdout.decode("utf-8", "surrogateescape").rstrip("\n")


class Host:
    """One entry of `spec.hosts` with what was found out about it."""

    def __init__(self, run: Run, entry: dict[str, Any], number: int) -> None:
        self.run, self.entry = run, entry
        self.address: str = str(entry["ssh"]["address"])
        self.port = int(entry["ssh"]["port"])
        self.user: str = entry["ssh"]["user"]
        self.role: str = entry.get("role", "")
        self.socket = run.scratch / f"{number}"
        self.known = run.scratch / f"known-{number}"
        self.label = f"[{self.address}]:{self.port}" if ":" in self.address else f"{self.address}:{self.port}"
        self.data_dir = entry.get("dataDir") or "/var/lib/k0s"
        self.name = ""
        self.existing = False
        self.version = ""
        self.running = ""
        self.args: list[str] = []
        self.config = ""
        self.unit = ""
        self.leader = False
        self.has_admin_conf = False
        self.prefetched: dict[str, Result] = {}

    @property
    def use_existing(self) -> bool:
        """Whether the k0s on the host is used as it is."""
        return bool(self.entry.get("useExistingK0s"))

    @property
    def install_path(self) -> str:
        """Where k0s is on the host."""
        return self.entry.get("k0sInstallPath") or "/usr/local/bin/k0s"

    @property
    def is_worker(self) -> bool:
        """Whether the host is a worker and nothing else."""
        return self.role == "worker"

    @property
    def service(self) -> str:
        """The name of its service."""
        return "k0sworker" if self.is_worker else "k0scontroller"

    # connection

    def settings(self) -> dict[str, str]:
        """The SSH settings of `$HOME/.ssh/config`, then those of the host's `ssh.options`."""
        found: dict[str, str] = {}
        file = Path(os.environ.get("HOME", "")) / ".ssh/config"
        if file.is_file():
            command = ["ssh", "-G", "-F", str(file), self.address]
            resolved = subprocess.run(command, capture_output=True, text=True, check=False).stdout
            named = {line.split()[0].lower() for line in file.read_text(encoding="utf-8").splitlines() if line.split()}
            pairs = [line.partition(" ") for line in resolved.splitlines()]
            found = {name: content for name, _, content in pairs if name in named}
        for name, content in (self.entry["ssh"].get("options") or {}).items():
            if name.lower() not in SETTINGS:
                problem = f'ssh option "{name}": field not found: unknown key "{name.lower()}"'
                raise Unreachable(f"validation failed: {problem}")
            found[name.lower()] = " ".join(content) if isinstance(content, list) else str(content)
        return found

    def _keys(self, settings: dict[str, str]) -> list[str]:
        home = os.environ.get("HOME", "")
        named = self.entry["ssh"].get("keyPath") or settings.get("identityfile")
        names = [named] if named else [f"~/.ssh/id_{kind}" for kind in ("rsa", "ecdsa", "ed25519")]
        usable = [key for name in names if (key := self._usable(Path(name.replace("~", home, 1))))]
        agent = os.environ.get("SSH_AUTH_SOCK", "")
        if not usable and not (agent and not named and Path(agent).exists()):
            raise Unreachable(NO_KEY, final=True)
        for key in usable:
            self.debug("using identity file", file=key)
            self.debug("using an unencrypted private key", file=key)
        self.run.out.debug("using public key authentication", host=self.label, num_keys=len(usable), protocol="SSH")
        return usable

    def _usable(self, key: Path) -> str:
        """The path of the key in a form that OpenSSH takes; k0sctl is not strict about modes and line ends."""
        try:
            text = key.read_text(encoding="utf-8")
            mode = key.stat().st_mode & 0o077
        except (OSError, UnicodeDecodeError):
            return ""
        if mode or "\r" in text or not text.endswith("\n"):
            key = self.run.scratch / f"key-{abs(hash(str(key)))}"
            key.touch(mode=0o600)
            key.write_text(text.replace("\r", "").rstrip("\n") + "\n", encoding="utf-8")
        command = ["ssh-keygen", "-y", "-P", "", "-f", str(key)]
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=False)
        return "" if done.returncode else str(key)

    def connect(self) -> None:
        """One attempt."""
        if not self.address:
            problem = 'set host "": failed to set "Host": invalid value: expected one value, got none'
            raise Unreachable(f"failed to apply ssh config: {problem}")
        settings = self.settings()
        keys = self._keys(settings)
        self._dial()
        left = self.run.deadline - time.monotonic()
        key = hostkey.offered(self.address, self.port, hostkey.algorithms(settings), min(5, max(1, left)))
        if key is None:
            raise Unreachable("ssh dial: ssh: handshake failed: read: i/o timeout")
        try:
            remark = hostkey.check(self.address, self.port, key, settings)
        except hostkey.HostKeyError as error:
            raise Unreachable(str(error), final=True) from None
        sys.stderr.write(remark)
        sys.stderr.flush()
        name = self.address if self.port == 22 else f"[{self.address}]:{self.port}"
        self.known.write_text(f"{name} {key[0]} {key[1]}\n", encoding="utf-8")
        self._start_master(keys, key[0])

    def _dial(self) -> None:
        target = f"[{self.address}]:{self.port}" if ":" in self.address else f"{self.address}:{self.port}"
        try:
            left = max(0.1, self.run.deadline - time.monotonic())
            socket.create_connection((self.address, self.port), timeout=min(30, left)).close()
        except ConnectionRefusedError:
            raise Unreachable(f"ssh dial: dial tcp {target}: connect: connection refused") from None
        except socket.gaierror:
            raise Unreachable(f"ssh dial: dial tcp: lookup {self.address}: no such host") from None
        except TimeoutError:
            raise Unreachable(f"ssh dial: dial tcp {target}: i/o timeout") from None
        except OSError as error:
            raise Unreachable(f"ssh dial: dial tcp {target}: connect: {str(error.strerror).lower()}") from None

    def _start_master(self, keys: list[str], kind: str) -> None:
        kinds = "rsa-sha2-512,rsa-sha2-256" if kind == "ssh-rsa" else kind
        command = ["ssh", "-F", "none", "-M", "-S", str(self.socket), "-N", "-p", str(self.port), "-l", self.user]
        options = [f"UserKnownHostsFile={self.known}", "GlobalKnownHostsFile=none", "StrictHostKeyChecking=yes"]
        options += ["BatchMode=yes", f"HostKeyAlgorithms={kinds}", "ConnectTimeout=30", "ControlPersist=no"]
        options += ["PreferredAuthentications=publickey", f"IdentitiesOnly={'yes' if keys else 'no'}"]
        for option in options:
            command += ["-o", option]
        for key in keys:
            command += ["-i", key]
        self.master = subprocess.Popen(
            [*command, self.address],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        self.run.watch(self.master.pid)
        while not self.socket.exists():
            if self.master.poll() is not None:
                assert self.master.stderr is not None
                said = self.master.stderr.read().decode(errors="replace")
                raise Unreachable(NO_AUTH if "denied" in said else f"ssh dial: {said.strip()}")
            if self.run.over():
                self.master.kill()
                raise Unreachable("ssh dial: operation was canceled")
            time.sleep(0.005)

    def disconnect(self) -> None:
        """Ends the connection."""
        master = getattr(self, "master", None)
        if master is not None and master.poll() is None:
            master.kill()
            master.wait()

    # commands

    def debug(self, message: str, **fields: object) -> None:
        """A line of level debug about this host."""
        self.run.out.debug(message, host=self.label, protocol="SSH", **fields)

    def info(self, message: str) -> None:
        """A line of level info about this host."""
        self.run.out.info(f"{self.label}: {message}")

    def _note(self, command: str, result: Result | None, *, sudo: bool, secret: bool) -> None:
        fields = {"sudo": True} if sudo else {}
        if result is None:
            self.debug("executing command", command=f"/bin/sh -c -- {shlex.quote(command)}", **fields)
            return
        if secret:
            return
        for line in result.stderr.splitlines():
            self.debug(line, stream="stderr", **fields)
        for line in result.stdout.decode("utf-8", "surrogateescape").splitlines():
            self.debug(line, stream="stdout", **fields)

    def _session(self, script: str, stdin: bytes | None) -> Result:
        done = subprocess.run(
            ["ssh", "-F", "none", "-S", str(self.socket), "-p", str(self.port), "-l", self.user, self.address, script],
            input=stdin if stdin is not None else b"",
            capture_output=True,
            check=False,
            start_new_session=True,
        )
        return Result(done.returncode, done.stdout, done.stderr.decode("utf-8", "surrogateescape"))

    def touch(self, path: str) -> None:
        """Makes a file look new, beside whatever else goes on."""
        self._session(f"touch -c {path}", None)

    def execute(
        self, command: str, *, sudo: bool = True, stdin: bytes | None = None, secret: bool = False, always: bool = False
    ) -> Result:
        """Runs a command; `always` also when the run is over already."""
        if not always:
            self.run.check()
        self._note(command, None, sudo=sudo, secret=secret)
        result = self._session(f"/bin/sh -c -- {shlex.quote(command)}", stdin)
        self._note(command, result, sudo=sudo, secret=secret)
        return result

    def must(
        self, command: str, *, sudo: bool = True, stdin: bytes | None = None, secret: bool = False, always: bool = False
    ) -> Result:
        """Runs a command that has to work."""
        result = self.execute(command, sudo=sudo, stdin=stdin, secret=secret, always=always)
        if result.status:
            raise CommandError(result.status, result.stderr)
        return result

    def batch(self, *commands: str, sudo: bool = False, secret: tuple[str, ...] = ()) -> list[Result]:
        """Runs commands in one session, for speed; the log has them one by one, as the real one runs them."""
        self.run.check()
        if sudo or any(command not in self.prefetched for command in commands):
            results = self._run_all(commands)
        else:
            results = [self.prefetched.pop(command) for command in commands]
        for command, result in zip(commands, results, strict=True):
            self._note(command, None, sudo=sudo, secret=False)
            self._note(command, result, sudo=sudo, secret=command in secret)
        return results

    def prefetch(self, *commands: str) -> None:
        """Asks early and in one session what later phases will ask for, for speed."""
        self.prefetched = dict(zip(commands, self._run_all(commands), strict=True))

    def _run_all(self, commands: tuple[str, ...]) -> list[Result]:
        mark = "printf '\\036%d\\036' $?; printf '\\036' >&2"
        script = "\n".join(f"/bin/sh -c -- {shlex.quote(command)} </dev/null; {mark}" for command in commands)
        whole = self._session(script, None)
        outs = whole.stdout.split(MARK.encode())
        errs = whole.stderr.split(MARK)
        if len(outs) <= 2 * len(commands):
            raise CommandError(255, whole.stderr)
        numbers = range(len(commands))
        return [Result(int(outs[2 * number + 1]), outs[2 * number], errs[number]) for number in numbers]
