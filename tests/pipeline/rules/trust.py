"""What runs beside the secrets, and where these may go."""

from __future__ import annotations

from collections.abc import Iterator

from handler.settings.setting import Kind
from handler.settings.table import BY_NAME
from tests.pipeline.rules.model import Pipeline, command_of
from tests.pipeline.template import is_reference, names


def no_logic(pipeline: Pipeline) -> Iterator[str]:
    """A task runs the handler, as root, and nothing else: what it does is tested there."""
    for job, task in pipeline.steps():
        if task.kind != "task":
            continue
        run = task.body.get("config", {}).get("run", {})
        if (run.get("path"), run.get("user")) != ("k0sctl-handler", "root") or set(run) - {"path", "user", "args"}:
            yield f"job {job.name}, task {task.name}: run must be path: k0sctl-handler and user: root"
        if any(not str(word).startswith("--") for word in run.get("args", ())):
            yield f"job {job.name}, task {task.name}: the command is K0SCTL_CMD_NAME of params; args are options"
        if {"privileged", "hermetic", "caches"} & {*task.body, *task.body.get("config", {})}:
            yield f"job {job.name}, task {task.name}: it needs neither privileges nor caches"
        if task.body.get("image") != "image":
            yield f"job {job.name}, task {task.name}: image must be the resource's"


def known_params(pipeline: Pipeline) -> Iterator[str]:
    """Parameters are settings that the command uses, all in one place."""
    for job, task in pipeline.steps():
        if task.kind != "task":
            continue
        command = command_of(task)
        if command is None or "params" in task.body["config"]:
            yield f"job {job.name}, task {task.name}: params of the step, and only these, have a K0SCTL_CMD_NAME"
            continue
        for name, value in task.body["params"].items():
            setting = BY_NAME.get(name)
            if setting is None or command.name not in setting.commands:
                yield f"job {job.name}, task {task.name}: {name} is no setting of {command.name}"
            elif setting.kind is Kind.CHOICE and value not in setting.choices:
                yield f"job {job.name}, task {task.name}: {name} is {value!r}, and must be one of {setting.choices}"


def secrets_stay(pipeline: Pipeline) -> Iterator[str]:
    """Secrets are names, and go to tasks and resources only: never into mails, branches or other texts."""
    for job, step in pipeline.steps():
        params = step.body.get("params", {})
        for name, value in params.items():
            setting = BY_NAME.get(name)
            if step.kind == "task" and setting and setting.secret:
                if value != "" and not is_reference(value):
                    yield f"job {job.name}, task {step.name}: {name} must be a name of the credential manager"
            elif [found for found in names(value) if not found.startswith(".:")]:
                yield f"job {job.name}, {step.kind} {step.name}: {name} tells a secret"


def no_secret_handed_on(pipeline: Pipeline) -> Iterator[str]:
    """`vars` of set_pipeline are looked up by the one who sets, and stored in clear in the pipeline that is set."""
    for job, step in pipeline.steps():
        if step.kind != "set_pipeline":
            continue
        if "vars" in step.body:
            yield f"job {job.name}, set_pipeline {step.name}: variables come from var_files, never from vars"
        for name in names(step.body.get("instance_vars", {})):
            if not name.startswith(".:"):
                yield f"job {job.name}, set_pipeline {step.name}: instance_vars show (({name})) to everybody"


def nothing_public(pipeline: Pipeline) -> Iterator[str]:
    """Logs tell addresses and routes."""
    for one in (*pipeline.tree["jobs"], *pipeline.tree["resources"]):
        if "public" in one:
            yield f"{one['name']}: public must not be set"
