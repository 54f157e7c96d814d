"""Keys as ``gpg --with-colons`` lists them (doc/DETAILS in the GnuPG sources): pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

# A user id is free text by RFC 4880; gpg writes "Name (Comment) <mail>", and email parsers get it wrong.
_USER_ID: Final = re.compile(r"^(?P<name>.*?)(?: \((?P<comment>[^()]*)\))?(?: ?<(?P<mail>[^<>]*)>)?$")
_ESCAPE: Final = re.compile(r"\\x([0-9a-fA-F]{2})")


@dataclass(frozen=True, kw_only=True)
class UserId:
    name: str
    mail: str
    comment: str
    valid: bool

    def __str__(self) -> str:
        return " ".join(filter(None, (self.name, f"({self.comment})" * bool(self.comment), f"<{self.mail}>")))


@dataclass(frozen=True, kw_only=True)
class Subkey:
    """A key or subkey with its own abilities; ``present`` tells whether its secret part is there."""

    key_id: str
    fingerprint: str
    validity: str
    expires: datetime | None
    abilities: str
    present: bool

    def can(self, ability: str) -> bool:
        """``s`` sign, ``e`` encrypt; revoked, expired and disabled ones can nothing."""
        return ability in self.abilities and self.validity not in {"r", "e", "i", "d"} and self.present


@dataclass(frozen=True, kw_only=True)
class Key:
    """A primary key with its user ids and subkeys, itself the first of them."""

    subkeys: tuple[Subkey, ...]
    user_ids: tuple[UserId, ...]

    @property
    def fingerprint(self) -> str:
        return self.subkeys[0].fingerprint

    @property
    def display_name(self) -> str:
        return str(self.user_ids[0]) if self.user_ids else "(no user id)"

    @property
    def revoked(self) -> bool:
        return self.subkeys[0].validity == "r"

    @property
    def expires(self) -> datetime | None:
        return self.subkeys[0].expires

    @property
    def expired(self) -> bool:
        return self.subkeys[0].validity == "e"

    @property
    def can_sign(self) -> bool:
        return any(subkey.can("s") for subkey in self.subkeys)

    @property
    def can_encrypt(self) -> bool:
        return any(subkey.can("e") for subkey in self.subkeys)

    def expiry_of(self, fingerprint: str) -> datetime | None:
        """The earliest moment from which a signature by this subkey no longer counts."""
        dates = [s.expires for s in self.subkeys if s.fingerprint in {fingerprint, self.fingerprint} and s.expires]
        return min(dates, default=None)


def parse_user_id(text: str, *, valid: bool = True) -> UserId:
    match = _USER_ID.match(text)
    parts = match.groupdict() if match else {"name": text}
    return UserId(
        name=parts.get("name") or "", mail=parts.get("mail") or "", comment=parts.get("comment") or "", valid=valid
    )


def parse_keys(listing: str) -> tuple[Key, ...]:
    """All keys of a listing of public or secret keys."""
    keys: list[Key] = []
    subkeys: list[Subkey] = []
    user_ids: list[UserId] = []
    record: list[str] = []

    def finish() -> None:
        if subkeys:
            keys.append(Key(subkeys=tuple(subkeys), user_ids=tuple(user_ids)))
        subkeys.clear()
        user_ids.clear()

    for line in listing.splitlines():
        fields = [*line.split(":"), *[""] * 20]
        match fields[0]:
            case "pub" | "sec":
                finish()
                record = fields
            case "sub" | "ssb":
                record = fields
            case "fpr" if record:
                subkeys.append(_subkey(record, fields[9]))
                record = []
            case "uid":
                # with the key all its user ids expire; which of them was revoked before is still told
                unusable = {"r", "i"} if subkeys and subkeys[0].validity == "e" else {"r", "e", "i"}
                user_ids.append(parse_user_id(_unescape(fields[9]), valid=fields[1] not in unusable))
            case _:
                pass
    finish()
    return tuple(keys)


def _subkey(record: list[str], fingerprint: str) -> Subkey:
    return Subkey(
        key_id=record[4],
        fingerprint=fingerprint,
        validity=record[1],
        expires=datetime.fromtimestamp(int(record[6]), UTC) if record[6] else None,
        abilities="".join(char for char in record[11] if char.islower()),
        present=record[14] != "#",
    )


def _unescape(text: str) -> str:
    return _ESCAPE.sub(lambda match: chr(int(match[1], 16)), text)
