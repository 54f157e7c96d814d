"""What Concourse itself would refuse under `--strict`, or accept and then leave pending or errored for ever.

Keys that have no place in this pipeline are unknown, too: a pinned `version` hides every new one, and an
`interruptible` job is ended at any moment.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Final

from tests.pipeline.rules.model import Job, Pipeline
from tests.pipeline.template import ANY_STEP, HOOKS, Node, Step, names, planned, repeated_vars, steps

_IDENTIFIER: Final = re.compile(r"[a-z][a-z0-9._-]*")
_BUILT_IN: Final = ("git", "registry-image", "time")

_JOB: Final = {
    "name", "plan", "serial", "serial_groups", "disable_reruns", "disable_manual_trigger", "build_log_retention",
    "max_in_flight", "public", *HOOKS,
}  # fmt: skip
_RESOURCE: Final = {
    "name",
    "icon",
    "type",
    "source",
    "check_every",
    "check_timeout",
    "webhook_token",
    "public",
    "version",
}
_STEPS: Final[dict[str, set[str]]] = {
    "get": {"get", "resource", "passed", "trigger", "params"},
    "put": {"put", "resource", "inputs", "params", "no_get", "get_params"},
    "task": {"task", "image", "config", "file", "params", "vars", "input_mapping", "output_mapping"},
    "set_pipeline": {"set_pipeline", "file", "vars", "var_files", "instance_vars", "across", "fail_fast"},
    "load_var": {"load_var", "file", "format", "reveal"},
    "in_parallel": {"in_parallel"}, "do": {"do"}, "try": {"try"},
}  # fmt: skip
_TASK: Final = {"platform", "image_resource", "inputs", "outputs", "params", "run", "caches", "container_limits"}
_TOP: Final = {"user_data", "resource_types", "resources", "groups", "jobs"}


def structure(pipeline: Pipeline) -> Iterator[str]:
    """Unknown keys, names that lead nowhere, and things that nothing uses."""
    yield from _unknown("the pipeline", pipeline.tree, _TOP)
    for resource in pipeline.tree["resources"]:
        yield from _resource(pipeline, resource)
    for job in pipeline.jobs:
        yield from _unknown(f"job {job.name}", job.body, _JOB)
        yield from _identifiers(f"job {job.name}", [job.name, *(step.name for step in steps(job.body))])
        for step in steps(job.body):
            yield from _step(pipeline, job, step)
        yield from _artifacts(pipeline, job)
        for name in repeated_vars(job.body):
            yield f"job {job.name}: {name} is loaded more than once"
    yield from _groups(pipeline)


def _unknown(owner: str, body: Node, known: Iterable[str]) -> Iterator[str]:
    for key in body:
        if key not in known:
            yield f"{owner}: {key} is no key that is known here"


def _identifiers(owner: str, found: Iterable[str]) -> Iterator[str]:
    for name in found:
        if name and not _IDENTIFIER.fullmatch(name):
            yield f"{owner}: {name!r} is no identifier: lower case letters, digits, '-', '_' and '.'"


def _resource(pipeline: Pipeline, resource: Node) -> Iterator[str]:
    name = resource["name"]
    yield from _unknown(f"resource {name}", resource, _RESOURCE)
    yield from _identifiers(f"resource {name}", [name])
    types = [*_BUILT_IN, *(one["name"] for one in pipeline.tree.get("resource_types", ()))]
    if resource["type"] not in types:
        yield f"resource {name}: nobody knows the type {resource['type']}"
    if not isinstance(resource["source"], dict):
        yield f"resource {name}: its source is {resource['source']!r}, and not a map"
    if not any(step.resource == name for job in pipeline.jobs for step in steps(job.body)):
        yield f"resource {name}: nothing uses it"


def _step(pipeline: Pipeline, job: Job, step: Step) -> Iterator[str]:
    owner = f"job {job.name}, {step.kind or 'a step'} {step.name}".rstrip()
    if not step.kind:
        yield f"{owner}: no kind of step has the keys {', '.join(step.body)}"
        return
    yield from _unknown(owner, step.body, _STEPS[step.kind] | ANY_STEP)
    for field in ("timeout", "attempts", "trigger"):
        if names(step.body.get(field)):
            yield f"{owner}: {field} takes no variable that is looked up when the job runs"
    if step.kind in ("get", "put") and step.resource not in pipeline.resources:
        yield f"{owner}: there is no resource {step.resource}"
    for passed in step.body.get("passed", ()):
        yield from _passed(pipeline, owner, step, passed)
    if "config" in step.body:
        yield from _unknown(owner, step.body["config"], _TASK)


def _passed(pipeline: Pipeline, owner: str, step: Step, name: str) -> Iterator[str]:
    job = next((one for one in pipeline.jobs if one.name == name), None)
    if job is None:
        yield f"{owner}: passed names {name}, which is no job"
    elif not any(other.resource == step.resource for other in steps(job.body)):
        yield f"{owner}: {step.resource} never goes through {name}, so that no version passes"


def _artifacts(pipeline: Pipeline, job: Job) -> Iterator[str]:
    """What a step takes must have been made by a step before it."""
    made: set[str] = set()
    for step in planned(job.body["plan"], tried=True):
        wanted: list[str] = []
        if step.kind == "task":
            config = step.body.get("config", {})
            wanted = [step.body.get("image", ""), *(one["name"] for one in config.get("inputs", ()))]
        elif step.kind == "put" and isinstance(step.body.get("inputs"), list):
            wanted = step.body["inputs"]
        for name in wanted:
            if name and name not in made:
                yield f"job {job.name}, {step.kind} {step.name}: nothing before it makes {name}"
        if step.kind in ("get", "load_var"):
            made.add(step.name)
        made |= {one["name"] for one in step.body.get("config", {}).get("outputs", ())}


def _groups(pipeline: Pipeline) -> Iterator[str]:
    grouped = [name for group in pipeline.tree.get("groups", ()) for name in group["jobs"]]
    for job in pipeline.jobs:
        if "groups" in pipeline.tree and job.name not in grouped:
            yield f"job {job.name}: it is in no group, so that nobody sees it"
    for name in grouped:
        if name not in [job.name for job in pipeline.jobs]:
            yield f"groups: there is no job {name}"
