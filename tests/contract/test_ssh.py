"""Host keys of a real sshd on the loopback, compared by the real OpenSSH tools."""

from __future__ import annotations

import contextlib
import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from handler.door import Door
from handler.errors import ConfigurationError, Interrupted
from handler.process import Children
from handler.secret import Secret
from handler.tools.hostkeys import HostKey, PinState, known_hosts_name
from handler.tools.ssh import Ssh
from tests.practice.host import PracticeHost
from tests.practice.sshd import make_key
from tests.support.hostile import hostile

pytestmark = pytest.mark.contract


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PracticeHost]:
    with PracticeHost(tmp_path_factory.mktemp("ssh")) as running:
        yield running


@pytest.fixture
def door(host: PracticeHost) -> Door:
    return Door(host.address, host.port)


@pytest.fixture
def ssh(children: Children, tool_env: dict[str, str]) -> Ssh:
    home = Path(tool_env["HOME"]) / ".ssh"
    home.mkdir(mode=0o700)
    return Ssh(children, tool_env, home)


def state(ssh: Ssh, door: Door, known_hosts: str) -> PinState:
    ssh.pin(known_hosts)
    check = ssh.check(ssh.scan([door]))[0]
    assert check.name == known_hosts_name(door.address, door.port)
    return check.state


def lines(host: PracticeHost, kind: str) -> str:
    return "".join(line + "\n" for line in host.known_hosts_lines().splitlines() if kind in line)


def hashed(text: str, tmp_path: Path) -> str:
    path = tmp_path / "hashed"
    path.write_text(text)
    subprocess.run(["ssh-keygen", "-q", "-H", "-f", str(path)], check=True, capture_output=True)
    assert path.read_text().startswith("|1|")
    return path.read_text()


def new_key(tmp_path: Path, kind: str = "ed25519") -> str:
    path = tmp_path / f"new_{kind}"
    make_key(path, kind)
    return " ".join(path.with_suffix(".pub").read_text().split()[:2])


def test_scan(ssh: Ssh, host: PracticeHost, door: Door) -> None:
    closed = Door("127.0.0.1", 1)
    shown = ssh.scan([door, closed])
    assert [key.kind for key in shown[door]] == ["ssh-ed25519"]  # the one that k0sctl's client is shown
    assert shown[closed] == ()
    name = known_hosts_name(door.address, door.port)
    assert {key.line(name) for key in shown[door]} <= set(host.known_hosts_lines().splitlines())
    assert ssh.scan([]) == {}


def test_scan_of_a_host_without_the_first_kind(ssh: Ssh, tmp_path: Path) -> None:
    other = PracticeHost(tmp_path / "hosts")
    other.sshd.key_types = ("ecdsa",)
    with other:
        door = Door(other.address, other.port)
        assert [key.kind for key in ssh.scan([door])[door]] == ["ecdsa-sha2-nistp256"]
        assert state(ssh, door, other.known_hosts_lines()) is PinState.FITS


def test_scan_beside_hosts_that_hold_it_up(ssh: Ssh, host: PracticeHost, door: Door, tmp_path: Path) -> None:
    """Three that greet and go silent, and one that never ends the exchange: only they show no key."""
    second = PracticeHost(tmp_path / "hosts")
    second.sshd.key_types = ("ecdsa",)
    bad = [Door(f"127.0.0.{number}", door.port) for number in (2, 3, 4, 5)]
    turns = 0

    def check() -> None:
        nonlocal turns
        turns += 1

    with contextlib.ExitStack() as servers:
        servers.enter_context(second)
        for one in bad:
            servers.enter_context(hostile(one.address, one.port, drips=one is bad[0]))
        other = Door(second.address, second.port)
        began = time.monotonic()
        shown = ssh.scan([*bad, door, other], check)
        assert time.monotonic() - began < 25
    assert {one: [key.kind for key in keys] for one, keys in shown.items()} == {
        **{one: [] for one in bad}, door: ["ssh-ed25519"], other: ["ecdsa-sha2-nistp256"],
    }  # fmt: skip
    assert turns > 50


def test_a_check_that_raises_ends_the_scan(ssh: Ssh, door: Door) -> None:
    def check() -> None:
        raise Interrupted(15)

    with hostile(drips=True) as port, pytest.raises(Interrupted):
        ssh.scan([door, Door("127.0.0.1", port)], check)


def test_the_fingerprint_is_the_one_that_ssh_prints(ssh: Ssh, host: PracticeHost, door: Door, tmp_path: Path) -> None:
    path = tmp_path / "known"
    path.write_text(lines(host, "ssh-ed25519"))
    said = subprocess.run(["ssh-keygen", "-l", "-f", str(path)], check=True, capture_output=True, text=True).stdout
    key = next(key for key in ssh.scan([door])[door] if key.kind == "ssh-ed25519")
    assert key.fingerprint in said.split()


def test_pins_that_fit(ssh: Ssh, host: PracticeHost, door: Door, tmp_path: Path) -> None:
    all_of_them = host.known_hosts_lines()
    assert state(ssh, door, all_of_them) is PinState.FITS
    assert state(ssh, door, lines(host, "ssh-ed25519")) is PinState.FITS
    assert state(ssh, door, hashed(all_of_them, tmp_path)) is PinState.FITS
    assert state(ssh, door, "# comment\n\n" + all_of_them.rstrip("\n")) is PinState.FITS
    name = known_hosts_name(door.address, door.port)
    many = lines(host, "ssh-ed25519").replace(name, f"other,{name},[10.0.0.1]:22")
    assert state(ssh, door, many) is PinState.FITS
    wild = lines(host, "ssh-ed25519").replace(name, f"[127.0.0.*]:{door.port}")
    assert state(ssh, door, wild) is PinState.FITS


def test_a_changed_key(ssh: Ssh, host: PracticeHost, door: Door, tmp_path: Path) -> None:
    name = known_hosts_name(door.address, door.port)
    other = f"{name} {new_key(tmp_path)}\n"
    assert state(ssh, door, other) is PinState.CHANGED
    assert state(ssh, door, hashed(other, tmp_path)) is PinState.CHANGED
    ssh.pin(other)
    check = ssh.check(ssh.scan([door]))[0]
    assert check.shown is not None
    assert check.shown.line(name) in host.known_hosts_lines()
    assert [key.line(name) for key in check.pinned] == [other.strip()]
    # the key that ssh compares is changed, whatever else fits
    assert state(ssh, door, other + lines(host, "ecdsa")) is PinState.CHANGED


def test_a_host_that_really_changes_its_key(children: Children, tool_env: dict[str, str], tmp_path: Path) -> None:
    home = tmp_path / "ssh-home"
    home.mkdir(mode=0o700)
    ssh = Ssh(children, tool_env, home)
    with PracticeHost(tmp_path / "hosts") as other:
        door = Door(other.address, other.port)
        ssh.pin(other.known_hosts_lines())
        assert ssh.check(ssh.scan([door]))[0].state is PinState.FITS
        other.change_host_key()
        assert ssh.check(ssh.scan([door]))[0].state is PinState.CHANGED


def test_not_pinned_and_another_kind(ssh: Ssh, host: PracticeHost, door: Door, tmp_path: Path) -> None:
    key = new_key(tmp_path)
    for name in ("[127.0.0.1]:1", "127.0.0.1", "[127.0.0.2]:" + str(door.port), "other"):
        assert state(ssh, door, f"{name} {key}\n") is PinState.NOT_PINNED
    assert state(ssh, door, lines(host, "ecdsa")) is PinState.OTHER_KIND


def test_authorities_are_left_to_ssh(ssh: Ssh, host: PracticeHost, door: Door, tmp_path: Path) -> None:
    name = known_hosts_name(door.address, door.port)
    authority = f"@cert-authority {name} {new_key(tmp_path)}\n"
    assert state(ssh, door, authority) is PinState.UNCHECKED
    assert state(ssh, door, host.known_hosts_lines() + authority) is PinState.UNCHECKED
    assert ssh.check({door: ()})[0].state is PinState.UNCHECKED


def test_revoked_keys(ssh: Ssh, host: PracticeHost, door: Door, tmp_path: Path) -> None:
    name = known_hosts_name(door.address, door.port)
    good, key = host.known_hosts_lines(), lines(host, "ssh-ed25519").removeprefix(name)
    for names in (name, "*", f"other,[127.0.0.*]:{door.port}"):
        assert state(ssh, door, f"{good}@revoked {names}{key}") is PinState.CHANGED
    assert state(ssh, door, f"{good}@revoked other{key}") is PinState.FITS
    (tmp_path / "revoked").mkdir()
    revoked = f"@revoked * {new_key(tmp_path / 'revoked')}\n"
    assert state(ssh, door, good + revoked) is PinState.FITS
    assert state(ssh, door, f"{name} {new_key(tmp_path)}\n{revoked}") is PinState.CHANGED
    assert state(ssh, door, f"other{key}{revoked}") is PinState.NOT_PINNED


def test_pins_that_cannot_be_used(ssh: Ssh) -> None:
    for text in ("", "\n", "# only a comment\n", "one\n", "one two\n"):
        with pytest.raises(ConfigurationError, match="no usable line"):
            ssh.pin(text)


def test_pinning_again_replaces(ssh: Ssh, host: PracticeHost, door: Door, tmp_path: Path) -> None:
    ssh.pin(f"other {new_key(tmp_path)}")
    assert state(ssh, door, host.known_hosts_lines()) is PinState.FITS


def test_the_client_is_strict(
    ssh: Ssh, host: PracticeHost, door: Door, tmp_path: Path, tool_env: dict[str, str]
) -> None:
    """What ssh_config says is what a real client does with it."""
    ssh.use_key(Secret(host.private_key.read_text()), "id_ed25519")
    home = Path(tool_env["HOME"]) / ".ssh"

    def log_in() -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["ssh", "-F", str(home / "config"), "-i", str(home / "id_ed25519"), "-o", "BatchMode=yes",
             "-p", str(door.port), f"{host.user}@{door.address}", "echo", "in"],
            env=tool_env, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL, timeout=30,
        )  # fmt: skip

    ssh.pin(host.known_hosts_lines())
    done = log_in()
    if os.geteuid() != 0 and "Permission denied (publickey)" in done.stderr:
        pytest.skip("this sshd lets nobody in (as in a user namespace)")
    assert done.stdout.strip() == "in", done.stderr
    for evil in (
        f"{known_hosts_name(door.address, door.port)} {new_key(tmp_path)}\n",
        "other ssh-ed25519 AAAA\n",
        host.known_hosts_lines() + "".join(f"@revoked {line}\n" for line in host.known_hosts_lines().splitlines()),
    ):
        ssh.pin(evil)
        done = log_in()
        assert done.returncode == 255
        assert "erification failed" in done.stderr or "REVOKED" in done.stderr
    modes = {path.name: path.stat().st_mode & 0o777 for path in home.iterdir()}
    assert set(modes.values()) == {0o600}


def test_copying_the_operators_keys(ssh: Ssh, tmp_path: Path, tool_env: dict[str, str]) -> None:
    theirs = tmp_path / "operator"
    theirs.mkdir()
    make_key(theirs / "id_ed25519", "ed25519")
    make_key(theirs / "work", "ecdsa")
    (theirs / "config").write_text("Host *\n  ProxyCommand evil\n")
    (theirs / "known_hosts").write_text("x")
    (theirs / "link").symlink_to("/nowhere")
    (theirs / "directory").mkdir()
    assert ssh.copy_keys(theirs) == ["id_ed25519", "work"]
    home = Path(tool_env["HOME"]) / ".ssh"
    assert sorted(path.name for path in home.iterdir()) == ["id_ed25519", "work"]
    assert all(path.stat().st_mode & 0o777 == 0o600 for path in home.iterdir())
    assert ssh.copy_keys(tmp_path / "nowhere") == []


def test_an_unreadable_key_has_no_fingerprint() -> None:
    assert HostKey("ssh-ed25519", "!!!").fingerprint == "unreadable"
