"""IP addresses that stand as values in YAML files: whatever they mean there, a route to them can be traced. Pure."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from handler.envsubst import Location, Template
from handler.nodes import Source, compose, values_of

#: Fields that only document; what stands below them was never meant to be reached.
DOCUMENTING: Final = frozenset(
    ("description", "comment", "comments", "note", "notes", "annotations", "label", "labels", "doc", "docs")
)
#: The name of a network device, or its number; Python lets everything pass, line ends too.
_ZONE: Final = re.compile(r"[\w.-]{1,15}", re.ASCII)
_BROADCAST: Final = ipaddress.IPv4Address("255.255.255.255")


@dataclass(frozen=True, kw_only=True)
class Place:
    """An address, and where it stands first: ``file:line:column``."""

    address: str
    where: str


def normalised(text: str) -> str:
    """The one way to write this IP address; empty when it is none, as a name or a network."""
    try:
        address = ipaddress.ip_address(text.strip())
    except ValueError:
        return ""
    if isinstance(address, ipaddress.IPv4Address):
        return str(address)
    if address.scope_id is not None and not _ZONE.fullmatch(address.scope_id):
        return ""
    return str(address.ipv4_mapped or address)


def same_address(one: str, other: str) -> bool:
    """Whether two texts mean one IP address; a zone (``%eth0``) says only how it is reached."""
    left, right = (normalised(text.partition("%")[0]) for text in (one, other))
    return bool(left) and left == right


def places(text: str, *, name: str, variables: Mapping[str, str] | None = None) -> tuple[Place, ...]:
    """The addresses that stand as whole values in a YAML text, each once, in its order.

    Args:
        name: the file's name, for places.
        variables: what k0sctl would substitute; None where nothing is substituted.

    Raises:
        ConfigurationError: the text is no YAML.
    """
    text = text.removeprefix("\ufeff")
    template = Template.parse(text, name=name) if variables is not None else None
    filled = template.filled(variables) if template and variables is not None else text

    def where(index: int) -> Location:
        return template.where(index, variables) if template and variables is not None else Location.of(text, index)

    found: dict[str, Place] = {}
    for value in values_of(compose(filled, Source(name, where, ())), without=DOCUMENTING):
        address = normalised(str(value.value))
        if address and address not in found and _can_be_a_target(address):
            found[address] = Place(address=address, where=f"{name}:{where(value.start_mark.index)}")
    return tuple(found.values())


def _can_be_a_target(address: str) -> bool:
    """Whether this may be somebody else's address, and one only."""
    one = ipaddress.ip_address(address)
    return not (one.is_loopback or one.is_unspecified or one.is_multicast or one == _BROADCAST)
