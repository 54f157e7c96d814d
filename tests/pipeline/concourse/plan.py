"""One build: the plan of a job, step by step, as Concourse walks it."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from tests.pipeline.concourse.build import Build, Call, Status, World
from tests.pipeline.concourse.resources import StepErrored, StepFailed, Version
from tests.pipeline.template import Node, Step, TemplateError, children

EXTERNAL_URL: Final = "https://ci.example.org"


class Walk:
    """One walk through a plan.

    Args:
        chosen: the version for each resource that the job gets.
        abort: asked before each step, and while a task runs.
    """

    def __init__(self, world: World, build: Build, chosen: Mapping[str, Version], abort: Callable[[], bool]) -> None:
        self._world = world
        self._build = build
        self._chosen = chosen
        self._abort = abort
        self._aborted = False
        self._shielded = False
        self._directory = world.directory / f"{build.job}-{build.number}"
        self._artifacts: dict[str, Path] = {}
        self._images: dict[str, str] = {}
        self._local: dict[str, Node] = {}
        self._count = 0

    def job(self, job: Mapping[str, Node]) -> Status:
        """Walk the whole job, its own hooks included."""
        self._directory.mkdir(parents=True)
        try:
            return self._with_hooks(job, lambda: self._in_order(job["plan"]))
        finally:
            shutil.rmtree(self._directory)

    # --- steps around steps

    def _in_order(self, bodies: list[dict[str, Node]], *, all_of_them: bool = False) -> Status:
        """One after the other; the first that does not succeed is the last one, or at least decides."""
        ends = []
        for body in bodies:
            ends.append(self._step(body))
            if ends[-1] is not Status.SUCCEEDED and not all_of_them:
                break
        return next((end for end in ends if end is not Status.SUCCEEDED), Status.SUCCEEDED)

    def _with_hooks(self, body: Mapping[str, Node], run: Callable[[], Status]) -> Status:
        """From the innermost hook to the outermost: the end that one leaves is the end that the next one looks at."""
        status = run()
        if status is Status.SUCCEEDED and "on_success" in body:
            status = self._step(body["on_success"])
        if status is Status.FAILED and "on_failure" in body:
            end = self._step(body["on_failure"])
            status = end if end in {Status.ERRORED, Status.ABORTED} else status
        if status is Status.ABORTED and "on_abort" in body:
            self._whatever_happens(body["on_abort"])
        if status is Status.ERRORED and "on_error" in body:
            self._whatever_happens(body["on_error"])
        if "ensure" in body:
            end = self._whatever_happens(body["ensure"])
            status = end if status is Status.SUCCEEDED else status
        return status

    def _whatever_happens(self, body: dict[str, Node]) -> Status:
        """An abort does not reach these hooks."""
        before, self._shielded = self._shielded, True
        try:
            return self._step(body)
        finally:
            self._shielded = before

    def _step(self, body: dict[str, Node]) -> Status:
        step = Step(body=body)
        match step.kind:
            case "try":
                end = self._with_hooks(body, lambda: self._tried(body))
            case "do":
                end = self._with_hooks(body, lambda: self._in_order(children(body)))
            case "in_parallel":
                settings = body["in_parallel"]
                to_the_end = not (isinstance(settings, dict) and settings.get("fail_fast"))
                end = self._with_hooks(body, lambda: self._in_order(children(body), all_of_them=to_the_end))
            case _:
                end = self._with_hooks(body, lambda: self._attempts(step))
        return end

    def _tried(self, body: dict[str, Node]) -> Status:
        end = self._step(body["try"])
        return end if end is Status.ABORTED else Status.SUCCEEDED

    def _attempts(self, step: Step) -> Status:
        end = Status.SUCCEEDED
        for _ in range(step.body.get("attempts", 1)):
            end = self._once(step)
            self._build.log.append(f"{step.kind} {step.name}: {end}")
            if end in {Status.SUCCEEDED, Status.ABORTED}:
                break
        return end

    # --- steps

    def _once(self, step: Step) -> Status:
        self._world.before.pop(f"{step.kind} {step.name}", lambda: None)()
        if not self._shielded and self._asked_to_abort():
            return Status.ABORTED
        try:
            {"get": self._get, "put": self._put, "task": self._task, "load_var": self._load_var}[step.kind](step)
        except (StepFailed, StepErrored) as error:
            self._build.log.append(str(error))
            return Status.FAILED if isinstance(error, StepFailed) else Status.ERRORED
        return Status.ABORTED if self._aborted and not self._shielded else Status.SUCCEEDED

    def _get(self, step: Step) -> None:
        kind, source = self._world.sources[step.resource]
        version = self._chosen[step.resource]
        directory = self._new_directory()
        params = self._resolved(step.body.get("params") or {})
        metadata = kind.get(self._resolved(source), version, params, directory)
        self._artifacts[step.name], self._local[step.name] = directory, metadata
        self._images[step.name] = version.get("digest", "")
        self._build.versions[step.resource] = version

    def _put(self, step: Step) -> None:
        if step.body.get("no_get") is not True:
            raise TemplateError(f"put {step.name}: the get after a put is not made here; set no_get")
        kind, source = self._world.sources[step.resource]
        params = self._resolved(step.body.get("params") or {})
        directory = self._new_directory()
        for name in self._inputs_of(step, params):
            _copy(self._artifacts[name], directory / name)
        build = {
            "BUILD_ID": str(1000 + self._build.number), "BUILD_NAME": str(self._build.number),
            "BUILD_JOB_NAME": self._build.job, "BUILD_PIPELINE_NAME": "k0s", "BUILD_TEAM_NAME": "main",
            "ATC_EXTERNAL_URL": EXTERNAL_URL,
        }  # fmt: skip
        version = kind.put(self._resolved(source), params, directory, build)
        self._world.seen(step.resource, version)
        self._build.versions[step.resource] = version

    def _inputs_of(self, step: Step, params: Node) -> list[str]:
        """What is named must be there; what is only guessed from the params need not."""
        wanted = step.body.get("inputs", "detect")
        if isinstance(wanted, list):
            missing = [name for name in wanted if name not in self._artifacts]
            if missing:
                raise StepErrored(f"input not found: {', '.join(missing)}")
            return wanted
        if wanted not in {"detect", "all"}:
            raise StepErrored(f"inputs: {wanted}")
        return [name for name in self._artifacts if wanted == "all" or name in set(_first_words(params))]

    def _task(self, step: Step) -> None:
        config = self._resolved(step.body["config"])
        params = {**config.get("params", {}), **self._resolved(step.body.get("params") or {})}
        run, image = config["run"], step.body["image"]
        if not self._images.get(image):
            raise StepErrored(f"image artifact not found: {image}")
        inputs = {one["name"]: one.get("optional", False) for one in config.get("inputs", ())}
        missing = [name for name, optional in inputs.items() if name not in self._artifacts and not optional]
        if missing:
            raise StepErrored(f"missing inputs: {', '.join(missing)}")
        outputs = [one["name"] for one in config.get("outputs", ())]
        places = {name: self._new_directory() for name in dict.fromkeys((*inputs, *outputs))}
        for name in inputs.keys() & self._artifacts.keys():
            _copy(self._artifacts[name], places[name])
        call = Call(
            image=self._images[image], places=places, words=(run["path"], *run.get("args", ())),
            env={**{name: _text(value) for name, value in params.items()}, "ATC_EXTERNAL_URL": EXTERNAL_URL},
            user=run.get("user", ""), abort=self._asked_to_abort,
        )  # fmt: skip
        with self._registered(outputs, places):
            ended = self._world.runner(call)
        self._build.tasks[step.name] = ended
        if ended.code and not self._aborted:
            raise StepFailed(f"task {step.name}: exit status {ended.code}")

    def _load_var(self, step: Step) -> None:
        """One file of an artifact; Concourse does not follow links in it."""
        artifact, _, path = self._resolved(step.body["file"]).partition("/")
        if artifact not in self._artifacts:
            raise StepErrored(f"unknown artifact source: {artifact}")
        file = self._artifacts[artifact] / path
        if file.is_symlink() or not file.is_file():
            raise StepErrored(f"file not found: {artifact}/{path}")
        self._local[step.name] = file.read_text("utf-8").strip()

    @contextlib.contextmanager
    def _registered(self, outputs: list[str], places: Mapping[str, Path]) -> Iterator[None]:
        """However a task ends, its outputs are there for the steps and hooks after it."""
        try:
            yield
        finally:
            self._artifacts |= {name: places[name] for name in outputs}

    def _asked_to_abort(self) -> bool:
        self._aborted = self._aborted or self._abort()
        return self._aborted

    def _resolved(self, node: Node) -> Any:  # noqa: ANN401
        return self._world.resolved(node, self._local)

    def _new_directory(self) -> Path:
        self._count += 1
        directory = self._directory / str(self._count)
        directory.mkdir()
        return directory


def _first_words(node: Node) -> Iterator[str]:
    """What could be the name of an artifact: how each text begins, as a path."""
    if isinstance(node, str):
        yield next((part for part in node.split("/") if part not in {".", ".."}), "")
    for child in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
        yield from _first_words(child)


def _text(value: Node) -> str:
    """A param as a variable of the environment."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return "" if value is None else str(value)


def _copy(source: Path, target: Path) -> None:
    """A step gets a copy of an artifact: what it does there is nobody else's."""
    target.mkdir(exist_ok=True)
    subprocess.run(["cp", "-a", f"{source}/.", str(target)], check=True)
