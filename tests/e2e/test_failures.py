"""What goes wrong on a bad night: the right exit code, words that help, and the repository as it was."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.e2e.conftest import Crew
from tests.practice.choice import practice_host
from tests.support.hostile import hostile
from tests.support.keys import KeyPair
from tests.support.lab import Lab
from tests.support.plain import only
from tests.support.watcher import wait_for

pytestmark = pytest.mark.e2e

HANDLED = ("backup", "apply")
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


# --- tools ------------------------------------------------------------------------------------------------------

NEEDED = ("gpg", "gpg-agent", "gpgconf", "openssl", "git", "ssh", "ssh-keyscan", "ssh-keygen", "sh", "tar", "gzip")


@pytest.mark.parametrize(
    ("missing", "command"),
    [
        ("gpg", "init"), ("gpg", "restore"), ("gpg", "backup"), ("gpg", "apply"),
        ("git", "init"), ("git", "restore"), ("git", "apply"),
        ("openssl", "restore"), ("openssl", "backup"),
        ("ssh-keyscan", "backup"), ("ssh-keyscan", "apply"),
        ("k0sctl", "backup"), ("k0sctl", "apply"), ("k0sctl", "version"),
    ],
)  # fmt: skip
def test_a_missing_tool(running: Lab, missing: str, command: str) -> None:
    tools = [tool for tool in NEEDED if tool != missing]
    path = only(running.directory / "few", *tools)
    if missing != "k0sctl":
        (running.directory / "few" / "k0sctl").symlink_to(running.k0sctl)
    with running.repository_unchanged():
        done = running.run(command, PATH=path).failed(3, f"{missing} was not found")
    assert "install" in done.last
    assert "(3 tool missing)" in done.last


# --- files and rights -------------------------------------------------------------------------------------------


def test_the_configuration(running: Lab) -> None:
    running.run("backup", K0SCTL_CFG_PATH="config/nothing.yaml").failed(2, "config/nothing.yaml", "K0SCTL_CFG_PATH")
    running.run("backup", K0SCTL_CFG_PATH="config").failed(4, "config")
    for text, said in (
        ("kind: [", "config/k0sctl.yaml:1"),
        ("kind: Cluster\nspec:\n  hosts: []\n", "config/k0sctl.yaml"),
        (running.config.read_text() + "# ${FINE}\nx: ${UNSET_NAME}\n", "UNSET_NAME"),
        (running.config.read_text().replace("name: lab", "name: ${K0SCTL_GPG_KEY}"), "K0SCTL_GPG_KEY"),
    ):
        running.config.write_text(text)
        calls = running.host.calls()
        with running.repository_unchanged():
            running.run("backup").failed(2, said)
            running.run("apply").failed(2, said)
        assert running.host.calls() == calls


@contextmanager
def mode(path: Path, bits: int) -> Iterator[None]:
    before = path.stat().st_mode
    path.chmod(bits)
    yield
    path.chmod(before)


def test_rights(running: Lab) -> None:
    """Rights are of no meaning to root, so it gives its capabilities away."""
    if os.geteuid() == 0:
        setpriv = shutil.which("setpriv") or pytest.skip("needs setpriv")
        running.prefix = [setpriv, "--bounding-set", "-all", "--inh-caps", "-all", "--"]
    lab, elsewhere = running, ("--to", "../out")
    with mode(lab.config, 0):
        lab.run("backup").failed(2, "config/k0sctl.yaml", "not allowed")
    with mode(lab.work / "config", 0):
        lab.run("backup").failed(2, "config", "not allowed")
    with mode(lab.auditlog, 0o555):
        assert "Report: none" in lab.run("restore", *elsewhere).failed(2, "auditlog", "not allowed").last
    with mode(lab.tmp, 0o555):
        lab.run("restore", *elsewhere).failed(2, "TMPDIR")
    with mode(lab.directory, 0o555):
        lab.run("restore", *elsewhere).failed(2, "out", "not allowed")
    with mode(lab.work, 0o555):
        lab.run("restore", *elsewhere, K0SCTL_DIR_LOG="new").failed(2, "new", "not allowed")
    with lab.repository_unchanged():
        for closed in (".", ".git", ".git/objects"):
            with mode(lab.backup / closed, 0o555):
                lab.run("init", K0SCTL_CONFIRM_INIT="prod").failed(2, "backup", "not allowed")
        with mode(lab.backup / ".git", 0):
            lab.run("restore", *elsewhere).failed(2, "backup", "not allowed")
        with mode(lab.backup, 0):
            lab.run("restore", *elsewhere).failed(2, "backup", "not allowed")
    # and when all is right it works
    lab.ok("backup")
    lab.ok("restore", *elsewhere)
    assert not lab.leftovers()


def test_a_missing_tmpdir(running: Lab) -> None:
    running.run("restore", "--to", "../out", TMPDIR="/nowhere").failed(2, "TMPDIR")


@contextmanager
def small_disk(at: Path, kilobytes: int) -> Iterator[Path]:
    at.mkdir(exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={kilobytes}k", "tmpfs", str(at)], check=True)
    try:
        yield at
    finally:
        subprocess.run(["umount", str(at)], check=True)


@as_root
def test_a_full_disk(running: Lab) -> None:
    said = "no space"
    kept = running.directory / "kept"
    running.backup.rename(kept)
    with small_disk(running.backup, 2000):
        shutil.copytree(kept, running.backup, symlinks=True, dirs_exist_ok=True)
        # room for nothing, for the ciphertext but not for its object, for the objects but not for the files
        for left in (0, 60, 130):
            fill(running.backup / ".git" / "filler", left)
            with running.repository_unchanged():
                running.run("backup").failed(4, said)
            (running.backup / ".git" / "filler").unlink()
        fill(running.backup / ".git" / "filler", 0)
        with running.repository_unchanged():
            running.run("init", K0SCTL_CONFIRM_INIT="prod").failed(4, said)
        running.ok("restore", "--to", "../out")  # reading needs no room there
    shutil.copytree(kept, running.backup, symlinks=True, dirs_exist_ok=True)
    with small_disk(running.directory / "small", 40) as small, running.repository_unchanged():
        running.run("backup", TMPDIR=str(small)).failed(4, said)
        running.run("restore", "--to", "../out2", TMPDIR=str(small)).failed(4, said)
        running.run("restore", "--to", str(small / "out")).failed(4, said)
        assert list(small.iterdir()) == []
    with small_disk(running.work / "auditlog2", 8) as log:
        fill(log / "filler", 0)
        done = running.ok("backup", K0SCTL_DIR_LOG="auditlog2")
        assert "warning: the report could not be written" in done.stderr
        assert "log could not be saved" in done.stderr
        assert "Report: none" in done.last


def fill(filler: Path, left: int) -> None:
    """Fill the disk up to so many kilobytes."""
    with filler.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(b"\0" * 4096)
        except OSError:
            file.truncate(max(0, file.tell() - left * 1024))


# --- two at once ------------------------------------------------------------------------------------------------


def test_a_second_run(running: Lab) -> None:
    running.host.fault("slow-backup", "4")
    before = len(running.host.calls())
    first = running.start("backup")
    try:
        wait_for(lambda: any(call.startswith("k0s backup") for call in running.host.calls()[before:]))
        for command in ("backup", "apply", "init", "restore"):
            began = time.monotonic()
            done = running.run(command).failed(7, "another run of k0sctl-handler works in")
            assert time.monotonic() - began < 3
            assert "Report: none" in done.last
        # a copy of the work elsewhere, with the same backup/: also refused
        settings = {"K0SCTL_DIR_LOG": "elsewhere", "K0SCTL_CONFIRM_INIT": "prod"}
        running.run("init", **settings).failed(7, "another run of k0sctl-handler works in", "backup")
    finally:
        done = running.end(first)
    assert done.code == 0, done.stderr
    assert not running.leftovers()


# --- hosts ------------------------------------------------------------------------------------------------------


def test_host_keys(spare: Lab) -> None:
    spare.host.install()
    old = (spare.work / "config" / "known_hosts").read_text()
    spare.host.change_host_key()
    calls = spare.host.calls()
    name = old.split()[0]
    shown, pinned = fingerprint(spare.host.known_hosts_lines()), fingerprint(old)
    line = spare.host.known_hosts_lines().splitlines()[0]
    for command in ("backup", "apply"):
        done = spare.run(command).failed(5, "another host key", name, shown, pinned, line)
        assert "known_hosts" in done.last
    assert spare.host.calls() == calls
    spare.run("backup", K0SCTL_KNOWN_HOSTS=old).failed(5, shown, pinned)
    # a file that knows only other hosts is no permission
    spare.run("backup", K0SCTL_KNOWN_HOSTS=old.replace(spare.host.address, "10.0.0.1")).failed(
        5, "no fitting host key", line
    )
    # the line that was told makes it fit; hashed names and wildcards of others do not matter
    spare.run("backup", K0SCTL_KNOWN_HOSTS=f"# ours\n{line}\n").failed(5, "another cluster")
    # without any, the keys are printed
    (spare.work / "config" / "known_hosts").unlink()
    done = spare.run("backup").failed(5, "another cluster")
    assert "warning: UNPINNED" in done.stderr
    assert line in [shown_line.strip() for shown_line in done.stderr.splitlines()]


def fingerprint(line: str) -> str:
    said = subprocess.run(["ssh-keygen", "-lf", "-"], input=line.splitlines()[0], text=True, capture_output=True,
                          check=True)  # fmt: skip
    return said.stdout.split()[1]


def test_a_host_that_shows_no_key(spare: Lab) -> None:
    with hostile(drips=True) as port:
        ssh = f"{{address: 127.0.0.1, user: root, port: {port}}}"
        spare.config.write_text(spare.config.read_text().replace("  k0s:", f"  - role: worker\n    ssh: {ssh}\n  k0s:"))
        done = spare.run("apply", K0SCTL_RESTORE="never").failed(4, "no host key is shown")
    assert f"no host key is shown: 127.0.0.1:{port}. Next: " in done.last
    assert "k0sctl apply" not in spare.report()["facts"]


def test_closed_doors(running: Lab, tmp_path: Path, cluster_key: KeyPair) -> None:
    with practice_host(tmp_path / "silent", name="silent") as silent:
        lab = Lab(tmp_path / "lab", [silent], cluster_key)
        shutil.copytree(running.backup, lab.backup, symlinks=True)
        label = f"{silent.address}:{silent.port}"
        silent.fault("ssh-hang")
        with lab.repository_unchanged(), ThreadPoolExecutor(2) as pool:
            began = time.monotonic()
            # two at once need two places for their logs; neither comes to write the repository
            waiting = {"K0SCTL_SSH_WAIT": "3s"}
            results = [pool.submit(lab.run, command, **waiting, K0SCTL_DIR_LOG=f"log-{command}") for command in HANDLED]
            for result in results:
                result.result().failed(4, label, "no SSH greeting")
            assert time.monotonic() - began < 12
    with lab.repository_unchanged():
        began = time.monotonic()
        done = lab.run("apply", K0SCTL_SSH_WAIT="1s", K0SCTL_RESTORE="never").failed(4, label)
        # a container has taken its address with it
        assert "refused" in done.stderr or f"{label}: no answer" in done.stderr
        assert label in done.last
        assert time.monotonic() - began < 6
        assert "k0sctl apply" not in lab.report()["facts"]


def test_a_wrong_ssh_key(running: Lab, tmp_path: Path) -> None:
    key = tmp_path / "other"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True)
    with running.repository_unchanged():
        # k0sctl tries again after 2, 4, 8 s: the time limit comes while it waits, and it knows the last refusal
        running.run("backup", K0SCTL_SSH_KEY=key.read_text(), K0SCTL_TIMEOUT="11s").failed(4, "K0SCTL_SSH_KEY")


@pytest.mark.k0sctl_faults
def test_timeouts(crew: Crew) -> None:
    """k0sctl that does not end by itself is killed a little after its time limit."""

    def check(lab: Lab, case: tuple[str, str, str, int, tuple[str, ...]]) -> None:
        fault, command, restore, code, said = case
        lab.host.install()
        lab.faults.set(fault)
        with lab.repository_unchanged():
            lab.run(command, K0SCTL_TIMEOUT="1s", K0SCTL_RESTORE=restore).failed(code, "time limit", *said)
        assert not lab.leftovers()

    crew.check(
        [
            ("k0sctl-stuck", "backup", "", 6, ("K0SCTL_TIMEOUT",)),
            ("k0sctl-hang", "apply", "never", 6, ("K0SCTL_TIMEOUT",)),
            # while it is asked who runs there: nothing is known, and nothing is applied
            ("k0sctl-hang", "apply", "auto", 4, ("nobody can tell", "K0SCTL_RESTORE=never")),
        ],
        check,
    )


# --- settings ---------------------------------------------------------------------------------------------------


def test_wrong_settings_all_at_once(running: Lab) -> None:
    wrong = {
        "K0SCTL_TIMEOUT": "45", "K0SCTL_RESTORE": "maybe", "K0SCTL_ENC_CIPHER": "aes-256-gcm", "K0SCTL_SSH_WAIT": "x",
        "K0SCTL_PREFIX_BAK": "../up", "K0SCTL_BACKUP_HOSTS": "some", "DISABLE_TELEMETRY": "perhaps",
        "K0SCTL_ACCEPT_COMMIT": "abc", "K0SCTL_DIR_BAK": "auditlog", "K0SCTL_GPG_KEY": "not a key",
    }  # fmt: skip
    done = running.run("backup", **wrong, K0SCTL_TIMOUT="1m").failed(2, *wrong)
    assert "not a key" not in done.stderr
    assert not (running.auditlog / ".git").exists()
    # one that is only not known is told, and does no harm
    done = running.ok("restore", "--to", "../out", K0SCTL_TIMOUT="1m")
    assert "warning: K0SCTL_TIMOUT is no setting of this release and is ignored; did you mean K0SCTL_TIMEOUT?" in (
        done.stderr
    )
    # an empty value is an unset value
    running.ok("restore", "--to", "../out2", **dict.fromkeys(wrong.keys() - {"K0SCTL_GPG_KEY"}, ""))


def test_the_command_line(running: Lab) -> None:
    for words in (["destroy"], ["backup", "name"], ["restore", "a", "b"], ["--frobnicate"], ["restore", "--to"]):
        done = running.run(*words).failed(2)
        assert "Report: none" in done.last
    for name in ("nonsense", "../../escape", "two words"):
        running.run(K0SCTL_CMD_NAME=name).failed(2, "K0SCTL_CMD_NAME", "must be one of")
    assert running.report()["command"] == "command-line"  # never an unknown word in the name of a file
    assert not list(running.directory.glob("*.json"))
    for directory in ("~/logs", ""):
        running.run("backup", K0SCTL_DIR_LOG=directory, K0SCTL_TIMEOUT="x").failed(2)
    assert not (running.work / "~").exists()
    running.run("backup", K0SCTL_DIR_LOG="backup").failed(2, "K0SCTL_DIR_")
    assert not list(running.backup.glob("*-backup.json"))


def test_version_never_fails_on_settings(running: Lab) -> None:
    wrong = {"K0SCTL_TIMEOUT": "x", "K0SCTL_GPG_KEY": "x", "K0SCTL_SSH_KEY_FILE": "/nowhere", "K0SCTL_DIR_LOG": "/"}
    done = running.ok(**wrong)
    assert done.stdout.splitlines()[0].startswith("k0sctl-handler ")
    told = subprocess.run([running.k0sctl, "version"], capture_output=True, text=True, check=True).stdout
    assert done.stdout.splitlines()[1] == "k0sctl " + told.split()[1]
    assert not running.auditlog.exists()
