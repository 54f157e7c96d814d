"""`backup`: nothing is committed that was not proven."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from tests.e2e.conftest import Crew, Site
from tests.practice.choice import practice_host
from tests.practice.cluster import practice_cluster
from tests.practice.faults import HOST_FAULTS
from tests.support.hostile import hostile
from tests.support.keys import KeyMaker, KeyPair
from tests.support.lab import Lab, sha256
from tests.support.plain import PlainTools

pytestmark = pytest.mark.e2e


@pytest.fixture
def plain(tmp_path: Path, cluster_key: KeyPair) -> PlainTools:
    return PlainTools(tmp_path / "plain", cluster_key.private)


# --- what is stored ---------------------------------------------------------------------------------------------


def test_what_is_stored(running: Lab, site: Site, plain: PlainTools, cluster_key: KeyPair) -> None:
    """Checked by other programs than the handler: git, gpg, openssl, and our own hashing."""
    parent = running.head()
    done = running.ok("backup")
    stem = running.latest()
    assert stem in done.last
    assert done.first == "backup: taken, proven and committed to backup"
    assert re.fullmatch(r"k0s_backup_\d{4}-\d\d-\d\dT\d\d-\d\d-\d\dZ", stem)
    # the commit
    assert plain.verify_commit(running.backup, "HEAD") == cluster_key.fingerprint
    assert running.git("rev-parse", "HEAD^") == parent
    assert running.git("symbolic-ref", "HEAD") == "refs/heads/backup"
    assert running.git("log", "-1", "--format=%an <%ae> %cn <%ce>") == "prod <prod@example.org> prod <prod@example.org>"
    changed = running.git("diff", "--name-status", "HEAD^", "HEAD").split()
    assert sorted(zip(changed[1::2], changed[::2], strict=True)) == [
        ("README.md", "M"),
        (f"{stem}.json", "A"),
        (f"{stem}.json.asc", "A"),
        (f"{stem}.k0sctl.yaml.enc", "A"),
        (f"{stem}.tar.gz.enc", "A"),
        ("k0s_backup_latest", "M"),
    ]
    assert running.git("status", "--porcelain") == ""
    # the manifest
    plain.verify(running.backup / f"{stem}.json.asc", running.backup / f"{stem}.json")
    manifest = running.manifest()
    assert manifest["format"] == 1
    assert manifest["branch"] == "backup"
    assert manifest["cluster"] == {"name": "prod", "uid": site.uid}
    assert manifest["taken_at"] == re.sub(r"T(\d\d)-(\d\d)-", r"T\1:\2:", stem.removeprefix("k0s_backup_"))
    assert int(running.git("log", "-1", "--format=%ct")) == plain.epoch(manifest["taken_at"])
    assert manifest["accepted"] is True
    assert manifest["datastore"] == "etcd"
    assert manifest["cipher"] == "chacha20"
    assert manifest["signer"] == cluster_key.fingerprint
    assert set(manifest["versions"]) == {"handler", "k0sctl", "k0s", "openssl"}
    assert manifest["versions"]["k0s"] == "v1.34.2+k0s.0"
    # the ciphertexts, and what is in them
    password = plain.open_password(running.backup / "secret.gpg")
    for part, name in (("archive", f"{stem}.tar.gz"), ("config", f"{stem}.k0sctl.yaml")):
        ciphertext = running.backup / f"{name}.enc"
        plaintext = plain.directory / name
        plain.openssl("-d", "-chacha20", "-pbkdf2", password=password, source=ciphertext, target=plaintext)
        if part == "archive":
            told, stored = manifest["archive"], manifest["ciphertext"]
            assert told == {"name": name, "size": plaintext.stat().st_size, "sha256": sha256(plaintext)}
        else:
            stored = manifest["config"]
            assert plaintext.read_bytes() == running.config.read_bytes()
        assert stored == {"name": ciphertext.name, "size": ciphertext.stat().st_size, "sha256": sha256(ciphertext)}
    # the message
    message = running.git("log", "-1", "--format=%B")
    for told in (f"backup: prod {stem}", site.uid, str(manifest["archive"]["size"]), "v1.34.2+k0s.0"):
        assert told in message
    report = running.report()["facts"]
    assert report["backup"] == stem
    assert report["commit"] == running.head()
    assert not running.leftovers()
    assert not list((running.backup / ".git").glob("*k0sctl-handler*"))


def test_another_cipher_prefix_and_suffix(running: Lab, site: Site, plain: PlainTools) -> None:
    running.ok(
        "backup", K0SCTL_ENC_CIPHER="aes-256-ctr", K0SCTL_PREFIX_BAK="nightly", K0SCTL_SUFFIX_BAK="tgz"
    )  # fmt: skip
    target = (running.backup / "nightly_latest").readlink().name
    assert target.startswith("nightly_")
    assert target.endswith("Z.tgz.enc")
    stem = target.removesuffix(".tgz.enc")
    assert running.manifest(stem)["cipher"] == "aes-256-ctr"
    assert running.latest() == site.latest  # of the other prefix, as it was
    password = plain.open_password(running.backup / "secret.gpg")
    plaintext = plain.directory / "archive"
    plain.openssl("-d", "-aes-256-ctr", "-pbkdf2", password=password, source=running.backup / target, target=plaintext)
    assert sha256(plaintext) == running.manifest(stem)["archive"]["sha256"]
    # read with the manifest's cipher, whatever the setting is
    running.ok("restore", stem, "--to", "../out.tgz")
    assert sha256(running.directory / "out.tgz") == sha256(plaintext)
    # the original prefix still has its own latest
    running.ok("restore", "--to", "../out.tar.gz")
    assert sha256(running.directory / "out.tar.gz") == running.manifest(site.latest)["archive"]["sha256"]
    # a prefix that has no latest is never "no backup"
    running.run("apply", K0SCTL_PREFIX_BAK="weekly").failed(5, "no usable latest")


def test_a_recovery_key_that_is_added_later(
    running: Lab, recovery_key: KeyPair, tmp_path: Path, plain: PlainTools
) -> None:
    password = plain.open_password(running.backup / "secret.gpg")
    done = running.ok("backup", K0SCTL_GPG_RECOVERY=recovery_key.public)
    assert "secret.gpg is encrypted anew" in done.stderr
    assert recovery_key.fingerprint in done.stderr
    offline = PlainTools(tmp_path / "offline", recovery_key.private)
    assert offline.open_password(running.backup / "secret.gpg") == password
    assert plain.open_password(running.backup / "secret.gpg") == password
    assert "1 recovery key" in (running.backup / "README.md").read_text()
    # nothing to say the next time; taken away again it is said again
    assert "encrypted anew" not in running.ok("backup", K0SCTL_GPG_RECOVERY=recovery_key.public).stderr
    assert "encrypted anew" in running.ok("backup").stderr


def test_names_are_never_overwritten(running: Lab) -> None:
    """A file whose name the next second would take is stepped over."""
    running.ok("backup")
    first = running.latest()
    running.ok("backup")
    stems = [path.name for path in running.backup.glob("*.tar.gz.enc")]
    assert len(stems) == len(set(stems)) == 4
    assert running.latest() > first
    times = [int(second) for second in running.git("log", "--format=%ct").split()]
    assert times == sorted(set(times), reverse=True)


def test_kine(tmp_path: Path, cluster_key: KeyPair) -> None:
    with practice_host(tmp_path / "cluster", storage="kine") as host:
        host.install()
        lab = Lab(tmp_path, [host], cluster_key)
        lab.ok("init")
        uid = host.uid()
        host.add_object("kept")
        lab.ok("backup")
        assert lab.manifest()["datastore"] == "kine"
        host.wipe()
        lab.ok("apply")
        assert host.uid() == uid
        assert host.objects()[-1].endswith("kept")


# --- what is not stored -----------------------------------------------------------------------------------------

NOT_PROVEN = ("k0sctl said it took a backup, but", "nothing was committed")
#: Fault, its value, exit code, and what is said.
BAD: list[tuple[str, str, int, tuple[str, ...]]] = [
    ("empty-backup", "", 5, NOT_PROVEN),
    ("cut-backup", "", 5, NOT_PROVEN),
    ("cut-trailer", "", 5, NOT_PROVEN),
    ("wrong-crc", "", 5, NOT_PROVEN),
    ("tail", "", 5, NOT_PROVEN),
    ("no-tar-end", "", 5, NOT_PROVEN),
    ("no-datastore", "", 5, NOT_PROVEN),
    ("two-datastores", "", 5, NOT_PROVEN),
    ("wrong-datastore", "", 5, NOT_PROVEN),
    ("bad-snapshot-sha", "", 5, NOT_PROVEN),
    ("fail-backup", "failed to create archive: no space left on device", 4, ("no space is left on ",)),
    ("no-backup-file", "", 4, ("no backup file found",)),
    ("fail-etcd", "etcdserver: request timed out", 4, ("etcd",)),
    ("k0sctl-crash", "", 4, ("FAILED",)),
    ("backup-skipped", "", 4, ("Take backup",)),
    ("dry-run-lie", "", 4, ("dry run",)),
]


def test_what_is_not_proven_is_not_stored(crew: Crew) -> None:
    def check(lab: Lab, case: tuple[str, str, int, tuple[str, ...]]) -> None:
        fault, value, code, said = case
        if not lab.host.running():
            lab.host.install()
        if fault in HOST_FAULTS:
            lab.host.fault(fault, value)
        else:
            lab.faults.set(fault, value)
        with lab.repository_unchanged():
            lab.run("backup").failed(code, *said)
        assert not lab.leftovers()

    crew.check(BAD, check)


# --- whose backup it is -----------------------------------------------------------------------------------------


def test_an_unknown_uid(running: Lab, site: Site) -> None:
    running.host.fault("no-uid")
    done = running.ok("backup")
    assert "WHOSE backup" in done.stderr
    manifest = running.manifest()
    assert manifest["cluster"]["uid"] is None
    assert manifest["accepted"] is True
    assert running.latest() > site.latest
    # the known UID is then that of the newest one before
    running.host.clear_fault("no-uid")
    running.ok("backup")
    assert running.manifest()["accepted"] is True


def test_another_cluster(spare: Lab, site: Site) -> None:
    spare.host.install()
    uid = spare.host.uid()
    for night in (1, 2):
        head = spare.head()
        done = spare.run("backup").failed(5, str(uid), site.uid, f"K0SCTL_ACCEPT_CLUSTER={uid}")
        assert spare.latest() == site.latest
        assert spare.git("rev-parse", "HEAD^") == head
        stem = spare.report()["facts"]["backup"]
        assert stem in done.stderr
        assert spare.manifest(stem)["accepted"] is False
        assert len(list(spare.backup.glob("*.enc"))) == 4 + 2 * night
        assert "NO: another cluster" in spare.git("log", "-1", "--format=%B")
    spare.ok("backup", K0SCTL_ACCEPT_CLUSTER=uid)
    assert spare.latest() > site.latest
    assert spare.manifest()["accepted"] is True
    # and from now on it is the known one
    spare.ok("backup")
    assert spare.manifest()["cluster"]["uid"] == uid


# --- through which hosts ----------------------------------------------------------------------------------------


def test_a_worker_that_is_down(running: Lab, tmp_path: Path) -> None:
    with practice_host(tmp_path / "cluster", name="w1", role="worker") as worker:
        practice_cluster(running.work / "config", [running.host, worker])
        running.hosts.append(worker)
        running.pin()
    # the worker's sshd has ended with the block
    running.ok("backup")
    done = running.run("backup", K0SCTL_BACKUP_HOSTS="all", K0SCTL_SSH_WAIT="1s").failed(4, "SSH door stays closed")
    assert f"{worker.address}:{worker.port}" in done.last


def test_one_of_two_controllers(running: Lab, tmp_path: Path) -> None:
    with practice_host(tmp_path / "cluster", name="c2") as second:
        shutil.copy(running.host.private_key.with_suffix(".pub"), second.private_key.with_suffix(".pub"))
        second.stop()
        second.start()
        second.install()
        practice_cluster(running.work / "config", [second, running.host])
        running.hosts.append(second)
        running.pin()
        label = f"{second.address}:{second.port}"
        second.stop_service()
        done = running.ok("backup")
        assert f"warning: {label}: k0s is stopped there; left out" in done.stderr
        second.stop()
        done = running.ok("backup", K0SCTL_SSH_WAIT="1s")
        assert f"warning: {label}: SSH door closed" in done.stderr


def test_a_controller_that_shows_no_key(running: Lab) -> None:
    with hostile(drips=True) as port:
        ssh = f"{{address: 127.0.0.1, user: root, port: {port}}}"
        controller = f"  - role: controller\n    ssh: {ssh}\n  k0s:"
        running.config.write_text(running.config.read_text().replace("  k0s:", controller))
        done = running.ok("backup")
    assert f"warning: 127.0.0.1:{port}: the SSH door is open, but no host key is shown; left out" in done.stderr


def test_the_derived_configuration(running: Lab) -> None:
    """Hooks of other actions and files stay out of it; the backup's own hooks run; the original is stored."""
    (running.work / "config" / "manifest.yaml").write_text("kind: ConfigMap\n")
    text = running.config.read_text()
    extra = (
        "    files:\n    - src: /nowhere/missing.yaml\n      dstDir: /tmp\n      perm: '0600'\n"
        "    hooks:\n      apply:\n        before: ['exit 1']\n"
        "      backup:\n        before: ['echo hooked > /tmp/hooked']\n"
    )
    running.config.write_text(text.replace("    useExistingK0s: true\n", "    useExistingK0s: true\n" + extra))
    running.ok("backup")
    hooked = running.host.root / "tmp" / "hooked"
    assert hooked.read_text() == "hooked\n"
    hooked.unlink()


# --- keys -------------------------------------------------------------------------------------------------------


def test_a_wrong_key(running: Lab, foreign_key: KeyPair, key_maker: KeyMaker) -> None:
    with running.repository_unchanged():
        running.run("backup", K0SCTL_GPG_KEY=foreign_key.private).failed(5, foreign_key.fingerprint)
        running.run("apply", K0SCTL_GPG_KEY=foreign_key.private).failed(5)
        running.run("backup", K0SCTL_GPG_KEY=None).failed(2, "K0SCTL_GPG_KEY")
        running.run("apply", K0SCTL_GPG_KEY=None).failed(2, "K0SCTL_GPG_KEY", "K0SCTL_RESTORE=never")


def test_without_a_repository(lab: Lab) -> None:
    lab.run("backup").failed(2, "k0sctl-handler init")
