"""The YAML of k0sctl's configuration as nodes, never as Python values: every text stays as it was written. Pure."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from typing import TYPE_CHECKING, Final, NoReturn

from handler.envsubst import Location
from handler.errors import ConfigurationError
from handler.secret import Redactor, Secret

if TYPE_CHECKING:
    from yaml.events import Event
    from yaml.nodes import MappingNode, Node, ScalarNode

#: Deeper nesting is no configuration; the YAML library, which recurses in C, must not meet it.
DEEPEST: Final = 200
#: More mappings than this are merged into one by nobody.
_MOST_MERGED: Final = 10_000


class Source:
    """Where the nodes come from: turns problems into one error with places, and without secrets."""

    def __init__(self, name: str, where: Callable[[int], Location], secrets: Iterable[Secret]) -> None:
        self._name = name
        self._where = where
        self._redactor = Redactor()
        self._redactor.learn(*secrets)
        self._problems: list[str] = []

    def problem(self, at: Node | Event | int | None, what: str) -> None:
        """Note a problem; ``at`` is a node, an offset in the text, or None for the file as a whole."""
        mark = None if isinstance(at, int) or at is None else at.start_mark
        offset = at if isinstance(at, int) else mark.index if mark else None
        place = self._name if offset is None else f"{self._name}:{self._where(offset)}"
        self._problems.append(f"{place}: {self._redactor.mask(what)}")

    def raise_problems(self) -> None:
        if self._problems:
            raise one_error(self._name, self._problems, resolution=f"mend {self._name} and run again")

    def fail(self, at: Node | Event | int | None, what: str) -> NoReturn:
        self.problem(at, what)
        raise one_error(self._name, self._problems, resolution=f"mend {self._name} and run again")


def one_error(name: str, problems: list[str], *, resolution: str) -> ConfigurationError:
    if len(problems) == 1:
        return ConfigurationError(problems[0], resolution=resolution)
    return ConfigurationError(f"{name}: {len(problems)} problems", details=problems, resolution=resolution)


def compose(text: str, source: Source) -> list[Node]:
    """The documents of a text as nodes; empty ones are left out."""
    import yaml  # noqa: PLC0415 - loaded only when a configuration is read

    try:
        # libyaml, which k0sctl's YAML library follows: the one written in Python refuses tabs that both accept
        depth = 0
        for event in yaml.parse(text, Loader=yaml.CSafeLoader):
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            if depth > DEEPEST:
                source.fail(event, f"this is nested more than {DEEPEST} levels deep")
        documents = list(yaml.compose_all(text, Loader=yaml.CSafeLoader))
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        source.fail(mark.index if mark else None, f"no valid YAML: {error.problem or error.context}")
    except (yaml.YAMLError, UnicodeError) as error:
        at = getattr(error, "position", getattr(error, "start", None))
        source.fail(at, "no valid YAML: it holds a character that YAML does not allow")
    for document in documents:
        _refuse_loops(document, source)
    return [document for document in documents if not is_null(document)]


def _refuse_loops(root: Node, source: Source) -> None:
    """An alias inside its own anchor has no end; everything after this may recurse."""
    for _ in _bottom_up(root, source):
        pass


def _bottom_up(root: Node, source: Source) -> Iterator[Node]:
    """All nodes, each once, and after all that it holds."""
    done: set[int] = set()
    above: set[int] = set()

    def visit(node: Node) -> Iterator[Node]:
        if id(node) in above:
            source.fail(node, "an anchor holds an alias to itself")
        if id(node) in done:
            return
        above.add(id(node))
        for child in _children(node):
            yield from visit(child)
        above.discard(id(node))
        done.add(id(node))
        yield node

    yield from visit(root)


def refuse_bombs(documents: Iterable[Node], source: Source) -> None:
    """Aliases make a short text long and deep: `fields_of` must meet none that it would not come to the end of.

    Raises:
        ConfigurationError: where there is one.
    """
    for document in documents:
        depth: dict[int, int] = {}
        merged: dict[int, int] = {}
        for node in _bottom_up(document, source):
            depth[id(node)] = 1 + max((depth[id(child)] for child in _children(node)), default=-1)
            if depth[id(node)] > DEEPEST:
                source.fail(node, f"this is nested more than {DEEPEST} levels deep, its aliases included")
            merged[id(node)] = 1 + sum(merged[id(one)] for one in _all_merged(node))
            if merged[id(node)] > _MOST_MERGED:
                source.fail(node, f"this brings in more than {_MOST_MERGED} mappings by <<")


def _all_merged(node: Node) -> Iterator[Node]:
    from yaml.nodes import MappingNode  # noqa: PLC0415

    if isinstance(node, MappingNode):
        for key, value in node.value:
            yield from _merged(value) if is_merge(key) else ()


def _children(node: Node) -> Iterator[Node]:
    from yaml.nodes import MappingNode, SequenceNode  # noqa: PLC0415

    if isinstance(node, SequenceNode):
        yield from node.value
    elif isinstance(node, MappingNode):
        for pair in node.value:
            yield from pair


def values_of(documents: Iterable[Node], *, without: Collection[str]) -> Iterator[ScalarNode]:
    """All values that are a text, in the order of the documents, anchored ones once.

    Args:
        without: fields, in lower case, that are left out with all that stands below them.
    """
    from yaml.nodes import MappingNode, ScalarNode  # noqa: PLC0415

    done: set[int] = set()
    waiting = list(documents)[::-1]
    while waiting:
        node = waiting.pop()
        if id(node) in done:
            continue
        done.add(id(node))
        if isinstance(node, ScalarNode):
            yield node
        elif isinstance(node, MappingNode):
            waiting.extend(value for key, value in reversed(node.value) if _name(key).lower() not in without)
        else:
            waiting.extend(reversed(list(_children(node))))


#: The fields of a struct by name; several nodes where k0sctl lays one over the other.
Fields = dict[str, tuple["Node", ...]]


def fields_of(*layers: Node) -> Fields:
    """The fields that k0sctl sees, which fills its structs in the order of the text.

    ``<<`` counts where it stands and may thus override what stands before it; a mapping adds to the one that
    was there, so that ``<<: *host`` and then ``ssh: {address: …}`` keep the other fields of that ssh.
    """
    from yaml.nodes import MappingNode  # noqa: PLC0415

    found: dict[str, dict[Node, None]] = {}
    for layer in layers:
        if not isinstance(layer, MappingNode):
            continue
        for key, value in layer.value:
            added = fields_of(*_merged(value)) if is_merge(key) else {_name(key): (value,)}
            for name, nodes in added.items():
                under = {} if is_null(nodes[0]) else found.get(name, {})
                for node in nodes:
                    under.pop(node, None)  # of one that comes twice only the last place counts
                    under[node] = None
                found[name] = under
    return {name: tuple(nodes) for name, nodes in found.items()}


def own_fields(node: Node) -> Fields:
    """The fields that stand in the mapping itself; nothing is merged."""
    from yaml.nodes import MappingNode  # noqa: PLC0415

    pairs = node.value if isinstance(node, MappingNode) else []
    return {_name(key): (value,) for key, value in pairs if not is_merge(key)}


def _name(key: Node) -> str:
    """The name of a field; a key may be a list, whose text could have no end, and which is no name."""
    from yaml.nodes import ScalarNode  # noqa: PLC0415

    return str(key.value) if isinstance(key, ScalarNode) else ""


def section_of(fields: Fields, name: str) -> Fields:
    return fields_of(*fields.get(name, ()))


def text_of(fields: Fields, name: str) -> str | None:
    from yaml.nodes import ScalarNode  # noqa: PLC0415

    node = fields[name][-1] if name in fields else None
    return str(node.value) if isinstance(node, ScalarNode) and not is_null(node) else None


def is_null(node: Node) -> bool:
    return bool(node.tag == "tag:yaml.org,2002:null")


def is_merge(key: Node) -> bool:
    return bool(key.tag == "tag:yaml.org,2002:merge")


def is_true(fields: Fields, name: str) -> bool:
    node = fields[name][-1] if name in fields else None
    text = (text_of(fields, name) or "").lower()
    return node is not None and node.tag == "tag:yaml.org,2002:bool" and text in ("true", "yes", "on")


def _merged(value: Node) -> list[Node]:
    """What ``<<`` brings in, the weakest first."""
    from yaml.nodes import SequenceNode  # noqa: PLC0415

    return value.value[::-1] if isinstance(value, SequenceNode) else [value]


class Edit:
    """Copies mappings with some fields changed or left out; what they merge is treated the same way.

    Copies, since an anchor may give the same mapping to another part of the file; one copy of each, so that
    aliases stay aliases.

    Attributes:
        fields: how to change the values of these fields.
        without: the fields that are left out.
        only: the one field that is not left out; None when all others stay.
    """

    def __init__(
        self, fields: dict[str, Callable[[Node], Node]], *, without: tuple[str, ...] = (), only: str | None = None
    ) -> None:
        self.fields = fields
        self.without = without
        self.only = only
        self._copies: dict[int, Node] = {}

    def __call__(self, node: Node) -> Node:
        from yaml.nodes import MappingNode  # noqa: PLC0415

        if not isinstance(node, MappingNode):
            return node
        if id(node) not in self._copies:
            self._copies[id(node)] = MappingNode(node.tag, list(self._pairs(node)))
        return self._copies[id(node)]

    def _pairs(self, node: MappingNode) -> Iterator[tuple[Node, Node]]:
        from yaml.nodes import SequenceNode  # noqa: PLC0415

        for key, value in node.value:
            if is_merge(key):
                merged = isinstance(value, SequenceNode)
                yield key, SequenceNode(value.tag, [self(one) for one in value.value]) if merged else self(value)
                continue
            name = _name(key)
            if name not in self.without and self.only in (None, name):
                yield key, self.fields[name](value) if name in self.fields else value


def serialized(documents: Iterable[Node]) -> str:
    """The nodes as text, each value on one line and as it was written: quoted stays quoted, plain stays plain."""
    import yaml  # noqa: PLC0415

    nodes = list(documents)
    done: set[int] = set()

    def restyle(node: Node) -> None:
        if id(node) in done:
            return
        done.add(id(node))
        if isinstance(node, yaml.CollectionNode):
            node.flow_style = False  # inside [] and {} a plain 12:30 would have to be quoted
        elif isinstance(node, yaml.ScalarNode) and (node.style in ("|", ">") or not node.value.isprintable()):
            node.style = '"'
        for child in _children(node):
            restyle(child)

    for node in nodes:
        restyle(node)
    text = yaml.serialize_all(nodes, Dumper=yaml.SafeDumper, explicit_start=True, allow_unicode=True, width=2**31)
    return str(text)
