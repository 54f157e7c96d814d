"""sshd for a practice host."""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

from tests.practice.k0s.node import is_alive

HOSTSHELL = Path(__file__).with_name("hostshell.py")
SILENT = "import socket,sys,time; s=socket.socket(fileno=int(sys.argv[1])); time.sleep(86400)"


def make_key(path: Path, kind: str) -> None:
    """Makes an SSH key pair without a passphrase."""
    bits = ["-b", "2048"] if kind == "rsa" else []
    command = ["ssh-keygen", "-q", "-t", kind, *bits, "-N", "", "-C", "practice", "-f", str(path)]
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL)


def find_sshd() -> str:
    """The sshd program; it is not in everybody's PATH."""
    for candidate in ("/usr/sbin/sshd", "/usr/local/sbin/sshd", "/sbin/sshd"):
        if Path(candidate).exists():
            return candidate
    raise FileNotFoundError("sshd is missing: install openssh-server")


def _environment_and_words(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes() + Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:
        return b""


def end_process(pid: int, mark: str) -> None:
    """Ends a process that belongs to the host, and nothing that has got its number since."""
    if mark.encode() not in _environment_and_words(pid):
        return
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            return
        deadline = time.monotonic() + 2
        while time.monotonic() < deadline:
            try:
                if os.waitpid(pid, os.WNOHANG)[0] == pid:
                    return
            except ChildProcessError:
                if mark.encode() not in _environment_and_words(pid):
                    return
            time.sleep(0.01)


class Sshd:
    """An sshd with its own keys whose every session is the host shell."""

    listen = "127.0.0.1"

    def __init__(self, directory: Path, root: Path, authorized_keys: Path) -> None:
        self.directory, self.root, self.authorized_keys = directory, root, authorized_keys
        self.port = 0
        self.key_types: tuple[str, ...] = ("ed25519", "ecdsa")  # "rsa" is possible too, but slow to make

    def make_keys(self, *, new: bool = False) -> None:
        """Makes the host keys that are missing, or all of them anew."""
        for kind in self.key_types:
            path = self.directory / f"ssh_host_{kind}_key"
            if new:
                path.unlink(missing_ok=True)
            if not path.exists():
                make_key(path, kind)

    def known_hosts_lines(self) -> str:
        """The host keys as known_hosts lines, ed25519 first."""
        lines = []
        for kind in self.key_types:
            public = (self.directory / f"ssh_host_{kind}_key.pub").read_text(encoding="ascii").split()
            lines.append(f"[127.0.0.1]:{self.port} {public[0]} {public[1]}\n")
        return "".join(lines)

    def _configuration(self) -> str:
        shell = f"{sys.executable} -I -S {HOSTSHELL} {self.root}"
        keys = "".join(f"HostKey {self.directory}/ssh_host_{kind}_key\n" for kind in self.key_types)
        return f"""ListenAddress {self.listen}
Port {self.port}
{keys}AuthorizedKeysFile {self.authorized_keys}
ForceCommand {shell}
SetEnv SHLVL=9
PidFile none
StrictModes no
UsePAM no
UseDNS no
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin yes
PrintMotd no
MaxSessions 100
MaxStartups 100
LogLevel VERBOSE
"""

    def _write_configuration(self) -> Path:
        file = self.directory / "sshd_config"
        text = self._configuration()
        file.write_text(text + "PerSourcePenalties no\n", encoding="utf-8")
        test = [find_sshd(), "-t", "-f", str(file)]
        if subprocess.run(test, stdin=subprocess.DEVNULL, capture_output=True, check=False).returncode:
            file.write_text(text, encoding="utf-8")
        return file

    def _free_port(self) -> int:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", self.port))
            port: int = probe.getsockname()[1]
            return port

    def start(self) -> None:
        """Starts sshd, on the same port as before if there was one."""
        self.stop()
        self.directory.mkdir(parents=True, exist_ok=True)
        if os.getuid() == 0:
            Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
        self.make_keys()
        for attempt in range(20):
            self.port = self.port or self._free_port()
            command = [find_sshd(), "-D", "-f", str(self._write_configuration()), "-E", str(self.directory / "log")]
            if self._answers(self._spawn(command)):
                return
            if attempt < 10 and not (self.directory / "started").exists():
                self.port = 0
            time.sleep(0.1)
        raise RuntimeError(f"sshd does not start, see {self.directory}/log")

    def _spawn(self, command: list[str]) -> int:
        """Starts a process in a session of its own that may outlive this one."""
        quiet = (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDWR, 0)
        copies = [(os.POSIX_SPAWN_DUP2, 0, stream) for stream in (1, 2)]
        pid = os.posix_spawn(command[0], command, os.environ, file_actions=[quiet, *copies], setsid=True)
        with (self.directory / "pids").open("a", encoding="ascii") as pids:
            pids.write(f"{pid}\n")
        return pid

    def _answers(self, pid: int) -> bool:
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline and is_alive(pid):
            try:
                with socket.create_connection((self.listen, self.port), timeout=5) as connection:
                    if connection.recv(4) == b"SSH-" and is_alive(pid):
                        (self.directory / "started").touch()
                        return True
            except OSError:
                time.sleep(0.02)
        return False

    def hang(self) -> None:
        """Puts something in sshd's place that accepts connections and stays silent."""
        self.stop()
        with socket.socket() as listener:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind((self.listen, self.port))
            listener.listen(50)
            listener.set_inheritable(True)
            command = [sys.executable, "-I", "-c", SILENT, str(listener.fileno()), str(self.directory)]
            self._spawn(command)

    def stop(self) -> None:
        """Ends the listening process; sessions that are open go on."""
        file = self.directory / "pids"
        for pid in file.read_text(encoding="ascii").split() if file.exists() else []:
            end_process(int(pid), str(self.directory))
        file.unlink(missing_ok=True)

    def end_sessions(self) -> None:
        """Ends what still runs on the host: processes with its root directory in their words or environment."""
        mark = f"PRACTICE_ROOT={self.root}\0".encode()
        shell = f"{HOSTSHELL}\0{self.root}\0".encode()
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit() and int(entry.name) != os.getpid():
                facts = _environment_and_words(int(entry.name))
                if mark in facts or shell in facts:
                    end_process(int(entry.name), str(self.root))
