"""The run report: what was done, with which tools, how long it took, and how it ended."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from datetime import UTC, datetime, timedelta
from enum import Enum
from pathlib import Path
from typing import Final, TypeAlias

from handler.report.outcome import Outcome
from handler.report.reporter import Reporter
from handler.secret import MASK, Secret

FORMAT: Final = 1
Json: TypeAlias = "bool | int | float | str | list[Json] | dict[str, Json] | None"
#: Masks the secrets in a text.
Mask = Callable[[str], str]
#: Writes bytes to a path, whole or not at all.
Writer = Callable[[Path, bytes], None]


def build_report(
    reporter: Reporter,
    outcome: Outcome,
    *,
    started: datetime,
    finished: datetime,
    versions: Mapping[str, str | None],
) -> dict[str, Json]:
    """The report as JSON values, all foreign texts masked."""
    mask = reporter.mask
    told = outcome.masked(mask)
    return {
        "format": FORMAT,
        "command": told.command,
        "started": _timestamp(started),
        "finished": _timestamp(finished),
        "seconds": _seconds((finished - started).total_seconds()),
        "exit_code": told.exit_code,
        "outcome": told.kind,
        "message": told.what,
        "details": list(told.details),
        "next": told.next,
        "versions": masked(versions, mask),
        "steps": [
            {"name": mask(step.name), "seconds": _seconds(step.seconds), "ok": step.ok} for step in reporter.steps
        ],
        "warnings": masked(reporter.warnings, mask),
        "facts": masked(reporter.facts, mask),
    }


def write_report(path: Path, report: Mapping[str, Json], write: Writer) -> None:
    """Write the report, readable as it stands."""
    text = json.dumps(report, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    # a file name of a foreign archive may hold bytes that are no text
    write(path, text.encode("utf-8", "backslashreplace"))


def masked(value: object, mask: Mask) -> Json:
    """The value as JSON would hold it, with all strings masked, keys included."""
    simple = _simple(value)
    if isinstance(simple, str):
        return mask(simple)
    if isinstance(simple, Mapping):
        result: dict[str, Json] = {}
        for key, item in simple.items():
            result[_free(mask(str(_simple(key))), result)] = masked(item, mask)
        return result
    if isinstance(simple, list):
        return [masked(item, mask) for item in simple]
    return simple


def _free(key: str, taken: Mapping[str, Json]) -> str:
    """Two keys that are masked to the same text must not hide each other's values."""
    number, free = 1, key
    while free in taken:
        number += 1
        free = f"{key} ({number})"
    return free


def _simple(value: object) -> bool | int | float | str | list[object] | Mapping[object, object] | None:
    """One level of a value in JSON's own types; what JSON does not know becomes a text."""
    if isinstance(value, Enum):
        value = value.value
    if isinstance(value, Mapping):
        return value
    if isinstance(value, set | frozenset):
        return sorted(value, key=str)
    if isinstance(value, list | tuple):
        return list(value)
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name) for field in fields(value)}
    if value is None or isinstance(value, str | int) or (isinstance(value, float) and math.isfinite(value)):
        return value
    return _text(value)


def _text(value: object) -> str | float:
    if isinstance(value, Secret):
        return MASK
    if isinstance(value, datetime):
        return _timestamp(value)
    if isinstance(value, timedelta):
        return _seconds(value.total_seconds())
    return str(value)


def _timestamp(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _seconds(seconds: float) -> float:
    return round(seconds, 3)
