"""The backups that a commit lists, by the names of its entries: claimed, not proven. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from handler.archive import Kind, parse
from handler.tools.gitobjects import Entry

_TIME_IN_STEM: Final = len("2026-11-20T01-02-03Z")
_ENDS: Final = (".enc", ".b64")
_SPEAKING: Final = frozenset({Kind.CIPHERTEXT, Kind.LEGACY, Kind.MANIFEST, Kind.LATEST})


@dataclass(frozen=True, kw_only=True)
class Stored:
    """A backup as a commit lists it: claimed, not proven.

    Attributes:
        directory: empty, or ``archive/<started>`` for what a second init put aside.
        legacy: of the original layout: base64, no manifest.
        taken_at: by its name; None for a legacy name of another form.
    """

    stem: str
    directory: str
    ciphertext: Entry
    manifest: Entry | None
    signature: Entry | None
    legacy: bool
    taken_at: datetime | None

    @property
    def name(self) -> str:
        """The archive's name."""
        return self.ciphertext.name.removesuffix(".b64" if self.legacy else ".enc")

    def has_prefix(self, prefix: str) -> bool:
        """Whether it is a backup of these archive names; the original system had no fixed form after the prefix."""
        rest = self.stem.removeprefix(f"{prefix}_")
        return rest != self.stem and (self.legacy or len(rest) == _TIME_IN_STEM)

    @property
    def age_key(self) -> tuple[float, str]:
        """Sorts by the time in the name; names without one come first."""
        return (self.taken_at.timestamp() if self.taken_at else 0.0, self.path)

    @property
    def path(self) -> str:
        return f"{self.directory}/{self.stem}" if self.directory else self.stem


def stored_in(entries: Iterable[Entry]) -> tuple[Stored, ...]:
    """All backups among these entries, of any prefix, legacy and archived ones too, newest name first."""
    by_path = {entry.path: entry for entry in entries}
    found = []
    for entry in by_path.values():
        # most names are none of a backup's own, and there may be many
        parsed = parse(entry.name) if entry.path.endswith(_ENDS) else None
        if parsed is None or parsed.kind not in {Kind.CIPHERTEXT, Kind.LEGACY}:
            continue
        directory = entry.path.rpartition("/")[0]
        base = f"{directory}/{parsed.stem}" if directory else parsed.stem
        found.append(
            Stored(
                stem=parsed.stem,
                directory=directory,
                ciphertext=entry,
                manifest=by_path.get(f"{base}.json"),
                signature=by_path.get(f"{base}.json.asc"),
                legacy=parsed.kind is Kind.LEGACY,
                taken_at=parsed.taken_at,
            )
        )
    return tuple(sorted(found, key=lambda stored: stored.age_key, reverse=True))


def holds_backups(entries: Iterable[Entry]) -> bool:
    """Whether anything here speaks of a backup, a lone manifest or symlink too: never to be taken for "none"."""
    return any((parsed := parse(entry.name)) and parsed.kind in _SPEAKING for entry in entries)
