"""What a run tells: plain lines, a terminal, the JSON report, the saved log."""

from __future__ import annotations

import os
import pty
import re
import select
import subprocess
import time

import pytest

from tests.e2e.conftest import Site
from tests.support.lab import CLOSING, Lab

pytestmark = pytest.mark.e2e

ESCAPES = re.compile(r"\x1b|\r(?!\n)|[\x00-\x08\x0b\x0c\x0e-\x1f]")


def in_a_terminal(lab: Lab, *arguments: str, **env: str | None) -> tuple[int, str]:
    """Run with stdin, stdout and stderr on a terminal; returns exit code and all that was written."""
    master, slave = pty.openpty()
    process = subprocess.Popen(
        lab.command(*arguments), cwd=lab.work, env=lab.env(TERM="xterm-256color", COLUMNS="120", LINES="40", **env),
        stdin=slave, stdout=slave, stderr=slave,
    )  # fmt: skip
    os.close(slave)
    written = b""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if select.select([master], [], [], 0.1)[0]:
            try:
                written += os.read(master, 65536)
            except OSError:
                break
        elif process.poll() is not None:
            break
    os.close(master)
    return process.wait(10), written.decode()


def test_a_backup(running: Lab, site: Site) -> None:
    done = running.ok("backup")
    assert done.stdout == ""
    assert not ESCAPES.search(done.stderr)
    lines = done.stderr.splitlines()
    assert lines[0] == "backup: to backup"
    for step in ("verify the newest commit", "k0sctl backup", "look into the archive", "commit"):
        assert any(re.match(rf"{step}: ok, \d+\.\d s", line) for line in lines), step
    assert "    > Take backup" in lines
    assert CLOSING.fullmatch(lines[-1])
    # the report
    path = running.work / done.last.rpartition("Report: ")[2]
    report = running.load(path)
    assert report == running.report()
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d-\d\d-\d\dZ-backup\.json", path.name)
    assert report["format"] == 1
    assert report["command"] == "backup"
    assert (report["exit_code"], report["outcome"]) == (0, "ok")
    assert report["message"] in done.last
    assert report["started"] <= report["finished"]
    assert report["seconds"] > 0
    assert {"handler", "python"} <= set(report["versions"])
    assert {"k0sctl", "k0s", "openssl"} <= set(running.manifest()["versions"])
    steps = {step["name"]: step for step in report["steps"]}
    assert steps["k0sctl backup"]["ok"] is True
    assert steps["k0sctl backup"]["seconds"] > 0.5
    evidence = report["facts"]["k0sctl backup"]
    assert evidence["exit_code"] == 0
    assert evidence["uid"] == site.uid
    assert "Take backup" in evidence["phases"]
    assert report["facts"]["cluster"] == "prod"
    # the log
    log = path.with_suffix(".log").read_text()
    assert "executing command" in log
    assert not ESCAPES.search(log)
    assert sorted(entry.name for entry in running.auditlog.iterdir()) == [path.name, path.with_suffix(".log").name]


def test_a_failure(running: Lab) -> None:
    running.host.fault("fail-backup", "etcd is\n\x1b[31mvery\x1b[0m broken")
    done = running.run("backup").failed(4, "etcd is")
    assert not ESCAPES.search(done.stderr)
    report = running.report()
    assert (report["exit_code"], report["outcome"]) == (4, "tool failed")
    assert report["next"]
    assert any("Take backup" in line for line in report["details"])
    assert report["steps"][-1]["name"] == "k0sctl backup"
    assert len(list(running.auditlog.glob("*-backup.log"))) == 1


def test_two_runs_in_one_second(running: Lab) -> None:
    for number in range(4):
        running.ok("restore", "--to", f"../out{number}")
    assert len(list(running.auditlog.glob("*.json"))) == 4


def test_a_terminal(running: Lab) -> None:
    code, written = in_a_terminal(running, "backup")
    assert code == 0, written
    assert "\x1b[" in written
    last = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", written.rstrip()).splitlines()[-1].strip()
    assert CLOSING.fullmatch(last), last
    assert "\x1b[?25h" in written or "\x1b[?25l" not in written  # the cursor is there again
    for settings in ({"CI": "true"}, {"ATC_EXTERNAL_URL": "https://ci.example.org"}, {"TERM": "dumb"}):
        running.extra = settings if "TERM" not in settings else {}
        code, written = in_a_terminal(running, "restore", "--to", f"../out-{len(str(settings))}")
        if "TERM" not in settings:
            assert code == 0
            assert "\x1b" not in written
            assert CLOSING.fullmatch(written.rstrip().splitlines()[-1].strip())


def test_a_reader_that_goes_away(running: Lab) -> None:
    """`k0sctl-handler backup 2>&1 | head -1`: a backup does not stop because nobody reads of it."""
    process = running.start("restore", "--to", "../out")
    assert process.stderr is not None
    assert process.stdout is not None
    process.stderr.close()
    process.stdout.close()
    assert process.wait(30) == 0
    assert (running.directory / "out").exists()
    assert running.report()["exit_code"] == 0


def test_help(running: Lab) -> None:
    done = subprocess.run(running.command("--help"), cwd=running.work, env=running.env(), text=True,
                          capture_output=True, check=True)  # fmt: skip
    for told in ("K0SCTL_GPG_KEY", "K0SCTL_RESTORE", "restore", "init", "143", "45m"):
        assert told in done.stdout
    assert done.stderr == ""
    assert not running.auditlog.exists()
