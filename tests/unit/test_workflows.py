"""The workflows are pinned, may do little, and release only what has been tested under the name that it has."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from handler import __version__

ROOT = Path(__file__).resolve().parents[2]
WORKFLOWS = sorted((ROOT / ".github/workflows").iterdir())
BY_NAME = pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)


def load(path: Path) -> dict[str, Any]:
    # the base loader keeps every scalar a string; YAML 1.1 would read the key `on` as true
    content = yaml.load(path.read_text(encoding="utf-8"), Loader=yaml.BaseLoader)
    assert isinstance(content, dict)
    return content


def workflow(name: str) -> dict[str, Any]:
    return load(ROOT / ".github/workflows" / name)


def steps(content: dict[str, Any]) -> list[dict[str, Any]]:
    return [step for job in content["jobs"].values() for step in job.get("steps", [])]


@BY_NAME
def test_every_action_is_pinned_by_its_commit_and_tells_the_version(path: Path) -> None:
    content = load(path)
    used = [job["uses"] for job in content["jobs"].values() if "uses" in job]
    used += [step["uses"] for step in steps(content) if "uses" in step]
    lines = re.findall(r"^ *(?:- )?uses: *(.*)$", path.read_text(encoding="utf-8"), re.MULTILINE)
    assert sorted(line.split(" #")[0] for line in lines) == sorted(used)
    for line in lines:
        assert re.fullmatch(r"[\w.-]+(/[\w.-]+)+@[0-9a-f]{40} # v\d+\.\d+\.\d+", line) or line.startswith("./"), line


def test_one_action_has_one_version() -> None:
    lines = [line for path in WORKFLOWS for line in re.findall(r"uses: (\S+@.*)", path.read_text(encoding="utf-8"))]
    assert len({line.split("@")[0] for line in lines}) == len(set(lines))


@BY_NAME
def test_a_job_may_do_only_what_it_says_itself(path: Path) -> None:
    content = load(path)
    assert content["permissions"] == {}
    for name, job in content["jobs"].items():
        writes = {what for what, right in job["permissions"].items() if right != "read"}
        assert writes == ({"packages"} if (path.name, name) == ("release.yml", "push") else set()), name
        assert "uses" in job or int(job["timeout-minutes"]) > 0, name
    for step in steps(content):
        if step.get("uses", "").startswith("actions/checkout@"):
            assert step["with"]["persist-credentials"] == "false"


@BY_NAME
def test_a_step_calls_one_script(path: Path) -> None:
    for step in steps(load(path)):
        assert "\n" not in step.get("run", ""), "a script of several lines is checked by no linter"
        assert "${{" not in step.get("run", ""), "an expression in a script can become code"


def test_the_workflow_runs_the_tests_as_every_ci_does() -> None:
    script = (ROOT / ".ci/run").read_text(encoding="utf-8").splitlines()
    command = script[-1].removeprefix("exec ")
    runs = [step["run"] for step in steps(workflow("test.yml")) if "run" in step]
    assert command == "./dev test"
    assert [shlex.split(run)[-2:] for run in runs] == [shlex.split(command)]


def test_changes_are_tested_and_built_before_they_are_merged() -> None:
    assert {"push", "pull_request", "workflow_call"} == set(workflow("test.yml")["on"])
    image = workflow("image.yml")
    assert "pull_request" in image["on"]
    builds = [step["with"] for step in steps(image) if step.get("uses", "").startswith("docker/build-push-action@")]
    assert {build["push"] for build in builds} == {"false"}
    assert builds[-1]["platforms"] == "linux/amd64,linux/arm64"


@pytest.mark.parametrize(
    ("tag", "released"),
    [
        ("v1.2.3", True),
        ("v10.20.30", True),
        ("v1.2.3-rc.1", True),
        ("1.2.3", False),
        ("v1.2", False),
        ("v1.2.3.4", False),
        ("vnext", False),
    ],
)
def test_which_tags_are_a_release(tag: str, released: bool) -> None:
    patterns = workflow("release.yml")["on"]["push"]["tags"]
    # in GitHub's patterns a point is a point, and a star is everything but a slash
    expressions = [pattern.replace(".", r"\.").replace("*", "[^/]*") for pattern in patterns]
    assert any(re.fullmatch(expression, tag) for expression in expressions) is released


def test_a_release_is_pushed_only_when_tested_and_under_its_own_version() -> None:
    jobs = workflow("release.yml")["jobs"]
    assert jobs["test"]["uses"] == "./.github/workflows/test.yml"
    assert jobs["push"]["needs"] == "test"
    assert "if" not in jobs["push"], "a condition could run it after a failed test"
    done = jobs["push"]["steps"]
    meta = next(step for step in done if step.get("uses", "").startswith("docker/metadata-action@"))
    push = next(step for step in done if step.get("with", {}).get("push") == "true")
    check = next(step for step in done if step.get("run", "").startswith(".ci/release-check "))
    assert done.index(check) < done.index(push)
    assert meta["with"]["flavor"] == "latest=auto"
    assert meta["with"]["tags"].split() == [
        "type=semver,pattern={{version}}",
        "type=semver,pattern={{major}}.{{minor}}",
        "type=semver,pattern={{major}}",
    ]
    assert push["with"]["platforms"] == "linux/amd64,linux/arm64"
    assert (push["with"]["provenance"], push["with"]["sbom"]) == ("mode=max", "true")


def test_a_release_is_given_the_labels_that_a_build_by_hand_is_given() -> None:
    """The Dockerfile has none of these."""
    by_hand = set(re.findall(r'--label "\$prefix\.(\w+)=', (ROOT / "image/build.sh").read_text(encoding="utf-8")))
    push = next(step for step in steps(workflow("release.yml")) if step.get("with", {}).get("push") == "true")
    given = {line.partition("=")[0] for line in push["with"]["labels"].splitlines()}
    assert given == {f"org.opencontainers.image.{name}" for name in by_hand}
    assert by_hand == {"version", "revision", "created", "source"}


@pytest.mark.parametrize(
    ("tag", "heading", "said"),
    [
        (f"v{__version__}", f"## {__version__} (2026-01-31)", ""),
        (f"v{__version__}", f"## {__version__} (unreleased)", "CHANGELOG.md begins with"),
        (f"v{__version__}", "## 0.0.1 (2026-01-31)", "CHANGELOG.md begins with"),
        ("v0.0.1", f"## {__version__} (2026-01-31)", f"handler/__init__.py says {__version__}"),
        (__version__, f"## {__version__} (2026-01-31)", f"Tag v{__version__}"),
    ],
)
def test_a_tag_that_disagrees_with_the_code_or_the_changelog_is_refused(
    tmp_path: Path, tag: str, heading: str, said: str
) -> None:
    for name in (".ci/release-check", "handler/__init__.py"):
        (tmp_path / name).parent.mkdir()
        shutil.copy(ROOT / name, tmp_path / name)
    (tmp_path / "CHANGELOG.md").write_text(f"# Changelog\n\n{heading}\n\n## 0.0.0 (2025-12-31)\n", encoding="utf-8")
    done = subprocess.run([tmp_path / ".ci/release-check", tag], capture_output=True, text=True, check=False)
    assert done.returncode == (1 if said else 0)
    assert said in done.stderr
