"""`ping` of very many nodes beside one: they are waited for side by side, so that many take hardly longer."""

from __future__ import annotations

import statistics
import sys
import time
from pathlib import Path
from typing import Final

from tests.bench.memory import PeakMemory
from tests.support.netlab import NetLab
from tests.support.network import NetHost, Network, missing

MIB: Final = 1 << 20
#: How much longer than one node so many may take.
TIME_GOALS: Final = {50: 1.5, 500: 10.0}
MEMORY_GOAL: Final = 64
#: One sshd stands for all nodes, which have processors of their own: the key exchange must not be what is measured.
_CHEAP: Final = "KexAlgorithms curve25519-sha256\n"
#: What ping starts; the handler itself is what is left.
_TOOLS: Final = ("mtr", "mtr-packet", "ssh-keyscan")


def measure(directory: Path, count: int, runs: int) -> bool:
    """Print the seconds for one node, 50, and ``count``; whether all that has a goal is within it."""
    if why := missing():
        print(f"\nping of {count} nodes is not measured: {why}")
        return True
    with Network(directory / "network") as network:
        host = network.host().serve(more=_CHEAP)
        network.route_more(host)
        addresses = host.addresses(count)
        lab = NetLab(directory / "nodes", network)
        lab.extra.clear()
        print(f"\nping --json, two routers away, whole process, median of {runs}:")
        good = _times(lab, host, addresses, runs)
        return _memory(lab) and good


def _times(lab: NetLab, host: NetHost, addresses: list[str], runs: int) -> bool:
    good, one = True, 0.0
    for count in sorted({number for number in (1, 50, len(addresses)) if number <= len(addresses)}):
        lab.nodes(*(host.node(address) for address in addresses[:count]))
        seconds = statistics.median(_seconds(lab, count) for _ in range(runs))
        one = one or seconds
        goal = TIME_GOALS.get(count)
        good = good and (goal is None or seconds / one <= goal)
        told = f" (goal: at most {goal:g})" if goal else ""
        name = "one node" if count == 1 else f"{count} nodes"
        print(f"  {name:44} {seconds:7.2f} s   ratio {seconds / one:.2f}{told}")
    return good


def _seconds(lab: NetLab, count: int) -> float:
    began = time.monotonic()
    _, result = lab.ping(0)
    took = time.monotonic() - began
    if len(result["nodes"]) != count:
        sys.exit(f"{len(result['nodes'])} of {count} nodes were told of")
    return took


def _memory(lab: NetLab) -> bool:
    """In a run of its own: to look at so many processes takes time from them."""
    with PeakMemory(without=_TOOLS) as memory:
        process = lab.start("ping", "--json")
        memory.watch(process.pid)
        lab.end(process, timeout=300)
    peak = memory.peak / MIB
    print(f"  {'peak memory of the handler alone (PSS)':44} {peak:7.1f} MiB (goal: at most {MEMORY_GOAL})")
    return peak <= MEMORY_GOAL
