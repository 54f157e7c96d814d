"""The templates keep to every rule, each rule finds what breaks it, and the variables fit the templates."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.pipeline.rules import RULES, problems, variables
from tests.pipeline.rules.broken import BROKEN
from tests.pipeline.rules.model import Pipeline
from tests.pipeline.template import FLEET, PIPELINE, ROOT, VARIABLES, TemplateError, expand, load, names, parse, static
from tests.support.documents import block

#: The variables of the original system's example, with its placeholders filled in.
ORIGINAL = """
email:
  smtp: {host: smtp.example.org, port: "587", username: k0s, password: ((k0s.smtp))}
  from: k0s@example.org
  to: [oncall@example.org]
k0sctl:
  config: {uri: git@git.example.org:config.git, branch: main, private_key: ((k0s.git))}
  backup: {uri: git@git.example.org:backup.git, branch: backup, private_key: ((k0s.git))}
  cluster: {_key: ((k0s.ssh)), gpg_pair: ((k0s.gpg)), mail: prod@example.org, name: prod}
  flags: {no_telemetry: false}
timer:
  ping: {interval: 1h}
  backup: {location: Europe/London, weekdays: [Monday, Wednesday, Friday, Sunday]}
"""


def complaints(changed: Path | None = None, old: str = "", new: str = "") -> list[str]:
    """What the rules say of both templates, with one text in one file replaced: of several, each by itself."""

    def read(path: Path) -> str:
        text = path.read_text(encoding="utf-8")
        assert path != changed or old in text, old
        return text.replace(old, new) if path == changed else text

    pipelines = [Pipeline(template=parse(read(path)), variables=parse(read(VARIABLES))) for path in (PIPELINE, FLEET)]
    return [problem for pipeline in pipelines for problem in problems(pipeline)]


def test_the_templates_keep_to_every_rule() -> None:
    assert complaints() == []


@pytest.mark.parametrize(("rule", "path", "old", "new", "words"), BROKEN, ids=[f"{one[0]}-{one[3]}" for one in BROKEN])
def test_a_rule_finds_what_breaks_it(rule: str, path: Path, old: str, new: str, words: str) -> None:
    found = [problem for problem in complaints(path, old, new) if problem.startswith(f"{rule}:")]
    assert any(words in problem for problem in found), found


def test_every_rule_has_a_broken_sample() -> None:
    assert {one[0] for one in BROKEN} == {rule.__name__ for rule in RULES}


def test_a_key_that_is_there_twice_is_refused() -> None:
    with pytest.raises(TemplateError, match="jobs is there twice"):
        parse("jobs: []\njobs: []\n")


def test_variables_fit_both_ways() -> None:
    given, templates = load(VARIABLES), [load(PIPELINE), load(FLEET)]
    assert variables.unused(given, templates) == []
    assert variables.missing(given, templates) == []
    assert variables.unused({**given, "more": {"of": 1}}, templates) == ["more.of"]
    assert variables.missing({**given, "email": {}}, templates) == ["email"]


def test_secrets_and_only_secrets_come_from_the_credential_manager() -> None:
    given = load(VARIABLES)
    assert variables.secrets_in_clear(given) == []
    assert variables.needless_secrets(given) == []
    assert variables.secrets_in_clear({"gpg_passphrase": "open sesame"}) == ["gpg_passphrase"]
    assert variables.needless_secrets({"branch": "((k0s.branch))"}) == ["branch"]


def test_every_variable_has_a_comment(tmp_path: Path) -> None:
    assert variables.uncommented(VARIABLES) == []
    (tmp_path / "vars.yml").write_text("# told\none: 1\n\ntwo: 2\n")
    assert variables.uncommented(tmp_path / "vars.yml") == ["two"]


def test_nothing_is_left_open_but_secrets_and_what_a_build_knows() -> None:
    given = load(VARIABLES)
    left = names(expand({key: value for key, value in load(PIPELINE).items() if key != "user_data"}, static(given)))
    secrets = {name for _, value in variables.leaves(given) for name in names(value)}
    assert left - secrets == {".:made"}


def test_variables_of_the_original_work_as_they_are() -> None:
    """Laid over the example's: the last `-l` is asked first."""
    original, example = parse(ORIGINAL), load(VARIABLES)
    made = Pipeline(template=load(PIPELINE), variables={**example, **original})
    # the one thing that was always ignored is told
    assert [problem.split(":")[0] for problem in problems(made)] == ["timers"] * 3
    source = made.resources["backup"]["source"]
    assert {key: source[key] for key in original["k0sctl"]["backup"]} == original["k0sctl"]["backup"]
    assert made.resources["config"]["source"] == original["k0sctl"]["config"]
    assert made.resources["email"]["source"] == original["email"]


def test_the_files_of_a_fleet_make_a_pipeline_for_each_cluster() -> None:
    """As docs/pipeline.md tells them; the secrets stay names, which Concourse looks up for the cluster's own jobs."""
    clusters, prod = (parse(block("pipeline", name, "yaml")) for name in ("clusters.yml", "clusters/prod.yml"))
    [_, _, step] = load(FLEET)["jobs"][0]["plan"]
    assert step["var_files"] == ["fleet/clusters/((.:cluster)).yml", "fleet/defaults.yml"]
    assert "prod" in clusters
    defaults = {
        name: value for name, value in load(VARIABLES).items() if name not in ("email", "timer", "k0sctl", "fleet")
    }
    made = Pipeline(template=load(PIPELINE), variables={**defaults, **prod})
    assert problems(made) == []
    assert variables.missing({**defaults, **prod}, [load(PIPELINE)]) == []
    assert variables.secrets_in_clear(prod) == []
    assert {name.partition(".")[0] for _, value in variables.leaves(prod) for name in names(value)} == {"k0s-prod"}


def test_variables_are_looked_up_as_concourse_does() -> None:
    lookup = static({"a": {"b": 1}, "yes": True, "more": "((other.name))"}, {"a": {"c": 2}, "other": "never"})
    assert expand("((a.b)) and ((a.b))", lookup) == "1 and 1"
    assert expand({"key": "((yes))", "list": ["((unknown))", "((.:a.b))"]}, lookup) == {
        "key": True, "list": ["((unknown))", "((.:a.b))"],
    }  # fmt: skip
    assert expand("((more))", lookup) == "((other.name))"  # once
    with pytest.raises(TemplateError, match="missing field 'c' in var"):
        expand("((a.c))", lookup)  # the second file is not asked for what the first one begins
    with pytest.raises(TemplateError, match="inside of a text"):
        expand("is ((yes))", lookup)


if shutil.which("fly"):  # it comes from a Concourse; no package has it

    @pytest.mark.parametrize("path", [PIPELINE, FLEET], ids=lambda path: path.stem)
    def test_fly_accepts_it(path: Path) -> None:
        words = ["fly", "validate-pipeline", "--strict", "--config", str(path), "--load-vars-from", str(VARIABLES)]
        done = subprocess.run(words, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr


def test_comments_name_files_that_exist() -> None:
    for path in (PIPELINE, FLEET, VARIABLES):
        for name in re.findall(r"(?:pipeline|docs)/[\w.-]*\w", path.read_text(encoding="utf-8")):
            assert (ROOT / name).exists(), f"{path.name}: {name}"
