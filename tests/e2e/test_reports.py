"""What a run tells: plain lines, a terminal, the JSON report, the saved log."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import Site
from tests.support.lab import CLOSING, Ended, Lab
from tests.support.watcher import wait_for

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
    assert lines[0] == "backup: taken, proven and committed to backup"
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


@pytest.mark.parametrize("arguments", [["version"], ["version", "--json"], ["backup", "--json"]])
def test_data_that_cannot_be_written(running: Lab, arguments: list[str]) -> None:
    """A script must not take half a document for a whole one."""
    with Path("/dev/full").open("w") as full:
        process = subprocess.run(
            running.command(*arguments), cwd=running.work, env=running.env(), text=True, check=False,
            stdout=full, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL, timeout=60,
        )  # fmt: skip
    done = Ended(process.returncode, "", process.stderr).checked()
    done.failed(4, "done before that: ", "writing to stdout")
    if "backup" in arguments:
        assert running.report()["exit_code"] == 4
        assert running.git("rev-list", "--count", "HEAD") == "4"  # what was done is done


def test_help(running: Lab) -> None:
    done = subprocess.run(running.command("--help"), cwd=running.work, env=running.env(), text=True,
                          capture_output=True, check=True)  # fmt: skip
    for told in ("K0SCTL_GPG_KEY", "K0SCTL_RESTORE", "restore", "init", "143", "45m"):
        assert told in done.stdout
    assert done.stderr == ""
    assert not running.auditlog.exists()


class TestQuiet:
    """Only warnings, errors and the last line: a cron job that mails what it is told."""

    def test_a_good_run_is_one_line(self, running: Lab) -> None:
        done = running.ok("backup", K0SCTL_QUIET="true")
        assert done.stderr.splitlines() == [done.last]
        assert done.stdout == ""
        # the report is as long as ever
        assert "k0sctl backup" in {step["name"] for step in running.report()["steps"]}

    def test_a_warning_is_whole(self, running: Lab) -> None:
        (running.work / "config" / "known_hosts").unlink()
        done = running.ok("backup", K0SCTL_QUIET="1", K0SCTL_TIMOUT="5m")
        lines = done.stderr.splitlines()
        assert lines[0].startswith("warning: K0SCTL_TIMOUT is no setting")
        assert lines[1].startswith("warning: UNPINNED")
        assert lines[2:-1]  # the lines to paste
        name = re.escape(running.host.known_hosts_lines().split()[0])
        assert all(re.match(rf"{name} (ssh|ecdsa)-\S+ AAAA\S+$", line) for line in lines[2:-1])

    def test_a_failure_is_told_with_its_details(self, running: Lab) -> None:
        running.host.fault("fail-backup", "etcd is broken")
        loud = running.run("backup").failed(4, "etcd is broken")
        done = running.run("backup", K0SCTL_QUIET="yes").failed(4, "etcd is broken")
        assert set(running.report()["details"]) <= {line.removeprefix("  ") for line in done.stderr.splitlines()}
        assert len(done.stderr.splitlines()) < len(loud.stderr.splitlines())
        assert "ok, " not in done.stderr

    def test_a_bug_is_told_with_its_traceback(self, running: Lab) -> None:
        place = running.directory / "site"
        place.mkdir()
        (place / "sitecustomize.py").write_text(
            "import sys\n"
            "if any('handler' in word for word in sys.orig_argv):\n"
            "    import handler.proof\n"
            "    def broken(*args, **kwargs):\n"
            "        raise RuntimeError('it broke')\n"
            "    handler.proof.inspect = broken\n"
        )
        path = f"{place}:{running.env()['PYTHONPATH']}"
        done = running.run("restore", "--to", "../out", PYTHONPATH=path, K0SCTL_QUIET="true")
        done.failed(1, "Traceback", "RuntimeError: it broke")


def document(done: Ended) -> dict[str, Any]:
    """The one JSON document on stdout; the story stays on stderr."""
    assert done.stdout.count("\n") == 1, done.stdout
    loaded: dict[str, Any] = json.loads(done.stdout)
    assert (loaded["exit_code"], loaded["format"]) == (done.code, 1)
    assert loaded["message"].rstrip(".") in done.last
    return loaded


class TestJson:
    """``--json``: one document on stdout, whatever happens."""

    @pytest.mark.parametrize("command", ["apply", "backup", "init"])
    def test_it_is_the_report_and_the_result(self, running: Lab, command: str) -> None:
        done = running.ok(command, "--json", K0SCTL_CONFIRM_INIT="prod")
        loaded = document(done)
        assert "result" in loaded
        del loaded["result"]
        assert loaded == running.report()
        assert (loaded["command"], loaded["outcome"]) == (command, "ok")
        assert done.first.startswith(f"{command}: ")

    def test_version_has_no_report_but_a_document(self, running: Lab) -> None:
        for arguments in (["version", "--json"], ["--version", "--json"], ["--json"]):
            loaded = document(running.ok(*arguments, K0SCTL_TIMEOUT="rubbish"))
            assert loaded["command"] == "version"
            assert set(loaded["result"]) == {"handler", "k0sctl"}
            assert all(loaded["result"].values())
        assert not running.auditlog.exists()

    def test_version_without_k0sctl_still_tells_its_own(self, running: Lab) -> None:
        running.k0sctl.unlink()
        loaded = document(running.run("version", "--json").failed(3))
        assert loaded["result"]["handler"]
        assert loaded["result"]["k0sctl"] is None

    def test_wrong_settings(self, running: Lab) -> None:
        done = running.run("backup", "--json", K0SCTL_TIMEOUT="90", K0SCTL_RESTORE="x").failed(2)
        loaded = document(done)
        assert loaded["outcome"] == "configuration"
        assert any("K0SCTL_TIMEOUT='90'" in line for line in loaded["details"])
        assert loaded["result"] is None

    @pytest.mark.parametrize(
        "arguments", [["bakcup", "--json"], ["--json", "list", "--bad"], ["verify", "--json", "--to"]]
    )
    def test_a_wrong_command_line(self, running: Lab, arguments: list[str]) -> None:
        loaded = document(running.run(*arguments).failed(2, "usage: "))
        assert (loaded["command"], loaded["result"]) == ("command-line", None)
        assert not running.auditlog.exists()

    def test_a_check_of_wrong_directories_writes_into_none(self, running: Lab) -> None:
        with running.repository_unchanged():
            done = running.run("check", K0SCTL_DIR_LOG="backup/logs")
            assert done.code != 0
            assert done.last.endswith("Report: none")
        assert not (running.backup / "logs").exists()

    def test_a_failure_and_quiet(self, running: Lab) -> None:
        running.host.fault("fail-backup", "etcd is broken")
        loaded = document(running.run("backup", "--json", K0SCTL_QUIET="true").failed(4))
        assert loaded["outcome"] == "tool failed"
        assert loaded["next"]

    def test_a_signal(self, running: Lab) -> None:
        running.host.fault("hang-backup", "30")
        before = len(running.host.calls())
        process = running.start("backup", "--json")
        wait_for(lambda: any(call.startswith("k0s backup") for call in running.host.calls()[before:]))
        process.send_signal(signal.SIGTERM)
        loaded = document(running.end(process))
        assert (loaded["exit_code"], loaded["outcome"]) == (143, "interrupted")
