"""`list`, `status` and `verify` on branches that somebody has changed, as whole commands without any cluster."""

from __future__ import annotations

import gzip
import io
import json
import os
import stat
import subprocess
import sys
import tarfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from handler.archive import Names
from handler.digest import digest_of
from handler.manifest import Datastore
from handler.process import Children
from handler.publishing import StagedFile
from handler.secret import Secret
from handler.watch import Watch
from tests.contract.conftest import GpgOf
from tests.practice.k0s.store import ARCHIVES
from tests.support.branch import CIPHER, NOW, PASSWORD, Desk, PlainGit, copy, cut, drop, flip_loose, swap_packed
from tests.support.keys import KeyMaker, KeyPair
from tests.support.lab import ROOT, Ended

pytestmark = pytest.mark.contract

HOUR = timedelta(hours=1)
OLDEST, OLDER, NEWEST = (NOW - timedelta(hours=hours) for hours in (72, 48, 24))
Attack = Callable[[Path, PlainGit, str, str], None]


def stem(at: datetime) -> str:
    return Names(taken_at=at).stem


def raw(content: object) -> bytes:
    """The bytes of one of a change's files."""
    if isinstance(content, StagedFile):
        return content.path.read_bytes()
    assert isinstance(content, bytes)
    return content


def external() -> bytes:
    """What k0s makes of a cluster whose datastore is not its own."""
    spec = b"spec: {storage: {type: kine, kine: {dataSource: 'postgres://db.example.org/k0s'}}}\n"
    config = b"apiVersion: k0s.k0sproject.io/v1beta1\nkind: ClusterConfig\n" + spec
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as tar:
        member = tarfile.TarInfo("k0s.yaml")
        member.size = len(config)
        tar.addfile(member, io.BytesIO(config))
    return packed.getvalue()


@dataclass(frozen=True)
class Branch:
    """A desk, its branch in backup/, and the handler run beside it."""

    desk: Desk

    @property
    def auditlog(self) -> Path:
        return self.desk.root / "auditlog"

    def run(self, *words: str, **env: str) -> Ended:
        pair = self.desk.pair
        given = {
            "PATH": os.environ["PATH"], "HOME": str(self.desk.root), "TMPDIR": str(self.desk.scratch),
            "PYTHONPATH": str(ROOT), "K0SCTL_GPG_KEY": pair.private, "K0SCTL_GPG_PASSPHRASE": pair.passphrase, **env,
        }  # fmt: skip
        done = subprocess.run(
            [sys.executable, "-m", "handler", *words], cwd=self.desk.root, env=given, timeout=120,
            capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False,
        )  # fmt: skip
        assert not list(self.desk.scratch.glob("*k0sctl-handler*"))
        return Ended(done.returncode, done.stdout, done.stderr).checked()

    def ok(self, *words: str, **env: str) -> Ended:
        return self.run(*words, **env).failed(0)

    def result(self, *words: str, code: int = 0, **env: str) -> Any:  # noqa: ANN401 -- JSON
        return json.loads(self.run(*words, "--json", **env).failed(code).stdout)["result"]

    def verdicts(self, *words: str, code: int = 0, **env: str) -> dict[str, bool]:
        return {row["name"]: row["good"] for row in self.result("verify", *words, code=code, **env)}

    def metrics(self) -> str:
        return (self.auditlog / "k0sctl_handler.prom").read_text()

    def commit(self, changes: dict[str, bytes | str | None]) -> None:
        """A commit by somebody who has the cluster's key."""
        self.desk.plain.commit(self.desk.backup, changes, signer=self.desk.pair.fingerprint)

    def file(self, path: str) -> bytes:
        return self.desk.plain.raw(self.desk.backup, "blob", self.oid(path))

    def oid(self, path: str) -> str:
        return self.desk.plain(self.desk.backup, "rev-parse", f"HEAD:{path}")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, key_maker: KeyMaker, gpg_of: GpgOf, cluster_key: KeyPair) -> Path:
    """Three good backups, one a day."""
    root = tmp_path_factory.mktemp("made")
    env = {"PATH": os.environ["PATH"], "HOME": str(root), "LC_ALL": "C.UTF-8"}
    plain = PlainGit(root / "plain", key_maker)
    desk = Desk(root / "desk", Children(Watch()), env, gpg_of(cluster_key), cluster_key, plain)
    desk.init(at=OLDEST - HOUR)
    for at in (OLDEST, OLDER, NEWEST):
        desk.take(ARCHIVES["kine"].read_bytes(), at)
    return desk.backup


@pytest.fixture
def good(desk: Desk, made: Path) -> Branch:
    copy(made, desk.backup)
    return Branch(desk)


@pytest.fixture
def empty(desk: Desk) -> Branch:
    desk.init()
    return Branch(desk)


def test_the_newest_comes_first(good: Branch) -> None:
    stems = [stem(at) for at in (NEWEST, OLDER, OLDEST)]
    assert list(good.verdicts("--all").items()) == [(name, True) for name in stems]
    rows = good.result("list")
    assert [row["name"] for row in rows] == stems
    assert [row["latest"] for row in rows] == [True, False, False]
    assert [line.split()[0] for line in good.ok("list").stdout.splitlines()[1:4]] == stems


def test_quiet_leaves_the_data(good: Branch) -> None:
    for command in ("list", "verify"):
        done = good.ok(command, K0SCTL_QUIET="yes")
        assert stem(NEWEST) in done.stdout
        assert done.stderr.splitlines() == [done.last]


# --- what somebody with the key has changed ------------------------------------------------------------------------


def test_a_signature_by_another_key(good: Branch, gpg_of: GpgOf, foreign_key: KeyPair) -> None:
    document = good.file(f"{stem(NEWEST)}.json")
    good.commit({f"{stem(NEWEST)}.json.asc": gpg_of(foreign_key).sign(document)})
    check_a_bad_latest(good)


def test_a_manifest_that_was_changed(good: Branch) -> None:
    document = good.file(f"{stem(NEWEST)}.json")
    good.commit({f"{stem(NEWEST)}.json": document.replace(b'"uid-1"', b'"uid-2"')})
    check_a_bad_latest(good)


def test_a_manifest_of_another_cluster(good: Branch) -> None:
    change = good.desk.change(ARCHIVES["kine"].read_bytes(), NOW - HOUR, cluster="stage")
    good.desk.write(change, at=NOW - HOUR)
    wrong = stem(NOW - HOUR)
    rows = good.result("list")
    assert [(row["name"], row["proof"]) for row in rows if row["problem"]] == [(wrong, "none")]
    assert "of another cluster: stage" in rows[0]["problem"]
    done = good.run("verify", "--all").failed(5, f"1 bad: {wrong}", f"K0SCTL_BACKUP={stem(NEWEST)}")
    assert done.stdout.count(" good\n") == 3


def check_a_bad_latest(branch: Branch) -> None:
    """The branch lists; the rest says what is wrong with the newest one, and which older one is good."""
    done = branch.ok("list")
    assert "warning: " in done.stderr
    assert stem(NEWEST) in done.stdout
    for words in ([], [stem(NEWEST)], ["--all"]):
        branch.run("verify", *words).failed(
            5, stem(NEWEST), f"the newest good one is {stem(OLDER)}", f"K0SCTL_BACKUP={stem(OLDER)}"
        )
    branch.ok("verify", stem(OLDER))
    branch.run("status").failed(5)
    assert 'k0sctl_handler_status_exit_code{cluster="prod"} 5\n' in branch.metrics()
    assert branch.result("status", code=5)["proven"] == stem(OLDER)


@pytest.mark.parametrize("target", ["k0s_backup_2000-01-01T00-00-00Z.tar.gz.enc", "../elsewhere"])
def test_a_latest_that_names_no_backup(good: Branch, target: str) -> None:
    good.commit({"k0s_backup_latest": target})
    assert not any(row["latest"] for row in good.result("list"))
    assert "no usable latest" in good.ok("list").stderr
    for words in (["status"], ["verify"], ["verify", "--all"]):
        good.run(*words).failed(5, "no usable latest")
    assert f"K0SCTL_BACKUP={stem(NEWEST)}" in good.run("verify").last


def test_an_older_one_without_signature(good: Branch) -> None:
    good.commit({f"{stem(OLDER)}.json.asc": None})
    assert [row["problem"] for row in good.result("list")] == [None, "it has no signed manifest", None]
    assert good.verdicts("--all", code=5) == {stem(NEWEST): True, stem(OLDER): False, stem(OLDEST): True}
    good.ok("status")
    good.ok("verify")


def test_one_that_was_asked_for_is_bad_and_the_newest_is_good(good: Branch) -> None:
    good.commit({f"{stem(OLDEST)}.tar.gz.enc": b"Salted__ something else"})
    done = good.run("verify", stem(OLDEST)).failed(5, f"1 bad: {stem(OLDEST)}", f"K0SCTL_BACKUP={stem(NEWEST)}")
    assert stem(OLDER) not in done.stdout


# --- what a disk has done ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("attack", [drop, flip_loose, cut, swap_packed])
def test_a_damaged_manifest_hides_no_other_backup(good: Branch, attack: Attack) -> None:
    attack(good.desk.backup, good.desk.plain, good.oid(f"{stem(OLDER)}.json"), "blob")
    assert [bool(row["problem"]) for row in good.result("list")] == [False, True, False]
    assert good.verdicts("--all", code=5) == {stem(NEWEST): True, stem(OLDER): False, stem(OLDEST): True}
    good.ok("status")


@pytest.mark.parametrize("attack", [drop, swap_packed])
def test_a_damaged_ciphertext(good: Branch, attack: Attack) -> None:
    attack(good.desk.backup, good.desk.plain, good.oid(f"{stem(NEWEST)}.tar.gz.enc"), "blob")
    good.run("verify").failed(5, f"1 bad: {stem(NEWEST)}", f"K0SCTL_BACKUP={stem(OLDER)}")
    assert good.result("status")["proven"] == stem(OLDER)


# --- what is good and yet does not count ---------------------------------------------------------------------------


def test_a_backup_of_another_cluster(good: Branch) -> None:
    change = good.desk.change(ARCHIVES["kine"].read_bytes(), NOW - HOUR, accepted=False, uid="uid-2")
    good.desk.write(change, at=NOW - HOUR)
    other = stem(NOW - HOUR)
    rows = good.result("list")
    assert [(row["name"], row["uid"], row["accepted"], row["latest"]) for row in rows[:2]] == [
        (other, "uid-2", False, False), (stem(NEWEST), "uid-1", True, True),
    ]  # fmt: skip
    assert "of another cluster" in good.ok("list").stdout
    assert "good, but of another cluster" in good.ok("verify", other).stdout
    good.ok("verify", "--all")
    status = good.result("status")
    assert (status["newest"], status["proven"], status["count"]) == (stem(NEWEST), stem(NEWEST), 4)


def test_a_datastore_outside_of_k0s(good: Branch) -> None:
    desk = good.desk
    content, at = external(), NOW - HOUR
    change = desk.change(content, at)
    names = Names(taken_at=at)
    archive, config = desk.encrypted(content, "archive"), desk.encrypted(b"kind: Cluster\n", "config")
    manifest = replace(
        desk.manifest(at, digest_of(content), archive.digest, config=config.digest), datastore=Datastore.EXTERNAL
    ).to_json()
    desk.write(replace(change, files={
        **change.files, names.ciphertext: archive, names.config: config, names.manifest: manifest,
        names.signature: desk.gpg.sign(manifest),
    }), at=at)  # fmt: skip
    done = good.ok("verify")
    assert "cannot bring the cluster back" in done.stdout
    status = good.result("status")
    assert (status["newest"], status["proven"]) == (stem(at), stem(NEWEST))
    good.run("status", K0SCTL_MAX_AGE="2h").failed(5, "K0SCTL_MAX_AGE")


def test_proven_bytes_that_k0s_would_not_restore(good: Branch) -> None:
    good.desk.take(gzip.compress(b"no tar"), NOW - HOUR)
    good.run("verify").failed(5, f"1 bad: {stem(NOW - HOUR)}", "would not come back", f"K0SCTL_BACKUP={stem(NEWEST)}")
    good.ok("verify", stem(NEWEST))


def test_only_external_ones_are_never_proven(empty: Branch) -> None:
    change = empty.desk.change(external(), NOW - HOUR)
    document = json.loads(raw(change.files[f"{stem(NOW - HOUR)}.json"]))
    changed = json.dumps({**document, "datastore": "external"}, indent=2, sort_keys=True).encode() + b"\n"
    files = {**change.files, f"{stem(NOW - HOUR)}.json": changed,
             f"{stem(NOW - HOUR)}.json.asc": empty.desk.gpg.sign(changed)}  # fmt: skip
    empty.desk.write(replace(change, files=files), at=NOW - HOUR)
    empty.run("status").failed(5, "no backup is proven", "outside of k0s", "k0sctl-handler backup")
    metrics = empty.metrics()
    assert "backup_proven_timestamp_seconds" not in metrics
    assert "k0sctl_handler_backup_taken_timestamp_seconds{" in metrics


# --- age -----------------------------------------------------------------------------------------------------------


def test_the_age_that_is_allowed(good: Branch) -> None:
    allowed = int((datetime.now(NOW.tzinfo) - NEWEST).total_seconds())
    good.run("status", K0SCTL_MAX_AGE=f"{allowed - 1}s").failed(5, "K0SCTL_MAX_AGE", stem(NEWEST))
    good.ok("status", K0SCTL_MAX_AGE=f"{allowed + 600}s")


def test_a_time_in_the_future_is_not_young(good: Branch) -> None:
    good.desk.take(ARCHIVES["kine"].read_bytes(), NOW + timedelta(days=30))
    status = good.result("status")
    assert status["proven"] == stem(NEWEST)
    assert any("claims to be taken at" in problem for problem in status["problems"])
    good.run("verify").failed(5, "claims to be taken at", f"K0SCTL_BACKUP={stem(NEWEST)}")


# --- legacy and archived -------------------------------------------------------------------------------------------


def legacy_branch(desk: Desk, name: str, content: bytes) -> Branch:
    """As the original system left it: base64, no manifest, and one signed commit."""
    desk.backup.mkdir()
    desk.plain(desk.backup, "init", "-q")
    (desk.scratch / "plain").write_bytes(content)
    command = ["openssl", "enc", f"-{CIPHER}", "-a", "-pbkdf2", "-in", str(desk.scratch / "plain"),
               "-out", str(desk.backup / name), "-pass", f"pass:{PASSWORD.reveal()}"]  # fmt: skip
    subprocess.run(command, check=True, capture_output=True)
    (desk.backup / "secret.gpg").write_bytes(desk.sealed())
    (desk.backup / "k0s_backup_latest").symlink_to(name)
    desk.plain(desk.backup, "add", "-A")
    desk.plain(desk.backup, "commit", "-q", f"-S{desk.pair.fingerprint}", "-m", "k0s backup")
    return Branch(desk)


def test_a_legacy_branch(desk: Desk) -> None:
    at = NOW - HOUR
    branch = legacy_branch(desk, f"{stem(at)}.tar.gz.b64", ARCHIVES["kine"].read_bytes())
    row = branch.result("list")[0]
    assert (row["legacy"], row["latest"], row["proof"]) == (True, True, "legacy: the commit's signature")
    assert "legacy: only the commit is signed" in branch.ok("verify", "--all").stdout
    assert branch.result("status")["proven"] == stem(at)
    assert "size_bytes" not in branch.metrics()
    # another cipher than the one of that time
    branch.run("verify", K0SCTL_ENC_CIPHER="aes-256-ctr").failed(5, f"1 bad: {stem(at)}")


def test_a_legacy_name_tells_an_age_or_none(desk: Desk) -> None:
    name = "k0s_backup_2024-05-01T01_02_03_000Z.tar.gz.b64"
    branch = legacy_branch(desk, name, ARCHIVES["kine"].read_bytes())
    branch.ok("verify")
    branch.run("status").failed(5, "no backup is proven", "nothing tells when it was taken")
    assert branch.result("status", code=5)["proven"] is None


def test_a_legacy_name_from_the_future(desk: Desk) -> None:
    branch = legacy_branch(desk, f"{stem(NOW + timedelta(days=9))}.tar.gz.b64", ARCHIVES["kine"].read_bytes())
    branch.run("status").failed(5, "no backup is proven", "claims to be taken at")


def test_what_was_put_aside_keeps_its_own_password(good: Branch) -> None:
    desk = good.desk
    desk.init(at=NOW - HOUR, moved_to="archive/2026-11-20T01-02-03Z")
    other = Secret("YW5vdGhlciBwYXNzd29yZCBmb3IgdGhlIG5ldyBicmFuY2g=")
    good.commit({"secret.gpg": desk.sealed(other)})
    desk.write(desk.change(ARCHIVES["kine"].read_bytes(), NOW, password=other), at=NOW)
    verdicts = good.verdicts("--all")
    assert verdicts.pop(stem(NOW))
    assert verdicts == {f"archive/2026-11-20T01-02-03Z/{stem(at)}": True for at in (NEWEST, OLDER, OLDEST)}
    good.ok("verify", f"archive/2026-11-20T01-02-03Z/{stem(OLDER)}")
    assert good.result("status")["proven"] == stem(NOW)


def test_what_was_put_aside_with_another_key(good: Branch, gpg_of: GpgOf, recovery_key: KeyPair) -> None:
    """A lost key is one reason for a second init: what it locked is bad, and hides nothing that is good."""
    aside, lost = "archive/2026-11-20T01-02-03Z", stem(OLDEST - HOUR)
    elsewhere = replace(good.desk, root=good.desk.root / "lost", pair=recovery_key, gpg=gpg_of(recovery_key))
    old = elsewhere.change(ARCHIVES["kine"].read_bytes(), OLDEST - HOUR)
    names = Names(taken_at=OLDEST - HOUR)
    changes: dict[str, bytes | str | None] = {f"{aside}/secret.gpg": elsewhere.sealed()}
    for name in (names.ciphertext, names.config, names.manifest, names.signature):
        changes[f"{aside}/{name}"] = raw(old.files[name])
    good.commit(changes)
    verdicts = good.verdicts("--all", code=5)
    assert verdicts.pop(f"{aside}/{lost}") is False
    assert list(verdicts.values()) == [True] * 3
    done = good.ok("status")
    assert "warning" not in done.stderr  # nothing that is newer than the proven one


# --- what ends the run ---------------------------------------------------------------------------------------------


def test_a_wrong_passphrase_is_no_bad_backup(desk: Desk, gpg_of: GpgOf, locked_key: KeyPair) -> None:
    locked = replace(desk, root=desk.root / "locked", pair=locked_key, gpg=gpg_of(locked_key))
    locked.init()
    locked.take(ARCHIVES["kine"].read_bytes(), NOW - HOUR)
    branch = Branch(locked)
    branch.ok("verify", "--all")
    branch.run("verify", "--all", K0SCTL_GPG_PASSPHRASE="wrong").failed(2, "passphrase")


# --- for Prometheus ------------------------------------------------------------------------------------------------


def test_the_metrics_are_for_a_collector(good: Branch) -> None:
    good.ok("status")
    path = good.auditlog / "k0sctl_handler.prom"
    assert stat.S_IMODE(path.stat().st_mode) == 0o644  # it runs as another user
    before = path.stat().st_ino
    good.ok("status")
    assert path.stat().st_ino != before  # replaced, never written into
    assert sorted(p.name for p in good.auditlog.iterdir() if p.suffix != ".json") == [path.name]


def test_the_cluster_is_told_before_its_key_is_known(good: Branch) -> None:
    """Else a failure would be another time series, and an alert on this cluster's would see nothing."""
    for env in ({"K0SCTL_DIR_BAK": "nowhere"}, {"K0SCTL_GPG_KEY": "no key"}):
        good.run("status", K0SCTL_CLUSTER_NAME="prod", **env).failed(2)
        assert 'k0sctl_handler_status_exit_code{cluster="prod"} 2\n' in good.metrics()
