"""The stand-in k0sctl against the recorded runs of the real one: reset, SSH, command line, configuration."""

import shutil
import signal
import time

import pytest

from tests.practice.client import Client
from tests.practice.host import PracticeHost
from tests.practice.hostshell import rewrite

RESET = [
    "Connect to hosts",
    "Detect host operating systems",
    "Acquire exclusive host lock",
    "Prepare hosts",
    "Gather host facts",
    "Gather k0s facts",
    "Reset controllers",
    "Reset leader",
    "Reload service manager",
    "Release exclusive host lock",
    "Disconnect from hosts",
]
ALWAYS = (
    "H: k0s reported failure: command result: process finished with error: Process exited with status 127 "
    "(/bin/sh: 1: /usr/local/bin/k0s: not found)"
)
REFUSED = (
    "failed on 1 hosts:\\n - H: retrying aborted\\nclient connect: retry: abort condition reached after 1 attempts: "
    "operation cannot be completed: "
)
MISMATCH = "ssh dial: ssh: handshake failed: host key mismatch: "


@pytest.mark.e2e
def test_reset(client: Client, host: PracticeHost) -> None:
    """Runs d1, d2 and d4."""
    host.install()
    refused = client.run("reset")
    assert (refused.status, refused.fatal) == (1, "reset failed: reset requires --force")
    outcome = client.run("reset", "--force")
    assert outcome.status == 0
    assert outcome.phases == RESET
    assert outcome.messages("warning") == [ALWAYS]
    assert not host.running()
    assert host.files() == []
    again = client.run("reset", "--force")
    assert again.status == 1
    reason = "useExistingK0s=true but no 'k0s' binary found in PATH, set k0sInstallPath to use a custom path"
    assert again.fatal == f"reset failed: failed on 1 hosts:\\n - H: H: {reason}"


@pytest.mark.e2e
def test_reset_that_fails(client: Client, host: PracticeHost) -> None:
    """Run d3: exit status 0; only a warning tells."""
    host.install()
    host.fault("fail-reset")
    outcome = client.run("reset", "--force")
    assert outcome.status == 0
    assert outcome.phases == RESET
    reason = "Error: failed to unmount /var/lib/k0s/kubelet: device busy"
    assert outcome.messages("warning") == [f"H: k0s reset reported failure: {reason}\\n ", ALWAYS]
    assert host.uid() is not None
    assert not host.node.binary.exists()


@pytest.mark.e2e
def test_reset_is_aborted(client: Client, host: PracticeHost) -> None:
    """Run h3."""
    host.install()
    host.fault("slow-reset", "1")
    process = client.start("reset", "--force")
    deadline = time.monotonic() + 20
    while not host.calls()[-1].startswith("k0s reset"):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(signal.SIGTERM)
    outcome = client.end(process)
    assert outcome.status == 1
    assert outcome.messages("warning")[-1] == "H: k0s reset reported failure:  "
    assert outcome.fatal.startswith('reset failed: context canceled before entering phase \\"Reset leader\\"')


@pytest.mark.e2e
def test_host_keys(client: Client, host: PracticeHost) -> None:
    """Runs f1, f2, f3, f4b, f5 and f6 (with the shortest command that connects)."""
    words = ("backup", "-o", "o")
    known = client.home / ".ssh/known_hosts"
    none = "backup failed: failed to find a running controller"
    assert client.run(*words).fatal == none
    assert len(known.read_text(encoding="utf-8").splitlines()) == 1
    assert client.run(*words).fatal == none
    host.change_host_key()
    assert client.run(*words).fatal == f"backup failed: {REFUSED}{MISMATCH}knownhosts: key mismatch"
    assert client.run(*words, SSH_KNOWN_HOSTS="").fatal == none

    settings = client.home / ".ssh/config"
    settings.write_text("Host *\n  StrictHostKeyChecking no\n", encoding="utf-8")
    loose = client.run(*words)
    assert loose.fatal == none
    assert loose.stderr.startswith(f"Ignored an SSH host key mismatch for {client.label}") or (
        f"Ignored an SSH host key mismatch for {client.label} because" in loose.stderr
    )
    pinned = client.home / "pinned"
    settings.write_text(f"Host *\n  UserKnownHostsFile none\n  GlobalKnownHostsFile {pinned}\n", encoding="utf-8")
    missing = "create config: operation cannot be completed: no known_hosts file found"
    assert client.run(*words).fatal == f"backup failed: {REFUSED}{missing}"
    pinned.write_text("[127.0.0.1]:1 ssh-ed25519 AAAA\n", encoding="utf-8")
    unknown = f"backup failed: {REFUSED}{MISMATCH}unknown host: knownhosts: key is unknown"
    assert client.run(*words).fatal == unknown
    pinned.write_text(host.known_hosts_lines(), encoding="utf-8")
    assert client.run(*words).fatal == none


@pytest.mark.e2e
def test_keys_and_ports(client: Client, host: PracticeHost) -> None:
    """Runs f_missing_keyfile, f_wrong_key and f_closed_port."""
    text = client.config.read_text(encoding="utf-8")
    other = client.home / "other"
    client.config.write_text(text.replace(str(host.private_key), str(other)), encoding="utf-8")
    no_key = "create config: operation cannot be completed: no usable authentication method found"
    assert client.run("apply").fatal == f"apply failed: {REFUSED}{no_key}"
    shutil.copy(host.sshd.directory / "ssh_host_ed25519_key", other)
    wrong = client.run("apply", "--timeout", "1s")
    assert wrong.fatal.endswith(
        "H: context deadline exceeded\\nclient connect: retry: context done after 1 attempts: "
        "context deadline exceeded: authentication failed: ssh dial: ssh: handshake failed: "
        "ssh: unable to authenticate, attempted methods [none publickey], no supported methods remain"
    )
    client.config.write_text(text.replace(f"port: {host.port}", "port: 1"), encoding="utf-8")
    closed = client.run("backup", "--timeout", "3s", "-o", "o")
    assert closed.status == 1
    assert closed.phases == ["Connect to hosts"]
    assert closed.fatal.endswith(
        "127.0.0.1:1: context deadline exceeded\\nclient connect: retry: context done after 2 attempts: "
        "context deadline exceeded: ssh dial: dial tcp 127.0.0.1:1: connect: connection refused"
    )
    process = client.start("apply")
    time.sleep(0.8)
    process.send_signal(signal.SIGTERM)
    aborted = client.end(process)
    assert aborted.status == 1
    assert "context canceled" in aborted.fatal


@pytest.mark.parametrize(
    "case",
    [
        (["version"], {}, 0, "version: v0.32.2\ncommit: ", ""),
        ([], {}, 0, "NAME:\n   k0sctl - k0s cluster management tool", ""),
        (["apply", "--help"], {}, 0, "NAME:\n   k0sctl apply - Apply a k0sctl configuration", ""),
        (["frobnicate"], {}, 3, "", "No help topic for 'frobnicate'\n"),
        (["apply", "--nope"], {}, 1, "Incorrect Usage: flag provided", 'msg="flag provided but not defined: -nope"'),
        (
            ["version"],
            {"DEBUG": "release"},
            1,
            "Incorrect Usage: could not parse",
            'variable \\"DEBUG\\" for flag debug',
        ),
        (["apply"], {"DRY_RUN": "maybe"}, 1, "Incorrect Usage: could not parse", "for flag dry-run: strconv.ParseBool"),
    ],
)
def test_command_line(client: Client, case: tuple[list[str], dict[str, str], int, str, str]) -> None:
    """The cases of a_*, i1b and i2b."""
    words, environment, status, stdout, stderr = case
    outcome = client.run(*words, **environment)
    assert outcome.status == status
    assert outcome.stdout.startswith(stdout)
    assert stderr in outcome.stderr


def test_configuration_errors(client: Client) -> None:
    """Runs g1 and g2."""
    good = client.config.read_text(encoding="utf-8")
    start = f"failed to unmarshal cluster config: failed to unmarshal {client.config}: yaml: unmarshal errors:\\n  line"
    cases = {
        "": "no resource definition manifests found in configuration files",
        "a: b: c\n": f"failed to parse config: failed to decode resource {client.config}: yaml: line 1: ",
        good.replace("kind: Cluster\n", "kind: Other\n"): "failed to get cluster resources: no resources found for ",
        f"{good}---\n{good}": "expected exactly one cluster config, got 2",
        good.replace("    ssh:", "    bogus: 1\n    ssh:"): f"{start} 9: field bogus not found in type cluster.host",
        good.replace("role: controller", "role: king"): "cluster config validation failed: spec: (hosts: no hosts with",
    }
    for text, reason in cases.items():
        client.config.write_text(text, encoding="utf-8")
        outcome = client.run("apply")
        assert (outcome.status, outcome.phases) == (1, [])
        assert outcome.fatal.startswith(reason)
    client.config.unlink()
    assert client.run("apply").fatal == "failed to locate configuration"
    assert client.run("apply", "-c", "nope.yaml").fatal == "no configuration files found"


@pytest.mark.e2e
def test_variables(client: Client, host: PracticeHost) -> None:
    """Run g3: substituted from the environment, empty when unset; the log holds the result."""
    text = client.config.read_text(encoding="utf-8").replace(f"port: {host.port}", "port: ${PORT:-$NO}")
    text = text.replace("name: lab", "name: $NAME$$x${UNSET}", 1).replace(f"port: {host.port}", "port: $PORT")
    text = text.replace("port: ${PORT:-$NO}", "port: ${PORT:-1}")
    client.config.write_text(text, encoding="utf-8")
    outcome = client.run("backup", "-o", "o", PORT=str(host.port), NAME="hunter2")
    assert outcome.fatal == "backup failed: failed to find a running controller"
    assert "name: hunter2$x\\n" in client.log


@pytest.mark.e2e
def test_silent_port(client: Client, host: PracticeHost) -> None:
    """A port that accepts connections and says nothing."""
    host.fault("ssh-hang")
    silent = client.run("backup", "--timeout", "1s", "-o", "o")
    assert (silent.status, silent.phases) == (1, ["Connect to hosts"])
    host.clear_fault("ssh-hang")
    assert client.run("backup", "-o", "o").fatal == "backup failed: failed to find a running controller"


@pytest.mark.e2e
def test_k0sctl_faults(client: Client, host: PracticeHost) -> None:
    """The faults of k0sctl itself."""
    client.faults.set("dry-run-lie")
    lie = client.run("apply")
    assert lie.status == 0
    assert "dry-run: " in lie.stdout
    assert not host.running()
    client.faults.clear("dry-run-lie")
    client.faults.set("k0sctl-crash")
    assert client.run("apply").status == -signal.SIGSEGV
    client.faults.clear("k0sctl-crash")
    client.faults.set("k0sctl-hang")
    process = client.start("apply")
    time.sleep(0.5)
    process.terminate()
    assert client.end(process).stdout == ""
    client.faults.clear("k0sctl-hang")
    client.faults.set("restore-skipped")
    assert client.run("apply", "--restore-from", "nothing").phases[-3] == "Initialize the k0s cluster"


@pytest.mark.parametrize(
    ("command", "confined"),
    [
        ("ls /tmp", "ls /tmp/r/tmp"),
        ("cat /tmp/r/tmp/x", "cat /tmp/r/tmp/x"),
        ("echo ${TMPDIR:-/tmp}", "echo ${TMPDIR:-/tmp/r/tmp}"),
        ("dd if=/tmp/a of='/var/lib/k0s/b'", "dd if=/tmp/r/tmp/a of='/tmp/r/var/lib/k0s/b'"),
        ("ls /tmpfs /usr/local/binary /srv/tmp /tmp-x", "ls /tmpfs /usr/local/binary /srv/tmp /tmp-x"),
        ("rm -f /etc/k0s/k0s.yaml /etc/k0s-standin/x", "rm -f /tmp/r/etc/k0s/k0s.yaml /tmp/r/etc/k0s-standin/x"),
    ],
)
def test_host_paths(command: str, confined: str) -> None:
    assert rewrite(command, "/tmp/r") == confined
