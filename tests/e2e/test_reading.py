"""`list`, `status` and `verify`: what the repository holds, how old it is, and whether it would come back."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import Site
from tests.support.keys import KeyMaker, KeyPair
from tests.support.lab import Ended, Lab

pytestmark = pytest.mark.e2e

METRIC = re.compile(r'(?P<name>k0sctl_handler_\w+)(?:\{cluster="(?P<cluster>(?:[^"\\\n]|\\.)*)"\})? (?P<value>-?\d+)')


def result_of(done: Ended) -> Any:  # noqa: ANN401 -- JSON
    """The data of a run with --json, whose stdout is one document that fits its report."""
    assert done.stdout.count("\n") == 1
    document = json.loads(done.stdout)
    assert document["exit_code"] == done.code
    return document["result"]


def metrics(lab: Lab) -> dict[str, int]:
    """The file for Prometheus, read strictly."""
    found: dict[str, int] = {}
    told: set[str] = set()
    for line in (lab.auditlog / "k0sctl_handler.prom").read_text().splitlines():
        if line.startswith("#"):
            told.add(line.split()[2])
            continue
        match = METRIC.fullmatch(line)
        assert match, line
        assert match["name"] in told
        assert match["cluster"] in {None, lab.key.name}
        found[match["name"].removeprefix("k0sctl_handler_")] = int(match["value"])
    return found


@pytest.fixture
def reader(tmp_path: Path, site: Site, cluster_key: KeyPair) -> Lab:
    """A copy of the site's repository, and no host of its own."""
    lab = Lab(tmp_path / "reader", [site.host], cluster_key)
    shutil.copytree(site.repository, lab.backup, symlinks=True)
    return lab


def break_blob(lab: Lab, path: str) -> None:
    """Another content under a name."""
    (lab.backup / path).write_bytes(b"Salted__ something else")


def signed_commit(lab: Lab, maker: KeyMaker) -> None:
    """Commit the working tree as only the owner of the key can."""
    lab.git("add", "-A")
    subprocess.run(
        ["git", "-c", "user.name=x", "-c", "user.email=x@example.org", "commit", "-q", "-m", "by hand",
         f"-S{lab.key.fingerprint}"], cwd=lab.backup, check=True, capture_output=True,
        env={**os.environ, "GNUPGHOME": str(maker.home)},
    )  # fmt: skip


def test_list(reader: Lab, site: Site) -> None:
    with reader.repository_unchanged():
        done = reader.ok("list")
        rows = result_of(reader.ok("list", "--json"))
    lines = done.stdout.splitlines()
    assert lines[0].split()[:3] == ["NAME", "AGE", "SIZE"]
    assert lines[1].startswith(f"{site.latest} *")
    assert lines[2].startswith(f"{site.older} ")
    assert f"2 backup(s) in backup, the newest is {site.latest}" in done.last
    assert [row["name"] for row in rows] == [site.latest, site.older]
    manifest = reader.manifest(site.latest)
    assert rows[0] == {
        "name": site.latest, "archive": manifest["archive"]["name"], "taken_at": manifest["taken_at"], "latest": True,
        "size": manifest["archive"]["size"], "uid": site.uid, "accepted": True, "datastore": "etcd",
        "k0s": manifest["versions"]["k0s"], "k0sctl": manifest["versions"]["k0sctl"], "cipher": "chacha20",
        "legacy": False, "proof": "signed", "problem": None,
    }  # fmt: skip


def test_an_empty_branch(reader: Lab) -> None:
    empty = reader.work / "empty"
    reader.ok("init", K0SCTL_DIR_BAK="empty")
    assert empty.exists()
    assert reader.ok("list", K0SCTL_DIR_BAK="empty").stdout == "no backup yet\n"
    reader.run("status", K0SCTL_DIR_BAK="empty").failed(5, "there is no backup", "k0sctl-handler backup")
    assert metrics(reader)["status_exit_code"] == 5
    assert metrics(reader)["backups"] == 0
    for words in (["verify"], ["verify", "--all"]):
        reader.run(*words, K0SCTL_DIR_BAK="empty").failed(2, "there is no backup")


def test_without_a_repository(reader: Lab) -> None:
    for command in ("list", "status", "verify"):
        reader.run(command, K0SCTL_DIR_BAK="nowhere").failed(2, "no backup repository", "init")
    assert metrics(reader)["status_exit_code"] == 2
    assert "backups" not in metrics(reader)


def test_status(reader: Lab, site: Site) -> None:
    done = reader.ok("status")
    assert f"the newest proven backup is {site.latest}, " in done.last
    assert site.uid in done.stdout
    status = result_of(reader.ok("status", "--json"))
    assert (status["proven"], status["newest"], status["count"], status["uid"]) == (
        site.latest, site.latest, 2, site.uid,
    )  # fmt: skip
    assert 0 <= status["age_seconds"] < status["max_age_seconds"] == 50 * 3600
    found = metrics(reader)
    assert found["status_exit_code"] == 0
    assert found["backups"] == 2
    assert found["backup_size_bytes"] == reader.manifest(site.latest)["archive"]["size"]
    assert found["backup_taken_timestamp_seconds"] == found["backup_proven_timestamp_seconds"]
    assert found["status_timestamp_seconds"] >= found["backup_taken_timestamp_seconds"]


def test_a_status_that_is_too_old(reader: Lab, site: Site) -> None:
    done = reader.run("status", "--json", K0SCTL_MAX_AGE="1s").failed(5, "more than 1s (K0SCTL_MAX_AGE)", site.latest)
    assert result_of(done)["proven"] == site.latest
    assert metrics(reader)["status_exit_code"] == 5
    assert metrics(reader)["backup_proven_timestamp_seconds"]


def test_quiet(reader: Lab) -> None:
    done = reader.ok("status", K0SCTL_QUIET="yes")
    assert done.stderr.splitlines() == [done.last]
    assert done.stdout


def test_verify(reader: Lab, site: Site) -> None:
    with reader.repository_unchanged():
        done = reader.ok("verify", "--all")
        one = reader.ok("verify", site.older, "--json")
    assert done.stdout.count(" good\n") == 2
    assert "all 2 backups in backup are good" in done.last
    assert f"{site.older} is good" in one.last
    assert [(row["name"], row["good"], row["restorable"]) for row in result_of(one)] == [(site.older, True, True)]
    assert not reader.leftovers()


def test_a_bad_latest_and_the_newest_good_one(reader: Lab, site: Site, key_maker: KeyMaker) -> None:
    """The ciphertext was replaced by somebody who has the key: the manifest tells."""
    break_blob(reader, f"{site.latest}.tar.gz.enc")
    signed_commit(reader, key_maker)
    for words in (["verify"], ["verify", "--all"]):
        reader.run(*words).failed(
            5, f"1 bad: {site.latest}; the newest good one is {site.older}", f"K0SCTL_BACKUP={site.older}"
        )
    assert "BAD" in reader.run("verify").stdout
    reader.ok("verify", site.older)
    # status goes on to the older one, and says why
    done = reader.ok("status")
    assert f"warning: {site.latest}: {site.latest}.tar.gz.enc is not what its signed manifest says" in done.stderr
    assert f"the newest proven backup is {site.older}" in done.last
    found = metrics(reader)
    assert found["backup_taken_timestamp_seconds"] > found["backup_proven_timestamp_seconds"]


def test_a_bad_configuration_and_a_missing_manifest(reader: Lab, site: Site, key_maker: KeyMaker) -> None:
    break_blob(reader, f"{site.latest}.k0sctl.yaml.enc")
    (reader.backup / f"{site.older}.json").unlink()
    signed_commit(reader, key_maker)
    done = reader.run("verify", "--all").failed(5, "2 bad", "NO backup of this branch is good")
    assert f"{site.latest}.k0sctl.yaml.enc is not what its signed manifest says" in done.stderr
    listed = {row["name"]: row["problem"] for row in result_of(reader.ok("list", "--json"))}
    assert listed == {site.latest: None, site.older: "it has no signed manifest"}


def test_a_latest_that_is_of_no_use(reader: Lab, site: Site, key_maker: KeyMaker) -> None:
    (reader.backup / "k0s_backup_latest").unlink()
    signed_commit(reader, key_maker)
    assert "no usable latest" in reader.ok("list").stderr
    for words in (["status"], ["verify"], ["verify", "--all"]):
        reader.run(*words).failed(5, "no usable latest")
    reader.ok("verify", site.older)


def test_an_unsigned_commit_stops_every_reader(reader: Lab) -> None:
    (reader.backup / "more").write_text("x")
    reader.commit()
    for command in ("list", "status", "verify"):
        reader.run(command).failed(5, "is not signed")
    found = metrics(reader)
    assert found["status_exit_code"] == 5
    assert "backup_proven_timestamp_seconds" not in found


def test_what_a_second_init_put_aside(reader: Lab, site: Site) -> None:
    reader.ok("init", K0SCTL_CONFIRM_INIT=reader.key.name)
    # all are good, but nothing says which one a restore would use
    done = reader.run("verify", "--all").failed(5, "no usable latest")
    assert done.stdout.count(" good\n") == done.stdout.count("archive/") == 2
    rows = result_of(reader.ok("list", "--json"))
    assert all(row["name"].startswith("archive/") and not row["latest"] for row in rows)
    reader.ok("verify", rows[0]["name"])
    reader.run("status").failed(5, "no usable latest")
