"""Files of variables: complete, without anything that nothing uses, and without a secret."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Final

from tests.pipeline.template import Node, is_reference, names

#: Field names whose values must come from the credential manager.
_SECRET: Final = re.compile(r"(password|passphrase|private_key|_key|gpg_pair|token)$")


def leaves(node: Node, path: str = "") -> Iterator[tuple[str, Node]]:
    """Every value with its path: ``k0sctl.cluster.name``."""
    if isinstance(node, Mapping):
        for key, value in node.items():
            yield from leaves(value, f"{path}.{key}" if path else str(key))
    else:
        yield path, node


def unused(variables: Mapping[str, Node], templates: Iterable[Node]) -> list[str]:
    """Values that no template names."""
    used = {name for template in templates for name in names(template)}
    return [
        path for path, _ in leaves(variables) if not any(path == name or path.startswith(f"{name}.") for name in used)
    ]


def missing(variables: Mapping[str, Node], templates: Iterable[Node]) -> list[str]:
    """Names that have no value; those of a running build aside."""
    known = {path for path, _ in leaves(variables)}
    used = {name for template in templates for name in names(template) if not name.startswith(".:")}
    return sorted(name for name in used if not any(path == name or path.startswith(f"{name}.") for path in known))


def secrets_in_clear(variables: Mapping[str, Node]) -> list[str]:
    """Values that sound secret, and are neither empty nor one reference to the credential manager."""
    return [
        path for path, value in leaves(variables)
        if _SECRET.search(path) and value not in (None, "") and not is_reference(value)
    ]  # fmt: skip


def needless_secrets(variables: Mapping[str, Node]) -> list[str]:
    """References whose value is no secret: every line of it would be cut out of all logs."""
    return [path for path, value in leaves(variables) if names(value) and not _SECRET.search(path)]


def uncommented(path: Path) -> list[str]:
    """Keys without a comment right above them or above the map that they are in."""
    found, told, lines = [], [False], path.read_text(encoding="utf-8").splitlines()
    for number, line in enumerate(lines):
        key = re.match(r"( *)([\w-]+):", line)
        if not key or "-----" in line:
            continue
        depth = len(key[1]) // 2
        told[depth:] = [lines[number - 1].lstrip().startswith("#") or any(told[:depth])]
        if not told[depth] and not line.rstrip().endswith(":"):
            found.append(key[2])
    return found
