"""What resources answer: the scripts check, in and out, as calls. Here those that nothing outside stands behind."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Final, Protocol, TypeAlias

from tests.pipeline.template import Node

Version: TypeAlias = dict[str, str]
Fields: TypeAlias = Mapping[str, Node]

#: A duration as Go reads it; Concourse knows no days.
DURATION: Final = re.compile(r"(?:\d+(?:\.\d+)?(?:h|m|s|ms))+")
_TIME_OF_DAY: Final = re.compile(r"\d{1,2}:\d{2}(?: [AP]M)?")
_DAYS: Final = {"Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"}
_IMAGE_KEYS: Final = {
    "repository", "tag", "variant", "semver_constraint", "pre_releases", "username", "password", "insecure",
    "registry_mirror", "platform", "ca_certs", "label_regex", "debug",
}  # fmt: skip


class StepFailed(Exception):
    """A script or a task has ended with something else than 0."""


class StepErrored(Exception):
    """Concourse could not run it at all."""


class Kind(Protocol):
    """A type of resource."""

    def check(self, source: Fields) -> list[Version]:
        """The newest version; none where nothing is there yet."""

    def get(self, source: Fields, version: Version, params: Fields, directory: Path) -> dict[str, str]:
        """Fill the directory; returns metadata."""

    def put(self, source: Fields, params: Fields, directory: Path, build: Mapping[str, str]) -> Version:
        """Do it, the step's inputs below the directory; ``build`` is what the script finds in its environment."""


def known(fields: Fields, keys: Collection[str], where: str) -> None:
    """Fail like a script that refuses keys that it does not know."""
    unknown = fields.keys() - set(keys)
    if unknown:
        raise StepFailed(f"unknown keys in {where}: {', '.join(sorted(unknown))}")


class Clock:
    """time-resource, always within its window; it ignores keys that it does not know."""

    def __init__(self) -> None:
        self._hour = 0

    def tick(self) -> None:
        """The next time has come."""
        self._hour += 1

    def check(self, source: Fields) -> list[Version]:
        if ("start" in source) != ("stop" in source):
            raise StepFailed("start and stop are set together")
        times = [str(source[key]) for key in ("start", "stop") if key in source]
        wrong = [time for time in times if not _TIME_OF_DAY.fullmatch(time)]
        wrong += [str(day) for day in source.get("days", ()) if day not in _DAYS]
        wrong += [] if DURATION.fullmatch(str(source.get("interval", "1h"))) else [str(source["interval"])]
        if wrong:
            raise StepFailed(f"this is no time: {', '.join(wrong)}")
        return [{"time": f"hour {self._hour}"}]

    def get(self, source: Fields, version: Version, params: Fields, directory: Path) -> dict[str, str]:
        known(params, (), "get params")
        (directory / "input").write_text("{}", encoding="utf-8")
        return {}

    def put(self, source: Fields, params: Fields, directory: Path, build: Mapping[str, str]) -> Version:
        raise StepErrored("nothing here puts a time")


class Registry:
    """registry-image with one image in it, whatever the repository is called.

    Args:
        image: what the engine of this machine finds it by.
    """

    def __init__(self, image: str) -> None:
        self.image = image

    def check(self, source: Fields) -> list[Version]:
        known(source, _IMAGE_KEYS, "source")
        return [{"digest": self.image}] if source["repository"] else []

    def get(self, source: Fields, version: Version, params: Fields, directory: Path) -> dict[str, str]:
        known(params, {"format", "skip_download"}, "get params")
        (directory / "digest").write_text(version["digest"], encoding="utf-8")
        return {}

    def put(self, source: Fields, params: Fields, directory: Path, build: Mapping[str, str]) -> Version:
        raise StepErrored("nothing here puts an image")
