"""What mtr's reports prove: the shapes are those that mtr 0.95 gave behind a real router."""

from __future__ import annotations

import json
from typing import Any

import pytest

from handler.process import Result
from handler.routes import Route, read_route
from handler.tools.mtr import Trace, trace_of

ROUTER, TARGET = "10.1.0.1", "10.2.0.2"


def hub(count: int, host: str, loss: float = 0.0, average: float = 0.5) -> dict[str, Any]:
    return {
        "count": count, "host": host, "Loss%": loss, "Snt": 10, "Last": 0.4, "Avg": average, "Best": 0.3, "Wrst": 0.9,
        "StDev": 0.1,
    }  # fmt: skip


def report(*hubs: dict[str, Any]) -> str:
    head = {"src": "a", "dst": TARGET, "tos": 0, "tests": 10, "psize": "64", "bitpattern": "0x00"}
    return json.dumps({"report": {"mtr": head, "hubs": list(hubs)}}, indent=4)


def route(*hubs: dict[str, Any], address: str = TARGET) -> Route:
    found = read_route(report(*hubs), address=address)
    assert found is not None
    return found


def test_reached() -> None:
    found = route(hub(1, ROUTER), hub(2, TARGET, 10.0, 1.5))
    assert found.reached(50)
    assert found.problem(50) == ""
    assert found.target is not None
    assert (found.target.count, found.target.average, found.target.best, found.target.worst) == (2, 1.5, 0.3, 0.9)
    assert found.loss == 10


def test_a_host_that_is_down_is_answered_for_by_the_router() -> None:
    """Without any loss: the router's own answer is what mtr counts."""
    found = route(hub(1, ROUTER), hub(2, ROUTER, 0.0))
    assert not found.reached(100)
    assert (found.target, found.loss) == (None, 100)
    assert found.problem(50).startswith(f"{ROUTER} (hop 2) answers in its place")


def test_a_silent_drop() -> None:
    found = route(hub(1, ROUTER), hub(2, "???", 100.0, 0.0))
    assert not found.reached(100)
    assert found.problem(50) == f"no answer; the last that answers is {ROUTER} (hop 1)"


def test_an_unreachable_network_ends_at_the_router() -> None:
    found = route(hub(1, ROUTER))
    assert not found.reached(100)
    assert f"{ROUTER} (hop 1) answers in its place" in found.problem(50)


@pytest.mark.parametrize("hubs", [[], [hub(1, "???", 100.0)]])
def test_nothing_answers(hubs: list[dict[str, Any]]) -> None:
    found = route(*hubs)
    assert not found.reached(100)
    assert found.problem(50) == "nothing answers on the way"


def test_the_target_on_the_way_is_not_the_end() -> None:
    assert not route(hub(1, TARGET), hub(2, ROUTER)).reached(100)


@pytest.mark.parametrize(
    ("loss", "most", "reached"), [(49.9, 50, True), (50, 50, False), (99.9, 100, True), (100, 100, False), (0, 1, True)]
)
def test_the_loss_must_be_less(loss: float, most: float, reached: bool) -> None:
    found = route(hub(1, TARGET, loss))
    assert found.reached(most) is reached
    assert bool(found.problem(most)) is not reached


def test_too_much_loss_is_told_with_what_is_allowed() -> None:
    assert route(hub(1, TARGET, 60.0)).problem(50) == "60 % of the packets are lost (allowed: less than 50 %)"


def test_addresses_are_compared_as_addresses() -> None:
    assert route(hub(1, "2001:db8::1"), address="2001:0db8:0:0::1").reached(50)
    assert route(hub(1, "fe80::1"), address="fe80::1%eth0").reached(50)
    assert not route(hub(1, "10.2.0.20"), address="10.2.0.2").reached(50)


def test_older_ones_write_numbers_as_texts() -> None:
    older = {**hub(1, TARGET), "count": "1", "Loss%": 0}
    assert route(older).reached(50)


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "null", '{"report": {}}', '{"report": {"hubs": [{"count": 1}]}}', "Start: 2026\nHOST: a"]
)
def test_no_report(text: str) -> None:
    assert read_route(text, address=TARGET) is None


@pytest.mark.parametrize(
    "text",
    [
        "[" * 200_000,
        '{"report": {"hubs": ' + "[" * 200_000,
        *(report({**hub(1, TARGET), "Loss%": loss}) for loss in (-5, -0.1, 100.1, float("nan"), float("inf"))),
        *(report({**hub(1, TARGET), name: float("inf")}) for name in ("count", "Snt", "Avg")),
        report({**hub(1, TARGET), "Best": -1}),
        report({**hub(1, TARGET), "count": "9" * 5000}),
    ],
    ids=lambda text: f"{len(text)} characters",
)
def test_a_hostile_report_is_none(text: str) -> None:
    assert read_route(text, address=TARGET) is None


def ended(stderr: str = "", exit_code: int = 0) -> Result:
    return Result(program="mtr", exit_code=exit_code, stdout="", stderr=stderr, seconds=1)


def trace(stdout: str, stderr: str = "", exit_code: int = 0) -> Trace:
    return trace_of(TARGET, stdout.splitlines(), ended(stderr, exit_code))


def test_the_exit_code_counts_for_nothing() -> None:
    assert trace(report(hub(1, TARGET)), exit_code=1).route is not None


def test_an_unknown_host_leaves_stdout_empty_and_is_no_error() -> None:
    found = trace("", "mtr: Failed to resolve host: nosuch: Name or service not known")
    assert (found.route, found.refused) == (None, False)
    assert found.problem == "Failed to resolve host: nosuch: Name or service not known"


@pytest.mark.parametrize(
    ("stderr", "code"),
    [
        ("mtr: Failure to open IPv4 sockets: Permission denied", 1),
        ("mtr-packet: Failure to open IPv6 sockets: Operation not permitted", 1),
        ("mtr: Failure to start mtr-packet: Invalid argument", 1),
        ("/usr/bin/mtr: Failure to start mtr-packet: Invalid argument", 1),
        ("mtr-packet: Failure to open IPv4 sockets: Permission denied\nmtr: Failure to start mtr-packet: x", 1),
        ("/usr/bin/mtr: Permission denied", 1),
        ("mtr: open socket: Operation not permitted", 1),
        ("", 141),
        ("", -13),
    ],
)
def test_lacking_rights(stderr: str, code: int) -> None:
    found = trace("", stderr, code)
    assert found.refused
    assert found.problem
    assert "/usr/bin" not in found.problem


@pytest.mark.parametrize(
    ("stderr", "told"),
    [
        ("mtr: udp socket connect failed: Network is unreachable", "no route from here (Network is unreachable)"),
        ("mtr: udp socket connect failed: Permission denied", "no route from here (Permission denied)"),
        ("mtr: no route to host", "no route to host"),
        ("", "mtr found nothing (exit 1)"),
    ],
)
def test_other_failures_are_of_this_address_only(stderr: str, told: str) -> None:
    found = trace("", stderr, 1)
    assert (found.refused, found.problem) == (False, told)
