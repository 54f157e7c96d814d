"""Lines of k0sctl, recorded and invented, and what is read from them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from handler.evidence import Cause, Evidence, gather
from handler.logfmt import parse_line, phase_of

TRANSCRIPTS = Path(__file__).parent / "transcripts"
UID = "290f784c-7e11-4f82-8955-6765ec510080"
OTHER = "77d05b5a-fbea-4e01-b57f-3423a1f1941a"
SESSION = 'level=info msg="###### New session ######"'
GATHER = 'level=info msg="==> Running phase: Gather k0s facts"'


def sections(name: str) -> tuple[dict[str, list[str]], int]:
    head, *parts = re.split(r"^## ", (TRANSCRIPTS / f"{name}.txt").read_text(), flags=re.MULTILINE)
    found = {title.split(" (")[0]: body.splitlines() for title, _, body in (part.partition("\n") for part in parts)}
    code = re.search(r"^exit code: (-?\d+)$", head, re.MULTILINE)
    assert code
    return found, int(code[1])


def recorded(name: str) -> Evidence:
    found, code = sections(name)
    return gather(found["stdout"], found["stderr"], found["log file"], code)


def asked(host: str) -> str:
    command = "/bin/sh -c -- 'k0s kubectl get -n kube-system namespace kube-system -o template={{.metadata.uid}}'"
    return f'level=debug msg="executing command" command="{command}" host="{host}" protocol=SSH sudo=true'


def ran(host: str, command: str) -> str:
    return f'level=debug msg="executing command" command="/bin/sh -c -- \'{command}\'" host="{host}" protocol=SSH'


def answered(host: str, text: str, stream: str = "stdout") -> str:
    return f'level=debug msg="{text}" host="{host}" protocol=SSH stream={stream}'


def log_of(*lines: str) -> Evidence:
    return gather([GATHER], [], lines, 0)


@pytest.mark.parametrize(
    ("line", "message", "fields"),
    [
        ("level=info msg=ok", "ok", {}),
        ('level=info msg="a b"\r\n', "a b", {}),
        (r'level=info msg="a \"b\"\n\tc\\d"', 'a "b"\n\tc\\d', {}),
        (r'level=info msg="\x00\x7f \u00e9 \U0001f600 é"', "\0\x7f é \U0001f600 é", {}),
        (r'level=info msg="\xff \ud800 \Uffffffff"', "\ufffd \ufffd \ufffd", {}),
        ('time="20 Nov 26 21:42 UTC" level=info msg=x', "x", {"time": "20 Nov 26 21:42 UTC"}),
        ('level=debug host="h:22" stream=stdout', "", {"host": "h:22", "stream": "stdout"}),
        ('level=info msg="" host=h', "", {"host": "h"}),
        (r'level=debug msg="x level=fatal msg=\"y\"" host=h', 'x level=fatal msg="y"', {"host": "h"}),
        ("level=info msg=true msg=false", "true", {}),
    ],
)
def test_a_line_is_read(line: str, message: str, fields: dict[str, str]) -> None:
    parsed = parse_line(line)
    assert parsed is not None
    assert (parsed.message, parsed.fields, parsed.whole) == (message, fields, True)


@pytest.mark.parametrize("line", ["", "\n", "⠀⣿", "dry-run:  - x", " level=info msg=x", "msg=x", "time=x", "level"])
def test_other_lines_are_none(line: str) -> None:
    assert parse_line(line) is None


def every_line() -> Iterator[str]:
    for name in ("e1_restore_clean_host", "r13_real_reset_undeletable_file", "i6_debug_flag_stdout"):
        found, _ = sections(name)
        for lines in found.values():
            yield from lines


def test_a_cut_or_damaged_line_never_raises_and_never_says_more() -> None:
    for line in set(every_line()):
        full = parse_line(line)
        for end in range(len(line)):
            cut = parse_line(line[:end])
            assert cut is None or full is None or full.message.startswith(cut.message.rstrip("xuU\ufffd0123456789"))
            parse_line(line[end:])
            parse_line(line[:end] + '"\\' + line[end:])


def test_a_cut_line_announces_no_phase_and_no_success() -> None:
    assert phase_of('level=info msg="==> Running phase: Restore clus') is None
    assert phase_of('level=info msg="') is None
    assert gather(['level=info msg="k0s cluster version v1 is now installed'], [], [], 0).installed_version is None


def test_phases_are_told_by_k0sctl_only() -> None:
    assert phase_of('time="2026-11-20T22:00:40Z" level=info msg="==> Running phase: Take backup"\n') == "Take backup"
    assert phase_of('level=debug msg="==> Running phase: Take backup" host="h:22" stream=stdout') is None
    assert phase_of('level=info msg="* Running clean-up for phase: Take backup"') is None
    assert phase_of("==> Running phase: Take backup") is None


def test_the_uid_is_the_last_answer_of_the_host_that_was_asked() -> None:
    both = log_of(asked("a:22"), asked("b:22"), answered("b:22", OTHER), answered("a:22", UID.upper()))
    assert both.uid == UID
    assert log_of(asked("a:22"), answered("b:22", UID)).uid is None
    assert log_of(asked("a:22"), answered("a:22", UID, "stderr"), answered("a:22", "refused")).uid is None
    assert log_of(asked("a:22"), answered("a:22", "deprecated"), answered("a:22", UID)).uid == UID
    assert log_of(asked("a:22"), ran("a:22", "cat product_uuid"), answered("a:22", UID)).uid is None
    assert log_of(asked("a:22"), answered("a:22", UID)[:60]).uid is None
    assert log_of(answered("a:22", "executing command"), answered("a:22", UID)).uid is None


def test_a_uid_read_before_the_cluster_was_made_is_forgotten() -> None:
    before = [asked("a:22"), answered("a:22", UID)]
    for phase in ("Initialize the k0s cluster", "Restore cluster state"):
        made = f'level=info msg="==> Running phase: {phase}"'
        assert log_of(*before, made, asked("a:22"), answered("a:22", "refused", "stderr")).uid is None
        assert log_of(*before, made, asked("a:22"), answered("a:22", OTHER)).uid == OTHER


def test_only_the_last_session_counts() -> None:
    first = [SESSION, asked("a:22"), answered("a:22", UID), ran("a:22", "mktemp -d -- /tmp/XXXXXX")]
    assert log_of(*first, answered("a:22", "/tmp/abcdef"), SESSION).uid is None
    assert log_of(*first, answered("a:22", "/tmp/abcdef"), SESSION).temp_dirs == ()
    assert log_of(*first, SESSION, answered("a:22", OTHER)).uid is None
    assert log_of(SESSION, *first, answered("a:22", "###### New session ######")).uid == UID
    # a run that fails before it opens a session leaves the log of an earlier one
    assert gather(['level=fatal msg="no configuration files found"'], [], first, 1).uid is None


def test_temp_dirs_are_plain_paths_only() -> None:
    made = ran("a:22", "mktemp -d -- /tmp/XXXXXX")
    assert log_of(made, answered("a:22", "/tmp/abcdef")).temp_dirs == (("a:22", "/tmp/abcdef"),)
    for answer in ("/etc", "/tmp/../etc", "/tmp/a b", "/tmp/a;reboot", "/tmp/$(x)"):
        assert log_of(made, answered("a:22", answer)).temp_dirs == ()
    assert recorded("c1_backup_output").temp_dirs == (("10.88.0.2:22", "/tmp/ItYYwa"),)
    assert recorded("h2_backup_term_once").temp_dirs == (("10.88.0.2:22", "/tmp/7g7XfX"),)
    assert recorded("k7_restore_then_worker_fails").temp_dirs[0][0] == "10.88.0.2:22"  # from the warning: no log


def test_versions_are_those_that_run() -> None:
    assert recorded("b1_apply_fresh").k0sctl_version == "v0.32.2+dirty"
    for name, installed, runs in (
        ("b1_apply_fresh", "v1.34.2+k0s.0", "v1.34.2+k0s.0"),
        ("b5_apply_version_mismatch", "v1.34.3+k0s.0", "v1.34.2+k0s.0"),
        ("b11_apply_upgrade_uploadBinary", "v1.34.3+k0s.0", "v1.34.3+k0s.0"),
        ("g10_backup_wrong_version_pinned", None, "v1.34.2+k0s.0"),
        ("r3_real_backup", None, "v1.37.0-alpha.3+k0s.0"),
        ("a_badcmd", None, None),
    ):
        evidence = recorded(name)
        assert (evidence.installed_version, evidence.k0s_version) == (installed, runs)


def test_host_failures_are_told_host_by_host() -> None:
    (host, text), *none = recorded("c4d_backup_no_binary_useExisting").host_failures
    assert (host, none) == ("10.88.0.2:22", [])
    assert text.startswith("useExistingK0s=true but no 'k0s' binary found")
    assert recorded("g17_ssh_options_unknown_key").host_failures[0][0] == "10.88.0.2:22"
    assert recorded("e5b_restore_stopped_installed_force").host_failures[0][0] == "10.88.0.2:22"
    fatal = (
        r'level=fatal msg="apply failed - log file saved to /x: failed on 2 hosts:\n - a:22: b\nc: d\n - e:22: e:22: f"'
    )
    assert gather([fatal], [], [], 1).host_failures == (("a:22", "b\nc: d"), ("e:22", "f"))
    assert recorded("k4b_reset_ctrl_worker_ok").hosts == ("10.88.0.2:22", "10.88.0.3:22")


def test_the_fatal_is_told_without_the_path_and_in_full() -> None:
    assert recorded("c4b_backup_controller_down_force").fatal == "failed to find a running controller"
    assert recorded("a_badcmd").fatal == "No help topic for 'frobnicate'"
    assert str(recorded("i5_env_debug_release_backup").fatal).startswith('could not parse "release" as bool')
    cut = (
        'level=fatal msg="backup failed - log file saved to /x: exited with status 1 (Error: failed to create arch...)"'
    )
    full = "Error: failed to create archive: write: no space left on device"
    log = [ran("a:22", "k0s backup"), answered("a:22", full, "stderr"), answered("a:22", "rm: x", "stderr")]
    assert gather([cut], [], log, 1).fatal == f"exited with status 1 ({full})"
    assert str(gather([cut], [], log[2:], 1).fatal).endswith("(Error: failed to create arch...)")


def test_control_characters_do_not_pass() -> None:
    evidence = gather([r'level=warning msg="h:22: \x1b[2Jgone"', r'level=fatal msg="\u009b1mx"'], ["\x1b]0;x"], [], 1)
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]", json.dumps(evidence.as_report(), ensure_ascii=False))


@pytest.mark.parametrize(
    ("text", "missing"),
    [
        ("/bin/sh: 1: /usr/local/bin/k0s: not found", True),
        ("sh: /usr/local/bin/k0s: not found", True),
        ("bash: line 1: /opt/k0s: No such file or directory", True),
        ("sudo: /usr/local/bin/k0s: command not found", True),
        ("Error: runc: not found in /var/lib/k0s", False),
        ("Error: stat /var/lib/k0s: no such file or directory", False),
        ("", False),
    ],
)
def test_a_missing_binary_is_told_from_a_failed_reset(text: str, missing: bool) -> None:
    lines = [f'level=info msg="==> Running phase: {phase}"' for phase in ("Reset controllers", "Reset leader")]
    first = f'level=warning msg="h:22: k0s reset reported failure: {text}\\n "'
    second = f'level=warning msg="h:22: k0s reported failure: {text}"'
    controllers, leader = gather([lines[0], first, lines[1], second], [], [], 0).reset_failures
    assert (controllers.missing, controllers.benign, controllers.text) == (missing, False, text)
    assert (leader.missing, leader.benign) == (missing, missing)
    assert not gather([lines[0], second], [], [], 0).reset_failures[0].benign


def test_a_killed_run_is_a_timeout_and_a_signal_is_not() -> None:
    assert gather([], [], [], None).cause is Cause.TIMEOUT
    assert gather([], [], [], -9).cause is Cause.ABORTED
    assert gather([], [], [], 1).cause is Cause.OTHER
    assert gather([], [], [], 0).cause is None


def test_the_report_is_plain_data() -> None:
    for path in TRANSCRIPTS.glob("[a-z]*_*.txt"):
        evidence = recorded(path.stem)
        assert json.loads(json.dumps(evidence.as_report()))["exit_code"] == evidence.exit_code
