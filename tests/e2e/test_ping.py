"""`ping`: is every node there, and is it the one that is meant? On a network of the test's own, with real trouble."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
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

#: As in a container with all capabilities but NET_RAW; and as in one with another user, who may read all files here.
CAPABLE = "--bounding-set -net_raw --inh-caps -all"
NOBODY = (
    "--reuid 65534 --regid 65534 --clear-groups --no-new-privs "
    "--inh-caps -all,+dac_override --ambient-caps -all,+dac_override"
)
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
    lab.other("other.yaml", net.second.node(), net.fine.node())
    _, result = lab.ping(0)
    assert [node["ok"] for node in result["nodes"]] == [True, True]
    traced = calls.read_text().splitlines()
    assert len([line for line in traced if net.fine.v4 in line.split()]) == 1, traced
    assert len(traced) == 2
    assert [other["address"] for other in result["others"]] == [net.second.v4]


# --- the route -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", [0, 1], ids=["ipv4", "ipv6"])
def test_a_host_is_down_behind_a_router_that_lives(lab: NetLab, net: Net, family: int) -> None:
    dead, said_by = net.fine.node(net.down[family]), ["10.0.2.2", "fd00:b::2"][family]
    said = subprocess.run(
        [*lab.prefix, "mtr", "--no-dns", "--json", "-c", "2", "-G", "1", dead.address],
        capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    last = json.loads(said)["report"]["hubs"][-1]
    assert (last["host"], last["Loss%"]) == (said_by, 0)  # what has to be seen through
    lab.nodes(net.fine.node(), dead)
    done, result = lab.ping(4)
    assert dead.label in done.last
    assert only(result, f"{net.fine.v4}:22")["ok"] is True
    node = only(result, dead.label)
    assert node["ok"] is False
    assert f"{said_by} (hop 3) answers in its place" in node["why"]
    found = one_address(node)
    assert (found["reached"], found["loss"]) == (False, 100)
    assert found["problem"]


@pytest.mark.parametrize("family", [0, 1], ids=["ipv4", "ipv6"])
def test_every_packet_is_lost_without_a_word(lab: NetLab, net: Net, family: int) -> None:
    dead = net.fine.node(net.silent[family])
    lab.nodes(dead, net.second.node())
    done, result = lab.ping(4)
    assert dead.label in done.last
    node = only(result, dead.label)
    assert node["ok"] is False
    assert (one_address(node)["reached"], one_address(node)["loss"]) == (False, 100)
    assert only(result, f"{net.second.v4}:22")["ok"] is True


@pytest.mark.parametrize("family", [0, 1], ids=["ipv4", "ipv6"])
@pytest.mark.parametrize(("allowed", "code"), [("50%", 0), ("10%", 4)])
def test_three_of_ten_packets_are_lost(lab: NetLab, net: Net, family: int, allowed: str, code: int) -> None:
    node = net.lossy.node([net.lossy.v4, net.lossy.v6][family])
    lab.nodes(node)
    done, result = lab.ping(code, K0SCTL_PING_CYCLES="10", K0SCTL_PING_MAX_LOSS=allowed)
    said = only(result, node.label)
    found = one_address(said)
    assert 20 <= found["loss"] <= 40  # 30 where no probe was sent twice, which mtr does when an answer is late
    assert said["ok"] is (code == 0)
    assert code == 0 or (f"{found['loss']:g}" in said["why"] and node.label in done.last)


@pytest.mark.parametrize("rights", [CAPABLE, NOBODY], ids=["root without NET_RAW", "another user"])
def test_without_raw_sockets_the_doors_are_looked_at_all_the_same(lab: NetLab, net: Net, rights: str) -> None:
    with_rights(lab, rights)
    lab.nodes(net.fine.node(), net.closed.node(), net.swapped.node())
    done, result = lab.ping(2)
    assert "--cap-add NET_RAW" in done.stderr
    fine, closed, swapped = result["nodes"]
    assert [one_address(node)["door"] for node in (fine, closed, swapped)] == ["open", "closed", "open"]
    assert "refused" in closed["why"].lower()
    assert "key" in swapped["why"]
    assert [node["ok"] for node in (closed, swapped)] == [False, False]
    assert fine["ok"] is not True


def test_another_user_where_the_kernel_lets_everybody_ping(lab: NetLab, net: Net) -> None:
    allowed = "/proc/sys/net/ipv4/ping_group_range"
    net.network.client.sh(f"echo '0 2147483647' > {allowed}")
    try:
        with_rights(lab, NOBODY)
        lab.nodes(net.fine.node(), net.second.node(net.second.v6))
        lab.ping(0)
    finally:
        net.network.client.sh(f"echo '1 0' > {allowed}")


def with_rights(lab: NetLab, rights: str) -> None:
    setpriv = shutil.which("setpriv") or pytest.skip("needs setpriv")
    lab.prefix = [*lab.prefix, setpriv, *rights.split(), "--"]


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
    lab.nodes(net.closed.node())
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
    assert f"{net.swapped.v4}:22" in done.last
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
    lab.nodes(net.fine.node())
    path = lab.other("other.yaml", net.second.node(net.second.v6), net.fine.node(net.down[0]))
    done, result = lab.ping(0)
    assert [node["host"] for node in result["nodes"]] == [f"{net.fine.v4}:22"]
    found = {other["address"]: other for other in result["others"]}
    assert {address: other["reached"] for address, other in found.items()} == {net.second.v6: True, net.down[0]: False}
    number = 1 + next(n for n, line in enumerate(path.read_text().splitlines()) if net.down[0] in line)
    assert f"config/other.yaml:{number}:" in found[net.down[0]]["where"]
    assert net.down[0] in done.stderr


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
    lab.ping(0, K0SCTL_PING_PARALLEL="2")
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
