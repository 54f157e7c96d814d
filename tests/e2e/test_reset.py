"""`reset`: the guard before it, what it removes, and that nothing but a clean host counts."""

from __future__ import annotations

import shutil
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import Crew, Site
from tests.e2e.test_restore import flip
from tests.practice.choice import Host, practice_host
from tests.practice.cluster import practice_cluster
from tests.practice.faults import HOST_FAULTS
from tests.support.keys import KeyPair
from tests.support.lab import Ended, Lab, ssh_to
from tests.support.plain import PlainTools
from tests.support.watcher import wait_for

pytestmark = pytest.mark.e2e

ALONE: dict[str, str | None] = {
    "K0SCTL_GPG_KEY": None, "K0SCTL_GPG_PASSPHRASE": None, "K0SCTL_CLUSTER_NAME": "prod",
    "K0SCTL_CONFIRM_RESET": "prod",
}  # fmt: skip


def install(host: Host, uid: str | None = None) -> None:
    """A running cluster; with a UID it is the cluster that somebody has backups of."""
    if not host.node.binary.exists():
        host.install_binary()
    host.install()
    if uid is not None:
        host.set_uid(uid)


def resets(*hosts: Host) -> int:
    return sum(call.startswith("k0s reset") for host in hosts for call in host.calls())


def is_clean(host: Host) -> bool:
    return not host.running() and not host.files() and not list(host.node.units.glob("k0s*"))


@pytest.fixture
def pair(tmp_path: Path, site: Site, cluster_key: KeyPair) -> Iterator[Lab]:
    """The backed-up cluster on a controller and a worker of the test's own."""
    with (
        practice_host(tmp_path / "cluster") as host,
        practice_host(tmp_path / "cluster", name="w", role="worker") as worker,
    ):
        lab = Lab(tmp_path, [host, worker], cluster_key)
        shutil.copytree(site.repository, lab.backup, symlinks=True)
        install(host, site.uid)
        install(worker)
        yield lab


def test_a_configuration_that_is_changed_meanwhile(pair: Lab, site: Site, tmp_path: Path) -> None:
    """What was judged is what is done: the guard asked the cluster of the file as it was."""
    with practice_host(tmp_path / "cluster", name="other") as other:
        install(other)
        uid = other.uid()
        changed = practice_cluster(tmp_path / "changed", [other])
        pair.tool("k0sctl", f'case "$*" in *--dry-run*) cp {changed} {pair.config} ;; esac')
        for command in ("reset", "apply"):
            original = pair.config.read_text()
            pair.run(command).failed(7, "config/k0sctl.yaml was changed while this run worked")
            pair.config.write_text(original)
        assert (other.running(), other.uid()) == (True, uid)
        assert pair.host.uid() == site.uid
        assert not resets(other, pair.host)


# --- what it removes --------------------------------------------------------------------------------------------


def test_with_a_fresh_backup(pair: Lab, site: Site) -> None:
    with pair.repository_unchanged():
        done = pair.ok("uninstall")
    assert done.first == (
        f"reset: cluster prod, 2 hosts: {site.latest}, the backup of {site.uid}, is proven to bring it back"
    )
    assert f"k0s is removed from 2 hosts (looked at 2); the backup {site.latest} brings the cluster back" in done.last
    assert all(is_clean(host) for host in pair.hosts)
    report = pair.report()
    assert report["command"] == "reset"
    assert report["facts"]["guard"] == {"cluster": "prod", "backup": site.latest, "confirmed": False}
    assert report["facts"]["identity"]["uid"] == site.uid
    assert [look["problem"] for look in report["facts"]["looks"].values()] == ["", ""]
    assert not pair.leftovers()
    # the binary is gone too, and nobody knows any more which cluster it was
    calls = resets(*pair.hosts)
    again = pair.run("reset").failed(2, "K0SCTL_CONFIRM_RESET=prod")
    assert again.first == "reset: not begun: k0s is left as it is on all hosts"
    assert resets(*pair.hosts) == calls
    # and what the last line says is true
    for host in pair.hosts:
        host.install_binary()
    assert f"restoring {site.latest}" in pair.ok("apply").first
    assert pair.host.uid() == site.uid


def test_confirmed_without_a_repository_and_a_key(pair: Lab) -> None:
    shutil.rmtree(pair.backup)
    done = pair.ok("reset", **ALONE)
    assert done.first == "reset: cluster prod, 2 hosts: confirmed by name, no backup is looked at"
    assert done.last.startswith("k0sctl-handler: reset ok: k0s is removed from 2 hosts (looked at 2). Report: ")
    assert all(is_clean(host) for host in pair.hosts)
    assert [name for name in pair.report()["facts"] if name.startswith("k0sctl ")] == ["k0sctl reset"]


# --- the guard --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Refused:
    """A case in which k0sctl's reset must not be started."""

    name: str
    said: tuple[str, ...]
    code: int = 2
    uid: str | None = "site"
    env: dict[str, str | None] = field(default_factory=dict)
    fault: tuple[str, str] | None = None
    change: Callable[[Lab, Site, KeyPair], Any] = lambda *_: None
    asked: bool = True

    def __str__(self) -> str:
        return self.name


def damage(lab: Lab, site: Site, key: KeyPair) -> None:
    """A flipped bit in the newest backup, under a good signature."""
    flip(lab.backup / f"{site.latest}.tar.gz.enc")
    PlainTools(lab.directory / "plain", key.private).commit(lab.backup, "damage")


BOTH_WAYS = ("k0sctl-handler backup", "K0SCTL_CONFIRM_RESET=prod")
REFUSED = [
    Refused("no backup", ("there is no backup in", *BOTH_WAYS), env={"K0SCTL_DIR_BAK": "nothing"}, asked=False),
    Refused("another cluster", ("fresh backups are of another cluster", *BOTH_WAYS), uid=None),
    Refused(
        "a backup of another cluster", ("fresh backups are of another cluster",), uid=None,
        change=lambda lab, *_: lab.run("backup").failed(5, "another cluster"),
    ),
    Refused("too old", ("no backup allows a reset: the newest one", " old", "1 s", *BOTH_WAYS),
            env={"K0SCTL_MAX_AGE": "1s"}, asked=False),
    Refused("another name", ("'staging'", "'prod'"), env={"K0SCTL_CONFIRM_RESET": "staging"}, asked=False),
    Refused("another name, no key", ("'prod'", "'lab'"), env={**ALONE, "K0SCTL_CLUSTER_NAME": "lab"}, asked=False),
    Refused("no name", ("K0SCTL_CLUSTER_NAME",), env={**ALONE, "K0SCTL_CLUSTER_NAME": None}, asked=False),
    Refused("no key", ("K0SCTL_GPG_KEY", "K0SCTL_CONFIRM_RESET"), env={**ALONE, "K0SCTL_CONFIRM_RESET": None},
            asked=False),
    Refused("no UID", ("UID could not be read", "K0SCTL_CONFIRM_RESET=prod"), fault=("no-uid", "")),
    Refused("stopped", ("k0s is stopped there", "K0SCTL_CONFIRM_RESET=prod"), fault=("stopped", "")),
    Refused("absent", ("no cluster runs there", "K0SCTL_CONFIRM_RESET=prod"),
            change=lambda lab, *_: lab.host.wipe()),
    Refused("unclear", ("nobody can tell", "K0SCTL_CONFIRM_RESET=prod"), fault=("k0sctl-crash", "")),
    Refused("locked", ("another k0sctl",), 7, fault=("locked", "")),
    Refused("unsigned commit", ("is not signed",), 5, change=lambda lab, *_: lab.git(
        "-c", "user.name=x", "-c", "user.email=x@x", "commit", "-q", "--allow-empty", "--no-gpg-sign", "-m", "x"),
        asked=False),
    Refused("damaged backup", ("signed manifest",), 5, change=damage),
    Refused("another host key", ("another host key than the pinned one",), 5,
            change=lambda lab, *_: lab.host.change_host_key()),
    Refused("a silent host", ("SSH door stays closed",), 4, env={"K0SCTL_SSH_WAIT": "1s"}, fault=("ssh-hang", "")),
    Refused("a confirmed one that is silent", ("SSH door stays closed",), 4, fault=("ssh-hang", ""),
            env={"K0SCTL_SSH_WAIT": "1s", "K0SCTL_CONFIRM_RESET": "prod"}),
]  # fmt: skip


def test_what_the_guard_refuses(crew: Crew, site: Site, cluster_key: KeyPair) -> None:
    def check(lab: Lab, case: Refused) -> None:
        lab.host.wipe()
        install(lab.host, site.uid if case.uid == "site" else case.uid)
        lab.pin()
        shutil.rmtree(lab.backup)
        shutil.copytree(site.repository, lab.backup, symlinks=True)
        lab.faults.set("hurry", "40")
        case.change(lab, site, cluster_key)
        if case.fault:
            name, value = case.fault
            (lab.host.fault if name in HOST_FAULTS else lab.faults.set)(name, value)
        calls = lab.host.calls()
        done = lab.run("reset", **case.env).failed(case.code, *case.said)
        assert done.first == "reset: not begun: k0s is left as it is on all hosts", done.stderr
        assert "k0sctl reset" not in lab.report()["facts"]
        new = lab.host.calls()[len(calls) :]
        assert not any(call.startswith("k0s reset") for call in new)
        assert case.asked or not new
        assert lab.host.node.binary.exists()
        assert not lab.leftovers()

    crew.check(REFUSED, check)


# --- what is no reset -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Failing:
    """A confirmed reset that does not remove everything."""

    fault: tuple[str, str]
    code: int
    said: tuple[str, ...]
    env: dict[str, str | None] = field(default_factory=dict)


LEFT = "still there: data in /var/lib/k0s, the unit /etc/systemd/system/k0scontroller.service"
FAILING = [
    Failing(("fail-reset", "device busy"), 4, (LEFT, "device busy", "systemctl disable --now k0scontroller")),
    Failing(("slow-reset", "60"), 6, (LEFT, "time limit", "K0SCTL_CONFIRM_RESET=prod"), {"K0SCTL_TIMEOUT": "8s"}),
    Failing(("k0sctl-crash", ""), 4, (LEFT, "rm -f /tmp/k0sctl.lock"), {}),
    Failing(("k0sctl-stuck", ""), 6, ("time limit",), {"K0SCTL_TIMEOUT": "1s"}),
    Failing(("dry-run-lie", ""), 4, ("nothing was reset: k0sctl made a dry run", LEFT)),
    Failing(("locked", ""), 7, ("another k0sctl",)),
]


def test_what_is_no_reset(crew: Crew) -> None:
    def check(lab: Lab, case: Failing) -> None:
        lab.host.wipe()
        install(lab.host)
        lab.faults.set("hurry", "40")
        name, value = case.fault
        (lab.host.fault if name in HOST_FAULTS else lab.faults.set)(name, value)
        done = lab.run("reset", **{**ALONE, **case.env}).failed(case.code, *case.said)
        assert done.first == "reset: cluster prod, 1 host: confirmed by name, no backup is looked at"
        looks = lab.report()["facts"]["looks"]
        assert [look["data"] for look in looks.values()] == [["/var/lib/k0s"]]
        assert not lab.leftovers()

    crew.check(FAILING, check)


def test_a_second_run_is_red_while_data_is_left(pair: Lab) -> None:
    pair.host.fault("fail-reset")
    label = f"{pair.host.address}:{pair.host.port}"
    first = pair.run("reset").failed(
        4, f"{label}: {LEFT}", f"nothing of k0s is left on {pair.hosts[1].address}:{pair.hosts[1].port}"
    )
    assert label in first.last
    pair.host.clear_fault("fail-reset")
    again = pair.run("reset", **ALONE).failed(4, f"{label}: {LEFT}")
    assert "remove what is left" in again.last
    # the binary back on its place does not make it green either, as long as k0s is not really gone
    for host in pair.hosts:
        host.install_binary()
    pair.ok("reset", **ALONE)
    assert all(is_clean(host) for host in pair.hosts)


# --- a host that nobody can look at -----------------------------------------------------------------------------


def blind(lab: Lab) -> None:
    """The login of the look fails; k0sctl's own works."""
    lab.tool("ssh", 'case "$*" in *k0sctl-handler-look*) echo "closed by policy" >&2; exit 255 ;; esac')


def test_not_looked_at(pair: Lab) -> None:
    blind(pair)
    pair.host.fault("fail-reset")
    said = f"{pair.host.address}:{pair.host.port}: not looked at, so k0sctl's word stands alone: closed by policy"
    pair.run("reset", **ALONE).failed(4, said, "device busy", f"look what is left: {ssh_to(pair.host)}")
    pair.host.clear_fault("fail-reset")
    for host in pair.hosts:
        host.install_binary()
    done = pair.ok("reset", **ALONE)
    assert said in done.stderr
    assert "k0s is removed from 2 hosts (looked at 0)" in done.last
    assert said in pair.report()["warnings"]


# --- signals ----------------------------------------------------------------------------------------------------


def test_a_signal_while_k0s_is_removed(pair: Lab) -> None:
    pair.host.fault("slow-reset", "20")
    process = pair.start("reset", **ALONE)
    wait_for(lambda: resets(pair.host) > 0, 30)
    began = time.monotonic()
    process.send_signal(signal.SIGTERM)
    done: Ended = pair.end(process, timeout=20).failed(143, "stopped by SIGTERM")
    assert time.monotonic() - began < 7
    line = f"{ssh_to(pair.host)} 'rm -f /tmp/k0sctl.lock'"
    # where sshd passes k0sctl's signal on to k0s, it ends by itself, and takes its lock away
    killed = pair.report()["facts"]["k0sctl reset"]["exit_code"] != 1
    assert (f"left on a host, remove it: {line}" in done.stderr) is killed
    assert "K0SCTL_CONFIRM_RESET=prod" in done.stderr
    assert "nobody has looked" in done.stderr
    report = pair.report()
    assert (line in report["facts"].get("leftovers", ())) is killed
    assert "looks" not in report["facts"]
    assert not pair.leftovers()
