"""What can go wrong: one tree of errors, each class owning its exit code.

A message is one sentence that names what was wrong; ``details`` are the facts behind it, a line each;
``resolution`` is what the operator does next, best as a line to type.
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Sequence
from typing import ClassVar


class HandlerError(Exception):
    """An expected failure: told without a traceback.

    Args:
        message: what was wrong, one sentence without a final full stop.
        details: further lines for the operator, most important first.
        resolution: what to do next.
    """

    exit_code: int = 1
    kind: ClassVar[str] = "bug"

    def __init__(self, message: str, *, details: Sequence[str] = (), resolution: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.details = tuple(details)
        self.resolution = resolution or self.default_resolution

    default_resolution: ClassVar[str] = "read the lines above and the report"


class ConfigurationError(HandlerError):
    """A setting, the configuration, a passphrase or a key does not fit."""

    exit_code = 2
    kind = "configuration"
    default_resolution = "mend the settings named above and run again"


class ToolMissing(HandlerError):
    """A program that is needed is not there, or too old."""

    exit_code = 3
    kind = "tool missing"
    default_resolution = "install the program, or use the container image, which has it"


class ToolFailed(HandlerError):
    """A program failed, a node does not answer, the disk is full."""

    exit_code = 4
    kind = "tool failed"


class IntegrityError(HandlerError):
    """A signature, checksum, host key, identity, age or proof is not what it must be."""

    exit_code = 5
    kind = "integrity"
    default_resolution = "do not go on before it is known who changed what"


class TimedOut(HandlerError):
    """Something took longer than it may."""

    exit_code = 6
    kind = "timeout"


class Conflict(HandlerError):
    """Another run works here, or two histories have diverged."""

    exit_code = 7
    kind = "conflict"


class Interrupted(HandlerError):
    """SIGINT or SIGTERM ended the run."""

    kind = "interrupted"
    default_resolution = "run the same command again"

    def __init__(self, signum: int, *, details: Sequence[str] = (), resolution: str = "") -> None:
        name = {2: "SIGINT", 15: "SIGTERM"}.get(signum, f"signal {signum}")
        super().__init__(f"stopped by {name}", details=details, resolution=resolution)
        self.signum = signum
        self.exit_code = 128 + signum


def disk_full(doing: str, details: Sequence[str] = ()) -> ToolFailed:
    """The error for a full disk, whoever noticed it."""
    return ToolFailed(
        f"no space left on the disk while {doing}",
        details=details[-10:],
        resolution="free space in the working directory and in TMPDIR, and run again; nothing was changed",
    )


def from_os_error(error: OSError, doing: str) -> HandlerError:
    """The error for what the operating system refused: a full disk, missing rights, a broken disk."""
    if error.errno in {errno.ENOSPC, errno.EDQUOT}:
        return disk_full(doing)
    where = f": {error.filename}" if error.filename else ""
    if error.errno in {errno.EACCES, errno.EPERM, errno.EROFS}:
        return _not_allowed(error, doing, where)
    return ToolFailed(f"failed while {doing}{where} ({error.strerror})")


def _not_allowed(error: OSError, doing: str, where: str) -> ConfigurationError:
    what = f"not allowed while {doing}{where} ({error.strerror}"
    if error.errno == errno.EROFS:
        return ConfigurationError(f"{what})", resolution="mount it writable")
    owner = _owner(error.filename)
    if owner is None:
        return ConfigurationError(
            f"{what}; this process runs as user {os.geteuid()})", resolution="give this user the rights"
        )
    return ConfigurationError(
        f"{what}; it belongs to user {owner.st_uid}, this process runs as user {os.geteuid()})",
        resolution=f"give this user the rights, or run as the owner: docker run --user {owner.st_uid}:{owner.st_gid}",
    )


def _owner(name: str | bytes | int | None) -> os.stat_result | None:
    """Of a file, or of the directory in which it could not be made."""
    for path in (name, os.path.dirname(name) if isinstance(name, str) else None):  # noqa: PTH120
        if isinstance(path, str) and path:
            with contextlib.suppress(OSError):
                return os.stat(path)  # noqa: PTH116
    return None


EXIT_CODES: dict[int, str] = {
    0: "ok",
    1: "a bug: please report the traceback",
    2: "configuration: a setting, the passphrase, or a key that does not fit",
    3: "a tool is missing or too old",
    4: "a tool failed, a node does not answer, the disk is full",
    5: "integrity: a signature, checksum, host key, identity, age or proof failed",
    6: "timeout",
    7: "conflict: another run works here, directories or remote diverged",
    130: "stopped by SIGINT",
    143: "stopped by SIGTERM",
}
