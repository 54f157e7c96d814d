"""A stored backup on paper: its file names, its ciphers and its time. Pure.

One backup is a *stem*, ``<prefix>_<UTC second>Z``, and the files that share it; see `Names`. What is told of it
is its `handler.manifest.Manifest`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from functools import lru_cache
from typing import Final

from handler.errors import IntegrityError

#: The ciphers of ``openssl enc`` that may be asked for. Of the 141 that OpenSSL 3.0 lists 49 do not work there: all
#: authenticated ones (GCM, CCM, OCB, chacha20-poly1305, https://github.com/openssl/openssl/issues/12220), XTS, and
#: those of the legacy provider. ``id-aes*-wrap-pad`` encrypts with exit code 0 what cannot be decrypted again, and
#: ECB shows equal blocks as equal. All of these were read back with 3.0. None notices a changed ciphertext or a
#: wrong password by itself: that is what the signed manifest's sums are for.
CIPHERS: Final = frozenset(
    {"chacha20"}
    | {
        f"{family}-{bits}-{mode}"
        for family in ("aes", "aria", "camellia")
        for bits in (128, 192, 256)
        for mode in ("cbc", "ctr")
    }
)
DEFAULT_PREFIX: Final = "k0s_backup"
DEFAULT_SUFFIX: Final = "tar.gz"
#: How far ahead of now a backup's time may be: more is a wrong clock, and would stay the latest until then.
CLOCK_TOLERANCE: Final = timedelta(minutes=5)
SECOND: Final = timedelta(seconds=1)

_STEM_TIME: Final = "%Y-%m-%dT%H-%M-%SZ"
RFC_3339: Final = "%Y-%m-%dT%H:%M:%SZ"
_MOMENTS: Final = {
    form: re.compile(re.sub("%[YmdHMS]", lambda part: r"(\d{4})" if part[0] == "%Y" else r"(\d\d)", form), re.ASCII)
    for form in (_STEM_TIME, RFC_3339)
}
_STEM: Final = re.compile(r"(?P<prefix>.+)_(?P<time>[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}-[0-9]{2}-[0-9]{2}Z)")
#: A file name on every common file system.
_LONGEST_NAME: Final = 255


# --- names -----------------------------------------------------------------------------------------------------


class Kind(StrEnum):
    """What a file of the repository is, by its name."""

    ARCHIVE = "archive"  # never stored in the clear, but its name is in the manifest
    CIPHERTEXT = "ciphertext"
    CONFIG = "configuration"
    MANIFEST = "manifest"
    SIGNATURE = "manifest's signature"
    LEGACY = "legacy backup"  # base64 of the ciphertext, without a manifest
    LATEST = "latest"  # the symlink


CONFIG_END: Final = "k0sctl.yaml.enc"
_FIXED_ENDS: Final = {CONFIG_END: Kind.CONFIG, "json": Kind.MANIFEST, "json.asc": Kind.SIGNATURE}
_LATEST_END: Final = "_latest"


@dataclass(frozen=True, slots=True, kw_only=True)
class Names:
    """The file names of one backup.

    Args:
        prefix: see `is_prefix`.
        suffix: see `is_suffix`; without a leading dot.
        taken_at: a whole second, in UTC.

    Raises:
        ValueError: one of them is not of that kind.
    """

    prefix: str = DEFAULT_PREFIX
    suffix: str = DEFAULT_SUFFIX
    taken_at: datetime

    def __post_init__(self) -> None:
        if not is_prefix(self.prefix) or not is_suffix(self.suffix):
            raise ValueError(f"no backup can be named with {self.prefix!r} and {self.suffix!r}")
        if self.taken_at != whole_second(self.taken_at):
            raise ValueError(f"not a whole second: {self.taken_at}")

    @property
    def stem(self) -> str:
        return f"{self.prefix}_{self.taken_at.astimezone(UTC).strftime(_STEM_TIME)}"

    @property
    def archive(self) -> str:
        return f"{self.stem}.{self.suffix}"

    @property
    def ciphertext(self) -> str:
        return f"{self.archive}.enc"

    @property
    def config(self) -> str:
        return f"{self.stem}.{CONFIG_END}"

    @property
    def manifest(self) -> str:
        return f"{self.stem}.json"

    @property
    def signature(self) -> str:
        return f"{self.manifest}.asc"

    @property
    def latest(self) -> str:
        return f"{self.prefix}{_LATEST_END}"


@dataclass(frozen=True, slots=True, kw_only=True)
class FileName:
    """A name, read back. ``taken_at`` is None for the symlink, and for a legacy name with a time of another form."""

    kind: Kind
    stem: str
    taken_at: datetime | None


@lru_cache(maxsize=1 << 16)
def parse(name: str) -> FileName | None:
    """Read the name of a repository's file, whatever its prefix and suffix; None if it is not one of a backup's.

    Only bare names are read: nothing that could leave a directory, be hidden, or be taken for an option.
    """
    if not is_bare(name):
        return None
    found = _STEM.match(name)
    if found and name[found.end() :].startswith(".") and (taken_at := read_moment(found["time"], _STEM_TIME)):
        kind = _kind(name[found.end() + 1 :])
        return FileName(kind=kind, stem=found[0], taken_at=taken_at) if kind else None
    if name.endswith(".b64"):
        archive = name.removesuffix(".b64")
        stem = archive.removesuffix("." + DEFAULT_SUFFIX)
        stem = archive.rpartition(".")[0] if stem == archive else stem
        return FileName(kind=Kind.LEGACY, stem=stem, taken_at=None) if stem else None
    if name.endswith(_LATEST_END) and name != _LATEST_END:
        return FileName(kind=Kind.LATEST, stem=name, taken_at=None)
    return None


def _kind(end: str) -> Kind | None:
    """What follows the stem and its dot, as a kind."""
    if end in _FIXED_ENDS:
        return _FIXED_ENDS[end]
    suffix, _, last = end.rpartition(".")
    if last in ("enc", "b64"):
        kind = Kind.CIPHERTEXT if last == "enc" else Kind.LEGACY
        return kind if suffix else None
    return Kind.ARCHIVE if end and last else None


def is_bare(name: str) -> bool:
    """Whether a name is one visible path part that no program takes for an option."""
    return (
        name.isprintable()
        and 0 < len(name.encode("utf-8", "replace")) <= _LONGEST_NAME
        and not name.startswith(("-", "."))
        and "/" not in name
        and ".." not in name
    )


def is_prefix(text: str) -> bool:
    """Whether backups can be named with this prefix, so that their names can be read back."""
    return len(text) <= _LONGEST_NAME // 2 and _reads_back(text, CONFIG_END) is Kind.CONFIG


def is_suffix(text: str) -> bool:
    """Whether archives can have this suffix: not one that makes an archive look like another file of a backup."""
    kinds = [_reads_back(DEFAULT_PREFIX, end) for end in (text, f"{text}.enc", f"{text}.b64")]
    return len(text) <= _LONGEST_NAME // 4 and kinds == [Kind.ARCHIVE, Kind.CIPHERTEXT, Kind.LEGACY]


def _reads_back(prefix: str, end: str) -> Kind | None:
    stem = f"{prefix}_2000-01-01T00-00-00Z"
    parsed = parse(f"{stem}.{end}")
    return parsed.kind if parsed and parsed.stem == stem else None


def next_free(taken_at: datetime, taken_names: Iterable[str]) -> datetime:
    """The first second from ``taken_at`` on that no name uses, whatever that name's prefix or directory."""
    used = {parsed.taken_at for name in taken_names if (parsed := parse(name.rpartition("/")[2]))}
    moment = whole_second(taken_at)
    while moment in used:
        moment += SECOND
    return moment


def matches(query: str, stem: str, directory: str = "") -> bool:
    """Whether a user who asks for ``query`` means the backup ``stem`` in ``directory``.

    Args:
        query: a stem, the name of the archive, of the ``.enc`` or of the legacy file, with or without the
            repository's directory before it.
        stem: the backup's.
        directory: where it is stored: empty, or ``archive/<started>``.
    """
    where, slash, name = query.rpartition("/")
    if slash and (not where or where != directory):
        return False
    # a legacy archive's time may be of another form, so that only its stored name is known for a backup's
    parsed = parse(name) or parse(f"{name}.b64")
    asked = parsed.stem if parsed and parsed.kind in (Kind.ARCHIVE, Kind.CIPHERTEXT, Kind.LEGACY) else name
    return stem in (name, asked)


# --- time ------------------------------------------------------------------------------------------------------


def whole_second(moment: datetime) -> datetime:
    """The same moment in UTC without its fraction of a second.

    Raises:
        ValueError: the moment has no time zone.
    """
    if moment.tzinfo is None:
        raise ValueError(f"a time without a zone: {moment}")
    return moment.astimezone(UTC).replace(microsecond=0)


def read_moment(text: str, form: str) -> datetime | None:
    """A time of one of the two forms here; None for another text."""
    # strptime takes ten times as long, and it takes single digits where two are meant
    found = _MOMENTS[form].fullmatch(text)
    if not found:
        return None
    year, month, day, hour, minute, second = map(int, found.groups())
    try:
        return datetime(year, month, day, hour, minute, second, tzinfo=UTC)
    except ValueError:
        return None


def check_not_future(taken_at: datetime, now: datetime) -> None:
    """Refuse a time that a right clock cannot have given.

    Raises:
        IntegrityError: ``taken_at`` is more than five minutes ahead of ``now``.
    """
    if taken_at - now > CLOCK_TOLERANCE:
        raise IntegrityError(
            f"a backup claims to be taken at {rfc_3339(taken_at)}, but it is {rfc_3339(now)}",
            resolution="set this machine's clock right; where it is right, that of the machine which took it was wrong",
        )


def at_least_one_after(taken_at: datetime, predecessor: datetime | None) -> datetime:
    """``taken_at`` in whole seconds, moved to one second behind its predecessor where it is not later."""
    moment = whole_second(taken_at)
    return moment if predecessor is None else max(moment, whole_second(predecessor) + SECOND)


def rfc_3339(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime(RFC_3339)
