"""Pipelines as Concourse reads them: YAML, static variables, and the steps of a plan.

Variables follow Concourse's own rules: https://github.com/concourse/concourse/blob/master/vars/template.go
"""

from __future__ import annotations

import re
from collections.abc import Callable, Hashable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeAlias

import yaml

#: What YAML can be.
Node: TypeAlias = Any
#: From a variable's name to its value; LookupError where it has none.
Lookup: TypeAlias = Callable[[str], Node]

ROOT: Final = Path(__file__).resolve().parents[2]
PIPELINE: Final = ROOT / "pipeline/pipeline.yml"
FLEET: Final = ROOT / "pipeline/fleet.yml"
TASKS: Final = ROOT / "pipeline/tasks"
VARIABLES: Final = ROOT / "var-example.yml"

#: What a step is named by; the first of these keys that it has.
KINDS: Final = ("get", "put", "task", "set_pipeline", "load_var", "in_parallel", "do", "try")
HOOKS: Final = ("on_success", "on_failure", "on_abort", "on_error", "ensure")
#: Keys that a step of any kind may have.
ANY_STEP: Final = {"timeout", "attempts", *HOOKS}

_VARIABLE: Final = re.compile(r'\(\(((?:[-/.\w]+:)?[-/.:@"\w]+)\)\)')


class TemplateError(Exception):
    """A template or a file of variables that Concourse would refuse."""


class _Loader(yaml.SafeLoader):
    """Refuses duplicate keys, as Concourse does."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Node]:
        seen = set()
        for key, _ in node.value:
            if key.value in seen and key.tag != "tag:yaml.org,2002:merge":
                raise TemplateError(f"{key.start_mark.name}:{key.start_mark.line + 1}: {key.value} is there twice")
            seen.add(key.value)
        return super().construct_mapping(node, deep)


def load(path: Path) -> Node:
    """Read one YAML document."""
    return parse(path.read_text(encoding="utf-8"), str(path))


def parse(text: str, name: str = "") -> Node:
    """Read one YAML document; anchors are copied, so that a change in one place is none in another."""
    loader = _Loader(text)
    loader.name = name
    try:
        return _copied(loader.get_single_data())
    finally:
        loader.dispose()


def _copied(node: Node) -> Node:
    if isinstance(node, dict):
        return {key: _copied(value) for key, value in node.items()}
    return [_copied(one) for one in node] if isinstance(node, list) else node


# --- variables


def names(node: Node) -> set[str]:
    """Every variable that a tree names: ``k0sctl.cluster.name``, ``.:restore.commit``."""
    if isinstance(node, str):
        return set(_VARIABLE.findall(node))
    children = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    return {name for key, child in children for name in names(child) | names(key)}


def is_reference(value: Node) -> bool:
    """Whether a value is one name of the credential manager, and nothing else."""
    return bool(re.fullmatch(r"\(\([\w.-]+\)\)", str(value)))


def expand(node: Node, lookup: Lookup) -> Node:
    """Put values in the place of variables, once: what a value brings along is not looked at again.

    Args:
        lookup: where it has no value the variable stays.
    """
    if isinstance(node, dict):
        return {expand(key, lookup): expand(value, lookup) for key, value in node.items()}
    if isinstance(node, list):
        return [expand(one, lookup) for one in node]
    return _expand_text(node, lookup) if isinstance(node, str) else node


def _expand_text(text: str, lookup: Lookup) -> Node:
    for name in _VARIABLE.findall(text):
        try:
            value = lookup(name)
        except LookupError:
            continue
        if text == f"(({name}))":
            return value
        if isinstance(value, bool) or not isinstance(value, str | int):
            raise TemplateError(f"(({name})) stands inside of a text, and is {type(value).__name__}")
        text = text.replace(f"(({name}))", str(value))
    return text


def static(*files: Mapping[str, Node]) -> Lookup:
    """Look up in files of variables, the first one first: who has a name's first word answers for all of it.

    `fly` asks the last ``-l`` first, ``set_pipeline`` the first of ``var_files``.
    """

    def lookup(name: str) -> Node:
        if ":" in name:
            raise KeyError(name)
        first, *fields = name.split(".")
        value: Node = next(file for file in (*files, {first: KeyError}) if first in file)[first]
        if value is KeyError:
            raise KeyError(name)
        for field in fields:
            if not isinstance(value, Mapping) or field not in value:
                raise TemplateError(f"missing field '{field}' in var: {name}")
            value = value[field]
        return value

    return lookup


# --- plans


@dataclass(frozen=True, kw_only=True)
class Step:
    """One step of a plan.

    Attributes:
        body: all of its keys.
        within: the hooks and ``try`` that it stands in, the outermost first.
    """

    body: dict[str, Node]
    within: tuple[str, ...] = ()

    @property
    def kind(self) -> str:
        return next((kind for kind in KINDS if kind in self.body), "")

    @property
    def name(self) -> str:
        found = self.body.get(self.kind)
        return found if isinstance(found, str) else ""

    @property
    def resource(self) -> str:
        """The resource that a get or put is of; empty for other steps."""
        return str(self.body.get("resource", self.name)) if self.kind in ("get", "put") else ""


def steps(job: Mapping[str, Node]) -> Iterator[Step]:
    """Every step of a job, those in hooks included, in the order of the text."""
    for body in job.get("plan", ()):
        yield from _inside(body, ())
    for hook in HOOKS:
        if hook in job:
            yield from _inside(job[hook], (hook,))


def repeated_vars(job: Mapping[str, Node]) -> list[str]:
    """Names that a job loads more than once, hooks included: Concourse refuses that."""
    loaded = [step.name for step in steps(job) if step.kind == "load_var"]
    return sorted({name for name in loaded if loaded.count(name) > 1})


def _inside(body: dict[str, Node], within: tuple[str, ...]) -> Iterator[Step]:
    yield Step(body=body, within=within)
    for child in children(body):
        yield from _inside(child, within)
    if "try" in body:
        yield from _inside(body["try"], (*within, "try"))
    for hook in HOOKS:
        if hook in body:
            yield from _inside(body[hook], (*within, hook))


def planned(bodies: list[dict[str, Node]], *, tried: bool) -> Iterator[Step]:
    """The steps of a plan in their order, those in ``in_parallel`` and ``do`` included, none of a hook.

    Args:
        tried: those in a ``try``, too.
    """
    for body in bodies:
        yield Step(body=body)
        yield from planned([*children(body), *([body["try"]] if tried and "try" in body else [])], tried=tried)


def children(body: Mapping[str, Node]) -> list[dict[str, Node]]:
    """The steps of an ``in_parallel`` or ``do``."""
    parallel = body.get("in_parallel", [])
    return [*(parallel if isinstance(parallel, list) else parallel["steps"]), *body.get("do", [])]
