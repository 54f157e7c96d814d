"""The main job: installed, backed up, lost, brought back."""

from __future__ import annotations

import pytest

from tests.support.lab import Lab

pytestmark = pytest.mark.e2e


def test_life_cycle(lab: Lab) -> None:
    assert "ok" in lab.ok("init").last
    installed = lab.ok("apply")
    assert "no backup in" in installed.first
    assert "a new cluster" in installed.first
    uid = lab.host.uid()
    lab.host.add_object("one")
    print(lab.ok("backup").stderr)
    lab.host.add_object("two")
    lab.ok("backup")
    lab.host.wipe()
    assert not lab.host.running()
    restored = lab.ok("apply")
    print(restored.stderr)
    assert f"restoring {lab.latest()}" in restored.first
    assert lab.host.uid() == uid
    assert {"one", "two"} <= {name.rpartition("/")[2] for name in lab.host.objects()}
    assert not lab.leftovers()
