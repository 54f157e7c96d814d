"""The whole life of a cluster by `docker run`, as each kind of user that an engine can be told to take."""

from __future__ import annotations

import json
import re
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.image.boxed import Boxed, as_user, read_only
from tests.practice.container.engine import call
from tests.practice.container.host import ContainerHost
from tests.support.keys import KeyPair

#: The user of the image; README.md names it.
OWN = 65532
STRANGER = 12345
NO_RIGHTS = ("--cap-drop=ALL", "--security-opt=no-new-privileges")
VARIANTS: dict[str, tuple[int, Callable[[], tuple[str, ...]]]] = {
    "root": (0, lambda: ("--user=0:0",)),
    "the image's user": (OWN, lambda: ()),
    "a user without an entry in passwd": (STRANGER, lambda: as_user(STRANGER)),
    "read-only": (OWN, read_only),
    "without capabilities": (OWN, lambda: NO_RIGHTS),
    "root without capabilities": (0, lambda: ("--user=0:0", *NO_RIGHTS)),
    "all at once": (STRANGER, lambda: (*as_user(STRANGER), *read_only(), *NO_RIGHTS)),
}


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_life(variant: str, tmp_path: Path, host: ContainerHost, cluster_key: KeyPair, image: str) -> None:
    owner, options = VARIANTS[variant]
    lab = Boxed(tmp_path, host, cluster_key, image, *options(), owner=owner)
    lab.ok("check")
    lab.ok("init")
    lab.ok("apply")
    uid = host.uid()
    host.add_object("precious")
    lab.ok("backup")
    host.wipe()
    assert "restoring" in lab.ok("apply").stderr
    assert (host.uid(), host.objects()) == (uid, ["precious"])
    lab.ok("verify", "--all")
    lab.ok("restore", "--to", "by-hand.tar.gz")
    assert stat.S_IMODE((lab.work / "by-hand.tar.gz").stat().st_mode) == 0o600
    lab.ok("list")
    lab.ok("status")
    lab.ok("reset")
    assert (host.running(), host.uid()) == (False, None)
    owners = {path.lstat().st_uid for place in (lab.backup, lab.auditlog) for path in (place, *place.rglob("*"))}
    assert owners == {owner}


def test_an_archive_beyond_the_shared_memory(
    tmp_path: Path, host: ContainerHost, cluster_key: KeyPair, image: str
) -> None:
    """docker's /dev/shm has 64 MB; the archive is somewhere else."""
    lab = Boxed(tmp_path, host, cluster_key, image, "--user=0:0", "--shm-size=64m")
    host.install()
    host.fault("big-backup", "80")
    lab.ok("init")
    lab.ok("backup")
    host.wipe()
    lab.ok("apply")
    assert host.running()


@pytest.mark.parametrize("mode", ["icmp", "tcp"])
def test_a_trace_by_the_setuid_program(
    tmp_path: Path, host: ContainerHost, cluster_key: KeyPair, image: str, mode: str
) -> None:
    lab = Boxed(tmp_path, host, cluster_key, image, "--cap-add=NET_RAW", owner=OWN)
    done = lab.ok("ping", "--json", K0SCTL_PING_CYCLES="1", K0SCTL_PING_MODE=mode)
    (node,) = json.loads(done.stdout)["result"]["nodes"]
    assert (node["host"], node["verdict"]) == (f"{host.address}:22", "ok")


def test_a_trace_without_the_right_to(tmp_path: Path, host: ContainerHost, cluster_key: KeyPair, image: str) -> None:
    """The door is looked at all the same; and what the message says to grant is enough."""
    lab = Boxed(tmp_path, host, cluster_key, image, *NO_RIGHTS, owner=OWN)
    done = lab.run("ping", K0SCTL_PING_CYCLES="1").failed(2, "--cap-add NET_RAW", "net.ipv4.ping_group_range")
    assert "doors open: 1 of 1" in done.stderr
    lab.options.append("--sysctl=net.ipv4.ping_group_range=0 2147483647")
    lab.ok("ping", K0SCTL_PING_CYCLES="1")


def test_a_directory_of_somebody_else(tmp_path: Path, host: ContainerHost, cluster_key: KeyPair, image: str) -> None:
    lab = Boxed(tmp_path, host, cluster_key, image, owner=4711)
    lab.work.chmod(0o755)
    for number, options in ((OWN, ()), (STRANGER, as_user(STRANGER))):
        lab.options = [*options]
        done = lab.run("init")
        done.failed(2, "belongs to user 4711", f"runs as user {number}", "docker run --user 4711:4711")


def test_without_a_word(tmp_path: Path, host: ContainerHost, cluster_key: KeyPair, image: str) -> None:
    """`docker run IMAGE` tells the versions, whatever else is set."""
    done = Boxed(tmp_path, host, cluster_key, image).ok(K0SCTL_GPG_KEY="no key", K0SCTL_TIMEOUT="soon")
    assert re.match(r"k0sctl-handler \d+\.\d+\.\d+\nk0sctl v\d", done.stdout)
    assert "K0SCTL_CFG_PATH" in call("run", "--rm", image, "--help")
