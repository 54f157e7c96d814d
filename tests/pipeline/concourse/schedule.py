"""Which versions a build reads: the newest, or the newest that went through other jobs together."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product

from tests.pipeline.concourse.build import Build
from tests.pipeline.concourse.resources import Version
from tests.pipeline.template import Node, steps


@dataclass(frozen=True, kw_only=True)
class Input:
    """A get of a job's plan."""

    resource: str
    passed: tuple[str, ...]
    trigger: bool


def inputs(job: Mapping[str, Node]) -> list[Input]:
    """All gets of a job."""
    return [
        Input(
            resource=step.resource,
            passed=tuple(step.body.get("passed", ())),
            trigger=step.body.get("trigger", False),
        )
        for step in steps(job)
        if step.kind == "get"
    ]


def choose(
    wanted: Sequence[Input], versions: Mapping[str, list[Version]], green: Sequence[Build]
) -> dict[str, Version] | None:
    """A version for each resource, or None where there is none for one of them: then the build is pending.

    What passed the same job must have been in the same build of it.

    Args:
        green: the builds that succeeded, the newest last.
    """
    jobs = sorted({job for one in wanted for job in one.passed})
    for builds in product(*([build for build in reversed(green) if build.job == job] for job in jobs)):
        chosen = dict(_together(wanted, versions, dict(zip(jobs, builds, strict=True))))
        if len(chosen) == len({one.resource for one in wanted}):
            return chosen
    return None


def _together(
    wanted: Sequence[Input], versions: Mapping[str, list[Version]], through: Mapping[str, Build]
) -> Iterator[tuple[str, Version]]:
    for one in wanted:
        candidates = [through[job].versions.get(one.resource) for job in one.passed] or versions.get(one.resource, [])[
            -1:
        ]
        if candidates and candidates[0] and all(candidate == candidates[0] for candidate in candidates):
            yield one.resource, candidates[0]
