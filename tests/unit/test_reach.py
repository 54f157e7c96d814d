"""When a node counts as reached, and in which words it does not."""

from __future__ import annotations

import pytest

from handler.door import Answer
from handler.hosts import Host
from handler.reach import Node, Seen, Verdict
from handler.routes import Hub, Route

OPEN, CLOSED = Answer(banner="SSH-2.0-x"), Answer(problem="Connection refused")


def host(connection: str = "ssh", *, bastion: bool = False) -> Host:
    return Host(
        index=0, role="worker", connection=connection, address="n1", port=22, user=None, key_path=None,
        bastion=bastion, reachable_directly=connection == "ssh" and not bastion, weakening=(),
    )  # fmt: skip


def hub(host: str) -> Hub:
    return Hub(count=2, host=host, loss=0, sent=5, last=1, average=1.5, best=1, worst=2, deviation=0.2)


def seen(address: str = "10.0.0.1", *, reached: bool | None = True, door: Answer | None = OPEN, key: str = "") -> Seen:
    problem = {True: "", False: "no answer", None: "mtr may not trace"}[reached]
    return Seen(address=address, reached=reached, problem=problem, door=door, key=key)


def verdict(*found: Seen) -> Verdict:
    return Node(host=host(), seen=found).verdict


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        ([seen()], Verdict.OK),
        ([seen(reached=False)], Verdict.NOT_REACHED),
        ([seen(door=CLOSED)], Verdict.CLOSED),
        ([seen(reached=False, door=CLOSED)], Verdict.NOT_REACHED),
        ([seen(key="another key")], Verdict.WRONG_KEY),
        ([seen(), seen("fd00::1", reached=False, door=CLOSED)], Verdict.OK),
        ([seen(), seen("fd00::1", door=CLOSED)], Verdict.OK),
        ([seen(), seen("fd00::1", key="another key")], Verdict.WRONG_KEY),
        ([seen(reached=False, key="another key"), seen("fd00::1")], Verdict.WRONG_KEY),
        ([seen(reached=False, key="another key")], Verdict.NOT_REACHED),
        ([seen(door=CLOSED), seen("fd00::1", reached=False)], Verdict.CLOSED),
        ([seen(reached=None)], Verdict.NOT_JUDGED),
        ([seen(reached=None, door=CLOSED)], Verdict.CLOSED),
        ([seen(reached=None, key="another key")], Verdict.WRONG_KEY),
        ([], Verdict.NO_ADDRESS),
    ],
)
def test_the_verdict(found: list[Seen], expected: Verdict) -> None:
    assert verdict(*found) is expected


def test_a_host_without_a_door_is_judged_by_its_route() -> None:
    for connection in ("openSSH", "winRM"):
        assert Node(host=host(connection), seen=(seen(door=None),)).verdict is Verdict.OK
        assert Node(host=host(connection), seen=(seen(door=None, reached=False),)).verdict is Verdict.NOT_REACHED


def test_what_is_not_reached_from_here_is_not_judged() -> None:
    behind = Node(host=host(bastion=True), seen=(seen(reached=False, door=None),))
    assert behind.verdict is Verdict.NOT_JUDGED
    assert behind.verdict.ok is None
    assert "bastion" in behind.why
    assert Node(host=host("localhost")).verdict is Verdict.NOT_JUDGED
    alias = Node(host=host("openSSH"), problem="n1 does not resolve")
    assert alias.verdict is Verdict.NOT_JUDGED
    assert "its own configuration" in alias.why
    assert Node(host=host("winRM"), problem="n1 does not resolve").verdict is Verdict.NO_ADDRESS


def test_why_names_the_address_where_there_are_several() -> None:
    dead = seen("fd00::1", reached=False, door=CLOSED)
    assert Node(host=host(), seen=(seen(), dead)).why == "fd00::1: no answer; SSH door: Connection refused"
    assert Node(host=host(), seen=(dead,)).why == "no answer; SSH door: Connection refused"
    assert Node(host=host(), seen=(seen(),)).why == ""
    assert Node(host=host(), problem="n1 does not resolve").why == "n1 does not resolve"


def test_the_rows() -> None:
    route = Route(address="10.0.0.1", hubs=(hub("10.0.0.1"),))
    node = Node(host=host(), seen=(Seen(address="10.0.0.1", reached=True, route=route, door=OPEN),))
    assert node.as_row() == {
        "host": "n1:22", "role": "worker", "ok": True, "verdict": "ok", "why": "",
        "addresses": [
            {
                "address": "10.0.0.1", "reached": True, "loss": 0, "average_ms": 1.5, "best_ms": 1, "worst_ms": 2,
                "hops": 2, "door": "open", "problem": "",
            }
        ],
    }  # fmt: skip


def test_the_times_of_a_router_are_not_those_of_the_target() -> None:
    route = Route(address="10.0.0.1", hubs=(hub("10.0.0.254"),))
    row = Seen(address="10.0.0.1", reached=False, route=route, problem="down", door=CLOSED).as_row()
    assert row == {
        "address": "10.0.0.1", "reached": False, "loss": 100, "average_ms": None, "best_ms": None, "worst_ms": None,
        "hops": None, "door": "closed", "problem": "down; SSH door: Connection refused",
    }  # fmt: skip
