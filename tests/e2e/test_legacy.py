"""Repositories of the original system are read, and the next backup goes on in them in the new layout."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.e2e.conftest import Site
from tests.support.documents import block
from tests.support.keys import KeyPair
from tests.support.lab import Lab, sha256
from tests.support.plain import PlainTools

pytestmark = pytest.mark.e2e

WHO = {"NAME": "", "EMAIL": "@example.org"}
PASSWORD = "a password of the original system 0123456789"
NAME = "k0s_backup_2024-05-01T01_02_03_000Z.tar.gz.b64"


@dataclass
class Legacy:
    lab: Lab
    plain: PlainTools
    archive: Path


@pytest.fixture
def legacy(tmp_path: Path, site: Site, cluster_key: KeyPair, lab: Lab) -> Legacy:
    """Made by git, gpg and openssl as the original did: base64, no manifest, a password that nobody signed."""
    source = Lab(tmp_path / "source", [site.host], cluster_key)
    shutil.copytree(site.repository, source.backup, symlinks=True)
    source.ok("restore", "--to", str(tmp_path / "archive.tar.gz"))
    plain = PlainTools(tmp_path / "plain", cluster_key.private)
    lab.backup.mkdir()
    lab.git("init", "-q", "-b", "prod")
    plain.seal(lab.backup / "secret.gpg", PASSWORD, to=cluster_key.fingerprint, sign=False)
    plain.openssl(
        "-chacha20", "-a", "-pbkdf2", password=PASSWORD, source=tmp_path / "archive.tar.gz", target=lab.backup / NAME
    )
    (lab.backup / "k0s_backup_latest").symlink_to(NAME)
    plain.commit(lab.backup, "k0s backup")
    return Legacy(lab, plain, tmp_path / "archive.tar.gz")


def test_restore(legacy: Legacy) -> None:
    lab = legacy.lab
    done = lab.ok("restore", "--to", "../out")
    assert sha256(lab.directory / "out") == sha256(legacy.archive)
    assert "legacy layout" in done.stderr
    assert any("only proof" in warning for warning in lab.report()["warnings"])
    for number, name in enumerate((NAME, NAME.removesuffix(".b64"), NAME.removesuffix(".tar.gz.b64"))):
        lab.ok("restore", name, "--to", f"../named{number}")
        assert sha256(lab.directory / f"named{number}") == sha256(legacy.archive)
    # another cipher than the one of that time
    lab.run("restore", "--to", "../wrong", K0SCTL_ENC_CIPHER="aes-256-ctr").failed(5, "K0SCTL_ENC_CIPHER")
    assert not (lab.directory / "wrong").exists()


def test_apply_and_the_next_backup(legacy: Legacy, site: Site) -> None:
    lab = legacy.lab
    done = lab.ok("apply")
    assert done.first == f"apply: restoring {NAME.removesuffix('.tar.gz.b64')}"
    assert lab.host.uid() == site.uid
    # while it runs, nothing tells whether it is the cluster of that backup
    done = lab.ok("apply")
    assert "already running" in done.first
    assert "warning:" in done.stderr
    lab.run("apply", K0SCTL_RESTORE="require").failed(5)
    parent = lab.head()
    lab.ok("backup")
    assert lab.git("rev-parse", "HEAD^") == parent
    assert lab.git("symbolic-ref", "HEAD") == "refs/heads/prod"
    assert (lab.backup / NAME).exists()
    assert lab.manifest()["branch"] == "prod"
    assert lab.manifest()["cluster"]["uid"] == site.uid
    assert legacy.plain.open_password(lab.backup / "secret.gpg") == PASSWORD
    lab.ok("restore", "--to", "../new")
    assert sha256(lab.directory / "new") == lab.manifest()["archive"]["sha256"]
    lab.ok("restore", NAME, "--to", "../old")
    assert sha256(lab.directory / "old") == sha256(legacy.archive)


def test_an_unsigned_head(legacy: Legacy) -> None:
    lab = legacy.lab
    (lab.backup / "note").write_text("by hand\n")
    unsigned = lab.commit()
    lab.run("restore", "--to", "../out").failed(5, f"K0SCTL_ACCEPT_COMMIT={unsigned}")
    assert not (lab.directory / "out").exists()
    lab.ok("restore", "--to", "../out", K0SCTL_ACCEPT_COMMIT=unsigned)
    assert sha256(lab.directory / "out") == sha256(legacy.archive)


def test_vouching_for_an_unsigned_head(legacy: Legacy, tmp_path: Path) -> None:
    """With the lines of docs/pipeline.md, for branches whose newest commit a rebase has made anew."""
    lab, remote = legacy.lab, tmp_path / "remote.git"
    (lab.backup / "note").write_text("rebased\n")
    unsigned = lab.commit()
    lab.git("clone", "-q", "--bare", ".", str(remote))
    lab.git("remote", "add", "origin", str(remote))
    lab.run("restore", "--to", "../out").failed(5, unsigned)
    who = {f"GIT_{role}_{what}": f"prod{end}" for role in ("AUTHOR", "COMMITTER") for what, end in WHO.items()}
    env = {**legacy.plain.env, **who, "key": legacy.plain.fingerprint}
    subprocess.run(["sh", "-eu", "-c", block("pipeline", "vouch")], cwd=lab.backup, env=env, check=True)
    lab.ok("restore", "--to", "../out")
    assert sha256(lab.directory / "out") == sha256(legacy.archive)
    assert lab.git("-C", str(remote), "rev-parse", "prod") == lab.head()


def test_a_damaged_one(legacy: Legacy) -> None:
    lab = legacy.lab
    lines = (lab.backup / NAME).read_text().splitlines(keepends=True)
    lines[50] = lines[50][::-1].strip() + "\n"
    (lab.backup / NAME).write_text("".join(lines))
    legacy.plain.commit(lab.backup, "damaged")
    lab.run("restore", "--to", "../out").failed(5)
    lab.run("apply").failed(5)
    assert not (lab.directory / "out").exists()
    assert not lab.host.running()
