"""What a build is, and what the builds of one pipeline share."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

from tests.pipeline.concourse.resources import DURATION, Kind, StepErrored, Version
from tests.pipeline.template import ANY_STEP, HOOKS, Node, TemplateError, expand, repeated_vars, steps
from tests.support.lab import Ended

#: Any other kind of step or key is an error, so that none is ignored silently.
_STEPS: Final = {
    "get": {"get", "resource", "passed", "trigger", "params", *ANY_STEP},
    "put": {"put", "resource", "inputs", "no_get", "params", *ANY_STEP},
    "task": {"task", "image", "config", "params", *ANY_STEP},
    "load_var": {"load_var", "file", "format", "reveal"},
    "in_parallel": {"in_parallel", *ANY_STEP},
    "do": {"do", *ANY_STEP},
    "try": {"try", *ANY_STEP},
}
_JOB: Final = {"name", "plan", "serial", "serial_groups", "disable_reruns", "disable_manual_trigger", *HOOKS}
_TASK: Final = {"platform", "inputs", "outputs", "params", "run"}


class Status(StrEnum):
    """How a step, or a build, ended."""

    PENDING = "pending"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    ERRORED = "errored"
    ABORTED = "aborted"


@dataclass(frozen=True, kw_only=True)
class Call:
    """A task as it is run.

    Attributes:
        places: its directories, by name.
        user: empty for the image's own.
        abort: asked again and again: whether somebody aborts the build now.
    """

    image: str
    places: Mapping[str, Path]
    words: tuple[str, ...]
    env: Mapping[str, str]
    user: str
    abort: Callable[[], bool]


#: Runs a task; raises StepErrored where it cannot be started.
Runner = Callable[[Call], Ended]


@dataclass
class Build:
    """What happened in one build.

    Attributes:
        versions: what it read, and put, by resource.
        tasks: how its tasks ended.
        log: each step with its end, hooks included.
    """

    job: str
    number: int
    status: Status = Status.PENDING
    versions: dict[str, Version] = field(default_factory=dict)
    tasks: dict[str, Ended] = field(default_factory=dict)
    log: list[str] = field(default_factory=list)


@dataclass(kw_only=True)
class World:
    """What all builds of a pipeline share.

    Attributes:
        directory: for artifacts.
        sources: resource → its type and its source, unresolved.
        versions: resource → all versions that were seen, the newest last.
        credentials: the credential manager: name → value, or a map of fields.
        before: a step, as "put backup" → what happens elsewhere just before it.
    """

    directory: Path
    runner: Runner
    credentials: Mapping[str, Node]
    sources: dict[str, tuple[Kind, Node]] = field(default_factory=dict)
    versions: dict[str, list[Version]] = field(default_factory=dict)
    before: dict[str, Callable[[], object]] = field(default_factory=dict)

    def seen(self, resource: str, version: Version) -> None:
        """Remember a version; one that is known stays where it is."""
        known = self.versions.setdefault(resource, [])
        if version not in known:
            known.append(version)

    def resolved(self, node: Node, local: Mapping[str, Node]) -> Any:  # noqa: ANN401
        """Put values in the place of the variables that are left when a step runs."""

        def lookup(name: str) -> Node:
            scoped = name.startswith(".:")
            value: Node = local if scoped else self.credentials
            for word in name.removeprefix(".:").split("."):
                if not isinstance(value, Mapping) or word not in value:
                    raise StepErrored(f"undefined vars: {name}")
                value = value[word]
            return value

        return expand(node, lookup)


def check_keys(job: Mapping[str, Node]) -> None:
    """Raise TemplateError for what is not known here."""
    _known(job, _JOB, f"job {job['name']}")
    if repeated_vars(job):
        raise TemplateError(f"job {job['name']}: load_var: repeated var name")
    for step in steps(job):
        where = f"{job['name']}: {step.kind} {step.name}"
        _known(step.body, _STEPS.get(step.kind, set()), where)
        if not DURATION.fullmatch(step.body.get("timeout", "1h")):
            raise TemplateError(f"{where}: parse timeout {step.body['timeout']}")
        if isinstance(step.body.get("in_parallel"), dict):
            _known(step.body["in_parallel"], {"steps", "fail_fast", "limit"}, where)
        if step.kind == "load_var" and step.body.get("format") != "trim":
            raise TemplateError(f"{where}: only format: trim is made here")
        if step.kind == "task":
            _known(step.body["config"], _TASK, where)
            _known(step.body["config"]["run"], {"path", "args", "user"}, where)
            for place in (*step.body["config"].get("inputs", ()), *step.body["config"].get("outputs", ())):
                _known(place, {"name", "optional"}, where)


def _known(fields: Mapping[str, Node], keys: set[str], where: str) -> None:
    if fields.keys() - keys:
        raise TemplateError(f"{where}: {', '.join(sorted(fields.keys() - keys))} is not known here")
