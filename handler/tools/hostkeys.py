"""Host keys and known_hosts lines (sshd(8), SSH_KNOWN_HOSTS FILE FORMAT): pure."""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Iterable, Sequence
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
    """The verdict on one host.

    Attributes:
        name: as known_hosts writes it.
        revoked: the key that it shows must never be accepted again.
    """

    name: str
    state: PinState
    shown: HostKey | None = None
    pinned: tuple[HostKey, ...] = ()
    revoked: bool = False


def known_hosts_name(address: str, port: int) -> str:
    return address if port == 22 else f"[{address}]:{port}"  # noqa: PLR2004


def parse_keys(lines: Iterable[str]) -> tuple[HostKey, ...]:
    """Keys of known_hosts lines, as ssh-keyscan prints them and ssh-keygen -F finds them; marked ones are left out."""
    return _keys(line.split() for line in lines)


def _keys(lines: Iterable[Sequence[str]]) -> tuple[HostKey, ...]:
    """Keys of lines that were split into words."""
    keys = [HostKey(*words[1:3]) for words in lines if len(words) >= 3 and words[0][0] not in "#@"]  # noqa: PLR2004
    return tuple(dict.fromkeys(keys))


def _marked(lines: Iterable[str], marker: str) -> tuple[HostKey, ...]:
    """Keys of the lines that begin with this marker."""
    split = (line.split() for line in lines)
    return _keys(words[1:] for words in split if words[:1] == [marker])


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
    """Compare what a host shows with the known_hosts lines that speak of it.

    Only ssh can tell whether an authority has signed a key. A revoked key is wrong, whatever else is said of it; the
    line that revokes another one says nothing.
    """
    found = list(found)
    revoked = _marked(found, "@revoked")
    pinned = tuple(key for key in parse_keys(found) if key not in revoked)
    offered = preferred(shown)
    is_revoked = offered is not None and offered in revoked
    if is_revoked:
        state = PinState.CHANGED
    elif offered is None or _marked(found, "@cert-authority"):
        state = PinState.UNCHECKED
    elif not pinned:
        state = PinState.NOT_PINNED
    elif offered in pinned:
        state = PinState.FITS
    elif offered.kind in {key.kind for key in pinned}:
        state = PinState.CHANGED
    else:
        state = PinState.OTHER_KIND
    return PinCheck(name=name, state=state, shown=offered, pinned=pinned, revoked=is_revoked)
