"""`restore`: only what is proven authentic is decrypted, and to where it was asked for."""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.e2e.conftest import Site
from tests.support.keys import KeyPair
from tests.support.lab import Lab, sha256
from tests.support.plain import PlainTools

pytestmark = pytest.mark.e2e


@pytest.fixture
def stored(tmp_path: Path, site: Site, cluster_key: KeyPair) -> Lab:
    """A copy of the repository; neither configuration nor SSH key."""
    lab = Lab(tmp_path / "stored", [site.host], cluster_key)
    shutil.copytree(site.repository, lab.backup, symlinks=True)
    shutil.rmtree(lab.work / "config")
    lab.extra["K0SCTL_SSH_KEY"] = ""
    return lab


def test_the_exact_bytes(stored: Lab, site: Site, cluster_key: KeyPair) -> None:
    with stored.repository_unchanged():
        done = stored.ok("decrypt")
    target = stored.work / f"{site.latest}.tar.gz"
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    assert done.first.startswith("restore: latest")
    assert str(target) in done.last
    assert sha256(target) == stored.manifest()["archive"]["sha256"]
    # and by other programs
    plain = PlainTools(stored.directory / "plain", cluster_key.private)
    password = plain.open_password(stored.backup / "secret.gpg")
    twin = stored.directory / "twin"
    ciphertext = stored.backup / f"{site.latest}.tar.gz.enc"
    plain.openssl("-d", "-chacha20", "-pbkdf2", password=password, source=ciphertext, target=twin)
    assert sha256(target) == sha256(twin)
    assert sorted(path.name for path in stored.work.iterdir()) == ["auditlog", "backup", target.name]
    assert not stored.leftovers()


def test_the_name_in_each_form(stored: Lab, site: Site) -> None:
    checksum = stored.manifest(site.older)["archive"]["sha256"]
    for number, form in enumerate(("{}", "{}.tar.gz", "{}.tar.gz.enc")):
        target = stored.directory / f"out{number}"
        stored.ok("restore", form.format(site.older), "--to", str(target))
        assert sha256(target) == checksum
    stored.ok("restore", f"--to={stored.directory / 'by-variable'}", K0SCTL_BACKUP=site.older)
    assert sha256(stored.directory / "by-variable") == checksum
    (stored.directory / "there").mkdir()
    stored.ok("restore", "--to", str(stored.directory / "there"))
    assert (stored.directory / "there" / f"{site.latest}.tar.gz").exists()
    for wrong in ("k0s_backup_2020-01-01T00-00-00Z", f"archive/2020-01-01T00-00-00Z/{site.older}"):
        stored.run("restore", wrong).failed(2, site.latest)
    stored.run("restore", "../../etc/passwd").failed(2)


def test_where_it_may_not_go(stored: Lab, site: Site) -> None:
    existing = stored.directory / "existing"
    existing.write_text("precious")
    link = stored.directory / "link"
    link.symlink_to(stored.directory / "dangling")
    (stored.work / "by-link").symlink_to(stored.backup)
    stored.restore.mkdir()
    for target in ("../existing", "../link", "auditlog/x", "backup/.git/x", "restore", "by-link/x", "../nowhere/x"):
        stored.run("restore", "--to", target).failed(2, "--to")
    assert existing.read_text() == "precious"
    assert not (stored.directory / "dangling").exists()
    assert not (stored.backup / "x").exists()
    assert list(stored.restore.iterdir()) == []
    # the default name, when it is there already
    (stored.work / f"{site.latest}.tar.gz").write_text("mine")
    stored.run("restore").failed(2, "never overwritten")
    assert (stored.work / f"{site.latest}.tar.gz").read_text() == "mine"


def test_without_a_repository_or_backup(stored: Lab) -> None:
    shutil.rmtree(stored.backup)
    stored.run("restore").failed(2, "there is no backup repository", "k0sctl-handler init")
    stored.ok("init")
    stored.run("restore").failed(2, "k0sctl-handler backup")


# --- the ways to damage a repository ----------------------------------------------------------------------------
# Each gets a commit by hand: unsigned, or signed by the cluster's own key where what is inside must be found.


def flip(path: Path, at: int = 500) -> None:
    raw = bytearray(path.read_bytes())
    raw[at] ^= 1
    path.write_bytes(raw)


def relink(lab: Lab, target: str) -> None:
    (lab.backup / "k0s_backup_latest").unlink()
    (lab.backup / "k0s_backup_latest").symlink_to(target)


Damage = Callable[[Lab, Site], object]
SIGNED: dict[str, tuple[Damage, str]] = {
    "flipped ciphertext": (lambda lab, site: flip(lab.backup / f"{site.latest}.tar.gz.enc"), "signed manifest"),
    "cut ciphertext": (
        lambda lab, site: os.truncate(lab.backup / f"{site.latest}.tar.gz.enc", 20000), "signed manifest",
    ),
    "edited manifest": (lambda lab, site: flip(lab.backup / f"{site.latest}.json", 30), "manifest"),
    "older manifest": (
        lambda lab, site: [
            shutil.copy(lab.backup / f"{site.older}.{end}", lab.backup / f"{site.latest}.{end}")
            for end in ("json", "json.asc")
        ],
        "manifest",
    ),
    "no manifest": (lambda lab, site: (lab.backup / f"{site.latest}.json").unlink(), "manifest"),
    "no signature": (lambda lab, site: (lab.backup / f"{site.latest}.json.asc").unlink(), "manifest"),
    "swapped ciphertexts": (
        lambda lab, site: shutil.copy(
            lab.backup / f"{site.older}.tar.gz.enc", lab.backup / f"{site.latest}.tar.gz.enc"
        ),
        "signed manifest",
    ),
    "link to nothing": (lambda lab, _: relink(lab, "k0s_backup_2020-01-01T00-00-00Z.tar.gz.enc"), "latest"),
    "link upwards": (lambda lab, site: relink(lab, f"../backup/{site.latest}.tar.gz.enc"), "latest"),
    "absolute link": (lambda lab, site: relink(lab, f"{lab.backup}/{site.latest}.tar.gz.enc"), "latest"),
    "link to another file": (lambda lab, _: relink(lab, "secret.gpg"), "latest"),
    "no link": (lambda lab, _: (lab.backup / "k0s_backup_latest").unlink(), "latest"),
    "no password": (lambda lab, _: (lab.backup / "secret.gpg").unlink(), "secret.gpg"),
    "damaged password": (lambda lab, _: flip(lab.backup / "secret.gpg", 300), "secret.gpg"),
}  # fmt: skip


@pytest.mark.parametrize("name", SIGNED)
def test_damage_under_a_good_signature(stored: Lab, site: Site, cluster_key: KeyPair, name: str) -> None:
    damage, said = SIGNED[name]
    damage(stored, site)
    PlainTools(stored.directory / "plain", cluster_key.private).commit(stored.backup, name)
    done = stored.run("restore", "--to", "../out").failed(5, said)
    assert "****" not in done.last
    assert not (stored.directory / "out").exists()
    assert not stored.leftovers()


def test_a_password_that_we_did_not_sign(stored: Lab, site: Site, cluster_key: KeyPair, foreign_key: KeyPair) -> None:
    """Encrypted to us by somebody else, in a commit that we signed."""
    mallory = PlainTools(stored.directory / "mallory", foreign_key.private)
    mallory.import_key(cluster_key.public)
    mallory.seal(stored.backup / "secret.gpg", "chosen by mallory", to=cluster_key.fingerprint)
    PlainTools(stored.directory / "plain", cluster_key.private).commit(stored.backup, "other password")
    stored.run("restore", "--to", "../out").failed(5, "secret.gpg")


def test_heads_that_are_not_ours(stored: Lab, site: Site, cluster_key: KeyPair, foreign_key: KeyPair) -> None:
    good = stored.head()
    plain = PlainTools(stored.directory / "plain", cluster_key.private)
    mallory = PlainTools(stored.directory / "mallory", foreign_key.private)
    (stored.backup / "added").write_text("by hand\n")
    unsigned = stored.commit()
    with stored.repository_unchanged():
        stored.run("restore", "--to", "../out").failed(5, "is not signed", f"K0SCTL_ACCEPT_COMMIT={unsigned}")
        stored.run("init", K0SCTL_CONFIRM_INIT="prod").failed(5, "is not signed")
        # another commit's id does not help
        stored.run("restore", "--to", "../out", K0SCTL_ACCEPT_COMMIT=good).failed(5)
    done = stored.ok("restore", "--to", "../accepted", K0SCTL_ACCEPT_COMMIT=unsigned)
    assert f"the newest commit {unsigned} is not signed" in done.stderr
    assert stored.report()["facts"]["accepted_commit"] == unsigned
    # an accepted parent is signed on top
    stored.ok("init", K0SCTL_CONFIRM_INIT="prod", K0SCTL_ACCEPT_COMMIT=unsigned)
    assert plain.verify_commit(stored.backup, "HEAD") == cluster_key.fingerprint
    stored.git("reset", "-q", "--hard", good)
    foreign = mallory.commit(stored.backup, "foreign", "--allow-empty")
    with stored.repository_unchanged():
        stored.run("restore", "--to", "../out").failed(5, foreign)
        # a foreign signature is not a missing one
        stored.run("restore", "--to", "../out", K0SCTL_ACCEPT_COMMIT=foreign).failed(5)
        stored.run("init", K0SCTL_CONFIRM_INIT="prod").failed(5)
    assert not (stored.directory / "out").exists()


def test_changed_files_on_disk_are_not_what_is_read(stored: Lab, site: Site) -> None:
    checksum = stored.manifest()["archive"]["sha256"]
    for path in [*stored.backup.glob("k0s*"), stored.backup / "secret.gpg", stored.backup / "README.md"]:
        path.unlink()
        path.write_text("hostile")
    stored.ok("restore", "--to", "../out")
    assert sha256(stored.directory / "out") == checksum


def test_a_hostile_repository_configuration(stored: Lab, site: Site) -> None:
    """Nothing that a `.git/config`, hooks, attributes, replace refs or alternates name is run."""
    mark = stored.directory / "ran"
    script = stored.directory / "evil"
    script.write_text(f"#!/bin/sh\ntouch {mark}\nexit 0\n")
    script.chmod(0o755)
    for setting in (
        "gpg.program", "core.fsmonitor", "core.sshCommand", "core.pager", "core.editor", "filter.evil.smudge",
        "filter.evil.clean", "filter.evil.process", "core.gitProxy", "diff.external", "uploadpack.packObjectsHook",
        "remote.origin.uploadpack", "gpg.openpgp.program", "alias.rev-parse", "credential.helper",
    ):  # fmt: skip
        stored.git("config", setting, f"!{script}" if setting.startswith("alias") else str(script))
    stored.git("config", "core.hooksPath", str(stored.directory))
    stored.git("config", "extensions.partialClone", "origin")
    stored.git("config", "remote.origin.url", f"ext::{script}")
    stored.git("config", "commit.gpgSign", "false")
    for hook in ("post-checkout", "reference-transaction", "post-index-change", "pre-commit", "post-commit"):
        shutil.copy(script, stored.directory / hook)
        (stored.backup / ".git" / "hooks").mkdir(exist_ok=True)
        shutil.copy(script, stored.backup / ".git" / "hooks" / hook)
    (stored.backup / ".git" / "info").mkdir(exist_ok=True)
    (stored.backup / ".git" / "info" / "attributes").write_text("* filter=evil\n")
    mark.unlink(missing_ok=True)
    stored.ok("restore", "--to", "../out")
    stored.ok("init", K0SCTL_CONFIRM_INIT="prod")
    assert not mark.exists()


def test_the_branch_of_another_cluster(stored: Lab) -> None:
    """The same signed commit under the name of another branch."""
    stored.git("branch", "-m", "staging")
    stored.run("restore", "--to", "../out").failed(5, "staging", "branch")


def test_settings_from_files(stored: Lab) -> None:
    """Secrets from files, and a key as some systems hand it over: on one line, or with the ends of lines of others."""
    key, passphrase = stored.directory / "key", stored.directory / "passphrase"
    key.write_text(stored.key.private.replace("\n", "\r\n"))
    passphrase.write_text("not needed\n")
    stored.ok(
        "restore", "--to", "../out0", K0SCTL_GPG_KEY=None, K0SCTL_GPG_KEY_FILE=str(key), K0SCTL_GPG_PASSPHRASE=None,
        K0SCTL_GPG_PASSPHRASE_FILE=str(passphrase),
    )  # fmt: skip
    stored.ok("restore", "--to", "../out1", K0SCTL_GPG_KEY=stored.key.private.replace("\n", "\\n"))
    stored.run("restore", "--to", "../out2", K0SCTL_GPG_KEY_FILE=str(key)).failed(2, "K0SCTL_GPG_KEY_FILE")


def test_a_replace_ref_does_not_count(stored: Lab, site: Site) -> None:
    """HEAD is the signed one, but git would show another commit in its place."""
    good = stored.head()
    (stored.backup / f"{site.latest}.json").write_text("{}")
    forged = stored.commit("forged")
    stored.git("reset", "-q", "--hard", good)
    stored.git("replace", good, forged)
    stored.ok("restore", "--to", "../out")
    assert sha256(stored.directory / "out") == stored.manifest()["archive"]["sha256"]
