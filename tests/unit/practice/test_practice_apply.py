"""The stand-in k0sctl against the recorded runs of the real one: apply and restore."""

import shutil
from pathlib import Path

import pytest

from tests.practice.client import Client
from tests.practice.host import PracticeHost
from tests.practice.k0s.store import ARCHIVES

pytestmark = pytest.mark.e2e

BEFORE = [
    "Connect to hosts",
    "Detect host operating systems",
    "Prepare hosts",
    "Gather host facts",
    "Validate hosts",
    "Gather k0s facts",
    "Validate facts",
]
INITIALIZE = ["Run Before Apply Hooks", "Initialize the k0s cluster"]
AFTER = ["Run After Apply Hooks", "Disconnect from hosts"]
FRESH = [
    "H: connected",
    "H: is a container, applying a fix",
    "H: found existing 'k0s' binary at /usr/local/bin/k0s",
    "validating clock skew",
    "H: useExistingK0s=true, reusing existing k0s v1.34.2+k0s.0",
    "H: validating configuration",
    "H: installing new configuration",
    "H: installing k0s controller",
    "H: waiting for the k0s service to start",
    "H: wait for kubernetes to reach ready state",
    "k0s cluster version v1.34.2+k0s.0 is now installed",
    "     k0sctl kubeconfig",
]
TEMP_DIR = "rm: cannot remove '/tmp/"


def test_fresh_then_unchanged_then_changed(client: Client, host: PracticeHost) -> None:
    """Runs b1, b2 and b3."""
    fresh = client.run("apply")
    assert fresh.status == 0
    assert fresh.phases == [*BEFORE, "Configure k0s", *INITIALIZE, *AFTER]
    assert [line for line in fresh.messages("info") if line in FRESH] == FRESH
    assert fresh.stderr.startswith("\n ▌ k0sctl's host connection")
    assert fresh.stdout.splitlines()[6] == "k0sctl v0.32.2 Copyright 2026, k0sctl authors."
    assert host.running()
    assert [call.split()[1] for call in host.calls()] == [
        *("version", "status", "kubectl", "config", "install", "controller", "kubectl", "kubectl")
    ]
    uid_line = f"level=debug msg={host.uid()} host=H protocol=SSH stream=stdout sudo=true\n".replace("=H ", '="H" ')
    assert uid_line in client.log.split("template={{.metadata.uid}}'\"")[-1]

    unchanged = client.run("apply")
    assert unchanged.status == 0
    assert unchanged.phases == [*BEFORE, "Run Before Apply Hooks", *AFTER]
    assert "H: is running k0s controller version v1.34.2+k0s.0" in unchanged.messages("info")
    assert "H: listing etcd members" in unchanged.messages("info")

    uid = host.uid()
    text = client.config.read_text(encoding="utf-8")
    client.config.write_text(text + "        telemetry: {enabled: false}\n", encoding="utf-8")
    changed = client.run("apply")
    assert changed.phases == [*BEFORE, "Configure k0s", "Run Before Apply Hooks", *AFTER]
    assert "H: restarting k0s service" in changed.messages("info")
    assert host.running()
    assert host.uid() == uid


def test_restore_brings_the_objects_back(client: Client, host: PracticeHost) -> None:
    """Runs e1 and e2: a clean host is restored; on a running cluster nothing happens and nothing is said."""
    host.install()
    host.add_object("precious")
    uid = host.uid()
    assert client.run("backup", "-o", "good.tar.gz").status == 0
    host.add_object("too-late")
    host.wipe()
    assert host.uid() is None

    restored = client.run("apply", "--restore-from", "good.tar.gz")
    assert restored.status == 0
    assert restored.phases == [*BEFORE, "Configure k0s", "Restore cluster state", *INITIALIZE, *AFTER]
    assert "H: restoring cluster state" in restored.messages("info")
    assert TEMP_DIR in restored.messages("warning")[0]
    assert host.uid() == uid
    assert host.objects() == ["precious"]

    ignored = client.run("apply", "--restore-from=missing.tar.gz")
    assert ignored.status == 0
    assert ignored.phases == [*BEFORE, "Run Before Apply Hooks", *AFTER]
    assert host.objects() == ["precious"]


def test_restore_of_bad_archives(client: Client, host: PracticeHost) -> None:
    """Runs e3, r7b, r7c, r7d: each stops the run, late and with the recorded text."""
    good = ARCHIVES["kine"].read_bytes()
    cases = {
        "missing": (None, "open file for upload: open missing: no such file or directory"),
        "empty": (b"", "k0s_backup.tar.gz`: EOF)"),
        "text": (b"no gzip" * 99, "k0s_backup.tar.gz`: gzip: invalid header)"),
        "half": (good[: len(good) // 2], "k0s_backup.tar.gz`: failed to decompress"),
    }
    for name, (content, reason) in cases.items():
        if content is not None:
            (client.work / name).write_bytes(content)
        outcome = client.run("apply", "--restore-from", name)
        assert outcome.status == 1
        assert outcome.phases[-1] == "Restore cluster state"
        assert reason in outcome.fatal
        assert "==> Apply failed" in outcome.messages("info")
        if content is not None:
            assert "restore failed: Error: failed to unpack backup archive `/tmp/" in outcome.messages("error")[0]
            assert any(name.startswith("/tmp/k0s-backup") for name in host.files())


@pytest.mark.parametrize("fault", ["cut-trailer", "wrong-crc", "tail", "no-tar-end", "two-datastores"])
def test_restore_of_what_k0s_does_not_check(host: PracticeHost, fault: str) -> None:
    """Runs r7d3 and r7e: k0s restores these, so only a check of one's own finds them."""
    host.install()
    uid = host.uid()
    host.fault(fault)
    host.run("k0s backup --save-path ~")
    host.wipe()
    host.run("k0s restore ~/k0s_backup_*.tar.gz")
    assert host.uid() == uid


def test_flipped_bit_blocks_every_retry(client: Client, host: PracticeHost) -> None:
    """Runs r7f and r8b: the snapshot's checksum is wrong, and what is left behind stops the next restore."""
    host.install()
    host.fault("bad-snapshot-sha")
    client.run("backup", "-o", "bad.tar.gz")
    host.wipe()
    outcome = client.run("apply", "--restore-from", "bad.tar.gz")
    assert outcome.status == 1
    assert "failed to restore on step `etcd`: expected sha256 [" in outcome.fatal
    assert "], got [" in outcome.messages("error")[0]
    shutil.copy(ARCHIVES["etcd"], client.work / "good.tar.gz")
    again = client.run("apply", "--restore-from", "good.tar.gz")
    assert again.status == 1
    assert 'data-dir \\"/var/lib/k0s/etcd\\" not empty or could not be read)' in again.fatal


def test_dry_run_restores(client: Client, host: PracticeHost) -> None:
    """Run e4: the dry run says nothing of the restore that it really does."""
    shutil.copy(ARCHIVES["etcd"], client.work / "real.tar.gz")
    outcome = client.run("apply", "--dry-run", "--restore-from", "real.tar.gz")
    assert outcome.status == 0
    assert "Restore cluster state" in outcome.phases
    assert "restore" not in outcome.stdout.partition("dry-run: cluster state")[2]
    assert "\x1b[32m    type: etcd\x1b[0m\n" in outcome.stdout
    assert "is now installed" not in outcome.stdout
    assert not host.running()
    assert host.uid() == "4c615bdd-e0b0-4ba4-9f56-61d75453a6e6"


def test_stopped_but_installed(client: Client, host: PracticeHost) -> None:
    """Runs e5, r9 and c4."""
    host.install()
    client.run("backup", "-o", "good.tar.gz")
    host.fault("stopped")
    reason = (
        "failed on 1 hosts:\\n - H: k0s doesn't appear to be running but has been installed as a service at "
        "/etc/systemd/system/k0scontroller.service - please remove it or start the service"
    )
    restore = client.run("apply", "--restore-from", "good.tar.gz")
    assert (restore.status, restore.fatal) == (1, f"apply failed: {reason}")
    assert restore.phases == BEFORE[:-1]
    backup = client.run("backup", "-o", "o")
    assert (backup.status, backup.fatal) == (1, f"backup failed: {reason}")
    assert not (client.work / "o").exists()
    forced = client.run("backup", "--force", "-o", "o")
    assert (forced.status, forced.fatal) == (1, "backup failed: failed to find a running controller")
    over = client.run("apply", "--force", "--restore-from", "good.tar.gz")
    assert over.status == 1
    assert "not empty or could not be read)" in over.fatal
    host.clear_fault("stopped")
    assert host.running()


def test_restore_fails(client: Client, host: PracticeHost) -> None:
    """Run e6, and a restore after which the cluster is another one."""
    shutil.copy(ARCHIVES["etcd"], client.work / "real.tar.gz")
    host.fault("fail-restore")
    outcome = client.run("apply", "--restore-from", "real.tar.gz")
    assert outcome.status == 1
    assert outcome.messages("error") == ["H: restore failed: Error: failed to restore on step `etcd`: boom\\n"]
    assert outcome.fatal.endswith("Process exited with status 1 (Error: failed to restore on step `etcd`: boom)")
    host.clear_fault("fail-restore")
    host.fault("new-uid")
    assert client.run("apply", "--restore-from", "real.tar.gz").status == 0
    assert host.uid() != "4c615bdd-e0b0-4ba4-9f56-61d75453a6e6"


def test_install_and_start_fail(client: Client, host: PracticeHost) -> None:
    """Runs g5 and g5b."""
    host.fault("fail-install")
    outcome = client.run("apply")
    assert outcome.status == 1
    assert outcome.messages("info")[-3:] == [
        "* Running clean-up for phase: Initialize the k0s cluster",
        "H: cleaning up",
        "==> Apply failed",
    ]
    assert outcome.fatal.endswith("Process exited with status 1 (Error: disk full)")
    host.clear_fault("fail-install")
    host.fault("fail-controller")
    outcome = client.run("apply")
    assert "failed to start service 'k0scontroller': failed to start service k0scontroller: " in outcome.fatal
    assert host.calls()[-1] == "k0s reset --data-dir=/var/lib/k0s"
    assert not host.running()


def test_kine(tmp_path: Path) -> None:
    """Runs r16: kine is backed up and restored; over old data its WAL wins; into an etcd configuration it is lost."""
    with PracticeHost(tmp_path / "hosts", storage="kine") as host:
        client = Client(tmp_path, host)
        host.install()
        host.add_object("precious")
        uid = host.uid()
        assert client.run("backup", "-o", "kine.tar.gz").status == 0
        host.wipe()
        shutil.copy(client.work / "kine.tar.gz", host.root / "root")
        host.run("k0s restore kine.tar.gz")
        assert (host.uid(), host.objects()) == (uid, ["precious"])

        host.wipe()
        host.install()
        other = host.uid()
        host.stop_service()
        assert client.run("apply", "--force", "--restore-from", "kine.tar.gz").status == 0
        assert host.uid() == other != uid

        host.wipe()
        text = client.config.read_text(encoding="utf-8").replace("type: kine", "type: etcd")
        client.config.write_text(text, encoding="utf-8")
        assert client.run("apply", "--restore-from", "kine.tar.gz").status == 0
        assert host.uid() not in (uid, other, None)


def test_controller_and_worker(tmp_path: Path) -> None:
    """Runs k1, k5b, k6b, k6c and k4b."""
    directory = tmp_path / "hosts"
    with PracticeHost(directory) as first, PracticeHost(directory, name="h2", role="worker") as second:
        client = Client(tmp_path, first, second)
        applied = client.run("apply")
        assert applied.status == 0, applied.stdout
        assert applied.phases == [*BEFORE, "Configure k0s", *INITIALIZE, "Install workers", *AFTER]
        assert second.running()
        second.stop_service()
        stopped = client.run("backup", "-o", "o")
        assert stopped.status == 1
        assert "installed as a service at /etc/systemd/system/k0sworker.service" in stopped.fatal
        assert client.run("backup", "--force", "-o", "o").status == 0
        reset = client.run("reset", "--force")
        assert reset.status == 0
        assert not first.running()
        assert not second.running()
