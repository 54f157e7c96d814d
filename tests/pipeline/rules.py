"""What a pipeline must keep to, so that no backup is lost, no secret is told, and no failure stays unheard.

A rule takes a pipeline and yields a sentence for everything that breaks it. Most of them answer for a defect that
pipelines really had; what Concourse does was seen with Concourse 8.3.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final, TypeAlias

from handler.settings.setting import Kind
from handler.settings.table import SETTINGS
from tests.pipeline.model import CHANGING, Job, Pipeline, command_of
from tests.pipeline.structure import DURATION, structure
from tests.pipeline.template import Step, names, steps

Rule: TypeAlias = Callable[[Pipeline], Iterator[str]]

_NOTICES: Final = ("on_failure", "on_error", "on_abort")
_FORCEFUL: Final = ("force", "rebase", "merge", "only_tag", "refs_prefix")
#: https://github.com/concourse/time-resource#source-configuration; it ignores what it does not know.
_TIME: Final = {"interval", "start", "stop", "days", "location", "initial_version", "start_after"}


def timeouts(pipeline: Pipeline) -> Iterator[str]:
    """A job that hangs holds the lock of its serial group for ever."""
    for job, step in pipeline.steps():
        given = str(step.body.get("timeout", ""))
        if step.kind in ("get", "put", "task") and not DURATION.fullmatch(given):
            yield f"job {job.name}, {step.kind} {step.name}: timeout is {given!r}, and must be like 30m"


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
        for hook in _NOTICES if job.tasks else ():
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


def rescued(pipeline: Pipeline) -> Iterator[str]:
    """A backup that cannot be put is put on a branch of its own, which no other one uses."""
    sources = pipeline.resources
    for job, step in pipeline.steps():
        if step.kind != "put" or pipeline.resource_of(step) != "backup" or "backup" not in job.commands:
            continue
        for hook in _NOTICES:
            rescue = step.body.get(hook, {})
            target = sources.get(pipeline.resource_of(Step(body=rescue)), {})
            own = (
                target.get("name") != "backup"
                and target.get("source", {}).get("uri") == sources["backup"]["source"]["uri"]
            )
            if not own or rescue.get("params", {}).get("repository") != step.body["params"]["repository"]:
                yield f"job {job.name}, put {step.name}: {hook} must put the same repository on a rescue branch"
            elif not any(name.startswith(".:") for name in names(rescue["params"].get("branch"))):
                yield f"job {job.name}, put {rescue['put']}: its branch must differ from one read commit to the next"


def kept_when_refused(pipeline: Pipeline) -> Iterator[str]:
    """The backup of another cluster is signed and kept, though the command fails."""
    for job, task in pipeline.steps():
        command = command_of(task) if task.kind == "task" else None
        if command and command.name == "backup":
            put = task.body.get("on_failure", {}).get("try", {})
            if pipeline.resource_of(Step(body=put)) != "backup":
                yield f"job {job.name}, task {task.name}: on_failure must try to put what was committed"


def no_reruns(pipeline: Pipeline) -> Iterator[str]:
    """A re-run takes the inputs of its build: an old configuration, an old backup."""
    for job in pipeline.jobs:
        if (job.commands & {*CHANGING} or _sets_pipelines(job)) and job.body.get("disable_reruns") is not True:
            yield f"job {job.name}: disable_reruns must be true"


def same_versions(pipeline: Pipeline) -> Iterator[str]:
    """What was installed is what was pinged, and what is backed up is what was installed: image and configuration."""
    before = {"apply": ["ping"], "backup": ["install"]}
    for job in pipeline.jobs:
        for command in job.commands & {*before}:
            gets = {
                step.name: step.body.get("passed") for _, step in pipeline.steps() if _ is job and step.kind == "get"
            }
            for name in ("config", "image"):
                if gets.get(name) != before[command]:
                    yield f"job {job.name}, get {name}: passed must be {before[command]}"


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
    """Parameters are settings that the command uses."""
    for job, task in pipeline.steps():
        if task.kind != "task":
            continue
        command = command_of(task)
        if command is None:
            yield f"job {job.name}, task {task.name}: K0SCTL_CMD_NAME names no command"
            continue
        for name, value in task.body["params"].items():
            setting = next((one for one in SETTINGS if one.name == name), None)
            if setting is None or command.name not in setting.commands:
                yield f"job {job.name}, task {task.name}: {name} is no setting of {command.name}"
            elif setting.kind is Kind.CHOICE and value not in setting.choices:
                yield f"job {job.name}, task {task.name}: {name} is {value!r}, and must be one of {setting.choices}"


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


def confirmed_by_hand(pipeline: Pipeline) -> Iterator[str]:
    """Confirmations are variables, empty until the day."""
    for job in pipeline.template["jobs"]:
        for task in (one for one in job.get("plan", ()) if "task" in one):
            for name, value in task.get("params", {}).items():
                by_hand = "_CONFIRM_" in name or "_ACCEPT_" in name
                if by_hand and [pipeline.variables.get(one) for one in names(value)] != [""]:
                    yield f"job {job['name']}, task {task['task']}: {name} must be a variable that is empty"


def restore_by_variable(pipeline: Pipeline) -> Iterator[str]:
    """The first installation finds no backup; every later one must."""
    for job in pipeline.template["jobs"]:
        for task in (one for one in job.get("plan", ()) if one.get("params", {}).get("K0SCTL_CMD_NAME") == "install"):
            if not names(task["params"].get("K0SCTL_RESTORE")):
                yield f"job {job['name']}, task {task['task']}: K0SCTL_RESTORE must be a variable"


def verified(pipeline: Pipeline) -> Iterator[str]:
    """What is fetched as a backup, or sets pipelines, is signed by a known key."""
    for name, resource in pipeline.resources.items():
        keys = resource["source"].get("commit_verification_keys") if isinstance(resource["source"], dict) else None
        if name in ("backup", "fleet") and not keys:
            yield f"resource {name}: commit_verification_keys are missing"


def timers(pipeline: Pipeline) -> Iterator[str]:
    """Without a first version a job that is started by hand outside of the window is pending."""
    for resource in pipeline.of_type("time"):
        for key in resource["source"]:
            if key not in _TIME:
                yield f"resource {resource['name']}: {key} is no key of the time resource, which ignores it"
        if resource["source"].get("initial_version") is not True:
            yield f"resource {resource['name']}: initial_version must be true"


def mail_source(pipeline: Pipeline) -> Iterator[str]:
    """In the format of pcfseceng/email-resource, where a port that is no text fails every mail."""
    for resource in pipeline.of_type("email"):
        source = resource["source"]
        if not isinstance(source.get("smtp", {}).get("port"), str):
            yield f'resource {resource["name"]}: smtp.port must be a text, such as "587"'
        if not isinstance(source.get("to"), list) or not source.get("from"):
            yield f"resource {resource['name']}: to must be a list, and from an address"


def attempts_on_gets(pipeline: Pipeline) -> Iterator[str]:
    """What was half done is not done once more."""
    for job, step in pipeline.steps():
        if step.kind in ("put", "task") and "attempts" in step.body:
            yield f"job {job.name}, {step.kind} {step.name}: attempts are for gets"


def _sets_pipelines(job: Job) -> bool:
    return any("set_pipeline" in step for step in job.body.get("plan", ()))


RULES: Final[tuple[Rule, ...]] = (
    structure, timeouts, one_at_a_time, told, logs_survive, shallow, plain_puts, rescued, kept_when_refused, no_reruns,
    same_versions, no_secret_handed_on, nothing_public, no_logic, known_params, uninstall_is_locked, confirmed_by_hand,
    restore_by_variable, verified, timers, mail_source, attempts_on_gets,
)  # fmt: skip


def problems(pipeline: Pipeline) -> list[str]:
    """What all rules say, each with the rule's name."""
    return [f"{rule.__name__}: {problem}" for rule in RULES for problem in rule(pipeline)]
