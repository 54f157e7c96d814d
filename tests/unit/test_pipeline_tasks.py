"""The task files say what the handler takes, and the pipeline says the same."""

from __future__ import annotations

from pathlib import Path

import pytest

from handler.settings.cli import parse_arguments
from handler.settings.commands import COMMANDS, find_command
from handler.settings.table import BY_NAME
from tests.pipeline import taskfiles
from tests.pipeline.template import PIPELINE, TASKS, Node, load, steps

FILES = {command.name: load(TASKS / f"{command.name}.yml") for command in COMMANDS}
PLANS = {job["name"]: list(steps(job)) for job in load(PIPELINE)["jobs"]}
#: Each task of the pipeline, with the artifacts that its job fetches.
STEPS = [
    pytest.param(step.body, {one.name for one in plan if one.kind == "get"}, id=f"{job}-{step.name}")
    for job, plan in PLANS.items()
    for step in plan
    if step.kind == "task"
]


def names(entries: list[dict[str, Node]]) -> set[str]:
    return {entry["name"] for entry in entries}


def test_the_files_are_those_of_the_settings() -> None:
    assert taskfiles.problems(TASKS) == []


def test_what_is_wrong_is_told_and_mended(tmp_path: Path) -> None:
    taskfiles.renew(tmp_path)
    (tmp_path / "ping.yml").unlink()
    (tmp_path / "init.yml").write_text("platform: linux\n", "utf-8")
    (tmp_path / "burn.yml").write_text("platform: linux\n", "utf-8")
    name = tmp_path.name
    assert taskfiles.problems(tmp_path) == [
        f"{name}/ping.yml is missing", f"{name}/burn.yml belongs to no command", f"{name}/init.yml is out of date",
    ]  # fmt: skip
    taskfiles.renew(tmp_path)
    assert taskfiles.problems(tmp_path) == []


@pytest.mark.parametrize("command", FILES)
def test_a_file_changes_nothing_until_a_param_is_set(command: str) -> None:
    params = FILES[command]["params"]
    assert {name: value for name, value in params.items() if value != ""} == {"K0SCTL_CMD_NAME": command}
    assert all(command in BY_NAME[name].commands for name in params)


@pytest.mark.parametrize("command", FILES)
def test_a_file_s_arguments_are_understood(command: str) -> None:
    run = FILES[command]["run"]
    invocation = parse_arguments(run.get("args", []), FILES[command]["params"])
    assert (invocation.all, str(invocation.to)) == (
        command == "verify",
        "decrypted" if command == "restore" else "None",
    )
    assert (run["path"], run["user"]) == ("k0sctl-handler", "root")


def test_an_archive_in_clear_has_a_directory_of_its_own() -> None:
    assert names(FILES["restore"]["outputs"]) == {"auditlog", "decrypted"}
    kept = {BY_NAME[name].default for name in ("K0SCTL_DIR_LOG", "K0SCTL_DIR_BAK", "K0SCTL_DIR_RES")}
    assert "decrypted" not in kept


@pytest.mark.parametrize(("step", "fetched"), STEPS)
def test_the_pipeline_agrees_with_the_file(step: dict[str, Node], fetched: set[str]) -> None:
    """It leaves out only the optional inputs that its job does not fetch."""
    command = find_command(step["params"]["K0SCTL_CMD_NAME"])
    assert command
    file, config = FILES[command.name], step["config"]
    required = names([entry for entry in file.get("inputs", ()) if not entry.get("optional")])
    inputs = names(config.get("inputs", []))
    assert required <= inputs
    assert inputs == names(file.get("inputs", [])) & fetched
    assert names(config["outputs"]) == names(file["outputs"])
    assert (config["run"], config["platform"]) == (file["run"], file["platform"])
    assert step["params"].keys() <= file["params"].keys()
