"""The configuration that a run gets which only looks or backs up. Pure."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from handler.cluster import the_cluster
from handler.envsubst import Location
from handler.errors import ConfigurationError
from handler.hosts import CONNECTIONS, Host, hosts_of
from handler.nodes import Edit, Source, compose, fields_of, is_null, section_of, serialized

if TYPE_CHECKING:
    from yaml.nodes import Node

_STR: Final = "tag:yaml.org,2002:str"


def derived(text: str, *, keep: Callable[[Host], bool], hooks: str | None, base_dir: str) -> str:
    """The configuration for a run that only looks or backs up: fewer hosts, and nothing that is uploaded.

    Args:
        text: the configuration after substitution (`ClusterConfig.text`).
        keep: which of the controllers stay; workers never do.
        hooks: the action whose hooks stay; None removes all.
        base_dir: where k0sctl is meant to be when it reads a relative path; ``~`` stays as it is.

    Returns:
        Text for k0sctl, in which a ``$`` is escaped, so that it reads the same values without substitution.

    Raises:
        ConfigurationError: the text is no configuration, or no host is left.
    """
    import yaml  # noqa: PLC0415 - loaded only when a configuration is read

    source = Source("the derived configuration", lambda index: Location.of(text, index), ())
    documents = compose(text, source)
    cluster = the_cluster(documents, source)
    spec = section_of(fields_of(cluster), "spec")
    hosts = hosts_of(spec, source=source, home="~")
    source.raise_problems()
    kept = {host.index for host in hosts if host.is_controller and keep(host)}
    if not kept:
        raise ConfigurationError("no controller is left in the configuration", resolution="start a controller")

    def absolute(node: Node) -> Node:
        if isinstance(node, yaml.ScalarNode) and node.value and node.value[0] not in "/~" and not is_null(node):
            return yaml.ScalarNode(_STR, f"{base_dir.rstrip('/')}/{node.value}", style='"')
        return node

    def some_hosts(node: Node) -> Node:
        if not isinstance(node, yaml.SequenceNode):
            return node
        return yaml.SequenceNode(node.tag, [host(one) for index, one in enumerate(node.value) if index in kept])

    connection = Edit(dict.fromkeys(("keyPath", "configPath", "caCertPath", "certPath"), absolute))
    connection.fields["bastion"] = connection
    host = Edit({"k0sBinaryPath": absolute, **dict.fromkeys(CONNECTIONS[:3], connection)}, without=("files",))
    if hooks:
        host.fields["hooks"] = Edit({}, only=hooks)
    else:
        host.without += ("hooks",)
    changed = Edit({"spec": Edit({"hosts": some_hosts})})(cluster)
    return serialized(changed if document is cluster else document for document in documents).replace("$", "$$")
