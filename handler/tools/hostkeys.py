"""Host keys and known_hosts lines (sshd(8), SSH_KNOWN_HOSTS FILE FORMAT): pure."""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum, auto
from typing import Final

#: The order in which k0sctl's SSH client asks for keys: what it is offered first is what it compares.
PREFERRED: Final = ("ssh-ed25519", "ecdsa-sha2-nistp256", "ecdsa-sha2-nistp384", "ecdsa-sha2-nistp521", "ssh-rsa")


@dataclass(frozen=True)
class HostKey:
    kind: str
    blob: str

    @property
    def fingerprint(self) -> str:
        """As ssh prints it: ``SHA256:`` and the base64 of the key's hash."""
        try:
            raw = base64.b64decode(self.blob, validate=True)
        except (binascii.Error, ValueError):
            return "unreadable"
        return "SHA256:" + base64.b64encode(hashlib.sha256(raw).digest()).decode().rstrip("=")

    def line(self, name: str) -> str:
        """The known_hosts line of this key."""
        return f"{name} {self.kind} {self.blob}"


class PinState(Enum):
    """How the key that a host shows stands to the pinned ones."""

    FITS = auto()
    CHANGED = auto()
    NOT_PINNED = auto()
    OTHER_KIND = auto()
    UNCHECKED = auto()


@dataclass(frozen=True, kw_only=True)
class PinCheck:
    """The verdict on one host: ``name`` is as known_hosts writes it."""

    name: str
    state: PinState
    shown: HostKey | None = None
    pinned: tuple[HostKey, ...] = ()


def known_hosts_name(address: str, port: int) -> str:
    return address if port == 22 else f"[{address}]:{port}"  # noqa: PLR2004


def parse_keys(lines: Iterable[str]) -> tuple[HostKey, ...]:
    """Keys of known_hosts lines, as ssh-keyscan prints them and ssh-keygen -F finds them; markers are left out."""
    keys = []
    for line in lines:
        words = line.split()
        if len(words) >= 3 and not line.startswith(("#", "@")):  # noqa: PLR2004
            keys.append(HostKey(words[1], words[2]))
    return tuple(dict.fromkeys(keys))


def plain_pins(lines: Iterable[str]) -> dict[str, list[str]] | None:
    """The lines of a known_hosts file by name, in lower case; None where only ssh-keygen can look them up.

    It can where names are hashed or patterns, and where lines have markers; else many hosts need one look at the file.
    """
    by_name: dict[str, list[str]] = {}
    for line in lines:
        words = line.split()
        if not words or words[0].startswith("#"):
            continue
        if words[0].startswith(("@", "|")) or set("*?!") & set(words[0]):
            return None
        for name in words[0].lower().split(","):
            by_name.setdefault(name, []).append(line)
    return by_name


def preferred(keys: Iterable[HostKey]) -> HostKey | None:
    """The key that k0sctl will be shown."""
    return min(
        keys, key=lambda key: PREFERRED.index(key.kind) if key.kind in PREFERRED else len(PREFERRED), default=None
    )


def check_pins(name: str, shown: Iterable[HostKey], found: Iterable[str]) -> PinCheck:
    """Compare what a host shows with the known_hosts lines that speak of it."""
    found = list(found)
    pinned = parse_keys(found)
    offered = preferred(shown)
    if any(line.startswith("@") for line in found) or offered is None:
        state = PinState.UNCHECKED
    elif not pinned:
        state = PinState.NOT_PINNED
    elif offered in pinned:
        state = PinState.FITS
    elif offered.kind in {key.kind for key in pinned}:
        state = PinState.CHANGED
    else:
        state = PinState.OTHER_KIND
    return PinCheck(name=name, state=state, shown=offered, pinned=pinned)
