"""A small Concourse: keeps the versions of a pipeline's resources, and runs its jobs, one at a time."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from tests.pipeline.concourse.build import Build, Runner, Status, World, check_keys
from tests.pipeline.concourse.gitresource import GitResource
from tests.pipeline.concourse.mailbox import Mailbox
from tests.pipeline.concourse.plan import Walk
from tests.pipeline.concourse.resources import Clock, Kind, Registry, StepErrored, StepFailed
from tests.pipeline.concourse.schedule import choose, inputs
from tests.pipeline.template import Node, TemplateError

_PIPELINE: Final = {"user_data", "resource_types", "resources", "groups", "jobs"}
_RESOURCE: Final = {"name", "icon", "type", "check_every", "source"}
#: The images of types that do not come with Concourse, and what they are called here.
_TYPES: Final = {"pcfseceng/email-resource": "email"}


class Refused(Exception):
    """Concourse does not start a job by hand."""


class Concourse:
    """One pipeline.

    Args:
        directory: for artifacts; a new one.
        config: the pipeline with its static variables in their places.
        image: what every registry-image resource finds.
        credentials: the credential manager: name → value, or a map of fields.

    Attributes:
        builds: all of them, the newest last.
        errors: resource → why its last check failed.
    """

    def __init__(
        self, directory: Path, config: Node, *, image: str, credentials: Mapping[str, Node], runner: Runner
    ) -> None:
        self.clock, self.mailbox = Clock(), Mailbox()
        self.builds: list[Build] = []
        self.errors: dict[str, str] = {}
        self._world = World(directory=directory / "builds", runner=runner, credentials=credentials)
        self._kinds: dict[str, Kind] = {
            "git": GitResource(directory / "home"), "time": self.clock, "registry-image": Registry(image),
            "email": self.mailbox,
        }  # fmt: skip
        self.set_pipeline(config)

    @property
    def before(self) -> dict[str, Callable[[], object]]:
        """A step, as "put backup" → what happens elsewhere just before it; once."""
        return self._world.before

    def set_pipeline(self, config: Node) -> None:
        """A new configuration; versions and builds stay."""
        unknown = config.keys() - _PIPELINE
        unknown |= {key for one in config["resources"] for key in one.keys() - _RESOURCE}
        if unknown:
            raise TemplateError(f"{', '.join(sorted(unknown))} is not known here")
        own = {one["name"]: _TYPES[one["source"]["repository"]] for one in config.get("resource_types", ())}
        self._world.sources = {
            one["name"]: (self._kinds[own.get(one["type"], one["type"])], one["source"]) for one in config["resources"]
        }
        self.jobs = {job["name"]: job for job in config["jobs"]}
        for job in self.jobs.values():
            check_keys(job)

    def trigger(self, name: str, abort: Callable[[], bool] = lambda: False) -> Build:
        """Start a job by hand."""
        locked = self.jobs[name].get("disable_manual_trigger", False)
        if not isinstance(locked, bool):
            raise TemplateError(f"disable_manual_trigger of {name} is no bool: {locked}")
        if locked:
            raise Refused(f"{name}: manual triggering is disabled")
        return self._run(name, abort)

    def schedule(self) -> list[Build]:
        """Run every job that a new version of a triggering resource starts, in the order of the text."""
        return [self._run(name, lambda: False) for name in self.jobs if self._due(name)]

    def assume(self, name: str) -> None:
        """As if a build of a job had ended well, for a test that does not look at it."""
        build = Build(name, 1 + sum(build.job == name for build in self.builds), Status.SUCCEEDED)
        for one in inputs(self.jobs[name]):
            self._check(one.resource)
        build.versions = self._chosen(name) or {}
        self.builds.append(build)

    def _due(self, name: str) -> bool:
        wanted = inputs(self.jobs[name])
        for one in wanted:
            self._check(one.resource)
        chosen = self._chosen(name)
        last = next((build.versions for build in reversed(self.builds) if build.job == name), {})
        return chosen is not None and any(
            one.trigger and chosen[one.resource] != last.get(one.resource) for one in wanted
        )

    def _run(self, name: str, abort: Callable[[], bool]) -> Build:
        build = Build(name, 1 + sum(build.job == name for build in self.builds))
        for one in inputs(self.jobs[name]):
            self._check(one.resource)
        chosen = self._chosen(name)
        if chosen is not None:  # else it waits; nothing of it runs, and no hook
            self.builds.append(build)
            build.status = Walk(self._world, build, chosen, abort).job(self.jobs[name])
        return build

    def _chosen(self, name: str) -> dict[str, dict[str, str]] | None:
        green = [build for build in self.builds if build.status is Status.SUCCEEDED]
        return choose(inputs(self.jobs[name]), self._world.versions, green)

    def _check(self, resource: str) -> None:
        kind, source = self._world.sources[resource]
        self.errors.pop(resource, None)
        try:
            for version in kind.check(self._world.resolved(source, {})):
                self._world.seen(resource, version)
        except (StepFailed, StepErrored) as error:
            self.errors[resource] = str(error)
