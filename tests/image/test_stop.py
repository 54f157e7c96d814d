"""`docker stop` at the worst moments: the log is saved, and no volume holds anything in the clear."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.image.boxed import Boxed, is_host_key
from tests.practice.container.engine import call
from tests.practice.container.host import ContainerHost
from tests.support.keys import KeyPair
from tests.support.lab import Ended
from tests.support.watcher import wait_for

#: docker's own; then it kills.
GRACE = 10


@pytest.fixture
def volumes(tmp_path: Path) -> tuple[Path, ...]:
    """What is writable besides the working directory, where it can be looked at."""
    places = (tmp_path / "volume-tmp", tmp_path / "volume-shm")
    for place in places:
        place.mkdir()
        place.chmod(0o1777)
    return places


@pytest.fixture
def lab(
    tmp_path: Path, host: ContainerHost, cluster_key: KeyPair, image: str, volumes: tuple[Path, ...]
) -> Iterator[Boxed]:
    """A repository with one backup, and the cluster that it is of."""
    tmp, shm = volumes
    lab = Boxed(tmp_path, host, cluster_key, image, f"--volume={tmp}:/tmp", f"--volume={shm}:/dev/shm", "--user=0:0")
    lab.ok("init")
    lab.ok("apply")
    lab.ok("backup")
    yield lab
    lab.remove()


def files(places: tuple[Path, ...]) -> list[Path]:
    """All files that a run with the real k0sctl could leave."""
    # unlike rglob it does not mind directories that a run removes meanwhile
    found = [Path(directory, name) for place in places for directory, _, names in os.walk(place) for name in names]
    return [path for path in found if path.is_file() and not is_host_key(path)]


def holds(places: tuple[Path, ...], is_it: Callable[[Path], bool]) -> bool:
    """Whether there is such a file now; the run that goes on may remove others meanwhile."""
    for path in files(places):
        with contextlib.suppress(FileNotFoundError):
            if is_it(path):
                return True
    return False


def stopped(lab: Boxed, command: str, call_of_k0s: str, volumes: tuple[Path, ...]) -> Ended:
    """Stop a run while k0s works on the host; secrets lie in the volumes at that moment."""
    before = len(lab.host.calls())
    process = lab.start(command)
    try:
        wait_for(lambda: any(one.startswith(call_of_k0s) for one in lab.host.calls()[before:]), 60)
        assert holds(volumes, lambda path: b"PRIVATE KEY" in path.read_bytes())
        began = time.monotonic()
        call("stop", f"--time={GRACE}", lab.name)
        assert time.monotonic() - began < GRACE  # it ended by itself
        done = lab.end(process)
    finally:
        lab.remove()
    done.failed(143, "stopped by SIGTERM")
    assert files(volumes) == []
    assert lab.report()["exit_code"] == 143
    log = max(lab.auditlog.glob(f"*-{command}.log"), key=lambda path: path.stat().st_mtime_ns)
    assert "Running phase" in log.read_text()
    return done


def in_clear(lab: Boxed) -> list[Path]:
    """Files of the working directory with a secret or an archive in them."""
    secrets = [lab.key.private.splitlines()[3].encode(), lab.host.private_key.read_bytes().splitlines()[2]]
    contents = {path: path.read_bytes() for path in lab.work.rglob("*") if path.is_file()}
    return [
        path for path, data in contents.items() if data[:2] == b"\x1f\x8b" or any(secret in data for secret in secrets)
    ]


def test_during_a_backup(lab: Boxed, volumes: tuple[Path, ...]) -> None:
    lab.host.fault("hang-backup", "60")
    with lab.repository_unchanged():
        done = stopped(lab, "backup", "k0s backup", volumes)
    assert "/tmp/k0sctl.lock" in done.stderr  # what is left on the host is named
    assert in_clear(lab) == []


def test_during_the_proof_of_a_backup(lab: Boxed, volumes: tuple[Path, ...]) -> None:
    """The archive is here, in the clear."""
    lab.host.fault("big-backup", "200")
    with lab.repository_unchanged():
        process = lab.start("backup")
        try:
            wait_for(lambda: holds(volumes, lambda path: path.stat().st_size > 100_000_000), 60)
            call("stop", f"--time={GRACE}", lab.name)
            lab.end(process).failed(143, "stopped by SIGTERM")
        finally:
            lab.remove()
    assert files(volumes) == []
    assert in_clear(lab) == []


def test_during_an_apply_that_restores(lab: Boxed, volumes: tuple[Path, ...]) -> None:
    lab.host.wipe()
    lab.host.fault("slow-restore", "60")
    with lab.repository_unchanged():
        stopped(lab, "apply", "k0s restore", volumes)
    assert in_clear(lab) == []
    lab.host.clear_fault("slow-restore")


def test_during_a_reset(lab: Boxed, volumes: tuple[Path, ...]) -> None:
    lab.host.fault("slow-reset", "60")
    with lab.repository_unchanged():
        stopped(lab, "reset", "k0s reset", volumes)
    assert in_clear(lab) == []


def test_a_kill_is_cleaned_up_by_the_next_run(lab: Boxed, volumes: tuple[Path, ...]) -> None:
    """What docker kills cannot wipe anything; the next run with the same volumes does."""
    lab.host.fault("hang-backup", "60")
    before = len(lab.host.calls())
    process = lab.start("backup")
    try:
        wait_for(lambda: any(one.startswith("k0s backup") for one in lab.host.calls()[before:]), 60)
        call("kill", lab.name)
        process.communicate(timeout=60)
    finally:
        lab.remove()
    assert files(volumes)
    lab.ok("list")
    assert files(volumes) == []
