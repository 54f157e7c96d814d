"""`ping` as a user runs it, with the real mtr, on the loopback or in a network of the test's own."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from handler.process import Children
from handler.tools.mtr import Mtr, trace_of
from tests.practice.host import PracticeHost
from tests.support.hostile import hostile
from tests.support.keys import KeyPair
from tests.support.lab import Ended, Lab
from tests.support.watcher import wait_for

pytestmark = pytest.mark.contract

HEAD = ["NODE", "ADDRESS", "HOPS", "LOSS", "AVG", "ms", "DOOR", "VERDICT"]
#: A network without any other machine; its own addresses are reached.
APART = """\
ip link set lo up
ip addr add 10.8.0.1/32 dev lo
ip addr add 10.8.0.2/32 dev lo
ip -6 addr add fd00:8::1/128 dev lo nodad
exec "$@"
"""
ONE_NODE = """\
apiVersion: k0sctl.k0sproject.io/v1beta1
kind: Cluster
spec:
  k0s: {version: v1.30.0+k0s.0}
  hosts:
  - role: controller
    openSSH: {address: 10.8.0.1}
"""


@pytest.fixture
def lab(tmp_path: Path, cluster_key: KeyPair) -> Iterator[Lab]:
    """A node that answers; nothing of a backup, and no key."""
    with PracticeHost(tmp_path / "host") as host:
        lab = Lab(tmp_path, [host], cluster_key)
        lab.extra = {"K0SCTL_PING_CYCLES": "1", "K0SCTL_SSH_WAIT": "1s"}
        yield lab


@pytest.fixture
def apart(lab: Lab) -> Lab:
    """The same where there is no other machine, and no SSH server."""
    if os.geteuid() != 0 or subprocess.run(["unshare", "-n", "true"], capture_output=True, check=False).returncode:
        pytest.skip("no network of its own here")
    lab.prefix = ["unshare", "-n", "sh", "-euc", APART, "-"]
    (lab.work / "config" / "k0sctl.yaml").write_text(ONE_NODE)
    return lab


def ping(lab: Lab, code: int, **env: str | None) -> tuple[Ended, Any]:
    """A run that ends with this code, and its result."""
    without = dict.fromkeys(("K0SCTL_GPG_KEY", "K0SCTL_GPG_PASSPHRASE", "K0SCTL_SSH_KEY"))
    done = lab.run("ping", "--json", **{**without, **env})
    assert done.code == code, done.stderr
    document = json.loads(done.stdout)
    assert document["facts"].get("ping") == document["result"] == lab.report()["facts"].get("ping")
    return done, document["result"]


def closed_port(lab: Lab, port: int) -> None:
    """A second node at which nobody listens."""
    text = lab.config.read_text()
    host = f"  - role: worker\n    ssh: {{address: 127.0.0.1, user: root, port: {port}}}\n"
    lab.config.write_text(text.replace("  k0s:", f"{host}  k0s:"))


# --- nodes ----------------------------------------------------------------------------------------------------


def test_a_node_that_is_fine(lab: Lab) -> None:
    done, result = ping(lab, 0)
    (node,) = result["nodes"]
    label = f"127.0.0.1:{lab.host.port}"
    assert {**node, "addresses": []} == {
        "host": label, "role": lab.host.role, "ok": True, "verdict": "ok", "why": "", "addresses": [],
    }  # fmt: skip
    (address,) = node["addresses"]
    assert 0 < address.pop("best_ms") <= address.pop("average_ms") <= address.pop("worst_ms")
    assert address == {
        "address": "127.0.0.1", "reached": True, "loss": 0, "hops": 1, "door": "open", "problem": "",
    }  # fmt: skip
    assert result["others"] == []
    assert f"    127.0.0.1 ({label}): reached, hops: 1, lost: 0 %" in done.stderr
    assert done.first.startswith("ping: ")
    assert lab.leftovers() == []
    (log,) = lab.auditlog.glob("*-ping.log")
    assert re.search(r"^1 +127\.0\.0\.1 +0 % +1 ", log.read_text(), re.MULTILINE)
    assert sorted(path.name for path in lab.work.iterdir()) == ["auditlog", "config"]


def test_the_table(lab: Lab) -> None:
    closed_port(lab, 1)
    done = lab.run("ping")
    head, *rows = done.stdout.splitlines()
    assert head.split() == HEAD
    assert re.fullmatch(rf"127\.0\.0\.1:{lab.host.port} +127\.0\.0\.1 +1 +0 % +\d+\.\d +open +ok", rows[0])
    assert re.fullmatch(r"127\.0\.0\.1:1 +127\.0\.0\.1 +1 +0 % +\d+\.\d +closed +FAILED: SSH door: .*refused", rows[1])
    assert len(rows) == 2


def test_a_closed_door_and_a_name_that_does_not_resolve(lab: Lab) -> None:
    closed_port(lab, 1)
    lab.config.write_text(
        lab.config.read_text().replace("  k0s:", "  - {role: worker, ssh: {address: a.invalid}}\n  k0s:")
    )
    done, result = ping(lab, 4)
    assert [node["verdict"] for node in result["nodes"]] == ["ok", "SSH door closed", "no address"]
    assert result["nodes"][2]["addresses"] == []
    named = "127.0.0.1:1 (SSH door closed), a.invalid:22 (no address): 2 of 3 nodes failed"
    assert done.last.startswith(f"k0sctl-handler: ping FAILED (4 tool failed): {named}. Next: ")
    # whether the machine's name server says so in a second is not ours
    assert re.search(r"a\.invalid does not resolve|no name server answers for a\.invalid", done.stderr)


def test_a_wrong_host_key(lab: Lab) -> None:
    pins = lab.work / "config" / "known_hosts"
    good = pins.read_text()
    name = f"[127.0.0.1]:{lab.host.port}"
    subprocess.run(["ssh-keygen", "-qt", "ed25519", "-N", "", "-f", lab.tmp / "other"], check=True)
    pins.write_text(f"{name} {(lab.tmp / 'other.pub').read_text()}")
    done, result = ping(lab, 5)
    assert [node["verdict"] for node in result["nodes"]] == ["wrong host key"]
    assert result["nodes"][0]["addresses"][0]["reached"] is True
    accepts = next(line for line in good.splitlines() if "ed25519" in line)
    assert f"to accept it: {accepts}" in done.stderr
    assert name in done.last
    closed_port(lab, 1)
    done, _ = ping(lab, 4)
    assert f"to accept it: {accepts}" in done.stderr
    assert f"127.0.0.1:{lab.host.port} (wrong host key), 127.0.0.1:1 (SSH door closed): 2 of 2" in done.last


@pytest.mark.parametrize("drips", [True, False])
def test_a_node_that_never_ends_the_key_exchange(lab: Lab, drips: bool) -> None:
    """It is the one that fails, and holds up no other."""
    address = "127.0.0.2"
    with hostile(address, lab.host.port, drips=drips) as port:
        text = f"  - {{role: worker, ssh: {{address: {address}, user: root, port: {port}}}}}\n  k0s:"
        lab.config.write_text(lab.config.read_text().replace("  k0s:", text))
        done, result = ping(lab, 4)
    assert [node["verdict"] for node in result["nodes"]] == ["ok", "SSH door closed"]
    assert result["nodes"][1]["why"] == "SSH door: it is open, but no host key is shown"
    assert f"{address}:{port} (SSH door closed): 1 of 2 nodes failed" in done.last


def test_a_revoked_host_key(lab: Lab) -> None:
    """It is wrong though it is pinned, and is not offered to be accepted; that another is revoked excuses nothing."""
    pins = lab.work / "config" / "known_hosts"
    (name, shown), (_, second) = (line.split(maxsplit=1) for line in pins.read_text().splitlines())
    subprocess.run(["ssh-keygen", "-qt", "ed25519", "-N", "", "-f", lab.tmp / "other"], check=True)
    pins.write_text(f"{name} {shown}\n@revoked * {shown}\n")
    done, result = ping(lab, 5)
    assert result["nodes"][0]["verdict"] == "wrong host key"
    assert ", which is revoked; pinned none" in done.stderr
    assert "to accept it" not in done.stderr
    assert "a revoked key must never be accepted" in done.last
    pins.write_text(f"{name} {(lab.tmp / 'other.pub').read_text()}@revoked * {second}\n")
    ping(lab, 5)


def test_without_pins_the_lines_to_paste_are_told(lab: Lab) -> None:
    (lab.work / "config" / "known_hosts").unlink()
    done, _ = ping(lab, 0)
    assert "warning: UNPINNED" in done.stderr
    assert f"[127.0.0.1]:{lab.host.port} ssh-ed25519 " in done.stderr


def test_keys_are_pinned_for_the_name_in_the_configuration(lab: Lab) -> None:
    port = str(lab.host.port)
    lab.config.write_text(lab.config.read_text().replace("address: 127.0.0.1", "address: localhost"))
    _, result = ping(lab, 5)
    assert result["nodes"][0]["why"].endswith("no host key is pinned for it")
    pins = lab.work / "config" / "known_hosts"
    pins.write_text(pins.read_text().replace("127.0.0.1", "localhost"))
    _, result = ping(lab, 0)
    assert result["nodes"][0]["host"] == f"localhost:{port}"
    assert {"127.0.0.1", "::1"} >= {one["address"] for one in result["nodes"][0]["addresses"]}


def test_what_is_behind_a_bastion_is_not_judged(lab: Lab) -> None:
    behind = "  - {role: worker, ssh: {address: 127.0.0.1, port: 1, bastion: {address: 127.0.0.1}}}\n"
    here = "  - {role: worker, localhost: true}\n"
    lab.config.write_text(lab.config.read_text().replace("  k0s:", f"{behind}{here}  k0s:"))
    done, result = ping(lab, 0)
    assert [(node["ok"], node["verdict"]) for node in result["nodes"]] == [
        (True, "ok"), (None, "not judged"), (None, "not judged"),
    ]  # fmt: skip
    assert result["nodes"][1]["addresses"][0]["door"] is None
    assert result["nodes"][2]["addresses"] == []
    assert "not judged: 127.0.0.1:1, localhost" in done.last


def test_a_host_of_the_same_address_as_one_behind_a_bastion(lab: Lab) -> None:
    closed_port(lab, 1)
    here = "{address: 127.0.0.1, user: root, port: 1}"
    behind = "{address: 127.0.0.1, user: root, port: 1, bastion: {address: 127.0.0.1}}"
    text = lab.config.read_text()
    for both in ((behind, here), (here, behind), (here, here, behind, behind)):
        hosts = "".join(f"  - {{role: worker, ssh: {one}}}\n" for one in both)
        lab.config.write_text(text.replace(f"  - role: worker\n    ssh: {here}\n", hosts))
        _, result = ping(lab, 4)
        assert sorted(node["verdict"] for node in result["nodes"]) == ["SSH door closed", "not judged", "ok"]


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ("", "1 node reached, SSH doors open: 1 of 1"),
        ("openSSH", "2 nodes reached, SSH doors open: 1 of 1, no SSH door tried: 127.0.0.1:1"),
        ("winRM", "2 nodes reached, SSH doors open: 1 of 1, no SSH door tried: 127.0.0.1:1"),
    ],
)
def test_the_last_line_tells_which_doors_were_tried(lab: Lab, more: str, told: str) -> None:
    closed_port(lab, 1)
    host = "  - role: worker\n    ssh: {address: 127.0.0.1, user: root, port: 1}\n"
    assert host in lab.config.read_text()
    other = host.replace("ssh", more) if more else ""
    lab.config.write_text(lab.config.read_text().replace(host, other))
    done, _ = ping(lab, 0)
    assert f"ping ok: {told}. Report" in done.last


def test_without_a_door_that_could_be_tried(apart: Lab) -> None:
    done, _ = ping(apart, 0)
    assert "ping ok: 1 node reached, no SSH door tried: 10.8.0.1:22. Report" in done.last


# --- files ----------------------------------------------------------------------------------------------------


def test_what_other_files_name(apart: Lab) -> None:
    config = apart.work / "config"
    (config / "k0sctl.yaml").write_text(ONE_NODE + "    # $COMMENT\n  x: {y: ${LB:-10.8.0.2}}\n")
    (config / "a.yaml").write_text("lb: 10.8.0.2\nself: 10.8.0.1\nname: 10.9.9.9\ndescription: 10.9.9.8\n")
    (config / "other.yaml").write_text(ONE_NODE.replace("10.8.0.1", "fd00:8::1"))
    (config / "b.yml").write_text("x: 10.9.9.7\n")
    (config / ".hidden.yaml").write_text("}")
    (config / "directory.yaml").mkdir()
    done, result = ping(apart, 0)
    assert [node["host"] for node in result["nodes"]] == ["10.8.0.1:22", "[fd00:8::1]:22"]
    assert [node["addresses"][0]["reached"] for node in result["nodes"]] == [True, True]
    told = [(other["address"], other["where"], other["reached"], bool(other["problem"])) for other in result["others"]]
    assert told == [
        ("10.8.0.2", "config/k0sctl.yaml:9:10", True, False), ("10.9.9.9", "config/a.yaml:3:7", False, True),
    ]  # fmt: skip
    assert "no route from here" in done.stderr


def test_the_problems_of_all_files_are_told_together(lab: Lab) -> None:
    config = lab.work / "config"
    lab.config.write_text(lab.config.read_text() + "    x: $NOBODY\n")
    (config / "a.yaml").write_bytes("ä: 1\nb: ü".encode() + b"\xff")
    (config / "b.yaml").write_text("a: [1\n")
    (config / "c.yaml").write_text(ONE_NODE.replace("10.8.0.1", "$NOWHERE"))
    (config / "d.yaml").write_text("a: $ANYTHING\n")
    (config / "e.yaml").symlink_to("nowhere")
    done, result = ping(lab, 2)
    assert result is None
    lines = lab.config.read_text().count("\n")
    for told in (
        f"config/k0sctl.yaml:{lines}:8: ",
        "config/a.yaml:2:5: ",
        "config/b.yaml:2:1: ",
        "config/c.yaml:7:24: ",
    ):
        assert told in done.stderr
    assert "config/e.yaml cannot be read (No such file" in done.stderr
    assert "d.yaml" not in done.stderr
    assert "5 files cannot be used" in done.last


def test_what_is_no_file_is_not_read(lab: Lab) -> None:
    config = lab.work / "config"
    os.mkfifo(config / "a.yaml")
    (config / "b.yaml").symlink_to("/dev/zero")
    with (config / "c.yaml").open("wb") as file:
        file.truncate((8 << 20) + 1)
    done, _ = ping(lab, 2)
    for told in ("a.yaml is a device or a pipe", "b.yaml is a device or a pipe", "c.yaml has more than 8 MiB"):
        assert f"config/{told}" in done.stderr
    assert "3 files cannot be used" in done.last


def test_addresses_that_are_none(apart: Lab) -> None:
    """A zone of IPv6 may hold anything for Python, and stood in the log, and among mtr's arguments."""
    forged = r'a: ["fe80::1%x\n10.9.9.9 (victim:22): reached, hops: 1\e[2J", "fe80::1%x\0y", 10.8.0.2]'
    (apart.work / "config" / "a.yaml").write_text(forged)
    done, result = ping(apart, 0)
    assert [other["address"] for other in result["others"]] == ["10.8.0.2"]
    (log,) = apart.auditlog.glob("*-ping.log")
    assert "victim" not in done.stderr + log.read_text()


def test_the_name_of_a_file_cannot_steer_a_terminal(lab: Lab) -> None:
    """The log is read in one, and sent by mail."""
    config = os.fsencode(lab.work / "config")
    Path(os.fsdecode(config + b"/\x1b[2J\x1b]0;evil\x07\x9b\tx\xff.yaml")).write_text("a: 192.0.2.1")
    lab.prefix = ["unshare", "-n"] if os.geteuid() == 0 else []
    lab.run("ping", PYTHONIOENCODING="utf-8:backslashreplace")
    (log,) = lab.auditlog.glob("*-ping.log")
    said = log.read_text()
    assert "192.0.2.1 (config/" in said
    assert "\tx" in said
    assert not [char for char in said if not char.isprintable() and char not in "\n\t"]


def test_one_bad_file_is_the_message(lab: Lab) -> None:
    (lab.work / "config" / "a.yaml").write_bytes(b"a: \xe4")
    done, _ = ping(lab, 2)
    assert "config/a.yaml:1:4: this is not UTF-8 text" in done.last


# --- mtr ------------------------------------------------------------------------------------------------------


def test_mtr_is_missing(lab: Lab) -> None:
    done, _ = ping(lab, 3, PATH=str(lab.bin))
    assert "mtr was not found in PATH. Next: install mtr" in done.last


def test_the_real_program(children: Children, tool_env: dict[str, str]) -> None:
    mtr = Mtr(children, {**tool_env, "MTR_OPTIONS": "--report"}, cycles=2)
    assert re.fullmatch(r"\d+\.\d+.*", mtr.version())
    for address, port in (("127.0.0.1", None), ("127.0.0.1", 1), ("::1", None)):
        lines: list[str] = []
        trace = trace_of(address, lines, children.run(mtr.command(address, port, lines)))
        if address == "::1" and "no route" in trace.problem:
            continue
        assert trace.route is not None, trace
        assert trace.route.target is not None
        assert (trace.route.target.sent, trace.route.loss) == (2, 0)
    lines = []
    unknown = trace_of("no-such.invalid", lines, children.run(mtr.command("no-such.invalid", None, lines)))
    assert (unknown.route, unknown.refused) == (None, False)
    assert "Failed to resolve host" in unknown.problem


def test_how_it_is_called(lab: Lab) -> None:
    lab.tool("mtr", f'printf "%s\\n" "$*" >> {lab.tmp}/calls; env >> {lab.tmp}/env')
    (lab.work / "config" / "a.yaml").write_text("a: 192.0.2.1")
    lab.prefix = ["unshare", "-n"] if os.geteuid() == 0 else []
    lab.run("ping", K0SCTL_PING_MODE="tcp", K0SCTL_PING_CYCLES="3", MTR_OPTIONS="--report", MTR_PACKET="/bin/false")
    _, *calls = sorted((lab.tmp / "calls").read_text().splitlines(), key=len)
    fast = " -i 0.2" if os.geteuid() == 0 else ""
    assert sorted(calls) == sorted(
        f"--json -n -c 3 -G 1{fast} -4 --tcp --port {port} -- {address}"
        for address, port in (("127.0.0.1", lab.host.port), ("192.0.2.1", 22))
    )
    assert "MTR_" not in (lab.tmp / "env").read_text()


def test_the_next_one_starts_when_one_ends(apart: Lab) -> None:
    """No waves: while a slow one runs, all others go through the second place."""
    script = (
        f'case "$*" in *--version*) ;; *) echo + >> {apart.tmp}/calls; case "$*" in *10.8.0.1) sleep 4;; esac; '
        f'"$real" "$@"; echo "- $*" >> {apart.tmp}/calls; exit;; esac'
    )
    apart.tool("mtr", script)
    (apart.work / "config" / "a.yaml").write_text("a: [10.8.0.2, fd00:8::1, 10.9.9.9]")
    ping(apart, 0, K0SCTL_PING_PARALLEL="2")
    calls = (apart.tmp / "calls").read_text().splitlines()
    assert calls[-1].endswith("10.8.0.1")
    running = [sum(1 if call == "+" else -1 for call in calls[: end + 1]) for end in range(len(calls))]
    assert (max(running), running[-1], len(calls)) == (2, 0, 8)


def test_without_the_right_to_trace(apart: Lab) -> None:
    """The node has no SSH door that could fail it, so the missing right is what is told."""
    if shutil.which("setpriv") is None:
        pytest.skip("there is no setpriv")
    apart.prefix = [*apart.prefix, "setpriv", "--bounding-set=-net_raw", "--inh-caps=-net_raw"]
    done, result = ping(apart, 2)
    (node,) = result["nodes"]
    assert (node["ok"], node["verdict"], node["addresses"][0]["reached"]) == (None, "not judged", None)
    for told in ("--cap-add NET_RAW", '--sysctl net.ipv4.ping_group_range="0 2147483647"', "setcap cap_net_raw+ep"):
        assert told in done.stderr
    (apart.work / "config" / "k0sctl.yaml").write_text(ONE_NODE.replace("openSSH", "ssh"))
    done, result = ping(apart, 4)
    assert result["nodes"][0]["verdict"] == "SSH door closed"
    assert "--cap-add NET_RAW" in done.stderr


def test_sigterm_ends_it_at_once_and_keeps_what_was_traced(lab: Lab) -> None:
    lab.tool("mtr", f'case "$*" in *192.0.2.1) echo $$ > {lab.tmp}/pid; exec sleep 60;; esac')
    (lab.work / "config" / "a.yaml").write_text("a: 192.0.2.1")
    process = lab.start("ping")
    assert process.stderr is not None
    told = ""
    while "reached, hops: 1" not in told:
        told = process.stderr.readline()
        assert told
    wait_for((lab.tmp / "pid").exists)
    process.send_signal(signal.SIGTERM)
    done = lab.end(process, 10)
    assert done.code == 143
    assert not Path(f"/proc/{(lab.tmp / 'pid').read_text().strip()}").exists()
    assert lab.leftovers() == []
    (log,) = lab.auditlog.glob("*-ping.log")
    assert "reached, hops: 1" in log.read_text()
