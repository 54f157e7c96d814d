"""`check`: what would go wrong is told before anything is done, each with the line that mends it."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import Site
from tests.practice.choice import Host
from tests.practice.cluster import practice_cluster
from tests.practice.sshd import make_key
from tests.support.branch import PlainGit, flip_loose
from tests.support.keys import KeyMaker, KeyPair
from tests.support.lab import ROOT, Ended, Lab, ssh_to
from tests.support.watcher import wait_for

pytestmark = pytest.mark.e2e

AREAS = ["tools", "settings", "key", "config", "hosts", "repository", "cluster"]
TOOLS = ["k0sctl", "git", "gpg", "openssl", "ssh", "ssh-keyscan", "ssh-keygen", "mtr"]
Found = list[dict[str, Any]]


def check(lab: Lab, code: int, *arguments: str, **env: str | None) -> tuple[Ended, Found]:
    """A run that ends with this code, and its findings."""
    done = lab.run("check", *arguments, **env)
    assert done.code == code, done.stderr + done.stdout
    found: Found = lab.report()["facts"]["findings"]
    for one in found:
        assert one["mend"] or one["state"] in {"ok", "not checked"}, one
        assert (one["exit_code"] != 0) is (one["state"] == "problem"), one
    return done, found


def one(found: Found, area: str, subject: str = "", state: str = "") -> dict[str, Any]:
    """The only finding with this area, subject and state."""
    fitting = [
        finding
        for finding in found
        if finding["area"] == area and subject in {"", finding["subject"]} and state in {"", finding["state"]}
    ]
    assert len(fitting) == 1, found
    return fitting[0]


def of_state(found: Found, state: str) -> list[tuple[str, str]]:
    return [(finding["area"], finding["subject"]) for finding in found if finding["state"] == state]


def no_repository(lab: Lab) -> Lab:
    shutil.rmtree(lab.backup)
    return lab


@dataclass
class Nobody:
    """A host where nobody listens: a free port, held so that nobody else takes it."""

    port: int
    role: str = "worker"
    storage: str = "etcd"
    address: str = "127.0.0.1"
    user: str = "root"


@pytest.fixture
def still(running: Lab) -> Lab:
    """A repository and no configuration, so that no host is asked; k0sctl tells its version and help, at once."""
    shutil.rmtree(running.work / "config")
    running.tool("k0sctl", f'''
[ "$*" != version ] || exec echo "version: v0.32.2"
[ "$*" != "backup --help" ] || exec cat {ROOT}/tests/practice/k0sctl/help/backup.txt''')  # fmt: skip
    return running


# --- all is well -----------------------------------------------------------------------------------------------


def test_all_is_well_and_nothing_is_changed(running: Lab) -> None:
    host = running.host
    files, calls, work = host.files(), host.calls(), sorted(running.work.iterdir())
    with running.repository_unchanged():
        done, found = check(running, 0)
    assert done.first.startswith("check: ")
    assert "no problem found" in done.last
    assert of_state(found, "problem") == []
    assert of_state(found, "warning") == [("key", "recovery keys"), ("repository", "remote")]
    assert of_state(found, "not checked") == [("cluster", "identity")]
    assert list(dict.fromkeys(finding["area"] for finding in found)) == AREAS
    assert [finding["subject"] for finding in found if finding["area"] == "tools"] == TOOLS
    told = one(found, "hosts", f"{host.address}:{host.port}")
    assert "door open, host key as pinned, login as" in told["found"]
    assert told["found"].endswith("; k0s runs")
    assert (host.files(), host.calls()) == (files, calls)
    assert sorted(running.work.iterdir()) == sorted([*work, running.auditlog])
    assert running.leftovers() == []
    assert running.key.fingerprint in done.stdout
    lines = done.stdout.splitlines()
    assert lines[0].split() == ["AREA", "SUBJECT", "STATE", "FOUND"]
    assert all(len(line) <= 100 for line in lines if not line.startswith("    "))
    assert lines[-1] == "2 warnings, 24 ok, 1 not checked"


def test_deep_asks_who_runs_there_and_json_is_one_document(running: Lab, site: Site) -> None:
    files = running.host.files()
    with running.repository_unchanged():
        done, found = check(running, 0, "--deep", "--json")
    document = json.loads(done.stdout)
    assert document["result"] == found
    assert document["exit_code"] == 0
    told = one(found, "cluster", "identity", "ok")
    assert site.uid in told["found"]
    assert told["found"].endswith("that of the backups")
    left = set(running.host.files()) - set(files)
    assert not any("k0s_backup" in name or "lock" in name for name in left)


def test_nothing_set(running: Lab) -> None:
    no_repository(running)
    shutil.rmtree(running.work / "config")
    unset: dict[str, str | None] = dict.fromkeys(name for name in running.env() if name.startswith("K0SCTL_"))
    done, found = check(running, 0, **unset)
    assert {finding["area"] for finding in found if finding["state"] == "ok"} == {"tools", "settings", "repository"}
    assert of_state(found, "not checked") == [
        ("key", "cluster key"), ("config", "file"), ("hosts", "all"), ("cluster", "identity"),
    ]  # fmt: skip
    assert "K0SCTL_GPG_KEY" in one(found, "key")["mend"]
    assert "put k0sctl's configuration there" in one(found, "config")["mend"]
    assert "k0sctl-handler init" in one(found, "repository", "place", "warning")["mend"]
    assert not running.backup.exists()
    assert "FAILED" not in done.stderr


# --- several problems ------------------------------------------------------------------------------------------


def without(lab: Lab, name: str) -> str:
    """A PATH with all programs but one."""
    directory = lab.directory / "programs"
    directory.mkdir()
    for place in os.environ["PATH"].split(":"):
        for path in Path(place).iterdir() if Path(place).is_dir() else []:
            if path.name != name and not (directory / path.name).is_symlink():
                (directory / path.name).symlink_to(path)
    return f"{lab.bin}:{directory}"


def test_of_several_problems_the_first_of_2_3_5_4_is_the_exit_code(running: Lab) -> None:
    lacking = without(running, "openssl")
    changed = running.directory / "another_host_key"
    make_key(changed, "ed25519")
    calls = running.host.calls()
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        nobody = Nobody(held.getsockname()[1])
        hosts: Sequence[Host | Nobody] = [running.host, nobody]
        practice_cluster(running.work / "config", hosts)
        kind, blob, *_ = changed.with_suffix(".pub").read_text().split()
        line = f"{running.host.known_hosts_lines().split()[0]} {kind} {blob}\n"
        (running.work / "config/known_hosts").write_text(line)
        wrong = {"PATH": lacking, "K0SCTL_SSH_WAIT": "1s"}
        done, found = check(running, 2, K0SCTL_TIMEOUT="90", **wrong)
        assert "4 problems: settings: K0SCTL_TIMEOUT='90'" in done.last
        assert "Next: correct K0SCTL_TIMEOUT" in done.last
        assert of_state(found, "problem") == [
            ("tools", "openssl"),
            ("settings", "K0SCTL_TIMEOUT"),
            ("hosts", f"{nobody.address}:{nobody.port}"),
            ("hosts", f"{running.host.address}:{running.host.port}"),
        ]
        assert one(found, "tools", "openssl")["mend"].startswith("install openssl")
        shown = one(found, "hosts", f"{running.host.address}:{running.host.port}")
        assert shown["exit_code"] == 5
        assert "to accept it: " + running.host.known_hosts_lines().splitlines()[0] in " ".join(shown["details"])
        assert "config/known_hosts" in shown["mend"]
        closed = one(found, "hosts", f"{nobody.address}:{nobody.port}")
        assert closed["exit_code"] == 4
        assert "SSH door stays closed" in closed["found"]
        assert "K0SCTL_SSH_WAIT" in closed["mend"]
        assert running.host.calls() == calls
        done, _ = check(running, 3, **wrong)
        assert "3 problems: tools: openssl was not found in PATH" in done.last
        done, _ = check(running, 5, K0SCTL_SSH_WAIT="1s")
        assert "another host key than the pinned one" in done.last
        running.pin()
        _, found = check(running, 4, "--deep", K0SCTL_SSH_WAIT="1s", K0SCTL_BACKUP_HOSTS="all")
        # k0sctl would only wait for the host that does not answer
        assert f"{nobody.address}:{nobody.port}" in one(found, "cluster", state="not checked")["found"]


# --- tools, settings -------------------------------------------------------------------------------------------


def test_a_missing_mtr_is_a_warning_for_ping_needs_it_alone(still: Lab) -> None:
    _, found = check(still, 0, PATH=without(still, "mtr"))
    told = one(found, "tools", "mtr", "warning")
    assert "mtr was not found in PATH; only `ping` needs it" in told["found"]
    assert told["mend"].startswith("install mtr")


def test_tools_that_are_too_old(running: Lab) -> None:
    no_repository(running)
    running.tool("k0sctl", 'if [ "$*" = "backup --help" ]; then echo "--config --output"; exit 0; fi')
    running.tool("git", 'if [ "$*" = version ]; then echo "git version 2.30.1"; exit 0; fi')
    _, found = check(running, 3, "--deep")
    told = one(found, "tools", "k0sctl")
    assert "too old: its backup does not know --dry-run, --timeout" in told["found"]
    assert "install k0sctl v0.32" in told["mend"]
    assert "2.31 is the oldest" in one(found, "tools", "git")["found"]
    assert "see tools" in one(found, "repository", "place", "not checked")["found"]
    assert "see tools" in one(found, "cluster", state="not checked")["found"]


def test_settings_that_do_not_fit_and_names_that_are_none(running: Lab) -> None:
    no_repository(running)
    done, found = check(running, 2, K0SCTL_TIMEOTU="1m", K0SCTL_GPG_KEY="no key", K0SCTL_SSH_KEY=running.key.private)
    assert one(found, "settings", "K0SCTL_GPG_KEY")["exit_code"] == 2
    assert "unset K0SCTL_GPG_KEY" in one(found, "settings", "K0SCTL_GPG_KEY")["mend"]
    assert one(found, "settings", "K0SCTL_TIMEOTU", "warning")["found"].endswith("did you mean K0SCTL_TIMEOUT?")
    assert done.stderr.count("is no setting") == 0  # it is told once, as a finding
    assert "".join(done.stdout.split()).count("K0SCTL_TIMEOTUisnosetting") == 1
    assert one(found, "key")["found"] == "K0SCTL_GPG_KEY does not fit, see settings"
    assert one(found, "hosts")["found"] == "K0SCTL_SSH_KEY does not fit, see settings"


# --- keys ------------------------------------------------------------------------------------------------------


def test_passphrases(still: Lab, locked_key: KeyPair) -> None:
    no_repository(still)
    _, found = check(still, 2, K0SCTL_GPG_KEY=locked_key.private, K0SCTL_GPG_PASSPHRASE="wrong one")
    told = one(found, "key", "passphrase", "problem")
    assert "K0SCTL_GPG_PASSPHRASE is wrong" in told["found"]
    assert told["mend"] == "set the passphrase that belongs to this key"
    _, found = check(still, 2, K0SCTL_GPG_KEY=locked_key.private)
    assert "K0SCTL_GPG_PASSPHRASE is not set" in one(found, "key", "passphrase", "problem")["found"]
    _, found = check(still, 0, K0SCTL_GPG_KEY=locked_key.private, K0SCTL_GPG_PASSPHRASE=locked_key.passphrase)
    assert one(found, "key", "passphrase")["state"] == "ok"


def test_keys_that_expire(still: Lab, key_maker: KeyMaker, expired_key: KeyPair, foreign_key: KeyPair) -> None:
    no_repository(still)
    _, found = check(still, 2, K0SCTL_GPG_KEY=expired_key.private)
    told = one(found, "key", "cluster key", "problem")
    assert "expired on" in told["found"]
    assert f"gpg --quick-set-expire {expired_key.fingerprint}" in told["mend"]
    signing = key_maker.make("signing", "signing@example.org", encrypt=False)
    _, found = check(still, 2, K0SCTL_GPG_KEY=signing.private)
    assert f"gpg --quick-add-key {signing.fingerprint} cv25519 encr" in one(found, "key", "cluster key")["mend"]
    soon = key_maker.make("soon", "soon@example.org", expires="10d")
    _, found = check(still, 0, K0SCTL_GPG_KEY=soon.private, K0SCTL_GPG_RECOVERY=soon.public + foreign_key.public)
    assert f"gpg --quick-set-expire {soon.fingerprint}" in one(found, "key", "cluster key", "warning")["mend"]
    assert foreign_key.fingerprint in one(found, "key", "recovery keys", "ok")["found"]
    _, found = check(still, 0, K0SCTL_GPG_RECOVERY=soon.public)
    assert f"gpg --quick-set-expire {soon.fingerprint}" in one(found, "key", "recovery keys", "warning")["mend"]


def test_the_name_of_another_cluster(still: Lab) -> None:
    _, found = check(still, 2, K0SCTL_CLUSTER_NAME="staging")
    told = one(found, "key", "uid", "problem")
    assert "K0SCTL_CLUSTER_NAME='staging'" in told["found"]
    assert "the key has: prod <prod@example.org>" in told["details"]
    assert "--quick-add-uid" in told["mend"]
    assert "see key" in one(found, "repository", "newest commit", "not checked")["found"]


# --- configuration ---------------------------------------------------------------------------------------------


def test_a_configuration_that_leaves_much_open(running: Lab) -> None:
    options = "      options:\n        StrictHostKeyChecking: no\n"
    practice_cluster(running.work / "config", running.hosts, key_path="keys/id_absent", extra=options)
    text = running.config.read_text().replace(
        "type: etcd", "type: etcd\n          etcd: {externalCluster: {endpoints: []}}"
    )
    running.config.write_text(re.sub(r"\n    version: .*", "", text))
    _, found = check(running, 2)
    label = f"{running.host.address}:{running.host.port}"
    assert one(found, "config", "k0s version", "warning")["mend"].startswith("set spec.k0s.version")
    assert "outside of k0s" in one(found, "config", "storage", "warning")["found"]
    assert "StrictHostKeyChecking no accepts" in one(found, "config", label, "warning")["found"]
    missing = one(found, "config", label, "problem")
    assert (missing["exit_code"], "keys/id_absent" in missing["found"]) == (2, True)
    assert "keyPath" in missing["mend"]
    assert "see config" in one(found, "hosts", label, "not checked")["found"]


def test_a_variable_that_is_not_set(running: Lab) -> None:
    running.config.write_text(running.config.read_text().replace("name: lab", "name: $CLUSTER", 1))
    _, found = check(running, 2)
    told = one(found, "config", "file", "problem")
    assert "config/k0sctl.yaml:4" in told["found"]
    assert "CLUSTER is not set" in told["found"]
    assert "set the variables" in told["mend"]
    assert one(found, "hosts")["state"] == "not checked"
    check(running, 0, CLUSTER="lab")
    _, found = check(running, 2, K0SCTL_CFG_PATH="config/other.yaml")
    assert "there is no config/other.yaml" in one(found, "config", "file", "problem")["found"]


# --- hosts -----------------------------------------------------------------------------------------------------


def test_a_key_that_opens_no_host(running: Lab) -> None:
    wrong = running.directory / "wrong_key"
    make_key(wrong, "ed25519")
    _, found = check(running, 4, "--deep", K0SCTL_SSH_KEY=wrong.read_text())
    told = one(found, "hosts", f"{running.host.address}:{running.host.port}", "problem")
    assert "Permission denied" in told["found"]
    assert "check K0SCTL_SSH_KEY" in told["mend"]
    assert ssh_to(running.host, running.host.user) in told["mend"]
    assert "see hosts" in one(found, "cluster", state="not checked")["found"]


def test_host_keys_that_are_not_pinned(running: Lab) -> None:
    pins = running.work / "config/known_hosts"
    pins.unlink()
    _, found = check(running, 0)
    told = one(found, "hosts", "pinned keys", "warning")
    assert told["found"].startswith("UNPINNED")
    assert "config/known_hosts" in told["mend"]
    pins.write_text("\n".join(told["details"]) + "\n")  # what a person would paste
    _, found = check(running, 0)
    assert "host key as pinned" in one(found, "hosts", f"{running.host.address}:{running.host.port}", "ok")["found"]
    pins.write_text("nothing\n")
    _, found = check(running, 2)
    assert "ssh-keyscan" in one(found, "hosts", "pinned keys", "problem")["mend"]


def test_what_earlier_runs_left_on_a_host(lab: Lab) -> None:
    host, label = lab.host, f"{lab.host.address}:{lab.host.port}"
    archive = host.root / "tmp/abcdef/k0s_backup_x.tar.gz"
    lock = host.root / "tmp/k0sctl.lock"
    data = host.root / "var/lib/k0s/etcd/member"
    for path in (archive, lock, data):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("k0sctl-1\n")
    host.run("touch -d @0 /tmp/k0sctl.lock")
    files = host.files()
    done, found = check(lab, 0)
    told = [finding for finding in found if finding["subject"] == label and finding["state"] == "warning"]
    in_clear, dead, halfway = told
    assert "/tmp/abcdef/k0s_backup_x.tar.gz" in in_clear["found"]
    assert "killed" in dead["found"]
    assert "/var/lib/k0s" in halfway["found"]
    assert "stopped halfway" in halfway["found"]
    assert "rm -rf /var/lib/k0s" in halfway["mend"]
    assert host.files() == files
    assert f"    mend: {in_clear['mend']}" in done.stdout.splitlines()
    for finding in (in_clear, dead):
        typed = re.fullmatch(rf"{re.escape(ssh_to(host))} '(.+)'", finding["mend"])
        assert typed
        host.run(typed[1])
    assert not archive.exists()
    assert not lock.exists()
    host.run("rm -rf /var/lib/k0s")
    lock.write_text("k0sctl-2\n")
    _, found = check(lab, 0)
    assert "another k0sctl works there" in one(found, "hosts", label, "warning")["found"]


def test_a_stopped_k0s(spare: Lab) -> None:
    spare.host.install()
    spare.host.fault("stopped")
    _, found = check(spare, 0, "--deep")
    assert "k0s start" in one(found, "hosts", f"{spare.host.address}:{spare.host.port}", "warning")["mend"]
    assert "k0s start" in one(found, "cluster", "identity", "warning")["mend"]


# --- cluster ---------------------------------------------------------------------------------------------------


def test_deep_tells_another_cluster_from_none(spare: Lab, site: Site) -> None:
    _, found = check(spare, 0, "--deep")
    assert "apply would restore the latest backup" in one(found, "cluster", "identity", "ok")["found"]
    spare.host.install()
    uid = spare.host.uid()
    assert uid
    assert uid != site.uid
    _, found = check(spare, 5, "--deep")
    told = one(found, "cluster", "identity", "problem")
    assert uid in told["found"]
    assert site.uid in told["found"]
    assert f"K0SCTL_ACCEPT_CLUSTER={uid}" in told["mend"]
    _, found = check(spare, 0, "--deep", K0SCTL_ACCEPT_CLUSTER=uid)
    assert "take over" in one(found, "cluster", "identity", "ok")["found"]


# --- repository ------------------------------------------------------------------------------------------------


def test_an_old_backup(still: Lab) -> None:
    _, found = check(still, 5, K0SCTL_MAX_AGE="1s")
    told = one(found, "repository", "age", "problem")
    assert "more than 1s (K0SCTL_MAX_AGE)" in told["found"]
    assert "k0sctl-handler backup" in told["mend"]


def test_an_unsigned_commit_on_top(still: Lab) -> None:
    (still.backup / "README.md").write_text("something else")
    head = still.commit()
    with still.repository_unchanged():
        _, found = check(still, 5)
    told = one(found, "repository", "newest commit", "problem")
    assert "is not signed" in told["found"]
    assert f"K0SCTL_ACCEPT_COMMIT={head}" in told["mend"]
    done, found = check(still, 0, K0SCTL_ACCEPT_COMMIT=head)
    assert one(found, "repository", "newest commit", "warning")["mend"].startswith("k0sctl-handler backup")
    assert "warning:" not in done.stderr
    assert one(found, "repository", "latest backup")["state"] == "ok"


def test_backups_that_nothing_calls_the_latest(still: Lab) -> None:
    (still.backup / "k0s_backup_latest").unlink()
    head = still.commit()
    _, found = check(still, 5, K0SCTL_ACCEPT_COMMIT=head)
    assert "no usable latest" in one(found, "repository", "latest backup", "problem")["found"]


def test_a_newest_backup_that_is_damaged(still: Lab, site: Site, key_maker: KeyMaker) -> None:
    oid = still.git("rev-parse", f"HEAD:{site.latest}.tar.gz.enc")
    flip_loose(still.backup, PlainGit(still.directory / "plain", key_maker), oid, "blob")
    _, found = check(still, 5)
    told = one(found, "repository", "age", "problem")
    assert "the newest backup is not proven" in told["found"]
    assert any(line.startswith(site.latest) for line in told["details"])
    assert f"K0SCTL_BACKUP={site.older}" in told["mend"]


def test_other_recipients_than_the_settings_name(running: Lab, recovery_key: KeyPair) -> None:
    _, found = check(running, 0, K0SCTL_GPG_RECOVERY=recovery_key.public)
    told = one(found, "repository", "secret.gpg", "warning")
    assert f"does not open with {recovery_key.fingerprint}" in told["found"]
    assert "k0sctl-handler backup" in told["mend"]
    running.ok("backup", K0SCTL_GPG_RECOVERY=recovery_key.public)
    _, found = check(running, 0, K0SCTL_GPG_RECOVERY=recovery_key.public)
    assert "1 recovery key" in one(found, "repository", "secret.gpg", "ok")["found"]
    _, found = check(running, 0)
    assert "K0SCTL_GPG_RECOVERY" in one(found, "repository", "secret.gpg", "warning")["mend"]


def test_what_is_not_pushed_and_what_is_too_large(still: Lab) -> None:
    still.git("init", "-q", "--bare", str(still.directory / "origin.git"), directory=still.work)
    _, found = check(still, 0)
    typed = one(found, "repository", "remote", "warning")["mend"]
    line = typed.replace("URL", f"file://{still.directory / 'origin.git'}")
    subprocess.run(["sh", "-euc", line], cwd=still.work, check=True, capture_output=True)
    _, found = check(still, 0)
    assert "all is pushed" in one(found, "repository", "remote", "ok")["found"]
    still.git("update-ref", "refs/remotes/origin/backup", "HEAD^")
    with (still.backup / ".git/objects/pack/tmp_large").open("wb") as file:
        file.truncate(6_000_000_000)
    _, found = check(still, 0)
    told = one(found, "repository", "remote", "warning")
    assert "1 commit(s) of backup are not pushed" in told["found"]
    assert told["mend"] == "git -C backup push origin HEAD"
    assert "6.0 GB" in one(found, "repository", "size of it all", "warning")["found"]


def test_directories_that_went_apart_or_hold_something_else(still: Lab) -> None:
    still.clone_to_restore()
    for directory in (still.backup, still.restore):
        who = ("-c", "user.name=hand", "-c", "user.email=hand@example.org")
        still.git(*who, "commit", "-q", "--allow-empty", "--no-gpg-sign", "-m", directory.name, directory=directory)
    _, found = check(still, 7)
    told = one(found, "repository", "place", "problem")
    assert "have diverged" in told["found"]
    assert "git -C backup push origin" in told["mend"]
    shutil.rmtree(still.restore)
    shutil.rmtree(still.backup / ".git")
    _, found = check(still, 2)
    assert "no git repository" in one(found, "repository", "place", "problem")["found"]


def test_a_backup_directory_of_somebody_else(still: Lab) -> None:
    if os.geteuid() == 0:
        setpriv = shutil.which("setpriv") or pytest.skip("needs setpriv")
        still.prefix = [setpriv, "--bounding-set", "-all", "--inh-caps", "-all", "--"]
    still.backup.chmod(0o555)
    try:
        _, found = check(still, 2)
    finally:
        still.backup.chmod(0o755)
    told = one(found, "repository", "backup/", "problem")
    assert f"it belongs to user {os.geteuid()}" in told["found"]
    assert "docker run --user" in told["mend"]


# --- the end ---------------------------------------------------------------------------------------------------


def test_a_signal_ends_it_and_what_was_found_is_told(lab: Lab) -> None:
    lab.host.fault("ssh-hang")
    process = lab.start("check", K0SCTL_SSH_WAIT="1m")
    assert process.stderr is not None
    told = ""
    while "read config/k0sctl.yaml: ok" not in told:
        line = process.stderr.readline()
        assert line, told
        told += line
    process.send_signal(signal.SIGTERM)
    stdout, stderr = process.communicate(timeout=30)
    done = Ended(process.returncode, stdout, told + stderr).checked()
    assert done.code == 143
    assert "stopped by SIGTERM" in done.last
    assert "cluster lab, hosts: 1" in stdout
    wait_for(lambda: lab.leftovers() == [])
