"""k0sctl's configuration: what it says after substitution.

Pure: it gets the text and the variables, and knows no file and no environment. The YAML is read as nodes, never as
Python values, so that every text stays as it was written (``0644``, ``1.10``, ``on``).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from handler.envsubst import Location, Reference, Template
from handler.errors import ConfigurationError
from handler.hosts import ROLES, Host, hosts_of
from handler.nodes import (
    Fields,
    Source,
    compose,
    fields_of,
    is_null,
    one_error,
    own_fields,
    refuse_bombs,
    section_of,
    text_of,
)
from handler.secret import Secret

if TYPE_CHECKING:
    from yaml.nodes import Node

API_VERSION: Final = "k0sctl.k0sproject.io/v1beta1"
K0S_API_VERSION: Final = "k0s.k0sproject.io/v1beta1"
_GROUP: Final = "k0sctl.k0sproject.io/"
_CLUSTER_LINE: Final = re.compile(rf"""^["']?apiVersion["']?\s*:\s*["']?{re.escape(_GROUP)}""", re.MULTILINE)
#: They steer k0sctl, ssh or the loader itself, so a configuration must not carry them in.
REFUSED_VARIABLES: Final = re.compile(r"(K0SCTL|SSH|LD)_.*|DEBUG|TRACE|DRY_RUN|HOME")
SECRET_NAMES: Final = re.compile(r"pass|token|secret|key|cred", re.IGNORECASE)


@dataclass(frozen=True, kw_only=True)
class ClusterConfig:
    """What the configuration says.

    Attributes:
        name: ``metadata.name``.
        hosts: all hosts, in order.
        k0s_version: None when it is not pinned; k0sctl then asks the internet in every command.
        storage: the storage type of k0s, None where nothing is stated.
        external_storage: whether the datastore is outside of k0s, so that no backup holds it.
        environment: what k0sctl must get in its environment, and no other variable of the file.
        secrets: the values in it whose names sound secret.
        original: the file as it was read.
        text: the same after substitution; it may hold secrets.
    """

    name: str
    hosts: tuple[Host, ...]
    k0s_version: str | None
    storage: str | None
    external_storage: bool
    environment: Mapping[str, str] = field(repr=False)
    secrets: tuple[Secret, ...] = field(repr=False)
    original: str = field(repr=False)
    text: str = field(repr=False)

    @property
    def controllers(self) -> tuple[Host, ...]:
        return tuple(host for host in self.hosts if host.is_controller)


def read(text: str, *, name: str, variables: Mapping[str, str], home: str) -> ClusterConfig:
    """Read the configuration the way k0sctl will.

    Args:
        text: the file's content.
        name: the file's name, for messages.
        variables: all that could be substituted; an empty value counts as unset.
        home: HOME of k0sctl, for ``~`` in paths.

    Raises:
        ConfigurationError: a variable is refused, or has no value and no default; the text is no YAML, or holds
            not exactly one cluster; a host or its address, role, connection or port does not fit.
    """
    original, text = text, text.removeprefix("\ufeff")
    template = Template.parse(text, name=name)
    environment = _environment(template, name=name, variables=variables)
    filled = template.filled(environment)
    secrets = tuple(Secret(value) for key, value in environment.items() if SECRET_NAMES.search(key))
    source = Source(name, lambda index: template.where(index, environment), secrets)
    documents = compose(filled, source)
    refuse_bombs(documents, source)
    cluster = fields_of(the_cluster(documents, source))
    spec = section_of(cluster, "spec")
    hosts = hosts_of(spec, source=source, home=home)
    source.raise_problems()
    if not any(host.is_controller for host in hosts):
        source.fail(None, f"no host is a controller; one must have a role of {', '.join(ROLES[:3])}")
    k0s = section_of(spec, "k0s")
    storages = _storages(documents, k0s)
    storage = next((kind for one in storages if (kind := text_of(one, "type"))), None)
    return ClusterConfig(
        name=text_of(section_of(cluster, "metadata"), "name") or "k0s-cluster",
        hosts=hosts,
        k0s_version=text_of(k0s, "version") or None,
        storage=storage,
        external_storage=_is_external(storage or "etcd", storages),
        environment=environment,
        secrets=secrets,
        original=original,
        text=filled,
    )


def is_cluster(text: str) -> bool:
    """Whether a YAML file is a configuration of k0sctl, in which variables are substituted.

    Before that it need not be YAML: ``{port: ${PORT:-22}}`` is none.
    """
    text = text.removeprefix("\ufeff")
    try:
        documents = compose(text, Source("", lambda index: Location.of(text, index), ()))
    except ConfigurationError:
        return bool(_CLUSTER_LINE.search(text))
    stated = [
        (text_of(fields, "apiVersion") or "", text_of(fields, "kind") or "") for fields in map(own_fields, documents)
    ]
    return any(version.lower().startswith(_GROUP) and kind.lower() == "cluster" for version, kind in stated)


def _environment(template: Template, *, name: str, variables: Mapping[str, str]) -> Mapping[str, str]:
    """The variables that the file names, which all must be allowed and, without a default, set."""
    given = {key: value for key, value in variables.items() if value}
    problems: dict[str, None] = {}  # in the order of the file, each once
    environment: dict[str, str] = {}

    def problem(reference: Reference, what: str) -> None:
        problems[f"{name}:{template.location(reference.offset)}: {what}"] = None

    for reference in template.named():
        if reference.odd:
            problem(reference, "k0sctl does not read this as written; it knows ${NAME}, ${NAME:-text}, ${NAME:-$OTHER}")
            continue
        for one in reference.all():
            if REFUSED_VARIABLES.fullmatch(one.name):
                problem(one, f"the variable {one.name} would steer k0sctl itself; use another name")
            elif one.name in given:
                environment[one.name] = given[one.name]
        lacking = reference.lacking(given)
        if lacking and not REFUSED_VARIABLES.fullmatch(lacking.name):
            problem(lacking, f"the variable {lacking.name} is not set, or empty, and has no default")
    if problems:
        raise one_error(
            name,
            list(problems),
            resolution="set the variables, give them a default as in ${NAME:-text}, or write $$ for a literal $",
        )
    return environment


def the_cluster(documents: list[Node], source: Source) -> Node:
    """The one document that is k0sctl's; others are kept for k0s or for the cluster."""
    candidates: list[Node] = []
    others: list[Node] = []
    for document in documents:
        fields = fields_of(document)
        version, kind = text_of(fields, "apiVersion"), text_of(fields, "kind")
        if not version or not kind:
            source.fail(document, "a document needs apiVersion and kind")
        if kind.lower() == "cluster":
            (candidates if version.lower() == API_VERSION else others).append(document)
    if len(candidates) > 1:
        source.fail(candidates[1], "a second document of kind Cluster; exactly one is allowed")
    if not candidates and not others:
        source.fail(None, f"no document of kind Cluster; exactly one is needed, apiVersion {API_VERSION}")
    cluster = (candidates or others)[0]
    version, kind = (text_of(fields_of(cluster), name) for name in ("apiVersion", "kind"))
    if version != API_VERSION or kind not in ("Cluster", "cluster"):
        source.fail(cluster, f"this is kind {kind}, apiVersion {version}; allowed is kind Cluster, {API_VERSION}")
    return cluster


def _storages(documents: list[Node], k0s: Fields) -> list[Fields]:
    """What counts most comes first; k0sctl lays documents of kind ClusterConfig over ``spec.k0s.config``."""
    configs = [section_of(k0s, "config")]
    for document in documents:
        fields = fields_of(document)
        version, kind = text_of(fields, "apiVersion"), text_of(fields, "kind") or ""
        if version == K0S_API_VERSION and kind.lower() == "clusterconfig":
            configs.append(fields)
    return [section_of(section_of(config, "spec"), "storage") for config in reversed(configs)]


def _is_external(storage: str, storages: list[Fields]) -> bool:
    """Whether k0s would leave its datastore out of a backup, https://docs.k0sproject.io/stable/backup/."""
    sections = [section_of(one, storage) for one in storages]
    if storage == "etcd":
        return any(not is_null(node) for section in sections for node in section.get("externalCluster", ()))
    source = next((text for section in sections if (text := text_of(section, "dataSource"))), "sqlite://")
    return not source.startswith("sqlite://")
