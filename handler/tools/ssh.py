"""OpenSSH's tools: scanning host keys, looking up pins, and the private ~/.ssh that k0sctl reads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from handler.door import Door
from handler.errors import ConfigurationError
from handler.process import Children, Command
from handler.secret import Secret
from handler.tools.hostkeys import HostKey, PinCheck, check_pins, known_hosts_name, parse_keys, plain_pins
from handler.workspace import write_private

#: Seconds for a scan, and for each address in it: a key exchange takes ssh-keyscan some hundredths of a second.
_SCAN_TIMEOUT: Final = 60.0
_SCAN_EACH: Final = 0.5
#: What is asked for, as k0sctl's client does: the others only where the first one is not there.
_KINDS: Final = ("ed25519", "ecdsa,rsa")
#: Unknown and changed keys are refused, and no file is ever written: measured with k0sctl, whose client honours this.
_STRICT: Final = """\
Host *
  UserKnownHostsFile none
  GlobalKnownHostsFile "{pins}"
  StrictHostKeyChecking yes
"""


class Ssh:
    """OpenSSH with a private ``~/.ssh``.

    Args:
        home: the ``.ssh`` directory in the children's private HOME.

    Attributes:
        pins: the known_hosts file of this run; there is none before `pin`.
    """

    def __init__(self, children: Children, env: Mapping[str, str], home: Path) -> None:
        self._children = children
        self._env = env
        self._home = home
        self.pins = home / "pinned_hosts"

    def use_key(self, key: Secret, name: str) -> None:
        write_private(self._home / name, key.reveal())

    def copy_keys(self, operator: Path) -> list[str]:
        """Copy the private keys of an operator's ``~/.ssh``; returns their names."""
        copied = []
        for path in sorted(operator.glob("*")) if operator.is_dir() else []:
            try:
                if path.is_file() and b"PRIVATE KEY-----" in path.read_bytes()[:200]:
                    write_private(self._home / path.name, path.read_bytes())
                    copied.append(path.name)
            except OSError:
                continue
        return copied

    def pin(self, known_hosts: str, *, for_k0sctl: bool = True) -> None:
        """Make these the only host keys that children accept; or our own ones only, and k0sctl trusts all at once.

        Raises:
            ConfigurationError: no line could be used.
        """
        if not parse_keys(known_hosts.splitlines()) and "@cert-authority" not in known_hosts:
            raise ConfigurationError(
                "the pinned host keys hold no usable line",
                details=("a line is: NAME KEYTYPE KEY, such as: 10.0.0.1 ssh-ed25519 AAAA...",),
                resolution="make them with: ssh-keyscan -t ed25519 HOST > known_hosts, and compare the fingerprints",
            )
        self.pins.unlink(missing_ok=True)
        write_private(self.pins, known_hosts if known_hosts.endswith("\n") else known_hosts + "\n")
        config = self._home / "config"
        config.unlink(missing_ok=True)
        if for_k0sctl:
            write_private(config, _STRICT.format(pins=self.pins))

    def scan(self, doors: Sequence[Door]) -> dict[Door, tuple[HostKey, ...]]:
        """The host keys that servers show right now; empty for one that shows none."""
        shown: dict[Door, tuple[HostKey, ...]] = dict.fromkeys(doors, ())
        for kinds in _KINDS:
            shown |= self._scan([door for door, keys in shown.items() if not keys], kinds)
        return shown

    def _scan(self, doors: Sequence[Door], kinds: str) -> dict[Door, tuple[HostKey, ...]]:
        by_name: dict[str, list[str]] = {}

        def take(line: str) -> None:
            by_name.setdefault(line.partition(" ")[0], []).append(line)

        for port in {door.port for door in doors}:
            addresses = sorted({door.address for door in doors if door.port == port})
            argv = ("ssh-keyscan", "-T", "10", "-p", str(port), "-t", kinds, "--", *addresses)
            limit = _SCAN_TIMEOUT + _SCAN_EACH * len(addresses)
            self._children.run(Command(argv=argv, env=self._env, timeout=limit, on_line=take))
        return {door: parse_keys(by_name.get(known_hosts_name(door.address, door.port), ())) for door in doors}

    def check(self, shown: Mapping[Door, Sequence[HostKey]]) -> list[PinCheck]:
        """Compare shown keys with the pinned ones, hashed names and patterns included (ssh-keygen -F)."""
        plain = plain_pins(self.pins.read_text(encoding="utf-8", errors="replace").splitlines())
        checks = []
        for door, keys in shown.items():
            name = known_hosts_name(door.address, door.port)
            found = self._look_up(name) if plain is None else plain.get(name.lower(), ())
            checks.append(check_pins(name, keys, found))
        return checks

    def _look_up(self, name: str) -> list[str]:
        command = Command(argv=("ssh-keygen", "-F", name, "-f", str(self.pins)), env=self._env, timeout=30)
        return self._children.run(command).stdout.splitlines()
