"""OpenSSH's tools: scanning host keys, looking up pins, and the private ~/.ssh that k0sctl reads."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final, TypeVar

from handler.door import Door
from handler.errors import ConfigurationError, TimedOut
from handler.process import Children, Command
from handler.secret import Secret
from handler.tools.hostkeys import HostKey, PinCheck, check_pins, known_hosts_name, parse_keys, plain_pins
from handler.workspace import write_private

_T = TypeVar("_T")
#: Hosts that one ssh-keyscan is asked for, and how many of it run at once.
_TOGETHER: Final = 16
_AT_ONCE: Final = 8
#: Seconds for one of them, and for each of its hosts: a key exchange takes some hundredths of a second.
_SCAN_TIMEOUT: Final = 7.0
_SCAN_EACH: Final = 0.5
_PAUSE: Final = 0.05
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

    def scan(self, doors: Sequence[Door], check: Callable[[], None] = lambda: None) -> dict[Door, tuple[HostKey, ...]]:
        """The host keys that servers show right now; empty for one that shows none.

        ssh-keyscan does its key exchanges one after another, and writes its lines at the end: a host that draws its own
        out, or falls silent, holds up all that are asked together with it. When their time is over, each of them is
        asked by itself. That takes at most 15 s for each 128 doors, and 7.5 s for each 8 that are asked once more; the
        same again where hosts lack the first kind of key.

        Args:
            check: called several times a second; what it raises ends the scan.
        """
        shown: dict[Door, tuple[HostKey, ...]] = dict.fromkeys(doors, ())
        mute: list[Door] = []
        for kinds in _KINDS:
            left = [door for door, keys in shown.items() if not keys and door not in mute]
            held_up = self._scan(_together(left), kinds, shown, check)
            mute += self._scan([[door] for door in held_up], kinds, shown, check)
        return shown

    def _scan(
        self, groups: Sequence[Sequence[Door]], kinds: str, shown: dict[Door, tuple[HostKey, ...]],
        check: Callable[[], None],
    ) -> list[Door]:  # fmt: skip
        """Ask for the keys of each group; returns the doors of those whose time was over."""
        held_up: list[Door] = []
        for some in _portions(groups, _AT_ONCE):
            with contextlib.ExitStack() as ending:
                running = []
                for group in some:
                    lines: list[str] = []
                    child = ending.enter_context(self._children.started(self._keyscan(group, kinds, lines)))
                    running.append((group, child, lines))
                while not all(child.over for _, child, _ in running):
                    self._children.sleep(_PAUSE)
                    check()
                for group, child, lines in running:
                    try:
                        self._children.wait(child)
                    except TimedOut:
                        held_up += group
                    else:
                        shown |= _keys_of(group, lines)
        return held_up

    def _keyscan(self, group: Sequence[Door], kinds: str, lines: list[str]) -> Command:
        """The call that asks the doors of one port; its stdout is added to ``lines``."""
        limit = _SCAN_TIMEOUT + _SCAN_EACH * len(group)
        # it must not give up before its time is over: it would not come to hosts that it was held up from
        argv = ("ssh-keyscan", "-T", "60", "-p", str(group[0].port), "-t", kinds, "--", *(one.address for one in group))
        return Command(argv=argv, env=self._env, timeout=limit, on_line=lines.append)

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


def _together(doors: Sequence[Door]) -> list[Sequence[Door]]:
    """The doors that one call may ask: all have the same port."""
    ports = dict.fromkeys(door.port for door in doors)
    return [group for port in ports for group in _portions([door for door in doors if door.port == port], _TOGETHER)]


def _portions(items: Sequence[_T], size: int) -> list[Sequence[_T]]:
    return [items[first : first + size] for first in range(0, len(items), size)]


def _keys_of(group: Sequence[Door], lines: Sequence[str]) -> dict[Door, tuple[HostKey, ...]]:
    by_name: dict[str, list[str]] = {}
    for line in lines:
        by_name.setdefault(line.partition(" ")[0], []).append(line)
    return {door: parse_keys(by_name.get(known_hosts_name(door.address, door.port), ())) for door in group}
