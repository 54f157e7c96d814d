"""From one text to one typed value, or `Rejected` with what is allowed: pure, one function a kind of value."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from datetime import timedelta
from enum import StrEnum
from pathlib import Path, PurePosixPath
from typing import Final, TypeVar

from handler.settings.commands import Command, find_command, nearest, unknown_command

Choice = TypeVar("Choice", bound=StrEnum)
#: Checks a text and returns it, mended where that is harmless.
TextCheck = Callable[[str], str]

LONGEST_NAME: Final = 64
_NAME: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*")
_SEGMENT: Final = r"[A-Za-z0-9_][A-Za-z0-9._-]*"
_BACKUP: Final = re.compile(rf"(?:archive/(?:{_SEGMENT}/)*)?{_SEGMENT}")
_COMMIT: Final = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_UUID: Final = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_DURATION: Final = re.compile(r"(?:(\d{1,6})h)?(?:(\d{1,6})m)?(?:(\d{1,6})s)?")
_NUMBER: Final = re.compile(r"\d{1,9}", re.ASCII)
_PERCENT: Final = re.compile(r"(\d{1,9})\s*%?", re.ASCII)
_LONGEST_BRANCH: Final = 200
_USER: Final = r"(?:\w[\w.%+-]*@)?"
_HOST: Final = r"(?:\w[\w.-]*|\[[0-9a-fA-F:]+\])(?::\d{1,5})?"
#: No host begins with a dash, which ssh would take for an option. No path has an @: a password that holds a slash
#: would be taken for a part of it.
_URLS: Final = tuple(
    re.compile(form, re.ASCII)
    for form in (
        rf"https://{_USER}{_HOST}/[^?#@]+",
        rf"ssh://{_USER}{_HOST}/[^@]+",
        rf"{_USER}\w[\w.-]*:(?:[^/:@-]|/[^/@])[^@]*",
        r"file:///.+",
    )
)
_PASSWORD: Final = re.compile(r"(?:[\w+]+://)?[^/@:]*:[^/@]*@")
_FLAGS: Final = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}
#: Files that the handler or ssh itself keeps beside the key: a key of that name would replace them.
_NOT_A_KEY: Final = frozenset({"config", "known_hosts", "authorized_keys", "environment", "rc"})


class Rejected(ValueError):
    """A value does not fit; the text says what is allowed. ``secret``: the value may hold one, so it is not shown."""

    def __init__(self, allowed: str, *, secret: bool = False) -> None:
        super().__init__(allowed)
        self.secret = secret


def command(text: str) -> Command:
    """A command by its name or alias."""
    found = find_command(text)
    if found is None:
        raise Rejected(unknown_command(text))
    return found


def flag(text: str) -> bool:
    """true, 1, yes or false, 0, no: a typo must not silently become either."""
    try:
        return _FLAGS[text.lower()]
    except KeyError:
        raise Rejected("must be true or false (or 1, 0, yes, no)") from None


def choice(kind: type[Choice]) -> Callable[[str], Choice]:
    """One of an enumeration's values, in any case."""

    def convert(text: str) -> Choice:
        try:
            return kind(text.lower())
        except ValueError:
            meant = nearest(text.lower(), kind)
            hint = f"; did you mean {meant}?" if meant else ""
            raise Rejected(f"must be one of {', '.join(kind)}{hint}") from None

    return convert


def duration(least: timedelta, most: timedelta) -> Callable[[str], timedelta]:
    """Hours, minutes and seconds, such as 50h, 45m, 30s, 1h30m, within bounds."""

    def convert(text: str) -> timedelta:
        if text.isdecimal() and text.isascii():
            raise Rejected(f"needs a unit: did you mean {text}s or {text}m?")
        found = _DURATION.fullmatch(text)
        if not found or not text:
            raise Rejected("must be a duration such as 45m, 30s or 1h30m")
        hours, minutes, seconds = (int(part or 0) for part in found.groups())
        value = timedelta(hours=hours, minutes=minutes, seconds=seconds)
        if not least <= value <= most:
            raise Rejected(f"must be from {duration_text(least)} to {duration_text(most)}")
        return value

    return convert


def duration_text(value: timedelta) -> str:
    """The shortest way to write a duration of whole seconds, as a setting would."""
    minutes, seconds = divmod(int(value.total_seconds()), 60)
    hours, minutes = divmod(minutes, 60)
    parts = [f"{number}{unit}" for number, unit in ((hours, "h"), (minutes, "m"), (seconds, "s")) if number]
    return "".join(parts) or "0s"


def number(least: int, most: int) -> Callable[[str], int]:
    """A whole number within bounds."""

    def convert(text: str) -> int:
        if not _NUMBER.fullmatch(text) or not least <= int(text) <= most:
            raise Rejected(f"must be a whole number from {least} to {most}")
        return int(text)

    return convert


def percent(least: int, most: int) -> Callable[[str], int]:
    """A whole number of percent within bounds; the sign may be left out."""

    def convert(text: str) -> int:
        found = _PERCENT.fullmatch(text)
        if not found or not least <= int(found[1]) <= most:
            raise Rejected(f"must be from {least}% to {most}%, in whole percent")
        return int(found[1])

    return convert


def path(text: str) -> Path:
    """A path as it stands; nobody would expand a ``~`` here."""
    if text.startswith("~"):
        raise Rejected("`~` is not expanded here: write the whole path")
    return Path(text)


def plain(text: str) -> str:
    """A text that can stand in a uid, a commit and a file without quoting."""
    if set(text) & set("<>()"):
        raise Rejected("must be plain text without < > ( )")
    return text


def name(text: str) -> str:
    """A part of a file name."""
    if text.startswith((".", "-")):
        raise Rejected("must not start with a dot or a dash")
    if not _NAME.fullmatch(text):
        raise Rejected("must be a bare name of letters, digits and . _ -")
    if len(text) > LONGEST_NAME:
        raise Rejected(f"must not be longer than {LONGEST_NAME} characters")
    return text


def archive_suffix(text: str) -> str:
    """A suffix of archives; the files beside an archive keep theirs."""
    if text.lower().rpartition(".")[2] in {"json", "asc", "enc", "b64", "yaml"}:
        raise Rejected("must not end in json, asc, enc, b64 or yaml: the files beside an archive are named so")
    return name(text)


def log_suffix(text: str) -> str:
    """A suffix of logs; the report of the same run ends in json."""
    if text.lower().rpartition(".")[2] in {"json", "prom"}:
        raise Rejected("must not end in json or prom: the report and the metrics are named so")
    return name(text)


def ssh_key_name(text: str) -> str:
    """The file name of an SSH key."""
    if "/" in text:
        raise Rejected("must be a bare file name such as id_ed25519, without a slash")
    if text in _NOT_A_KEY:
        raise Rejected("must be the name of a key such as id_ed25519; ssh has another use for a file of this name")
    if text.endswith(".pub"):
        raise Rejected("must be the name of the private key, without .pub")
    return name(text)


def log_path(text: str) -> str:
    """Where k0sctl logs: it adds ``k0sctl/k0sctl.log`` to its cache directory, so no other end is possible."""
    if not text.startswith(("~/", "/")):
        raise Rejected("must start with ~/ or /")
    parts = PurePosixPath(text).parts
    if parts[-2:] != ("k0sctl", "k0sctl.log") or ".." in parts:
        raise Rejected("must end in k0sctl/k0sctl.log, without ..")
    return text


def cipher(allowed: Collection[str]) -> Callable[[str], str]:
    """An openssl cipher from the allow-list, without openssl's leading dash."""

    def convert(text: str) -> str:
        lowered = text.lower()
        if lowered.startswith("-"):
            raise Rejected(f"must be written without the dash: {lowered.lstrip('-')}")
        if lowered not in allowed:
            meant = nearest(lowered, sorted(allowed))
            hint = f"; did you mean {meant}?" if meant else ""
            raise Rejected(f"must be one of {', '.join(sorted(allowed))}{hint}")
        return lowered

    return convert


def commit(text: str) -> str:
    """The full id of a commit: an abbreviation can come to mean another one."""
    if not _COMMIT.fullmatch(text.lower()):
        raise Rejected("must be the full id of a commit, 40 or 64 hexadecimal digits")
    return text.lower()


def uuid(text: str) -> str:
    """The UID of a cluster."""
    if not _UUID.fullmatch(text.lower()):
        raise Rejected("must be a cluster's UID such as 0f6c2a4e-8d1b-4c3f-9a5e-7b2d1c0e9f84")
    return text.lower()


def backup_name(text: str) -> str:
    """The name of a backup, never a way out of the repository."""
    if not _BACKUP.fullmatch(text):
        raise Rejected("must be a backup's bare name as in the repository (or archive/…), or latest")
    return text


def branch(text: str) -> str:
    """The name of a git branch (git-check-ref-format(1), and nothing that a shell or an option could be)."""
    odd = any(part.startswith((".", "-")) or part.endswith((".", ".lock")) or not part for part in text.split("/"))
    odd = odd or ".." in text or text == "HEAD" or not re.fullmatch(r"[A-Za-z0-9._/-]+", text)
    if odd or len(text) > _LONGEST_BRANCH:
        raise Rejected("must be the name of a branch such as backup or clusters/prod")
    if text.startswith("refs/"):
        raise Rejected("must be the branch's bare name, without refs/heads/")
    return text


def git_url(text: str) -> str:
    """The URL of a repository, without credentials: those have settings of their own, and never reach an argument."""
    # what may be a credential, also in a wrong place or a query
    secret = bool(set(text) & set("@?#"))
    if text.startswith("/"):
        text = f"file://{text}"
    if any(char.isspace() for char in text) or not text.isprintable():
        raise Rejected("must be a URL without spaces", secret=secret)
    if _PASSWORD.match(text):
        raise Rejected("must not hold a password: set K0SCTL_GIT_TOKEN or K0SCTL_GIT_SSH_KEY", secret=True)
    if not any(form.fullmatch(text) for form in _URLS):
        raise Rejected("must be https://HOST/PATH, ssh://USER@HOST/PATH, USER@HOST:PATH or file:///PATH", secret=secret)
    return text
