"""The interpreter itself, on small pipelines whose tasks are not run."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from pathlib import Path

import pytest

from tests.pipeline.concourse.build import Call, Status
from tests.pipeline.concourse.interpreter import Concourse, Refused
from tests.pipeline.concourse.resources import StepErrored
from tests.pipeline.template import FLEET, TemplateError, load, parse
from tests.support.lab import Ended

RESOURCES = """
resource_types:
  - { name: email, type: registry-image, source: { repository: pcfseceng/email-resource } }
resources:
  - { name: image, type: registry-image, source: { repository: any } }
  - { name: time, type: time, source: { interval: 1h } }
  - name: email
    type: email
    source: { from: a, to: [b], smtp: { host: h, port: "25", username: u, password: ((mail.password)) } }
"""
TASK = "{ task: work, image: image, config: { outputs: [{ name: out }], run: { path: good } } }"
MAIL = "{ put: email, no_get: true, params: { subject_text: %s, body_text: b, attachment_globs: [out/*] } }"
#: Each hook writes its name into a mail.
HOOKS = "".join(
    f"\n    {hook}: {MAIL % hook}" for hook in ("on_success", "on_failure", "on_error", "on_abort", "ensure")
)


def run(call: Call) -> Ended:
    """A task that ends as it is called."""
    (call.places["out"] / "file").write_text("written\n")
    if call.words[0] == "missing":
        raise StepErrored("executable file not found in $PATH")
    call.abort()
    return Ended(0 if call.words[0] == "good" else 1, "", "")


@pytest.fixture
def concourse(tmp_path: Path) -> Callable[[str], Concourse]:
    places = (tmp_path / str(number) for number in count())

    def make(jobs: str) -> Concourse:
        config = parse(f"{RESOURCES}\njobs:\n{jobs}\n")
        return Concourse(next(places), config, image="id", credentials={"mail": {"password": "secret"}}, runner=run)

    return make


def job(*steps: str, rest: str = "") -> str:
    plan = "".join(f"\n      - {step}" for step in ("{ get: image }", *steps))
    return f"  - name: job{rest}\n    plan:{plan}"


def subjects(concourse: Concourse) -> list[str]:
    return [mail.subject for mail in concourse.mailbox.take()]


@pytest.mark.parametrize(("path", "status", "hook"), [
    ("good", Status.SUCCEEDED, "on_success"),
    ("bad", Status.FAILED, "on_failure"),
    ("missing", Status.ERRORED, "on_error"),
])  # fmt: skip
def test_hooks(concourse: Callable[[str], Concourse], path: str, status: Status, hook: str) -> None:
    running = concourse(job(TASK.replace("good", path), rest=HOOKS))
    assert running.trigger("job").status is status
    mails = running.mailbox.take()
    assert [mail.subject for mail in mails] == [hook, "ensure"]
    assert mails[0].attachments == {"file": b"written\n"}  # outputs are there however the task ended


@pytest.mark.parametrize("path", ["good", "bad"])
def test_an_abort(concourse: Callable[[str], Concourse], path: str) -> None:
    """Nothing more is run but the hooks for it, whether the task ended well or not."""
    running = concourse(job(TASK.replace("good", path), f"{{ try: {MAIL % 'next'} }}", rest=HOOKS))
    answers = iter((False, False, True))  # before the get, before the task, within it
    assert running.trigger("job", lambda: next(answers)).status is Status.ABORTED
    assert subjects(running) == ["on_abort", "ensure"]


def test_an_abort_in_a_hook(concourse: Callable[[str], Concourse]) -> None:
    """A hook that an abort ends has hooks of its own; `try` does not hide it."""
    late = (MAIL % "never").replace("no_get", f"on_abort: {MAIL % 'inner'}, no_get")
    running = concourse(job(TASK.replace("{ task", f"{{ on_success: {{ try: {late} }}, task"), rest=HOOKS))
    answers = iter((False, False, False, True))
    assert running.trigger("job", lambda: next(answers)).status is Status.ABORTED
    assert subjects(running) == ["inner", "on_abort", "ensure"]


def test_a_hook_that_fails(concourse: Callable[[str], Concourse]) -> None:
    """A failing on_success turns the job red, which on_failure sees; `try` hides it."""
    running = concourse(job(TASK, rest=HOOKS))
    running.mailbox.down = True
    build = running.trigger("job")
    assert (build.status, build.log[-1]) == (Status.FAILED, "put email: failed")
    assert sum("put email: failed" in line for line in build.log) == 3
    running = concourse(job(TASK, rest=f"\n    on_success: {{ try: {MAIL % 'green'} }}"))
    running.mailbox.down = True
    assert running.trigger("job").status is Status.SUCCEEDED


def test_inputs_of_a_put(concourse: Callable[[str], Concourse]) -> None:
    """What is named must be there; what is detected need not."""
    named = (MAIL % "named").replace("no_get", "inputs: [out], no_get")
    assert concourse(job(named)).trigger("job").status is Status.ERRORED
    running = concourse(job((MAIL % "found").replace("no_get", "inputs: detect, no_get")))
    assert running.trigger("job").status is Status.SUCCEEDED
    assert running.mailbox.mails[0].attachments == {}


def test_a_missing_input(concourse: Callable[[str], Concourse]) -> None:
    needy = TASK.replace("{ outputs", "{ inputs: [{ name: nowhere }], outputs")
    assert concourse(job(needy)).trigger("job").status is Status.ERRORED
    optional = needy.replace("name: nowhere", "name: nowhere, optional: true")
    assert concourse(job(optional)).trigger("job").status is Status.SUCCEEDED


def test_attempts(concourse: Callable[[str], Concourse]) -> None:
    build = concourse(job(TASK.replace("good", "bad").replace("{ task", "{ attempts: 3, task"))).trigger("job")
    assert (build.status, build.log.count("task work: failed")) == (Status.FAILED, 3)


def test_in_parallel(concourse: Callable[[str], Concourse]) -> None:
    """All of them run, unless the first failure ends it."""
    both = f"[{TASK.replace('good', 'bad')}, {MAIL % 'second'}]"
    running = concourse(job(f"{{ in_parallel: {both} }}"))
    assert (running.trigger("job").status, subjects(running)) == (Status.FAILED, ["second"])
    running = concourse(job(f"{{ in_parallel: {{ fail_fast: true, steps: {both} }} }}"))
    assert (running.trigger("job").status, subjects(running)) == (Status.FAILED, [])


def test_passed(concourse: Callable[[str], Concourse]) -> None:
    """Versions come from one build of the other job, not each for itself; a failed one lets nothing pass."""
    first = "  - name: first\n    plan: [{ get: time, trigger: true }, { get: image }, { do: [%s] }]\n"
    second = (
        "  - name: second\n    plan: [{ get: time, passed: [first], trigger: true }, { get: image, passed: [first] }]"
    )
    running = concourse(first % TASK.replace("good", "bad") + second)
    assert [build.job for build in running.schedule()] == ["first"]
    assert running.trigger("second").status is Status.PENDING
    running.set_pipeline(parse(f"{RESOURCES}\njobs:\n{first % TASK}{second}"))
    running.trigger("first")
    assert [build.job for build in running.schedule()] == ["second"]
    old = running.builds[-1].versions
    running.clock.tick()
    assert running.trigger("second").versions == old
    assert [build.job for build in running.schedule()] == ["first", "second"]
    assert running.builds[-1].versions["time"] != old["time"]
    assert running.schedule() == []


def test_a_lock(concourse: Callable[[str], Concourse]) -> None:
    running = concourse(job(TASK, rest="\n    disable_manual_trigger: true"))
    with pytest.raises(Refused):
        running.trigger("job")
    assert running.builds == []


@pytest.mark.parametrize("step", [
    "{ load_var: x, file: y }",
    "{ task: work, image: image, privileged: true, config: { run: { path: x } } }",
    "{ task: work, image: image, config: { run: { path: x, dir: y } } }",
    "{ task: work, image: image, config: { caches: [], run: { path: x } } }",
    "{ get: time, version: every }",
    "{ get: time, timeout: 1d }",
    "{ in_parallel: { steps: [], sideways: true } }",
])  # fmt: skip
def test_what_is_not_known(concourse: Callable[[str], Concourse], step: str) -> None:
    with pytest.raises(TemplateError):
        concourse(job(step))


def test_variables_when_a_step_runs(concourse: Callable[[str], Concourse]) -> None:
    """The secret of the mail's source is found; any other name errors the step."""
    running = concourse(job(TASK.replace("config", "params: { A: ((mail.nothing)) }, config")))
    build = running.trigger("job")
    assert (build.status, build.log[1]) == (Status.ERRORED, "undefined vars: mail.nothing")


def test_a_variable_from_a_file(concourse: Callable[[str], Concourse]) -> None:
    """Without its last line end; a file that is not there errors the step."""
    load_var = "{ load_var: made, file: out/file, format: trim, reveal: true }"
    running = concourse(job(TASK, load_var, MAIL % '"((.:made))!"'))
    assert running.trigger("job").status is Status.SUCCEEDED
    assert subjects(running) == ["written!"]
    build = concourse(job(TASK, load_var.replace("out/file", "out/nothing"))).trigger("job")
    assert build.status is Status.ERRORED
    with pytest.raises(TemplateError, match="repeated var name"):
        concourse(job(TASK, load_var, f"{{ try: {load_var} }}"))


def test_what_the_fleet_holds(tmp_path: Path) -> None:
    """Its steps are not made here, and so they are refused."""
    with pytest.raises(TemplateError, match="load_var"):
        Concourse(tmp_path, load(FLEET), image="id", credentials={}, runner=run)


def test_a_build_tells_what_it_read(concourse: Callable[[str], Concourse]) -> None:
    build = concourse(job(TASK)).trigger("job")
    assert build.versions == {"image": {"digest": "id"}}
