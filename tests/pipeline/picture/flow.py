"""What flows through a pipeline: for each group the resources, the jobs, and the lines between them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from tests.pipeline.template import HOOKS, Node, Step, steps


class Way(StrEnum):
    """What a line means."""

    TRIGGER = "trigger"
    FETCH = "fetch"
    PUT = "put"
    HOOK = "hook"


class Shape(StrEnum):
    """What a box is."""

    RESOURCE = "resource"
    JOB = "job"
    #: A job of another group.
    ELSEWHERE = "elsewhere"


@dataclass(frozen=True, kw_only=True)
class Box:
    """One box.

    Attributes:
        layer: the column; a job stands right of all that its versions have passed.
        type: of a resource.
        serial_groups: of a job.
        tells: the resources that a job puts when it ends, by their types.
    """

    name: str
    shape: Shape
    layer: int
    type: str = ""
    serial_groups: tuple[str, ...] = ()
    tells: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Line:
    """One line, which may fork.

    Attributes:
        source: the number of a box; so are targets.
        label: the resources that are passed on from job to job.
    """

    source: int
    targets: tuple[int, ...]
    way: Way
    label: str = ""


@dataclass(frozen=True, kw_only=True)
class Flow:
    """What one group shows."""

    name: str
    boxes: tuple[Box, ...]
    lines: tuple[Line, ...]


def flows(pipeline: Mapping[str, Node]) -> list[Flow]:
    """One for each group; for all jobs where there are no groups."""
    jobs = {job["name"]: job for job in pipeline["jobs"]}
    groups = pipeline.get("groups") or [{"name": "", "jobs": list(jobs)}]
    types = {resource["name"]: resource["type"] for resource in pipeline["resources"]}
    return [_Reader([jobs[name] for name in group["jobs"]], types).flow(group["name"]) for group in groups]


class _Reader:
    """Reads the jobs of one group."""

    def __init__(self, jobs: list[dict[str, Node]], types: Mapping[str, str]) -> None:
        self._jobs = {str(job["name"]): job for job in jobs}
        self._types = types
        self._boxes: dict[tuple[str, str], Box] = {}
        #: From where, how, to where: the names of what flows there.
        self._ends: dict[tuple[tuple[str, str], Way, tuple[str, str]], list[str]] = {}

    def flow(self, name: str) -> Flow:
        for job in self._jobs:
            self._read(job)
        numbers = {key: number for number, key in enumerate(self._boxes)}
        forks: dict[tuple[tuple[str, str], Way, str], list[int]] = {}
        for (source, way, target), passed in self._ends.items():
            forks.setdefault((source, way, ", ".join(passed)), []).append(numbers[target])
        lines = tuple(
            Line(source=numbers[source], targets=tuple(targets), way=way, label=label)
            for (source, way, label), targets in forks.items()
        )
        return Flow(name=name, boxes=tuple(self._boxes.values()), lines=lines)

    def _read(self, name: str) -> None:
        job = self._jobs[name]
        told = [step.resource for step in steps({hook: job[hook] for hook in HOOKS if hook in job})
                if step.kind == "put"]  # fmt: skip
        here = ("job", name)
        planned = list(steps({"plan": job["plan"]}))
        self._boxes[here] = Box(
            name=name,
            shape=Shape.JOB,
            layer=self._depth(name),
            serial_groups=tuple(job.get("serial_groups", ())),
            tells={resource: self._types[resource] for resource in told},
        )
        for step in planned:
            if step.kind == "get":
                self._get(step, here)
        for resource, way in _puts(planned).items():
            there = self._add("put", Shape.RESOURCE, resource, max(map(self._depth, self._jobs)) + 1)
            self._ends[here, way, there] = []

    def _get(self, step: Step, here: tuple[str, str]) -> None:
        resource, passed = step.resource, step.body.get("passed", ())
        way = Way.TRIGGER if step.body.get("trigger") else Way.FETCH
        for job in passed:
            source = ("job", job) if job in self._jobs else self._add("elsewhere", Shape.ELSEWHERE, job, 0)
            self._ends.setdefault((source, way, here), []).append(resource)
        if not passed:
            self._ends[self._add("get", Shape.RESOURCE, resource, 0), way, here] = []

    def _add(self, role: str, shape: Shape, name: str, layer: int) -> tuple[str, str]:
        self._boxes.setdefault((role, name), Box(name=name, shape=shape, layer=layer, type=self._types.get(name, "")))
        return role, name

    def _depth(self, name: str) -> int:
        """How many jobs of this group a version has passed, this one included."""
        before = {job for step in steps(self._jobs[name]) for job in step.body.get("passed", ()) if job in self._jobs}
        return 1 + max(map(self._depth, before), default=0)


#: A step in one of these is a part of the plan.
_PLAIN: Final = {"try"}


def _puts(planned: Iterable[Step]) -> dict[str, Way]:
    """What a plan puts; as a hook only what is put in no other way."""
    found: dict[str, Way] = {}
    for step in planned:
        if step.kind == "put":
            hooked = set(step.within) - _PLAIN
            found[step.resource] = Way.HOOK if hooked and found.get(step.resource) != Way.PUT else Way.PUT
    return found
