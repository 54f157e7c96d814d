"""Faults of the hosts that no other story needs: what the operator is told of each."""

from __future__ import annotations

import pytest

from tests.support.lab import Lab

pytestmark = pytest.mark.e2e


@pytest.mark.parametrize(
    ("fault", "says"),
    [
        ("fail-validate", "apply failed"),
        ("fail-install", "apply failed"),
        ("fail-controller", "apply failed"),
        ("fail-readyz", "API or its etcd does not answer"),
        ("fail-etcd", ""),
    ],
)
def test_a_failing_installation(lab: Lab, fault: str, says: str) -> None:
    lab.faults.set("hurry", "40")
    lab.host.fault(fault)
    done = lab.run("apply")
    if fault == "fail-etcd":  # nobody asks for its members before it runs
        assert done.code == 0, done.stderr
        lab.host.fault(fault)
        done = lab.run("apply")
    assert done.code == 4, done.stderr
    assert says in done.last
    assert lab.report()["facts"]["k0sctl apply"]["exit_code"] == 1


@pytest.mark.parametrize("fault", ["slow-status", "slow-restore"])
def test_a_slow_host_is_waited_for(spare: Lab, fault: str) -> None:
    spare.host.fault(fault, "3")
    done = spare.ok("apply")
    assert "restoring" in done.first
    assert spare.report()["seconds"] > 3
