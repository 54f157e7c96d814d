"""What keeps a backup from being lost, replaced, or taken for what it is not."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from tests.pipeline.rules.model import BAD_ENDS, Job, Pipeline, command_of
from tests.pipeline.template import Step, children, names, planned, steps

_FORCEFUL: Final = ("force", "rebase", "merge", "only_tag", "refs_prefix")


def shallow(pipeline: Pipeline) -> Iterator[str]:
    """The history of years of backups is not fetched every night."""
    for job, step in pipeline.steps():
        if step.kind == "get" and pipeline.type_of(step) == "git" and step.body.get("params", {}).get("depth") != 1:
            yield f"job {job.name}, get {step.name}: params need depth: 1"


def plain_puts(pipeline: Pipeline) -> Iterator[str]:
    """Force loses what others pushed; rebase and merge make commits that nobody signed."""
    for job, step in pipeline.steps():
        if step.kind == "put" and pipeline.type_of(step) == "git":
            for key in step.body.get("params", {}):
                if key in _FORCEFUL:
                    yield f"job {job.name}, put {step.name}: {key} must not be used for backups"


def stored(pipeline: Pipeline) -> Iterator[str]:
    """A job that takes a backup puts it, once and by itself: a green job is a backup that is on its branch."""
    for job in pipeline.jobs:
        for command, task in ((command_of(task), task) for task in job.tasks):
            if not command or command.name not in ("init", "backup"):
                continue
            after = [step.body for step in planned(job.body["plan"], tried=False) if step.kind in ("task", "put")]
            put = after[after.index(task.body) + 1] if task.body in after[:-1] else {}
            plainly = {"inputs": ["backup"], "params": {"repository": "backup"}}
            if put.get("put") != "backup" or {key: put.get(key) for key in plainly} != plainly:
                yield f"job {job.name}, task {task.name}: after it comes a plain put of backup, and nothing else"


def rescued(pipeline: Pipeline) -> Iterator[str]:
    """A backup that cannot be put is put on a branch of its own, named by its own commit."""
    for job, step in pipeline.steps():
        if step.kind != "put" or step.resource != "backup" or "backup" not in job.commands:
            continue
        for hook in BAD_ENDS:
            put = Step(body=step.body.get(hook, {}))
            if pipeline.uri_of(put) != pipeline.uri_of(step) or put.resource == "backup":
                yield f"job {job.name}, put {step.name}: {hook} must put it on a rescue branch of the same repository"
            elif put.body["params"] != {"repository": "backup", "branch": f"rescue-((.:{_made(job)}))"}:
                yield f"job {job.name}, put {step.name}: {hook} must name the branch by the commit that was made"


def kept_when_refused(pipeline: Pipeline) -> Iterator[str]:
    """The backup of another cluster is signed and kept, though the command fails."""
    for job in pipeline.jobs:
        if "backup" not in job.commands:
            continue
        around = [step.body for step in steps(job.body) if any("task" in child for child in children(step.body))]
        kept = [body.get("on_failure", {}).get("try", {}) for body in around]
        if [Step(body=put).resource for put in kept] != ["backup"]:
            yield f"job {job.name}: on_failure of the do around its task must try to put what was committed"


def verified(pipeline: Pipeline) -> Iterator[str]:
    """What is fetched as a backup, or sets pipelines, is signed by a known key."""
    for job, step in pipeline.steps():
        is_backup = pipeline.uri_of(step) == pipeline.uri_of(Step(body={"get": "backup"}))
        if step.kind != "get" or not (job.sets_pipelines or is_backup):
            continue
        source = pipeline.resources[step.resource]["source"]
        if not all("PUBLIC KEY" in str(key) for key in source.get("commit_verification_keys") or [""]):
            yield f"job {job.name}, get {step.name}: its commit_verification_keys are missing"
        if "git_config" in source:
            yield f"job {job.name}, get {step.name}: git_config can turn off what is verified"


def restore_by_variable(pipeline: Pipeline) -> Iterator[str]:
    """The first installation finds no backup; every later one must."""
    for job, task in pipeline.written():
        command = command_of(task)
        if command and command.name == "apply":
            chosen = [
                pipeline.variables.get(name, "never") for name in names(task.body["params"].get("K0SCTL_RESTORE"))
            ]
            if not chosen or "never" in chosen:
                yield f"job {job.name}, task {task.name}: K0SCTL_RESTORE must be a variable, and not never"


def confirmed_by_hand(pipeline: Pipeline) -> Iterator[str]:
    """Confirmations are variables, empty until the day."""
    for job, task in pipeline.written():
        for name, value in task.body.get("params", {}).items():
            by_hand = "_CONFIRM_" in name or "_ACCEPT_" in name
            if by_hand and [pipeline.variables.get(one) for one in names(value)] != [""]:
                yield f"job {job.name}, task {task.name}: {name} must be a variable that is empty"


def _made(job: Job) -> str:
    """The variable that has the commit of the new backup, however its task ended."""
    for task in job.tasks:
        load = task.body.get("ensure", {}).get("try", {})
        if str(load.get("file")).startswith("backup/.git/refs/heads/"):
            return str(load["load_var"])
    return ""
