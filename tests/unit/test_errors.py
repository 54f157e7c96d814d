"""The tree of errors and its exit codes."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from handler import errors
from handler.errors import (
    EXIT_CODES,
    ConfigurationError,
    Conflict,
    HandlerError,
    IntegrityError,
    Interrupted,
    TimedOut,
    ToolFailed,
    ToolMissing,
    disk_full,
    from_os_error,
)


def test_codes_are_those_of_the_design() -> None:
    codes = {ConfigurationError: 2, ToolMissing: 3, ToolFailed: 4, IntegrityError: 5, TimedOut: 6, Conflict: 7}
    for kind, code in codes.items():
        error = kind("what was wrong")
        assert error.exit_code == code
        assert code in EXIT_CODES
        assert error.resolution
        assert error.kind
    assert (Interrupted(2).exit_code, Interrupted(15).exit_code) == (130, 143)
    assert str(Interrupted(15)) == "stopped by SIGTERM"
    assert str(Interrupted(1)) == "stopped by signal 1"
    assert HandlerError("x").exit_code == 1
    assert set(EXIT_CODES) == {0, 1, 2, 3, 4, 5, 6, 7, 130, 143}


def test_every_kind_has_a_name_of_its_own() -> None:
    kinds = [value for value in vars(errors).values() if isinstance(value, type) and issubclass(value, HandlerError)]
    assert len({kind.kind for kind in kinds}) == len(kinds)


def test_what_an_error_says() -> None:
    error = IntegrityError("message", details=["a", "b"], resolution="do this")
    assert (str(error), error.message, error.details, error.resolution) == ("message", "message", ("a", "b"), "do this")


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk(number: int) -> None:
    error = from_os_error(OSError(number, os.strerror(number), "/x"), "writing")
    assert isinstance(error, ToolFailed)
    assert error.message == "no space left on the disk while writing"
    assert "nothing was changed" in error.resolution
    assert len(disk_full("x", [str(line) for line in range(50)]).details) == 10


@pytest.mark.parametrize("number", [errno.EACCES, errno.EPERM])
def test_missing_rights_name_the_owner(tmp_path: Path, number: int) -> None:
    status = tmp_path.stat()
    for path in (tmp_path, tmp_path / "cannot be made"):
        error = from_os_error(OSError(number, os.strerror(number), str(path)), "writing")
        assert isinstance(error, ConfigurationError)
        assert str(path) in error.message
        assert f"it belongs to user {status.st_uid}" in error.message
        assert f"as user {os.geteuid()}" in error.message
        assert f"--user {status.st_uid}:{status.st_gid}" in error.resolution
    unknown = from_os_error(OSError(number, os.strerror(number)), "writing")
    assert isinstance(unknown, ConfigurationError)
    assert f"as user {os.geteuid()}" in unknown.message


def test_a_read_only_file_system() -> None:
    error = from_os_error(OSError(errno.EROFS, os.strerror(errno.EROFS), "/x"), "writing")
    assert isinstance(error, ConfigurationError)
    assert error.message == "not allowed while writing: /x (Read-only file system)"
    assert "mount" in error.resolution


def test_anything_else() -> None:
    error = from_os_error(OSError(errno.EIO, "Input/output error", "/x"), "reading")
    assert isinstance(error, ToolFailed)
    assert error.message == "failed while reading: /x (Input/output error)"
