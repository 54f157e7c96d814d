"""A pipeline after its variables were put in, with the questions that rules ask."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Final

from handler.settings.commands import Command, find_command
from tests.pipeline.template import Node, Step, expand, static, steps

#: Commands that change the cluster or its backups.
CHANGING: Final = ("init", "apply", "backup", "reset")
#: The hooks of every way to end badly.
BAD_ENDS: Final = ("on_failure", "on_error", "on_abort")


@dataclass(frozen=True, kw_only=True)
class Job:
    """One job; `body` has all of its keys."""

    body: Mapping[str, Node]

    @property
    def name(self) -> str:
        return str(self.body["name"])

    @property
    def tasks(self) -> list[Step]:
        return [step for step in steps(self.body) if step.kind == "task"]

    @property
    def commands(self) -> set[str]:
        """The commands of the handler that its tasks run, by their own names."""
        return {command.name for task in self.tasks if (command := command_of(task))}

    @property
    def sets_pipelines(self) -> bool:
        return any("set_pipeline" in step.body for step in steps(self.body))


@dataclass(frozen=True, kw_only=True)
class Pipeline:
    """A template, and what its variables make of it.

    Attributes:
        template: as written.
        variables: the values.
        tree: with the values put in.
    """

    template: Node
    variables: Mapping[str, Node]
    tree: Node = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "tree", expand(self.template, static(self.variables)))

    @cached_property
    def jobs(self) -> list[Job]:
        return [Job(body=body) for body in self.tree["jobs"]]

    @cached_property
    def resources(self) -> dict[str, Node]:
        return {one["name"]: one for one in self.tree["resources"]}

    def type_of(self, step: Step) -> str:
        """The type of a get's or put's resource."""
        return str(self.resources.get(step.resource, {}).get("type", ""))

    def uri_of(self, step: Step) -> str:
        """The repository of a get's or put's resource."""
        source = self.resources.get(step.resource, {}).get("source", {})
        return str(source.get("uri", "")) if isinstance(source, dict) else ""

    def of_type(self, name: str) -> list[Node]:
        """All resources of a type whose source is known."""
        return [one for one in self.resources.values() if one["type"] == name and isinstance(one["source"], dict)]

    def steps(self) -> Iterator[tuple[Job, Step]]:
        """All steps of all jobs."""
        for job in self.jobs:
            for step in steps(job.body):
                yield job, step

    def written(self) -> Iterator[tuple[Job, Step]]:
        """All tasks as they are in the template, variables and all."""
        for body in self.template["jobs"]:
            for step in steps(body):
                if step.kind == "task":
                    yield Job(body=body), step


def command_of(task: Step) -> Command | None:
    """What a task runs."""
    return find_command(str(task.body.get("params", {}).get("K0SCTL_CMD_NAME", "")))
