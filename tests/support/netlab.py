"""A working directory whose nodes are in a network of the test's own, and the handler run on its client."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tests.practice.cluster import practice_cluster
from tests.support.keys import KeyPair
from tests.support.lab import Ended, Lab
from tests.support.network import Network, Node

_NO_KEY = KeyPair("", "", "", "", "")


class NetLab(Lab):
    """Nothing is set but what `ping` needs: it asks hosts, and logs in nowhere."""

    def __init__(self, directory: Path, network: Network) -> None:
        super().__init__(directory, [], _NO_KEY)
        self.network = network
        self.prefix = network.client.enter
        self.extra = {"K0SCTL_PING_CYCLES": "2"}

    def keys(self) -> dict[str, str]:
        return {}

    def nodes(self, *nodes: Node, pinned: bool = True) -> None:
        """Write the configuration and the pinned keys of these nodes; the first one is the controller."""
        practice_cluster(self.work / "config", as_cluster(nodes))
        if not pinned:
            return
        lines = dict.fromkeys("".join(node.known_hosts_lines() for node in nodes).splitlines(keepends=True))
        (self.work / "config" / "known_hosts").write_text("".join(lines))

    def other(self, name: str, *nodes: Node) -> Path:
        """Write another cluster's configuration beside it."""
        path = practice_cluster(self.directory / "other", as_cluster(nodes))
        return path.rename(self.work / "config" / name)

    def ping(self, code: int, **env: str | None) -> tuple[Ended, dict[str, Any]]:
        """A run that ends with this code, and its result."""
        done = self.run("ping", "--json", **env)
        assert done.code == code, done.stderr + done.stdout
        document = json.loads(done.stdout)
        assert document["exit_code"] == code
        result: dict[str, Any] = document["result"]
        return done, result


def as_cluster(nodes: Iterable[Node]) -> list[Node]:
    """The nodes, of which the first one is a controller."""
    first, *others = nodes
    return [Node(first.address, first.port, first.keys, "controller"), *others]
