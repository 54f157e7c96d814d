"""How jobs run: one at a time, never for ever, with the same versions, and never unheard."""

from __future__ import annotations

import re
from collections.abc import Iterator

from tests.pipeline.rules.model import BAD_ENDS, CHANGING, Pipeline
from tests.pipeline.template import Step, names, steps


def timeouts(pipeline: Pipeline) -> Iterator[str]:
    """A job that hangs holds the lock of its serial group for ever."""
    for job, step in pipeline.steps():
        given = str(step.body.get("timeout", ""))
        if step.kind in ("get", "put", "task") and not re.fullmatch(r"[1-9]\d?m|[1-9]h", given):
            yield f"job {job.name}, {step.kind} {step.name}: timeout is {given!r}, and must be like 30m, or 9h at most"


def one_at_a_time(pipeline: Pipeline) -> Iterator[str]:
    """Whatever changes the cluster or its backups is in one and the same serial group."""
    changing = [job for job in pipeline.jobs if job.commands & {*CHANGING}]
    groups = {tuple(job.body.get("serial_groups", ())) for job in changing}
    for job in changing:
        own = job.body.get("serial_groups", ())
        if len(own) != 1 or len(groups) != 1:
            yield f"job {job.name}: serial_groups is {own}, and must be the one that all share"


def told(pipeline: Pipeline) -> Iterator[str]:
    """Every way to end badly sends a mail, with what the handler wrote, and a dead mail server changes no job."""
    for job in pipeline.jobs:
        for hook in BAD_ENDS if job.tasks else ():
            mail = job.body.get(hook, {}).get("try", {})
            if pipeline.type_of(Step(body=mail)) != "email" or mail.get("inputs") != "detect" or not mail.get("no_get"):
                yield f"job {job.name}: {hook} must be a put of a mail inside try, with inputs: detect and no_get"
            elif not {"auditlog/*.log", "auditlog/*.json"} <= {*mail.get("params", {}).get("attachment_globs", ())}:
                yield f"job {job.name}: the mail of {hook} lacks the log or the report of auditlog/"
        for hook in ("on_success",) if "on_success" in job.body else ():
            if "try" not in job.body[hook]:
                yield f"job {job.name}: {hook} must be inside try"


def logs_survive(pipeline: Pipeline) -> Iterator[str]:
    """An output is kept after a failure and an abort: without it nothing is left to mail."""
    for job, task in pipeline.steps():
        outputs = [one["name"] for one in task.body.get("config", {}).get("outputs", ())]
        if task.kind == "task" and "auditlog" not in outputs:
            yield f"job {job.name}, task {task.name}: auditlog is none of its outputs"


def no_reruns(pipeline: Pipeline) -> Iterator[str]:
    """A re-run takes the inputs of its build: an old configuration, an old backup."""
    for job in pipeline.jobs:
        if (job.commands & {*CHANGING} or job.sets_pipelines) and job.body.get("disable_reruns") is not True:
            yield f"job {job.name}: disable_reruns must be true"


def same_versions(pipeline: Pipeline) -> Iterator[str]:
    """What was installed is what was pinged, and what is backed up is what was installed: image and configuration."""
    before = {"apply": ["ping"], "backup": ["install"]}
    for job in pipeline.jobs:
        for command in job.commands & {*before}:
            gets = {step.name: step.body.get("passed") for step in steps(job.body) if step.kind == "get"}
            for name in ("config", "image"):
                if gets.get(name) != before[command]:
                    yield f"job {job.name}, get {name}: passed must be {before[command]}"


def attempts_on_gets(pipeline: Pipeline) -> Iterator[str]:
    """What was half done is not done once more."""
    for job, step in pipeline.steps():
        if step.kind in ("put", "task") and "attempts" in step.body:
            yield f"job {job.name}, {step.kind} {step.name}: attempts are for gets"


def uninstall_is_locked(pipeline: Pipeline) -> Iterator[str]:
    """Nothing starts it by itself, nobody by a wrong click, and the guard is not switched off in the template."""
    written = {job["name"]: job for job in pipeline.template["jobs"]}
    for job in pipeline.jobs:
        if "reset" not in job.commands:
            continue
        lock = written[job.name].get("disable_manual_trigger")
        if not names(lock) or job.body["disable_manual_trigger"] is not True:
            yield f"job {job.name}: disable_manual_trigger must be a variable that is true"
        if any(step.body.get("trigger") for step in steps(job.body)):
            yield f"job {job.name}: nothing may trigger it"
