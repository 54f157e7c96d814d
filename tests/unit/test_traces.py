"""The answer of a host: what is believed of it, and what is not."""

from __future__ import annotations

import shlex

import pytest

from handler.cluster import read
from handler.traces import Traces, look, read_answer

MARK = "k0sctl-handler-look:"


def answered(*lines: str, end: bool = True) -> Traces:
    told = [f"{MARK} {line}" for line in lines]
    return read_answer([*told, *([f"{MARK} end"] if end else [])], data_dir="/data/k0s")


def test_a_clean_host() -> None:
    traces = answered()
    assert (traces.looked, traces.clean, traces.left) == (True, True, ())


def test_everything_is_left() -> None:
    traces = answered(
        "data",
        "unit /etc/systemd/system/k0scontroller.service",
        "process 12 k0s",
        "process 13 kubelet",
        "process 14",
        "process 15 etcd",
        "archive /tmp/Xy12Zz/k0s_backup_2026.tar.gz",
        "lock 7 ci-4711",
    )
    assert traces.data == ("/data/k0s",)
    assert traces.units == ("/etc/systemd/system/k0scontroller.service",)
    assert traces.processes == ("12 k0s", "13 kubelet", "14", "15 etcd")
    assert traces.archives == ("/tmp/Xy12Zz/k0s_backup_2026.tar.gz",)
    assert (traces.lock, traces.lock_age, traces.locked) == ("ci-4711", 7, True)
    assert not traces.clean
    assert traces.left == (
        "data in /data/k0s",
        "the unit /etc/systemd/system/k0scontroller.service",
        "processes (12 k0s, 13 kubelet, 14)",
    )


@pytest.mark.parametrize("line", ["data", "unit /etc/init.d/k0sworker", "process 1 k0s"])
def test_each_of_them_alone_is_not_clean(line: str) -> None:
    assert not answered(line).clean


@pytest.mark.parametrize("line", ["archive /tmp/k0s-backup123", "lock 3 a-1", "no-processes"])
def test_these_are_nothing_of_k0s_itself(line: str) -> None:
    assert answered(line).clean
    assert answered(line).processes_seen == (line != "no-processes")


def test_without_the_end_nothing_is_known() -> None:
    for traces in (answered(end=False), answered("data", end=False), read_answer([], data_dir="/x")):
        assert not traces.looked
        assert not traces.clean
        assert traces.problem
        assert not traces.left


def test_noise_of_a_login_shell_is_passed_over() -> None:
    lines = ["Welcome!", f"  {MARK} data", f"echo {MARK} data", f"{MARK}data", f"{MARK} end\r", "bye"]
    assert read_answer(lines, data_dir="/x").clean


def test_an_evil_host_adds_nothing_to_a_line_to_type() -> None:
    traces = answered(
        "unit /etc/systemd/system/k0s';reboot;'.service",
        "unit /etc/init.d/k0s/../../x",
        "unit /etc/passwd;reboot",
        "archive /tmp/$(reboot)/k0s_backup_1",
        "archive /tmp/k0s-backup;reboot",
        "archive `reboot`",
        "process 1;reboot k0s",
        "process 1 k0s;reboot",
        "lock x",
        "data /etc",
    )
    assert traces.units == ("/etc/systemd/system/k0s*.service", "/etc/init.d/k0s*")
    assert traces.archives == ("/tmp/??????/k0s_backup*", "/tmp/k0s-backup*")
    assert traces.processes == ("(unreadable)",)
    assert (traces.lock, traces.lock_age, traces.locked) == ("unreadable", None, False)
    assert traces.data == ("/data/k0s",)
    assert "reboot" not in repr(traces)


def test_an_evil_host_does_not_fill_the_report() -> None:
    many = answered(*(f"process {number} k0s" for number in range(1, 500)))
    assert len(many.processes) == 20


def test_a_lock_that_nobody_renews_holds_nobody_up() -> None:
    assert not answered("lock 31 dead-1").locked
    assert answered("lock -5 future-1").locked
    assert answered("lock 1 ").lock == "unreadable"


def test_the_data_directory_is_a_word_and_no_pattern() -> None:
    command = shlex.split(look("/mnt/k0s data (1)"))
    assert command[:4] == ["exec", "/bin/sh", "-c", "--"]
    assert len(command) == 5
    assert "\\(1\\)/bin/" in command[4]


@pytest.mark.parametrize(
    ("stated", "expected"),
    [
        ("", "/var/lib/k0s"),
        ("dataDir: /data/k0s", "/data/k0s"),
        ("dataDir: ~", "/var/lib/k0s"),
        ('dataDir: ""', "/var/lib/k0s"),
    ],
)
def test_the_data_directory_of_a_host(stated: str, expected: str) -> None:
    hosts = [
        f"{{role: controller, ssh: {{address: 10.0.0.1}}, {stated}}}",
        f"{{role: worker, localhost: {{enabled: true}}, {stated}}}",
    ]
    text = "apiVersion: k0sctl.k0sproject.io/v1beta1\nkind: Cluster\nspec: {hosts: [" + ", ".join(hosts) + "]}\n"
    config = read(text, name="k0sctl.yaml", variables={}, home="/home")
    assert [host.data_dir for host in config.hosts] == [expected, expected]
