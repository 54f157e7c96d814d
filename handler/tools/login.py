"""Logging in on a host by OpenSSH's own client, to run one short command that reads nothing and asks nobody."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from handler.errors import ConfigurationError, from_os_error
from handler.hosts import Host
from handler.process import Command
from handler.workspace import write_private

#: Seconds for one command on a host, the connection included.
LIMIT: Final = 30.0
#: A server lets a client try six keys by default; k0sctl asks for these first.
_USUAL_KEYS: Final = ("id_ed25519", "id_ecdsa", "id_rsa")
_MOST_KEYS: Final = 5
#: Everything is said here: neither the machine's configuration nor the operator's is read. The path of ``~`` comes
#: from the machine's list of users, not from HOME, so no path begins with it.
_CONFIG: Final = """\
Host *
  UserKnownHostsFile none
  GlobalKnownHostsFile "{pins}"
  StrictHostKeyChecking yes
  UpdateHostKeys no
  CheckHostIP no
  BatchMode yes
  PreferredAuthentications publickey
  IdentitiesOnly {only}
  ConnectTimeout 10
  ServerAliveInterval 5
  ServerAliveCountMax 3
  ClearAllForwardings yes
  ForwardAgent no
  ForwardX11 no
  PermitLocalCommand no
  RequestTTY no
  ControlPath none
  LogLevel ERROR
"""


class Login:
    """The client, with private copies of the keys: it refuses modes and line ends that k0sctl takes.

    Args:
        ssh_home: the ``.ssh`` directory in the children's private HOME, where the run's keys are.
        pins: the known_hosts file, the only one that counts.
        place: a private directory that does not exist yet.
        cwd: what a relative ``keyPath`` is relative to.
    """

    def __init__(self, env: Mapping[str, str], *, ssh_home: Path, pins: Path, place: Path, cwd: Path) -> None:
        self._env = env
        self._ssh_home = ssh_home
        self._cwd = cwd
        self._copies: dict[Path, Path] = {}
        self._place = place
        self._place.mkdir(mode=0o700, exist_ok=True)
        self._config = self._place / "config"
        self._config.unlink(missing_ok=True)
        only = "no" if "SSH_AUTH_SOCK" in env else "yes"
        write_private(self._config, _CONFIG.format(pins=pins, only=only))

    def command(self, host: Host, text: str, on_line: Callable[[str], None]) -> Command:
        """One command on a host, to be run by `Children`.

        Raises:
            ConfigurationError: the host's ``keyPath`` cannot be read.
        """
        keys = [word for key in self._keys(host) for word in ("-i", str(key))]
        user = ["-l", host.user] if host.user else []
        argv = ("ssh", "-F", str(self._config), "-T", "-p", str(host.port), *user, *keys, "--", host.address, text)
        return Command(argv=argv, env=self._env, timeout=LIMIT, on_line=on_line)

    def _keys(self, host: Host) -> list[Path]:
        """What k0sctl would try: the key that the host names, and no other; else those of ``~/.ssh``."""
        if host.key_path:
            return [self._copy(self._cwd / host.key_path)]
        usual = [self._ssh_home / name for name in _USUAL_KEYS]
        others = [path for path in sorted(self._ssh_home.iterdir()) if path not in usual and _is_private_key(path)]
        return [self._copy(path) for path in [*filter(Path.exists, usual), *others][:_MOST_KEYS]]

    def _copy(self, key: Path) -> Path:
        if key not in self._copies:
            try:
                text = key.read_text(encoding="ascii", errors="replace")
            except OSError as error:
                if isinstance(error, FileNotFoundError):
                    raise ConfigurationError(f"there is no SSH key {key}") from None
                raise from_os_error(error, f"reading the SSH key {key}") from error
            copy = self._place / f"key-{len(self._copies)}"
            copy.unlink(missing_ok=True)
            self._copies[key] = write_private(copy, text.replace("\r", "").rstrip("\n") + "\n")
        return self._copies[key]


def _is_private_key(path: Path) -> bool:
    return path.is_file() and b"PRIVATE KEY-----" in path.read_bytes()[:200]


def refusal(exit_code: int, stderr: str) -> str:
    """Why nobody could log in, or why the command did not run there, in one line."""
    words = [line.strip() for line in stderr.splitlines() if line.strip()]
    said = next((line for line in reversed(words) if not re.match(r"[@+|-]+$", line)), "")
    return said[:200] or f"ssh ended with {exit_code}"
