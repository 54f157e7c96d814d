"""`apply`: each row of what the contract says about it."""

from __future__ import annotations

import shutil
from collections.abc import Callable

import pytest

from tests.e2e.conftest import Crew, Site
from tests.practice.choice import Host
from tests.practice.faults import HOST_FAULTS
from tests.support.keys import KeyPair
from tests.support.lab import Ended, Lab, ssh_to

pytestmark = pytest.mark.e2e

OTHER_UID = "0f6c2a4e-8d1b-4c3f-9a5e-7b2d1c0e9f84"
NEW_CLUSTER = "a NEW, EMPTY cluster was made"


def actions(lab: Lab) -> list[str]:
    """The k0sctl runs that the report tells of."""
    return [name for name in lab.report()["facts"] if name.startswith("k0sctl ")]


def installs(host: Host) -> int:
    return sum(call.startswith("k0s install") for call in host.calls())


def says_a_line(done: Ended, beginning: str) -> bool:
    return any(line.startswith(beginning) for line in done.stderr.splitlines())


# --- no backup --------------------------------------------------------------------------------------------------


def test_without_a_repository(lab: Lab) -> None:
    done = lab.ok("install", K0SCTL_GPG_KEY=None, K0SCTL_GPG_PASSPHRASE=None)
    assert done.first == "apply: no backup in restore: a new cluster"
    assert lab.host.running()
    assert "is installed" in done.last
    assert lab.report()["command"] == "apply"
    assert not lab.backup.exists()
    assert not lab.leftovers()


def test_with_an_empty_repository(lab: Lab) -> None:
    lab.ok("init")
    done = lab.ok("apply")
    assert done.first == "apply: no backup in backup: a new cluster"
    assert lab.host.running()


def test_require_without_a_repository(lab: Lab) -> None:
    calls = lab.host.calls()
    done = lab.run("apply", K0SCTL_RESTORE="require").failed(5, "K0SCTL_RESTORE=require", "no backup in restore")
    assert "no backup in restore" in done.first
    lab.backup.mkdir()
    lab.run("apply", K0SCTL_RESTORE="require").failed(5)
    lab.ok("init")
    lab.run("apply", K0SCTL_RESTORE="require").failed(5, "no backup in backup")
    assert lab.host.calls() == calls


def test_never_reads_no_repository(lab: Lab) -> None:
    (lab.backup / ".git").mkdir(parents=True)
    (lab.backup / ".git" / "HEAD").write_text("garbage")
    lab.restore.mkdir()
    (lab.restore / "anything").write_text("is here")
    done = lab.ok("apply", K0SCTL_RESTORE="never", K0SCTL_GPG_KEY=None, K0SCTL_GPG_PASSPHRASE=None)
    assert done.first.startswith("apply: never")
    assert actions(lab) == ["k0sctl apply"]
    assert lab.host.running()


# --- a new host -------------------------------------------------------------------------------------------------


def test_restores_a_new_host(spare: Lab, site: Site) -> None:
    done = spare.ok("apply")
    assert done.first == f"apply: restoring {site.latest}"
    assert spare.host.uid() == site.uid
    assert [name.rpartition("/")[2] for name in spare.host.objects()] == ["one", "two"]
    assert f"restored {site.latest}" in done.last
    assert site.uid in done.last
    facts = spare.report()["facts"]
    assert facts["identity"]["state"] == "absent"
    assert facts["k0sctl apply"]["uid"] == site.uid
    assert not spare.leftovers()
    # the probe's output and the archive in clear are gone from the host too
    assert not [path for path in spare.host.files() if "k0s_backup" in path]


@pytest.mark.parametrize(
    "form",
    [
        pytest.param("{}", marks=pytest.mark.k0sctl_faults),
        pytest.param("{}.tar.gz", marks=pytest.mark.k0sctl_faults),
        "{}.tar.gz.enc",
    ],
)
def test_restores_the_named_backup(spare: Lab, site: Site, form: str) -> None:
    if form != "{}.tar.gz.enc":  # the whole restore once, the name's other forms up to the first line
        spare.faults.set("k0sctl-crash")
        done = spare.run("apply", K0SCTL_BACKUP=form.format(site.older)).failed(4)
        assert spare.report()["facts"]["backup"] == site.older
        return
    done = spare.ok("apply", K0SCTL_BACKUP=form.format(site.older), K0SCTL_RESTORE="require")
    assert done.first == f"apply: restoring {site.older}"
    assert spare.host.uid() == site.uid
    assert [name.rpartition("/")[2] for name in spare.host.objects()] == ["one"]


def test_a_wrong_name(running: Lab, site: Site) -> None:
    calls = running.host.calls()
    done = running.run("apply", K0SCTL_BACKUP="k0s_backup_2020-01-01T00-00-00Z").failed(2, site.latest)
    assert "K0SCTL_BACKUP" in done.last
    running.run("apply", K0SCTL_BACKUP="../secret.gpg").failed(2, "K0SCTL_BACKUP")
    assert running.host.calls() == calls


def skipped(lab: Lab, done: Ended) -> None:
    assert says_a_line(done, NEW_CLUSTER)
    assert NEW_CLUSTER in done.last
    assert str(lab.host.uid()) in done.stderr


def another_uid(_: Lab, done: Ended) -> None:
    assert says_a_line(done, NEW_CLUSTER)


def not_empty(lab: Lab, done: Ended) -> None:
    """An earlier restore was interrupted: which host, and how to go on."""
    assert f"{lab.host.address}:{lab.host.port}" in done.last
    assert f"{ssh_to(lab.host)} 'k0s reset; rm -rf /var/lib/k0s" in done.last
    assert "then run apply again" in done.last


#: Fault, its value, exit code, what is said, and what else holds.
UNPROVEN: list[tuple[str, str, int, str, Callable[[Lab, Ended], None]]] = [
    ("restore-skipped", "", 5, NEW_CLUSTER, skipped),
    ("new-uid", "", 5, NEW_CLUSTER, another_uid),
    ("no-uid", "", 5, "UID could not be read", lambda *_: None),
    ("fail-restore", "gzip: invalid header", 4, "gzip: invalid header", lambda *_: None),
    ("not-empty", "", 4, "an earlier restore was interrupted", not_empty),
    ("dry-run-lie", "", 5, "dry run", lambda *_: None),
]


def test_a_restore_that_is_not_proven(crew: Crew, site: Site) -> None:
    def check(lab: Lab, case: tuple[str, str, int, str, Callable[[Lab, Ended], None]]) -> None:
        fault, value, code, said, more = case
        lab.host.wipe()
        if fault in HOST_FAULTS:
            lab.host.fault(fault, value)
        else:
            lab.faults.set(fault, value)
        done = lab.run("apply").failed(code, said)
        if fault != "dry-run-lie":  # the probe is answered wrongly too
            assert done.first == f"apply: restoring {site.latest}"
        more(lab, done)
        assert not lab.leftovers()

    crew.check(UNPROVEN, check)


@pytest.mark.k0sctl_faults
def test_a_dry_run_is_no_apply(running: Lab) -> None:
    running.faults.set("dry-run-lie")
    running.run("apply").failed(4, "dry run")


@pytest.mark.k0sctl_faults
def test_an_apply_that_says_nothing_of_an_installation(running: Lab) -> None:
    running.faults.set("no-finish")
    running.run("apply").failed(4, "not proven")


# --- a running cluster ------------------------------------------------------------------------------------------


def test_running(running: Lab, site: Site) -> None:
    count = installs(site.host)
    done = running.ok("apply", K0SCTL_RESTORE="require")
    assert done.first == f"apply: already running ({site.uid}), nothing is restored"
    assert "decrypt" not in done.stderr
    assert installs(site.host) == count
    assert running.report()["facts"]["identity"]["state"] == "running"


def test_another_cluster(lab: Lab, site: Site) -> None:
    lab.host.install()
    uid = lab.host.uid()
    shutil.copytree(site.repository, lab.backup, symlinks=True)
    done = lab.run("apply").failed(5, str(uid), site.uid, f"K0SCTL_ACCEPT_CLUSTER={uid}")
    assert "already running" in done.first
    assert actions(lab) == ["k0sctl backup"]
    assert not [call for call in lab.host.calls() if "validate" in call]
    assert str(uid) in lab.ok("apply", K0SCTL_ACCEPT_CLUSTER=uid).first
    # the name of a third cluster does not help
    lab.run("apply", K0SCTL_ACCEPT_CLUSTER=OTHER_UID).failed(5)


def test_running_with_an_unknown_uid(running: Lab) -> None:
    running.host.fault("no-uid")
    done = running.ok("apply")
    assert done.first == "apply: already running, nothing is restored"
    assert "warning: the cluster's UID could not be read" in done.stderr
    done = running.run("apply", K0SCTL_RESTORE="require").failed(5, "K0SCTL_RESTORE=require")
    assert actions(running) == ["k0sctl backup"]
    assert "already running" in done.first


def test_stopped(spare: Lab, site: Site) -> None:
    spare.host.install()
    spare.host.stop_service()
    done = spare.run("apply")
    assert "stopped" in done.first
    assert "k0s is installed but stopped" in done.stderr
    done.failed(4, "k0s start")
    assert "--restore-from" not in str(spare.report())
    assert not [call for call in spare.host.calls() if call.startswith("k0s restore")]


def test_locked(running: Lab) -> None:
    running.faults.set("hurry", "40")
    running.host.fault("locked")
    running.run("apply").failed(7, "another k0sctl", "K0SCTL_RESTORE=never")
    assert actions(running) == ["k0sctl backup"]


@pytest.mark.k0sctl_faults
def test_unclear(running: Lab) -> None:
    """k0sctl crashes while it is asked who runs there; that it hangs is in test_failures."""
    running.faults.set("k0sctl-crash")
    done = running.run("apply").failed(4, "K0SCTL_RESTORE=never")
    assert "already running" in done.first
    assert actions(running) == ["k0sctl backup"]


def test_a_cluster_that_vanishes_between_probe_and_apply(spare: Lab, site: Site) -> None:
    """Whatever the probe said: a cluster that apply begins is told."""
    spare.ok("apply")
    vanish = "systemctl stop k0scontroller; rm -rf /var/lib/k0s /etc/k0s/* /run/k0s/* /etc/systemd/system/*"
    spare.tool("k0sctl", f'case "$*" in apply*) {spare.on_host(vanish)} ;; esac')
    done = spare.run("apply").failed(5)
    assert "already running" in done.first
    assert says_a_line(done, NEW_CLUSTER)
    assert NEW_CLUSTER in done.last
    assert str(spare.host.uid()) in done.stderr
    assert site.uid in done.stderr


# --- what is not authentic --------------------------------------------------------------------------------------


def test_nothing_reaches_k0sctl_from_a_damaged_repository(running: Lab, foreign_key: KeyPair, site: Site) -> None:
    """One case here, that no host is touched; the ways to damage a repository are in test_restore."""
    ciphertext = running.backup / f"{site.latest}.tar.gz.enc"
    raw = bytearray(ciphertext.read_bytes())
    raw[1000] ^= 1
    ciphertext.write_bytes(raw)
    running.commit()
    before = site.host.sshd_log()
    done = running.run("apply").failed(5, "is not signed", f"K0SCTL_ACCEPT_COMMIT={running.head()}")
    assert actions(running) == []
    # the unsigned commit accepted, the signed manifest still finds the damage
    done = running.run("apply", K0SCTL_ACCEPT_COMMIT=running.head()).failed(5, "signed manifest")
    assert actions(running) == []
    assert "k0s_backup" in done.last
    assert site.host.sshd_log() == before
