"""The networks of the tests themselves: apart from each other, and nothing is left of them."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from tests.support.network import Namespace, Network, missing
from tests.support.watcher import with_mark

pytestmark = pytest.mark.e2e


@pytest.fixture(autouse=True)
def possible() -> None:
    if why := missing():
        pytest.skip(why)


def left_of(network: Network) -> list[str]:
    prefix = network.client.name.removesuffix("client")
    places = [Path("/run/netns"), Path("/etc/netns")]
    found = [
        str(path) for place in places if place.is_dir() for path in place.iterdir() if path.name.startswith(prefix)
    ]
    return found + list(with_mark(prefix).values())


def scan(network: Network, address: str) -> str:
    done = subprocess.run(
        [*network.client.enter, "ssh-keyscan", "-t", "ed25519", address], capture_output=True, text=True, check=False
    )
    return done.stdout


def test_two_side_by_side_have_the_same_addresses_and_other_hosts(tmp_path: Path) -> None:
    with Network(tmp_path / "a") as one, Network(tmp_path / "b") as other:
        hosts = [network.host().serve() for network in (one, other)]
        assert (hosts[0].v4, hosts[0].v6) == (hosts[1].v4, hosts[1].v6)
        for network, host in zip((one, other), hosts, strict=True):
            for address in (host.v4, host.v6):
                assert scan(network, address).split()[1:] == host.keys[0].split()
    assert left_of(one) + left_of(other) == []


def test_nothing_is_left_after_a_failure(tmp_path: Path) -> None:
    network = Network(tmp_path)
    pids = []

    def fail() -> None:
        with network:
            host = network.host().serve()
            pids.extend(host.namespace.processes())
            with subprocess.Popen([*network.client.enter, "sleep", "1000"]) as process:
                pids.append(process.pid)
                network.client.remove()  # a process that nobody ends must not hold it up
            host.namespace.sh("no-such-program")

    with pytest.raises(AssertionError, match="no-such-program"):
        fail()
    assert len(pids) == 2
    assert not any(Path(f"/proc/{pid}").exists() for pid in pids)
    assert left_of(network) == []


def test_no_link_leads_out_of_it(tmp_path: Path) -> None:
    with Network(tmp_path) as network:
        network.host()
        links = {namespace.name.rpartition("-")[2]: devices(namespace) for namespace in network.namespaces}
    assert links == {
        "client": {"lo", "eth0"}, "near": {"lo", "left", "right"}, "far": {"lo", "left", "host1"},
        "host1": {"lo", "eth0"},
    }  # fmt: skip


def devices(namespace: Namespace) -> set[str]:
    listed = subprocess.run([*namespace.enter, "ip", "-o", "link"], capture_output=True, text=True, check=True).stdout
    return {re.split("[:@ ]+", line)[1] for line in listed.splitlines()}
