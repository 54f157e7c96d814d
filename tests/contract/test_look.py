"""The look at a host: its text in every shell there is, and whole, over SSH, at a practice host."""

from __future__ import annotations

import dataclasses
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from handler.commands.context import Context
from handler.commands.hosts import prepare_ssh
from handler.commands.looking import look_at
from handler.errors import ConfigurationError
from handler.hosts import Host
from handler.process import Children
from handler.report.output import Output
from handler.report.reporter import Reporter
from handler.report.stream import SafeStream
from handler.secret import Redactor, Secret
from handler.settings.cli import Invocation
from handler.settings.model import Settings
from handler.tools.login import Login, refusal
from handler.tools.ssh import Ssh
from handler.traces import Traces, look, read_answer
from handler.watch import Watch
from handler.workspace import private
from tests.practice.host import PracticeHost
from tests.practice.hostshell import rewrite
from tests.practice.sshd import make_key

pytestmark = pytest.mark.contract

SHELLS = [path for name in ("sh", "dash", "bash", "busybox") if (path := shutil.which(name))]


class Machine:
    """A directory that stands for a host's root, looked at without SSH."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.tools = root / "tools"
        self.tools.mkdir()
        for path in ("tmp", "etc/systemd/system", "etc/init.d", "var/lib"):
            (root / path).mkdir(parents=True)
        self.tool("id", "echo 0")
        self.tool("pgrep", "exit 1")

    def tool(self, name: str, script: str) -> None:
        (self.tools / name).write_text(f"#!/bin/sh\n{script}\n")
        (self.tools / name).chmod(0o755)

    def file(self, path: str, text: str = "") -> Path:
        target = self.root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)
        return target

    def look(self, shell: str = "/bin/sh", *, data_dir: str = "/var/lib/k0s", path: str = "/usr/bin:/bin") -> Traces:
        words = [shell, "sh"] if Path(shell).name == "busybox" else [shell]
        text = rewrite(look(data_dir), str(self.root)).replace("/bin/sh", " ".join(words))
        done = subprocess.run(
            [*words, "-c", text], env={"PATH": f"{self.tools}:{path}"},
            capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL, timeout=30,
        )  # fmt: skip
        lines = done.stdout.replace(str(self.root), "").splitlines()
        assert not done.stderr
        return read_answer(lines, data_dir=data_dir)


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


@pytest.mark.parametrize("shell", SHELLS)
def test_in_each_shell(machine: Machine, shell: str) -> None:
    assert machine.look(shell) == Traces()
    machine.file("var/lib/k0s/pki/ca.crt")
    machine.file("etc/systemd/system/k0scontroller.service")
    machine.file("etc/init.d/k0sworker")
    machine.file("tmp/Ab12Cd/k0s_backup_2026.tar.gz")
    machine.file("tmp/k0s-backup77/pki/ca.key")
    machine.file("tmp/k0sctl.lock", "ci-4711")
    machine.tool("pgrep", f'[ "$1" = -x ] && [ "$2" = k0s ] && echo {os.getpid()}')
    found = machine.look(shell)
    assert found.lock_age is not None
    assert 0 <= found.lock_age < 30
    name = Path("/proc/self/comm").read_text().strip().replace(" ", "")
    assert dataclasses.replace(found, lock_age=None) == Traces(
        data=("/var/lib/k0s",),
        units=("/etc/systemd/system/k0scontroller.service", "/etc/init.d/k0sworker"),
        processes=(f"{os.getpid()} {name}",),
        archives=("/tmp/Ab12Cd/k0s_backup_2026.tar.gz", "/tmp/k0s-backup77"),
        lock="ci-4711",
    )


def test_a_mount_point_is_no_data(machine: Machine) -> None:
    data = machine.root / "var/lib/k0s"
    data.mkdir()
    assert machine.look().clean
    (data / "lost+found").mkdir()
    assert machine.look().clean
    (data / ".hidden").touch()
    assert machine.look().data
    shutil.rmtree(data)
    data.symlink_to("/nowhere")
    assert machine.look().clean
    data.unlink()
    data.symlink_to(machine.root / "tools")
    assert machine.look().data
    data.unlink()
    data.touch()
    assert machine.look().data


def test_data_that_cannot_be_listed_is_data(machine: Machine) -> None:
    (machine.root / "var/lib/k0s").mkdir()
    machine.tool("ls", "exit 2")
    assert machine.look().data


def test_another_data_directory(machine: Machine) -> None:
    machine.file("var/lib/k0s/it's mine (1)/x")
    machine.tool("pgrep", f'printf "%s\\n" "$2" >> {machine.root}/asked; exit 1')
    assert machine.look(data_dir="/var/lib/k0s/it's mine (1)").data == ("/var/lib/k0s/it's mine (1)",)
    assert machine.look(data_dir="/var/lib/k0s/it").clean
    asked = (machine.root / "asked").read_text().splitlines()
    assert asked[:2] == ["k0s", f"^{machine.root}/var/lib/k0s/it's mine \\(1\\)/bin/"]


def test_a_unit_that_is_a_dead_link_is_a_unit(machine: Machine) -> None:
    (machine.root / "etc/systemd/system/k0sworker.service").symlink_to("/dev/nowhere")
    assert machine.look().units == ("/etc/systemd/system/k0sworker.service",)


def test_a_process_that_has_ended_is_none(machine: Machine) -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    os.waitid(os.P_PID, ended.pid, os.WEXITED | os.WNOWAIT)  # a zombie
    machine.tool("pgrep", f"echo {ended.pid}")
    assert machine.look().clean
    ended.wait()
    assert machine.look().clean


def test_without_pgrep_and_pidof(machine: Machine) -> None:
    (machine.tools / "pgrep").unlink()
    for name in ("sh", "ls", "grep", "cat", "stat", "date", "head"):
        real = shutil.which(name)
        assert real
        (machine.tools / name).symlink_to(real)
    hidden = "PATH=$PATH:/usr/sbin"  # the text itself looks there
    assert hidden
    machine.tool("pidof", f"echo {os.getpid()}")
    if not shutil.which("pgrep", path="/usr/sbin:/sbin"):
        found = machine.look(path="/nowhere")
        assert found.processes
        machine.tool("pidof", "exit 3")
        found = machine.look(path="/nowhere")
        assert found.clean
        assert not found.processes_seen


def test_a_pgrep_that_fails_has_not_looked(machine: Machine) -> None:
    machine.tool("pgrep", "exit 3")
    assert not machine.look().processes_seen


def test_only_with_the_rights_of_root(machine: Machine) -> None:
    machine.tool("id", "echo 1000")
    machine.tool("sudo", '[ "$1" = -n ] || exit 9; shift; exec "$@"')
    machine.file("var/lib/k0s/x")
    assert machine.look().data
    machine.tool("sudo", "exit 1")
    assert not machine.look().looked


# --- over SSH ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def practice(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PracticeHost]:
    with PracticeHost(tmp_path_factory.mktemp("look")) as running:
        running.install()
        yield running


@pytest.fixture
def ssh(children: Children, tool_env: dict[str, str], practice: PracticeHost) -> Ssh:
    home = Path(tool_env["HOME"]) / ".ssh"
    home.mkdir(mode=0o700)
    ssh = Ssh(children, tool_env, home)
    ssh.pin(practice.known_hosts_lines())
    return ssh


@pytest.fixture
def login(ssh: Ssh, tool_env: dict[str, str], tmp_path: Path) -> Login:
    home = Path(tool_env["HOME"]) / ".ssh"
    return Login(tool_env, ssh_home=home, pins=ssh.pins, place=tmp_path / "login", cwd=tmp_path)


def host_of(practice: PracticeHost, **changes: object) -> Host:
    host = Host(
        index=0, role="controller", connection="ssh", address=practice.address, port=practice.port,
        user=practice.user, key_path=None, bastion=False, reachable_directly=True, weakening=(),
    )  # fmt: skip
    return dataclasses.replace(host, **changes)  # type: ignore[arg-type]


def looked(children: Children, login: Login, host: Host) -> Traces:
    lines: list[str] = []
    done = children.run(login.command(host, look(host.data_dir), lines.append))
    traces = read_answer(lines, data_dir=host.data_dir)
    return traces if traces.looked else Traces(problem=refusal(done.exit_code, done.stderr))


def test_a_running_host(children: Children, ssh: Ssh, login: Login, practice: PracticeHost) -> None:
    ssh.use_key(Secret(practice.private_key.read_text()), "id_ed25519")
    calls, files = practice.calls(), practice.files()
    found = looked(children, login, host_of(practice))
    if os.geteuid() != 0 and "denied" in found.problem:
        pytest.skip("this sshd lets nobody in (as in a user namespace)")
    assert found.data == ("/var/lib/k0s",)
    assert found.units == ("/etc/systemd/system/k0scontroller.service",)
    assert [process.partition(" ")[2] for process in found.processes] == ["k0s"]
    assert (practice.calls(), practice.files()) == (calls, files)  # a look changes nothing
    assert looked(children, login, host_of(practice, data_dir="/var/lib/k0s/none")).data == ()


def test_keys_that_k0sctl_takes(
    children: Children, login: Login, ssh: Ssh, practice: PracticeHost, tmp_path: Path
) -> None:
    make_key(tmp_path / "wrong", "ed25519")
    ssh.use_key(Secret((tmp_path / "wrong").read_text()), "id_ed25519")
    sloppy = tmp_path / "sloppy"
    sloppy.write_bytes(practice.private_key.read_bytes().rstrip(b"\n").replace(b"\n", b"\r\n"))
    sloppy.chmod(0o644)
    assert "denied" in looked(children, login, host_of(practice)).problem
    assert looked(children, login, host_of(practice, key_path="sloppy")).looked or os.geteuid() != 0
    assert looked(children, login, host_of(practice, key_path=str(practice.private_key))).looked or os.geteuid() != 0
    with pytest.raises(ConfigurationError, match="no SSH key"):
        login.command(host_of(practice, key_path="missing"), "true", print)


def test_only_pinned_hosts_are_asked(
    children: Children, ssh: Ssh, login: Login, practice: PracticeHost, tmp_path: Path
) -> None:
    ssh.use_key(Secret(practice.private_key.read_text()), "id_ed25519")
    ssh.pins.unlink()
    assert "verification failed" in looked(children, login, host_of(practice)).problem
    make_key(tmp_path / "other", "ed25519")
    kind, blob = (tmp_path / "other.pub").read_text().split()[:2]
    ssh.pin(f"[127.0.0.1]:{practice.port} {kind} {blob}\n")
    assert "verification failed" in looked(children, login, host_of(practice)).problem


def test_an_agent_is_used_only_where_the_run_uses_one(
    children: Children, ssh: Ssh, tool_env: dict[str, str], practice: PracticeHost, tmp_path: Path
) -> None:
    started = subprocess.run(
        ["ssh-agent", "-s", "-a", str(tmp_path / "agent")], capture_output=True, text=True, check=True
    )
    pid = int(started.stdout.partition("SSH_AGENT_PID=")[2].partition(";")[0])
    try:
        env = {**tool_env, "SSH_AUTH_SOCK": str(tmp_path / "agent")}
        subprocess.run(["ssh-add", "-q", str(practice.private_key)], env=env, check=True, capture_output=True)
        home = Path(tool_env["HOME"]) / ".ssh"
        for given, expected in ((env, True), (tool_env, False)):
            login = Login(given, ssh_home=home, pins=ssh.pins, place=tmp_path / "place", cwd=tmp_path)
            assert looked(children, login, host_of(practice)).looked is expected or os.geteuid() != 0
    finally:
        os.kill(pid, signal.SIGTERM)


def test_a_name_that_looks_like_an_option(
    children: Children, login: Login, practice: PracticeHost, tmp_path: Path
) -> None:
    evil = host_of(practice, address=f"-oProxyCommand=touch${{IFS}}{tmp_path}/pwned", user="-oProxyCommand=false")
    assert not looked(children, login, evil).looked
    assert not (tmp_path / "pwned").exists()


def test_many_hosts_and_some_that_cannot_be_reached(practice: PracticeHost, tmp_path: Path) -> None:
    """One that fails, in whatever way, stops nobody, and each has its reason."""
    settings, _ = Settings.from_env({"K0SCTL_SSH_KEY": practice.private_key.read_text()}, "reset")
    redactor = Redactor()
    with Reporter([], redactor) as reporter, private(str(tmp_path)) as workspace, socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))  # bound, and nobody listens
        ctx = Context(
            settings=settings, invocation=Invocation(), reporter=reporter, children=Children(Watch()),
            output=Output(SafeStream(sys.stdout), redactor, json=False), workspace=workspace,
            variables={"PATH": os.environ["PATH"]}, cwd=tmp_path,
        )  # fmt: skip
        prepare_ssh(ctx)
        ctx.ssh.pin(practice.known_hosts_lines(), for_k0sctl=False)
        assert not (workspace.ssh / "config").exists()
        good = [host_of(practice, index=number) for number in range(18)]
        dead = host_of(practice, index=20, port=closed.getsockname()[1])
        far = host_of(practice, index=21, bastion=True, reachable_directly=False)
        other = host_of(practice, index=22, connection="openSSH", reachable_directly=False)
        keyless = host_of(practice, index=23, key_path="missing")
        stranger = host_of(practice, index=24, user="nobody-of-this-name")
        found = look_at(ctx, [*good, dead, far, other, keyless, stranger])
    assert "refused" in found[dead].problem
    assert found[far].problem == "plain SSH does not reach it; k0sctl does, by a bastion or proxy"
    assert found[other].problem == "plain SSH does not reach it; k0sctl does, by openSSH"
    assert found[keyless].problem.startswith("there is no SSH key")
    assert "denied" in found[stranger].problem
    assert os.geteuid() != 0 or {found[host].data for host in good} == {("/var/lib/k0s",)}
    assert list(reporter.facts) == ["looks"]


def test_words_of_refusal() -> None:
    assert (
        refusal(255, "@@@@@@\n@  WARNING  @\nx: Permission denied (publickey).\n")
        == "x: Permission denied (publickey)."
    )
    assert refusal(1, "") == "ssh ended with 1"


@pytest.mark.parametrize("shell", SHELLS)
def test_a_lock_that_anybody_could_have_made(machine: Machine, shell: str) -> None:
    """A pipe is not waited for, and what a link points to is not told."""
    lock = machine.root / "tmp/k0sctl.lock"
    os.mkfifo(lock)
    assert not machine.look(shell).lock
    lock.unlink()
    lock.symlink_to(machine.file("secret", "not for everybody"))
    found = machine.look(shell)
    assert found.looked
    assert not found.lock
