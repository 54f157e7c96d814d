"""`ping`: is every node there, and is it the one that is meant? On a network of the test's own, with real trouble."""

from __future__ import annotations

import contextlib
import json
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.support.netlab import NetLab
from tests.support.network import NetHost, Network, missing
from tests.support.watcher import descendants, read, wait_for, with_mark

pytestmark = pytest.mark.e2e

#: A router that never tells that a packet was too long on the way.
QUIET = """
add table inet quiet
add chain inet quiet output { type filter hook output priority 0; }
add rule inet quiet output icmp type time-exceeded drop
add rule inet quiet output icmpv6 type time-exceeded drop
"""
Result = dict[str, Any]


@dataclass
class Net:
    """A network with a host for each kind of trouble."""

    network: Network
    fine: NetHost
    second: NetHost
    closed: NetHost
    filtered: NetHost
    swapped: NetHost
    mute: NetHost
    lossy: NetHost
    down: tuple[str, str]
    silent: tuple[str, str]


@pytest.fixture(scope="module")
def net(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Net]:
    if why := missing():
        pytest.skip(why)
    with Network(tmp_path_factory.mktemp("network")) as network:
        fine = network.host().serve(22, 2222)
        lossy = network.host().serve()
        network.lose(lossy)
        yield Net(
            network,
            fine,
            network.host().serve(),
            network.host(),
            network.host().serve().filter_ssh(),
            network.host().serve().pin_another_key(),
            network.host().serve().filter_echo(),
            lossy,
            network.down(fine),
            network.silent(),
        )


@pytest.fixture
def lab(tmp_path: Path, net: Net) -> Iterator[NetLab]:
    net.network.names({})
    lab = NetLab(tmp_path, net.network)
    yield lab
    assert lab.leftovers() == []
    assert not with_mark(f"PATH={lab.bin}")


def only(result: Result, label: str) -> Result:
    """What is said about a node."""
    found: list[Result] = [node for node in result["nodes"] if node["host"] == label]
    assert len(found) == 1, result
    return found[0]


def one_address(node: Result) -> Result:
    assert len(node["addresses"]) == 1, node
    found: Result = node["addresses"][0]
    return found


def count_calls(lab: NetLab) -> Path:
    """From now on every start of mtr that traces a route is written down; returns where."""
    calls = lab.directory / "calls"
    calls.touch()
    lab.tool("mtr", f'case "$*" in *--version* | *-v) ;; *) echo "$*" >> {calls} ;; esac')
    return calls


# --- all is well -----------------------------------------------------------------------------------------------


def test_all_is_well_over_ipv4_and_ipv6(lab: NetLab, net: Net) -> None:
    nodes = [net.fine.node(), net.second.node(net.second.v6), net.fine.node(net.fine.v6, port=2222)]
    lab.nodes(*nodes)
    done, result = lab.ping(0)
    assert done.first.startswith("ping: ")
    assert [node["host"] for node in result["nodes"]] == [node.label for node in nodes]
    assert [node["role"] for node in result["nodes"]] == ["controller", "worker", "worker"]
    for wanted, node in zip(nodes, result["nodes"], strict=True):
        assert node["ok"] is True
        found = one_address(node)
        assert found["address"] == wanted.address
        assert (found["reached"], found["loss"], found["hops"]) == (True, 0, 3)
        assert (found["door"], found["problem"]) == ("open", "")
        assert 0 < found["best_ms"] <= found["average_ms"] <= found["worst_ms"]
    assert result["others"] == []
    assert lab.report()["exit_code"] == 0


def test_a_table_for_people(lab: NetLab, net: Net) -> None:
    lab.nodes(net.fine.node(), net.fine.node(net.down[0]))
    done = lab.run("ping").failed(4, f"{net.down[0]}:22")
    lines = done.stdout.splitlines()
    assert len([line for line in lines if f"{net.fine.v4}:22" in line or net.fine.v4 in line]) == 1
    assert any(net.down[0] in line for line in lines)
    assert net.fine.v4 not in done.last


def test_by_tcp(lab: NetLab, net: Net) -> None:
    calls = count_calls(lab)
    lab.nodes(net.fine.node(port=2222), net.second.node(net.second.v6))
    _, result = lab.ping(0, K0SCTL_PING_MODE="tcp")
    assert [one_address(node)["loss"] for node in result["nodes"]] == [0, 0]
    traced = sorted(line.split() for line in calls.read_text().splitlines())
    assert len(traced) == 2
    assert all("--tcp" in words for words in traced)
    assert {port for words in traced for port in words if port in {"22", "2222"}} == {"22", "2222"}


def test_by_tcp_a_silent_host_is_no_less_silent(lab: NetLab, net: Net) -> None:
    lab.nodes(net.fine.node(), net.fine.node(net.silent[0]))
    _, result = lab.ping(4, K0SCTL_PING_MODE="tcp")
    assert [node["ok"] for node in result["nodes"]] == [True, False]


def test_an_address_that_is_written_twice_is_traced_once(lab: NetLab, net: Net) -> None:
    calls = count_calls(lab)
    lab.nodes(net.fine.node(), net.fine.node(port=2222))
    (lab.work / "config" / "addresses.yaml").write_text(f"- {net.fine.v4}\n- {net.second.v4}\n")
    _, result = lab.ping(0)
    assert [node["ok"] for node in result["nodes"]] == [True, True]
    traced = calls.read_text().splitlines()
    assert len([line for line in traced if net.fine.v4 in line.split()]) == 1, traced
    assert len(traced) == 2
    assert [other["address"] for other in result["others"]] == [net.second.v4]


# --- the route -------------------------------------------------------------------------------------------------


def test_a_host_is_down_behind_a_router_that_lives(lab: NetLab, net: Net) -> None:
    dead = [net.fine.node(address) for address in net.down]
    lab.nodes(net.fine.node(), *dead)
    done, result = lab.ping(4)
    assert only(result, f"{net.fine.v4}:22")["ok"] is True
    for node, router in zip(dead, ("10.0.2.2", "fd00:b::2"), strict=True):
        assert last_hub(lab, node.address) == (router, 0)  # what has to be seen through
        assert node.label in done.last
        said = only(result, node.label)
        found = one_address(said)
        assert (said["ok"], found["reached"], found["loss"]) == (False, False, 100)
        assert f"{router} (hop 3) answers in its place" in said["why"]


def last_hub(lab: NetLab, address: str) -> tuple[str, float]:
    """Who answers last on the way to an address, and the percent lost, as mtr itself tells it."""
    said = subprocess.run(
        [*lab.prefix, "mtr", "--no-dns", "--json", "-c", "2", "-i", "0.2", "-G", "1", address],
        capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    last = json.loads(said)["report"]["hubs"][-1]
    return last["host"], last["Loss%"]


def test_every_packet_is_lost_without_a_word(lab: NetLab, net: Net) -> None:
    dead = [net.fine.node(address) for address in net.silent]
    lab.nodes(*dead, net.second.node())
    done, result = lab.ping(4)
    for node in dead:
        assert node.label in done.last
        said = only(result, node.label)
        found = one_address(said)
        assert (said["ok"], found["reached"], found["loss"]) == (False, False, 100)
    assert only(result, f"{net.second.v4}:22")["ok"] is True


@pytest.mark.parametrize(("allowed", "code"), [("50%", 0), ("10%", 4)])
def test_three_of_ten_packets_are_lost(lab: NetLab, net: Net, allowed: str, code: int) -> None:
    nodes = [net.lossy.node(address) for address in (net.lossy.v4, net.lossy.v6)]
    lab.nodes(*nodes)
    done, result = lab.ping(code, K0SCTL_PING_CYCLES="10", K0SCTL_PING_MAX_LOSS=allowed)
    for node in nodes:
        said = only(result, node.label)
        lost = one_address(said)["loss"]
        assert 20 <= lost <= 40  # 30 where no probe was sent twice, which mtr does when an answer is late
        assert said["ok"] is (code == 0)
        assert code == 0 or (f"{lost:g} %" in said["why"] and node.label in done.last)


def test_a_router_on_the_way_that_says_nothing(lab: NetLab, net: Net) -> None:
    """Only the target counts."""
    net.network.near.nft(QUIET)
    try:
        lab.nodes(net.fine.node(), net.second.node(net.second.v6))
        _, result = lab.ping(0)
    finally:
        net.network.near.nft("delete table inet quiet\n")
    assert [(one_address(node)["loss"], one_address(node)["hops"]) for node in result["nodes"]] == [(0, 3), (0, 3)]


def test_a_host_that_answers_no_echo_request(lab: NetLab, net: Net) -> None:
    """A firewall that knows only TCP: the other mode sees through it."""
    lab.nodes(net.mute.node(), net.fine.node())
    done, result = lab.ping(4)
    said = only(result, f"{net.mute.v4}:22")
    assert (said["ok"], one_address(said)["door"]) == (False, "open")
    assert "K0SCTL_PING_MODE=tcp" in done.stderr
    _, result = lab.ping(0, K0SCTL_PING_MODE="tcp")
    assert only(result, f"{net.mute.v4}:22")["ok"] is True


@pytest.fixture(params=["root without NET_RAW", "another user"])
def without_raw_sockets(request: pytest.FixtureRequest, tmp_path: Path, net: Net) -> Iterator[NetLab]:
    """As in a container with all capabilities but that one; and as in one with another user."""
    if request.param == "another user":
        with nobody(net) as lab:
            yield lab
        return
    lab = NetLab(tmp_path, net.network)
    lab.prefix = [*lab.prefix, "setpriv", "--bounding-set", "-net_raw", "--inh-caps", "-all", "--"]
    yield lab


@contextlib.contextmanager
def nobody(net: Net) -> Iterator[NetLab]:
    """A working directory of another user, who may read all files here, and has no other right."""
    with tempfile.TemporaryDirectory(dir="/tmp") as directory:
        lab = NetLab(Path(directory), net.network)
        subprocess.run(["chown", "-R", "65534:65534", directory], check=True)
        lab.prefix = [
            *lab.prefix, "setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups", "--no-new-privs",
            "--inh-caps", "-all,+dac_override", "--ambient-caps", "-all,+dac_override", "--",
        ]  # fmt: skip
        yield lab


def test_without_raw_sockets_the_doors_are_looked_at_all_the_same(without_raw_sockets: NetLab, net: Net) -> None:
    lab = without_raw_sockets
    lab.nodes(net.fine.node(), net.second.node(net.second.v6))
    done, result = lab.ping(2)
    assert "--cap-add NET_RAW" in done.stderr
    for node in result["nodes"]:
        assert node["ok"] is None
        found = one_address(node)
        assert (found["reached"], found["loss"], found["door"]) == (None, None, "open")


def test_without_raw_sockets_a_closed_door_is_found(without_raw_sockets: NetLab, net: Net) -> None:
    lab = without_raw_sockets
    lab.nodes(net.fine.node(), net.closed.node(), net.swapped.node())
    done, result = lab.ping(4)
    assert "--cap-add NET_RAW" in done.stderr
    fine, closed, swapped = result["nodes"]
    assert [node["ok"] for node in (fine, closed, swapped)] == [None, False, False]
    assert "refused" in closed["why"].lower()
    assert "key" in swapped["why"]


def test_another_user_where_the_kernel_lets_everybody_ping(net: Net) -> None:
    allowed = "/proc/sys/net/ipv4/ping_group_range"
    net.network.client.sh(f"echo '0 2147483647' > {allowed}")
    try:
        with nobody(net) as lab:
            lab.nodes(net.fine.node(), net.second.node(net.second.v6))
            lab.ping(0)
    finally:
        net.network.client.sh(f"echo '1 0' > {allowed}")


# --- the door --------------------------------------------------------------------------------------------------


def test_the_ssh_port_is_closed_though_the_route_is_fine(lab: NetLab, net: Net) -> None:
    lab.nodes(net.fine.node(), net.closed.node())
    done, result = lab.ping(4)
    assert f"{net.closed.v4}:22" in done.last
    node = only(result, f"{net.closed.v4}:22")
    found = one_address(node)
    assert (found["reached"], found["loss"]) == (True, 0)
    assert node["ok"] is False
    assert found["door"] == "closed"
    assert "refused" in node["why"].lower()


def test_the_ssh_port_is_closed_over_tcp_too(lab: NetLab, net: Net) -> None:
    """An open port and a closed one look the same to mtr."""
    lab.nodes(net.fine.node(), net.closed.node())
    _, result = lab.ping(4, K0SCTL_PING_MODE="tcp")
    found = one_address(only(result, f"{net.closed.v4}:22"))
    assert (found["reached"], found["loss"]) == (True, 0)


def test_the_ssh_port_is_filtered(lab: NetLab, net: Net) -> None:
    lab.nodes(net.fine.node(), net.filtered.node())
    done, result = lab.ping(4, K0SCTL_SSH_WAIT="2s")
    assert f"{net.filtered.v4}:22" in done.last
    node = only(result, f"{net.filtered.v4}:22")
    found = one_address(node)
    assert (node["ok"], found["reached"], found["loss"], found["door"]) == (False, True, 0, "closed")
    assert "no answer" in node["why"]


def test_another_host_key(lab: NetLab, net: Net) -> None:
    lab.nodes(net.fine.node(), net.swapped.node())
    done, result = lab.ping(5)
    assert net.swapped.v4 in done.last
    node = only(result, f"{net.swapped.v4}:22")
    assert node["ok"] is False
    assert "key" in node["why"]
    assert only(result, f"{net.fine.v4}:22")["ok"] is True


def test_another_host_key_and_a_dead_node(lab: NetLab, net: Net) -> None:
    dead = net.fine.node(net.silent[0])
    lab.nodes(net.fine.node(), net.swapped.node(), dead)
    done, result = lab.ping(4)
    assert [node["ok"] for node in result["nodes"]] == [True, False, False]
    assert dead.label in done.stderr
    assert f"{net.swapped.v4}:22" in done.stderr


# --- names -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", [0, 1], ids=["ipv4 is fine", "ipv6 is fine"])
def test_a_name_of_which_one_address_is_dead(lab: NetLab, net: Net, family: int) -> None:
    fine, dead = [net.fine.v4, net.fine.v6][family], net.down[1 - family]
    net.network.names({"two.example": [dead, fine]})
    lab.nodes(net.fine.node("two.example"))
    done, result = lab.ping(0)
    node = only(result, "two.example:22")
    assert node["ok"] is True
    assert {found["address"]: found["reached"] for found in node["addresses"]} == {fine: True, dead: False}
    assert dead in node["why"]
    assert any(dead in line and "warn" in line.lower() for line in done.stderr.splitlines()), done.stderr


def test_a_name_of_which_both_addresses_are_dead(lab: NetLab, net: Net) -> None:
    net.network.names({"two.example": [*net.down]})
    lab.nodes(net.fine.node("two.example"))
    done, result = lab.ping(4)
    assert "two.example:22" in done.last
    assert {found["reached"] for found in only(result, "two.example:22")["addresses"]} == {False}


def test_a_name_that_does_not_resolve(lab: NetLab, net: Net) -> None:
    lab.nodes(net.fine.node("nowhere.example"), net.second.node())
    done, result = lab.ping(4)
    assert "nowhere.example:22" in done.last
    node = only(result, "nowhere.example:22")
    assert node["ok"] is False
    assert "nowhere.example does not resolve" in node["why"]
    assert only(result, f"{net.second.v4}:22")["ok"] is True


# --- other files -----------------------------------------------------------------------------------------------


def test_an_address_in_another_file_is_dead(lab: NetLab, net: Net) -> None:
    """It belongs to no host of k0sctl, so there is no door to look at, and nothing fails."""
    lab.nodes(net.fine.node())
    other = lab.work / "config" / "addresses.yaml"
    other.write_text(f"pool:\n  - {net.down[0]}\n  - range: {net.second.v6}\nnode: {net.fine.v4}\n")
    done, result = lab.ping(0)
    assert [node["host"] for node in result["nodes"]] == [f"{net.fine.v4}:22"]
    dead, fine = result["others"]
    assert (dead["address"], dead["reached"], dead["where"]) == (net.down[0], False, "config/addresses.yaml:2:5")
    assert (fine["address"], fine["reached"], fine["where"]) == (net.second.v6, True, "config/addresses.yaml:3:12")
    assert (fine["loss"], fine["hops"]) == (0, 3)
    assert net.down[0] in done.stderr


def test_the_nodes_of_another_cluster_are_nodes(lab: NetLab, net: Net) -> None:
    lab.nodes(net.second.node(), net.fine.node())  # pins the keys of both
    lab.nodes(net.fine.node(), pinned=False)
    lab.other("other.yaml", net.second.node(), net.fine.node(net.down[0]))
    done, result = lab.ping(4)
    assert [node["ok"] for node in result["nodes"]] == [True, True, False]
    assert f"{net.down[0]}:22" in done.last
    assert result["others"] == []


def test_another_file_that_is_no_yaml(lab: NetLab, net: Net) -> None:
    lab.nodes(net.fine.node())
    (lab.work / "config" / "other.yaml").write_text("a: 1\nb: [\nc: }\n")
    lab.run("ping").failed(2, "config/other.yaml:3:4")


def test_the_configuration_is_missing(lab: NetLab) -> None:
    shutil.rmtree(lab.work / "config")
    lab.run("ping").failed(2, "there is no config/k0sctl.yaml")


# --- how it is done --------------------------------------------------------------------------------------------


def test_no_more_at_once_than_allowed(lab: NetLab, net: Net) -> None:
    steps = lab.directory / "steps"
    steps.touch()
    lab.tool("mtr", f'echo begin >> {steps}; "$real" "$@"; code=$?; echo end >> {steps}; exit $code')
    lab.nodes(*(net.fine.node(address) for address in (net.fine.v4, net.fine.v6)), net.second.node(), net.lossy.node())
    lab.ping(0, K0SCTL_PING_PARALLEL="2", K0SCTL_PING_MAX_LOSS="100%")
    running, most = 0, 0
    for step in steps.read_text().split():
        running += 1 if step == "begin" else -1
        most = max(most, running)
    assert most == 2


def test_options_of_the_environment_do_not_reach_mtr(lab: NetLab, net: Net) -> None:
    lab.nodes(net.fine.node())
    lab.ping(0, MTR_OPTIONS="--report --max-ttl 1")


def test_stopped_in_the_middle(lab: NetLab, net: Net) -> None:
    lab.nodes(net.fine.node(), net.second.node(net.second.v6), net.fine.node(net.silent[0]))
    process = lab.start("ping", K0SCTL_PING_CYCLES="100")

    def tracing() -> bool:
        return [read(pid, "comm").strip() for pid in descendants(process.pid)].count(b"mtr-packet") == 3

    wait_for(tracing)
    began = time.monotonic()
    process.send_signal(signal.SIGTERM)
    done = lab.end(process, timeout=20)
    assert time.monotonic() - began < 7, done.stderr
    assert done.code == 143
    assert lab.report()["outcome"] == "interrupted"
    assert [comm for comm in map(_name, net.network.client.processes()) if comm.startswith("mtr")] == []


def _name(pid: int) -> str:
    return read(pid, "comm").decode(errors="replace").strip()
