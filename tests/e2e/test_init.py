"""`init`: a branch begins, and nothing of an earlier one is lost."""

from __future__ import annotations

import base64
import re
import shutil
import time
from pathlib import Path

import pytest

from tests.e2e.conftest import Site
from tests.support.keys import KeyMaker, KeyPair
from tests.support.lab import Lab
from tests.support.plain import PlainTools

pytestmark = pytest.mark.e2e


@pytest.fixture
def stored(tmp_path: Path, site: Site, cluster_key: KeyPair) -> Lab:
    """A copy of the repository; no host is needed."""
    lab = Lab(tmp_path / "stored", [site.host], cluster_key)
    shutil.copytree(site.repository, lab.backup, symlinks=True)
    return lab


@pytest.fixture
def empty(tmp_path: Path, site: Site, cluster_key: KeyPair) -> Lab:
    """No repository, no configuration, no SSH key: `init` needs none."""
    lab = Lab(tmp_path / "empty", [site.host], cluster_key)
    shutil.rmtree(lab.work / "config")
    lab.extra["K0SCTL_SSH_KEY"] = ""
    return lab


@pytest.fixture
def plain(tmp_path: Path, cluster_key: KeyPair) -> PlainTools:
    return PlainTools(tmp_path / "plain", cluster_key.private)


def test_the_first_commit(empty: Lab, plain: PlainTools, cluster_key: KeyPair, recovery_key: KeyPair) -> None:
    done = empty.ok("init", K0SCTL_GPG_RECOVERY=recovery_key.public)
    assert done.first.startswith("init: ")
    assert plain.verify_commit(empty.backup, "HEAD") == cluster_key.fingerprint
    assert empty.git("ls-tree", "-r", "--name-only", "HEAD").split() == ["README.md", "secret.gpg"]
    assert empty.git("rev-list", "--count", "HEAD") == "1"
    assert empty.git("symbolic-ref", "HEAD") == "refs/heads/backup"
    assert empty.git("status", "--porcelain") == ""
    assert empty.git("log", "-1", "--format=%an <%ae>") == "prod <prod@example.org>"
    password = plain.open_password(empty.backup / "secret.gpg")
    assert len(base64.b64decode(password, validate=True)) == 32
    offline = PlainTools(empty.directory / "offline", recovery_key.private)
    assert offline.open_password(empty.backup / "secret.gpg") == password
    readme = (empty.backup / "README.md").read_text()
    assert readme.count("```") == 2
    assert "1 recovery key" in readme
    assert not empty.leftovers()


def test_an_empty_mount_keeps_its_inode(empty: Lab) -> None:
    empty.backup.mkdir()
    empty.restore.mkdir()
    inode = empty.backup.stat().st_ino
    empty.ok("init")
    assert empty.backup.stat().st_ino == inode
    assert list(empty.restore.iterdir()) == []


def test_a_second_init_needs_the_name(stored: Lab) -> None:
    with stored.repository_unchanged():
        stored.run("init").failed(2, "2 backup(s)", "K0SCTL_CONFIRM_INIT=prod")
        stored.run("init", K0SCTL_CONFIRM_INIT="staging").failed(2, "'staging'", "K0SCTL_CONFIRM_INIT=prod")


def test_a_branch_without_backups_needs_the_name_too(empty: Lab) -> None:
    empty.ok("init")
    with empty.repository_unchanged():
        empty.run("init").failed(2, "K0SCTL_CONFIRM_INIT=prod")
    empty.ok("init", K0SCTL_CONFIRM_INIT="prod")


def test_a_confirmed_second_init(stored: Lab, site: Site, plain: PlainTools, cluster_key: KeyPair) -> None:
    before = stored.head()
    old = plain.open_password(stored.backup / "secret.gpg")
    checksum = stored.manifest()["archive"]["sha256"]
    done = stored.ok("init", K0SCTL_CONFIRM_INIT="prod")
    assert stored.git("rev-parse", "HEAD^") == before
    assert plain.verify_commit(stored.backup, "HEAD") == cluster_key.fingerprint
    names = stored.git("ls-tree", "-r", "--name-only", "HEAD").split()
    aside = {name.rpartition("/")[0] for name in names} - {""}
    assert len(aside) == 1
    directory = aside.pop()
    assert re.fullmatch(r"archive/\d{4}-\d\d-\d\dT\d\d-\d\d-\d\dZ", directory)
    assert directory in done.last
    assert {name for name in names if "/" not in name} == {"README.md", "secret.gpg"}
    assert len(names) == 2 + 2 + 2 * 4 + 1
    assert stored.git("status", "--porcelain") == ""
    assert plain.open_password(stored.backup / directory / "secret.gpg") == old
    assert plain.open_password(stored.backup / "secret.gpg") != old
    # what was put aside is still reached by its name, in each form
    for number, form in enumerate((f"{directory}/{site.latest}", f"{directory}/{site.latest}.tar.gz.enc")):
        target = stored.directory / f"out{number}"
        stored.ok("restore", form, "--to", str(target))
        assert plain.sha256(target) == checksum
    stored.run("restore", "--to", "../out").failed(5, "no usable latest", directory)
    # a third one leaves the first archive in place
    stored.ok("init", K0SCTL_CONFIRM_INIT="prod")
    stored.ok("restore", f"{directory}/{site.latest}", "--to", "../again")
    assert stored.git("status", "--porcelain") == ""


@pytest.fixture
def begun_by_the_host(empty: Lab) -> str:
    """What a git host makes of a new repository: an unsigned "Initial commit"."""
    empty.backup.mkdir()
    empty.git("init", "-q", "-b", "backup")
    (empty.backup / "LICENSE").write_text("anything\n")
    (empty.backup / "README.md").write_text("# A repository\n")
    return empty.commit("Initial commit")


def test_an_initial_commit_of_the_host(empty: Lab, begun_by_the_host: str, plain: PlainTools) -> None:
    with empty.repository_unchanged():
        empty.run("init").failed(5, "is not signed", f"K0SCTL_ACCEPT_COMMIT={begun_by_the_host}")
        empty.run("init", K0SCTL_ACCEPT_COMMIT="0" * 40).failed(5)
        empty.run("init", K0SCTL_ACCEPT_COMMIT=begun_by_the_host[:12]).failed(2, "full id")
    done = empty.ok("init", K0SCTL_ACCEPT_COMMIT=begun_by_the_host)
    assert begun_by_the_host in done.stderr
    assert empty.report()["facts"]["accepted_commit"] == begun_by_the_host
    assert empty.git("rev-parse", "HEAD^") == begun_by_the_host
    assert (empty.backup / "LICENSE").read_text() == "anything\n"
    assert "Break glass" in (empty.backup / "README.md").read_text()
    plain.verify_commit(empty.backup, "HEAD")
    # once is enough
    empty.run("init").failed(2, "K0SCTL_CONFIRM_INIT")


# --- keys -------------------------------------------------------------------------------------------------------


def test_an_expired_key(stored: Lab, key_maker: KeyMaker, site: Site) -> None:
    """It stops writing, with the way out; what it signed before can be read."""
    pair = key_maker.make("aging", "aging@example.org")
    lab = Lab(stored.directory / "aging", stored.hosts, pair)
    lab.ok("init")
    lab.ok("backup")
    lab.key = key_maker.expire(pair)
    with lab.repository_unchanged():
        lab.run("backup").failed(2, "expired", f"gpg --quick-set-expire {pair.fingerprint}")
        lab.run("init", K0SCTL_CONFIRM_INIT="aging").failed(2, "expired")
        lab.ok("restore", "--to", "../out")
        lab.ok("apply", K0SCTL_RESTORE="require")


def test_a_key_that_expires_soon(empty: Lab, key_maker: KeyMaker) -> None:
    empty.key = key_maker.make("expiring", expires="10d")
    done = empty.ok("init")
    assert "warning: the key expires on" in done.stderr
    assert f"gpg --quick-set-expire {empty.key.fingerprint}" in done.stderr


def test_a_clock_that_is_wrong(stored: Lab, plain: PlainTools) -> None:
    """A parent from the future would make every later backup one from the future too."""
    ahead = int(time.time()) + 3600
    plain.env.update(GIT_COMMITTER_DATE=f"@{ahead} +0000", GIT_AUTHOR_DATE=f"@{ahead} +0000")
    plain.commit(stored.backup, "from the future", "--allow-empty")
    with stored.repository_unchanged():
        stored.run("init", K0SCTL_CONFIRM_INIT="prod").failed(5, "clock")


def test_keys_that_are_refused(empty: Lab, key_maker: KeyMaker, foreign_key: KeyPair, locked_key: KeyPair) -> None:
    revoked = key_maker.revoke(key_maker.make("revoked"))
    commented = key_maker.make("Prod (old one)", "prod@example.org")
    pair = empty.key
    both = pair.private + foreign_key.private
    locked = {"K0SCTL_GPG_KEY": locked_key.private}
    cases: list[tuple[dict[str, str | None], str]] = [
        ({"K0SCTL_GPG_KEY": None}, "K0SCTL_GPG_KEY"),
        ({"K0SCTL_GPG_KEY": pair.public}, "public"),
        ({"K0SCTL_GPG_KEY": revoked.private}, "revoked"),
        ({"K0SCTL_GPG_KEY": both}, "2 secret keys"),
        ({"K0SCTL_GPG_KEY": commented.private}, "Comment"),
        ({"K0SCTL_GPG_KEY": pair.private[: len(pair.private) // 2]}, "K0SCTL_GPG_KEY"),
        ({"K0SCTL_CLUSTER_NAME": "staging"}, "K0SCTL_CLUSTER_NAME='staging'"),
        ({"K0SCTL_CLUSTER_MAIL": "other@example.org"}, "K0SCTL_CLUSTER_MAIL='other@example.org'"),
        ({**locked, "K0SCTL_GPG_PASSPHRASE": None}, "K0SCTL_GPG_PASSPHRASE is not set"),
        ({**locked, "K0SCTL_GPG_PASSPHRASE": "a wrong one"}, "passphrase in K0SCTL_GPG_PASSPHRASE is wrong"),
    ]
    for changes, said in cases:
        done = empty.run("init", **changes).failed(2, said)
        assert "a wrong one" not in done.stderr
        assert not empty.backup.exists(), changes
    empty.ok("init", K0SCTL_CLUSTER_NAME="prod", K0SCTL_CLUSTER_MAIL="prod@example.org")


def test_a_key_with_a_passphrase(empty: Lab, locked_key: KeyPair) -> None:
    empty.key = locked_key
    done = empty.ok("init")
    assert "Jörg Müller <joerg@example.org>" in done.stderr
    assert empty.git("log", "-1", "--format=%cn") == "Jörg Müller"
    tools = PlainTools(empty.directory / "locked", locked_key.private, locked_key.passphrase)
    assert len(tools.open_password(empty.backup / "secret.gpg")) == 44
    wrong = {"K0SCTL_GPG_PASSPHRASE": "not this one", "K0SCTL_CONFIRM_INIT": "Jörg Müller"}
    with empty.repository_unchanged():
        empty.run("init", **wrong).failed(2, "wrong")


def test_an_unusable_recovery_key(empty: Lab, expired_key: KeyPair) -> None:
    empty.run("init", K0SCTL_GPG_RECOVERY=expired_key.public).failed(2, "recovery key", "expired")
    empty.run("init", K0SCTL_GPG_RECOVERY=empty.key.public).failed(2, "K0SCTL_GPG_RECOVERY")
    assert not empty.backup.exists()
