"""The hosts of a cluster, as k0sctl's configuration states them: how each is reached, and what weakens that. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from handler.nodes import Fields, Source, fields_of, is_null, is_true, section_of, text_of

if TYPE_CHECKING:
    from yaml.nodes import Node

ROLES: Final = ("controller", "controller+worker", "single", "worker")
CONNECTIONS: Final = ("ssh", "openSSH", "winRM", "localhost")
#: Where k0s keeps its data unless a host's ``dataDir`` says otherwise.
DATA_DIR: Final = "/var/lib/k0s"
_HIGHEST_PORT: Final = 65535


@dataclass(frozen=True, kw_only=True)
class Host:
    """One host of the cluster.

    Attributes:
        index: its position in ``spec.hosts``, from 0.
        role: one of `ROLES`.
        connection: one of `CONNECTIONS`.
        address, port, user: as k0sctl uses them, its defaults included; the port of ``localhost`` is 0.
        key_path: the private key's path, ``~`` replaced by the home; relative ones are relative to k0sctl's
            working directory.
        bastion: whether another host, or a proxy, stands between.
        reachable_directly: whether a TCP connection to ``address`` and ``port`` is what k0sctl would open.
        weakening: what the configuration says against strict host keys, a sentence each.
        data_dir: where k0s keeps its data on this host.
    """

    index: int
    role: str
    connection: str
    address: str
    port: int
    user: str | None
    key_path: str | None
    bastion: bool
    reachable_directly: bool
    weakening: tuple[str, ...]
    data_dir: str = DATA_DIR

    @property
    def label(self) -> str:
        """``address:port``, as k0sctl names the host; IPv6 in brackets."""
        if self.connection == "localhost":
            return self.connection
        return f"[{self.address}]:{self.port}" if ":" in self.address else f"{self.address}:{self.port}"

    @property
    def is_controller(self) -> bool:
        return self.role != "worker"


def hosts_of(spec: Fields, *, source: Source, home: str) -> tuple[Host, ...]:
    from yaml.nodes import SequenceNode  # noqa: PLC0415

    node = spec["hosts"][-1] if "hosts" in spec else None
    if not isinstance(node, SequenceNode) or not node.value:
        source.problem(node, "spec.hosts names no host; at least one controller is needed")
        return ()
    hosts = [_host(host, index=index, source=source, home=home) for index, host in enumerate(node.value)]
    return tuple(host for host in hosts if host)


def _host(node: Node, *, index: int, source: Source, home: str) -> Host | None:
    """One host; None after a problem was noted."""
    fields = fields_of(node)
    role = text_of(fields, "role") or ""
    if role not in ROLES:
        at = fields.get("role", (node,))[-1]
        source.problem(at, f"host {index + 1} has role {role!r}; allowed: {', '.join(ROLES)}")
    stated: list[str] = [name for name in CONNECTIONS[:3] if name in fields and not is_null(fields[name][-1])]
    if is_true(fields, "localhost") or is_true(section_of(fields, "localhost"), "enabled"):
        stated.append("localhost")
    if len(stated) != 1:
        what = "several connections" if stated else "no connection"
        source.problem(node, f"host {index + 1} has {what}; allowed is exactly one of {', '.join(CONNECTIONS)}")
        return None
    data_dir = text_of(fields, "dataDir") or DATA_DIR
    if stated == ["localhost"]:
        return Host(
            index=index, role=role, connection="localhost", address="127.0.0.1", port=0, user=None, key_path=None,
            bastion=False, reachable_directly=False, weakening=(), data_dir=data_dir,
        )  # fmt: skip
    host = _remote(index, role, stated[0], fields[stated[0]], source=source, home=home)
    return replace(host, data_dir=data_dir) if host else None


def _remote(
    index: int, role: str, connection: str, nodes: tuple[Node, ...], *, source: Source, home: str
) -> Host | None:
    fields = fields_of(*nodes)
    options = _options(fields)
    address = text_of(fields, "address") or ""
    default = {"ssh": 22, "openSSH": 22, "winRM": 5986 if is_true(fields, "useHTTPS") else 5985}[connection]
    port = _port(fields, default, label=f"host {index + 1}", source=source)
    key_path = text_of(fields, "keyPath")
    named = options.get("hostname", address) if connection == "ssh" else address
    if wrong := [one for one in (address, named) if not _is_address(one)]:
        source.problem(
            fields.get("address", nodes)[-1],
            f"host {index + 1} has {f'the address {wrong[0]!r}' if wrong[0] else 'no address'}; "
            "allowed: a name or an IP address, without port or brackets",
        )
        return None
    if connection == "ssh" and "port" in options:
        optional = _optional_port(options["port"], nodes, label=f"host {index + 1}", source=source)
        # k0sctl takes 22 for "not stated", and ssh options then count
        port = optional if port == default else port
    bastion = any(not is_null(one) for one in fields.get("bastion", ()))
    proxied = any(options.get(name, "none").lower() != "none" for name in ("proxyjump", "proxycommand"))
    return Host(
        index=index,
        role=role,
        connection=connection,
        address=named,
        port=port,
        user=text_of(fields, "user") or {"ssh": "root", "winRM": "Administrator"}.get(connection),
        key_path=f"{home}{key_path[1:]}" if key_path and re.match(r"~(/|$)", key_path) else key_path,
        bastion=bastion or proxied,
        reachable_directly=connection == "ssh" and not bastion and not proxied,
        weakening=tuple(_weakening(connection, fields)),
    )


def _port(fields: Fields, default: int, *, label: str, source: Source) -> int:
    text = text_of(fields, "port")
    if text is None:
        return default
    node = fields["port"][-1]
    # a quoted number is a text for k0sctl, one with a leading zero is octal
    if getattr(node, "style", None) or not _is_port(text):
        source.problem(node, f"{label} has the port {text!r}; allowed: a number from 1 to 65535, without quotes")
        return default
    return int(text)


def _optional_port(text: str, nodes: tuple[Node, ...], *, label: str, source: Source) -> int:
    """The port of ssh's options; k0sctl 0.32 takes it in quotes too, and refuses whatever else is no port."""
    if not _is_port(text):
        source.problem(nodes[-1], f"{label} has the Port {text!r} in its options; allowed: a number from 1 to 65535")
        return 0
    return int(text)


def _is_port(text: str) -> bool:
    return bool(re.fullmatch(r"[1-9]\d{0,4}", text, re.ASCII)) and int(text) <= _HIGHEST_PORT


def _is_address(text: str) -> bool:
    if ":" not in text:
        return bool(re.fullmatch(r"[^\s/\[\]@\x00-\x1f\x7f-\x9f]+", text))
    from handler.addresses import normalised  # noqa: PLC0415 - only IPv6 needs it

    return text == text.strip() and bool(normalised(text))


def _options(fields: Fields) -> dict[str, str]:
    """The ``options`` of a connection, names in lower case, a list as one text."""
    from yaml.nodes import SequenceNode  # noqa: PLC0415

    found: dict[str, str] = {}
    for name, nodes in section_of(fields, "options").items():
        node = nodes[-1]
        parts = node.value if isinstance(node, SequenceNode) else [node]
        found[name.lower()] = " ".join(str(part.value) for part in parts if not is_null(part))
    return {name: text for name, text in found.items() if text}


def _weakening(prefix: str, fields: Fields) -> Iterator[str]:
    """What a connection, and the bastions before it, say against the pinned host keys."""
    options = _options(fields)
    strict = options.get("stricthostkeychecking", "").lower()
    if prefix == "openSSH":
        yield "openSSH: the ssh program reads its user's own configuration and known hosts, not the pinned keys"
        if not strict:
            yield "openSSH: k0sctl switches StrictHostKeyChecking off unless options say yes"
    if strict in ("no", "off", "false", "n", "accept-new"):
        yield f"{prefix}.options: StrictHostKeyChecking {strict} accepts unknown keys"
    for name in ("UserKnownHostsFile", "GlobalKnownHostsFile"):
        path = options.get(name.lower(), "none")
        if path.lower() != "none":
            yield f"{prefix}.options: {name} {path} takes the place of the pinned keys"
    if "hostkeyalias" in options:
        yield f"{prefix}.options: HostKeyAlias {options['hostkeyalias']} accepts the keys pinned for another name"
    if "bastion" in fields:
        yield from _weakening(f"{prefix}.bastion", section_of(fields, "bastion"))
