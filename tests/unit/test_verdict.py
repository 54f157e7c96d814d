"""Each recorded run of the real k0sctl, and what is to be said about it; then the cases that were not recorded."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from handler import verdict
from handler.causes import leftovers
from handler.errors import Conflict, HandlerError, IntegrityError, TimedOut, ToolFailed
from handler.evidence import Cause, Evidence, gather
from handler.traces import Traces
from handler.verdict import Probe, Verdict

TRANSCRIPTS = Path(__file__).parent / "transcripts"
ROWS = [line.split() for line in (TRANSCRIPTS / "verdicts.txt").read_text().splitlines() if not line.startswith("#")]
BACKUP = "15e8222e-93cf-483e-b8dd-70b6bc217631"
OTHER = "77d05b5a-fbea-4e01-b57f-3423a1f1941a"
BY_EXIT_CODE = {4: ToolFailed, 5: IntegrityError, 6: TimedOut, 7: Conflict}


def recorded(name: str) -> Evidence:
    head, *parts = re.split(r"^## ", (TRANSCRIPTS / f"{name}.txt").read_text(), flags=re.MULTILINE)
    found = {title.split(" (")[0]: body.splitlines() for title, _, body in (part.partition("\n") for part in parts)}
    code = re.search(r"^exit code: (-?\d+)$", head, re.MULTILINE)
    assert code
    return gather(found["stdout"], found["stderr"], found["log file"], int(code[1]))


def judged(claim: str, evidence: Evidence, expected: str) -> Verdict:
    match claim:
        case "applied":
            return verdict.applied(evidence)
        case "restored":
            return verdict.restored(evidence, None if expected == "-" else expected)
        case "backed_up":
            return verdict.backed_up(evidence)
        case _:
            return verdict.reset(evidence)


def error_of(result: Verdict) -> HandlerError:
    assert not result.proven
    assert result.error is not None
    with pytest.raises(type(result.error)):
        result.require()
    return result.error


@pytest.mark.parametrize("row", ROWS, ids=[f"{row[0]}-{row[2][:4]}" for row in ROWS])
def test_recorded(row: list[str]) -> None:
    name, claim, expected, outcome, cause, probe, uid = row
    evidence = recorded(name)
    assert (evidence.cause.value if evidence.cause else "-", evidence.uid or "-") == (cause, uid)
    result = judged(claim, evidence, expected)
    if outcome == "proven":
        assert result == Verdict(proven=True, notes=result.notes)
        assert result.require() is result
    else:
        error = error_of(result)
        assert (error.exit_code, type(error)) == (int(outcome), BY_EXIT_CODE[int(outcome)])
        assert error.resolution != HandlerError.default_resolution
        assert not re.search(r"\{(?:on|ssh|phase)|\n", error.message + error.resolution)
        assert error.details or evidence.dry_run
    if probe == "raises":
        with pytest.raises(IntegrityError):
            verdict.identity(evidence)
    elif probe != "-":
        found = verdict.identity(evidence)
        assert (found.state.name, found.uid or "-") == (probe, uid if probe == "RUNNING" else "-")
        assert found.reason


def test_every_recorded_run_has_a_row() -> None:
    assert {path.stem for path in TRANSCRIPTS.glob("*.txt")} - {"verdicts"} == {row[0] for row in ROWS}


def test_a_skipped_restore_is_seen() -> None:
    for name in (
        "e2_restore_running_cluster",
        "e3e_restore_missing_file_running_cluster",
        "r4_real_restore_on_running",
    ):
        error = error_of(verdict.restored(recorded(name), BACKUP))
        assert error.message.startswith("a NEW, EMPTY cluster was made, or one that was running already")
        assert "K0SCTL_RESTORE=never" in error.resolution


@pytest.mark.parametrize(
    "name", ["r16d_real_kine_restore_over_stopped_force", "r16e_real_kine_archive_into_etcd_config"]
)
def test_only_the_uid_shows_that_other_data_came_up(name: str) -> None:
    evidence = recorded(name)
    error = error_of(verdict.restored(replace(evidence, uid=OTHER), BACKUP))
    assert isinstance(error, IntegrityError)
    assert error.message.startswith("a NEW, EMPTY cluster was made")
    assert any(BACKUP in line and OTHER in line for line in error.details)
    assert "cannot be proven" in error_of(verdict.restored(evidence, BACKUP)).message
    assert verdict.restored(replace(evidence, uid=BACKUP), BACKUP.upper()).proven
    assert "only proof" in verdict.restored(replace(evidence, uid=OTHER), None).notes[0]


def test_a_fresh_cluster_instead_of_a_restore_is_new_and_empty() -> None:
    evidence = recorded("r1_real_apply_fresh")
    error = error_of(verdict.restored(evidence, BACKUP))
    assert error.message.startswith("a NEW, EMPTY cluster was made")
    assert "reset" in error.resolution
    assert verdict.applied(evidence).proven
    assert verdict.new_cluster(evidence, restored=False)
    assert not verdict.new_cluster(evidence, restored=True)
    for name in ("b2_apply_again", "b4_apply_dryrun_changed", "i1_env_dryrun_apply_fresh"):
        assert not verdict.new_cluster(recorded(name), restored=False)


def test_leftover_data_that_comes_up_again_is_known_by_its_uid() -> None:
    evidence = replace(recorded("r8c_real_plain_apply_after_that_dryrun"), uid=BACKUP)
    assert verdict.new_cluster(evidence, restored=False)
    assert not verdict.new_cluster(evidence, restored=verdict.running_as(evidence, {BACKUP}).proven)


def test_a_failed_apply_that_left_another_cluster_says_so() -> None:
    evidence = recorded("k7_restore_then_worker_fails")
    assert isinstance(verdict.restored(evidence, BACKUP).error, ToolFailed)
    assert "plain apply" in error_of(verdict.restored(replace(evidence, uid=BACKUP), BACKUP)).details[0]
    assert isinstance(verdict.restored(replace(evidence, uid=OTHER), BACKUP).error, IntegrityError)
    fresh = error_of(verdict.restored(recorded("k2_apply_fresh_worker_install_fails"), BACKUP))
    assert fresh.details[0].startswith("a NEW, EMPTY cluster was made perhaps")


def test_a_dry_run_that_restored_says_how_to_go_on() -> None:
    error = error_of(verdict.restored(recorded("e4_dryrun_restore_leftover_binary"), None))
    assert "dry run" in error.message
    assert "filled" in error.details[0]
    assert "rm -rf /var/lib/k0s'" in error.resolution


def test_an_interrupted_restore_is_recognised() -> None:
    for name in ("h4z_apply_restore_again", "k7c_retry_restore_after_leader_install_fail"):
        error = error_of(verdict.restored(recorded(name), None))
        assert "earlier restore was interrupted and left its data on 10.88.0.2:22" in error.message
        assert "run apply again: ssh 10.88.0.2 'k0s reset; rm -rf /var/lib/k0s'" in error.resolution
    # with --force the same words come from a cluster that is only stopped: its data is not to be thrown away lightly
    for name in ("e5b_restore_stopped_installed_force", "r9_real_restore_stopped_installed_force"):
        error = error_of(verdict.restored(recorded(name), None))
        assert "stopped cluster" in error.message
        assert error.resolution.startswith("start it: ssh ")


def test_lines_to_type_take_nothing_from_a_host() -> None:
    for host, line in (
        ("a;reboot:22", "ssh HOST "),
        ("10.0.0.1:2222", "ssh -p 2222 10.0.0.1 "),
        ("[::1]:22", "ssh ::1 "),
    ):
        evil = f'{host}: restore failed: data-dir "/var/lib/k0s;x/etcd" not empty'
        evidence = Evidence(exit_code=1, host_failures=((host, evil),), fatal=evil)
        assert error_of(verdict.restored(evidence, None)).resolution.endswith(
            f": {line}'k0s reset; rm -rf /var/lib/k0s'"
        )


def test_what_a_reset_did_is_counted() -> None:
    good = recorded("k4b_reset_ctrl_worker_ok")
    assert verdict.reset(good) == Verdict(proven=True)
    silent = error_of(verdict.reset(replace(good, reset_hosts=good.reset_hosts[:1])))
    assert re.search(r"on 10\.88\.0\.[23]:22 k0s reset failed or did not run", silent.message)
    for name, host in (("d3_reset_k0s_reset_exit1", "10.88.0.2"), ("k4_reset_worker_reset_fails", "10.88.0.3")):
        assert f"on {host}:22 k0s reset failed" in error_of(verdict.reset(recorded(name))).message
    assert (
        "unlinkat /var/lib/k0s/stuck" in error_of(verdict.reset(recorded("r13_real_reset_undeletable_file"))).details[0]
    )
    assert "look what is left" in error_of(verdict.reset(recorded("h3_reset_term_once"))).resolution
    assert "look what is left" in error_of(verdict.reset(recorded("h3bz_reset_right_after"))).resolution


def test_a_missing_binary_is_no_failure_where_a_look_found_nothing() -> None:
    clean = recorded("d4b_reset_already_clean_noUseExisting")
    assert "no k0s binary" in error_of(verdict.reset(clean)).message
    assert verdict.reset(clean, looks=looks(clean)).proven
    failed = recorded("d3_reset_k0s_reset_exit1")
    error = error_of(verdict.reset(failed, looks=looks(failed)))
    assert "gone all the same" in error.message
    assert "nothing is left to remove" in error.resolution
    assert not verdict.reset(clean, looks=looks(clean, Traces(problem="no route"))).proven


#: Recorded resets that are proven where a look finds each host clean.
PROVEN_BY_A_LOOK = {
    "d2_reset_force_ok", "d2b_reset_force_noUseExisting", "d4b_reset_already_clean_noUseExisting",
    "d4c_reset_binary_left_no_cluster", "d5_reset_force_stopped_installed", "k4b_reset_ctrl_worker_ok", "r5_real_reset",
}  # fmt: skip
RESETS = [row[0] for row in ROWS if row[1] == "reset"]


def looks(evidence: Evidence, *last: Traces) -> dict[str, Traces]:
    """A look at each host: clean, but for the last ones."""
    hosts = evidence.hosts or ("10.88.0.2:22",)
    found = dict.fromkeys(hosts, Traces())
    return found | dict(zip(reversed(hosts), last, strict=False))


@pytest.mark.parametrize("name", RESETS)
def test_each_recorded_reset_and_a_look(name: str) -> None:
    evidence = recorded(name)
    alone = verdict.reset(evidence)
    assert verdict.reset(evidence, looks=looks(evidence)).proven == (name in PROVEN_BY_A_LOOK)
    for left in (
        Traces(data=("/var/lib/k0s",)),
        Traces(units=("/etc/systemd/system/k0sworker.service",)),
        Traces(processes=("7 k0s",)),
    ):
        error = error_of(verdict.reset(evidence, looks=looks(evidence, left)))
        assert error.exit_code == (alone.error.exit_code if alone.error else 4)
        assert f": still there: {left.left[0]}" in error.details[0]
    unseen = verdict.reset(evidence, looks=looks(evidence, *[Traces(problem="no route")] * len(evidence.hosts)))
    assert unseen.proven == alone.proven
    if unseen.error and evidence.hosts:
        assert f"{evidence.hosts[0]}: not looked at: no route" in unseen.error.details


def test_what_a_reset_left_is_named_with_the_lines_that_remove_it() -> None:
    good = recorded("k4b_reset_ctrl_worker_ok")
    units = ("/etc/systemd/system/k0sworker.service",)
    one = Traces(data=("/var/lib/k0s",), units=units, processes=("7 k0s",))
    error = error_of(verdict.reset(good, looks=looks(good, one)))
    host = good.hosts[-1].partition(":")[0]
    assert error.message == (
        f"the reset is not proven: on {host}:22 something of k0s is still there, although k0sctl ended with 0"
    )
    assert error.details[0] == f"{host}:22: still there: data in /var/lib/k0s, the unit {units[0]}, processes (7 k0s)"
    assert error.resolution == (
        f"remove what is left: ssh {host} 'systemctl disable --now k0sworker; rm -f {units[0]}; systemctl "
        f"daemon-reload; reboot'; and when it is up again: ssh {host} 'rm -rf /var/lib/k0s'"
    )
    two = error_of(verdict.reset(good, looks=looks(good, one, Traces(units=("/etc/init.d/k0scontroller",)))))
    assert two.resolution == "remove what is left by the lines above"
    assert any("'rc-service k0scontroller stop; rc-update del" in line for line in two.details)
    odd = error_of(verdict.reset(good, looks=looks(good, Traces(data=("/my data;x",)))))
    assert odd.resolution.endswith(f"remove /my data;x on {host}:22")
    assert "rm -rf" not in odd.resolution
    root = error_of(verdict.reset(good, looks=looks(good, Traces(data=("/var",)))))
    assert "rm -rf" not in root.resolution


def test_a_failed_reset_tells_what_a_look_found() -> None:
    again = recorded("h3bz_reset_right_after")  # the binary is gone: this run could do nothing
    error = error_of(verdict.reset(again, looks=looks(again)))
    assert error.details[0] == "nothing of k0s is left on any host: no data directory, no unit, no process"
    assert error.resolution == "nothing is left to remove; reboot the hosts, as k0s advises"
    error = error_of(verdict.reset(again, looks=looks(again, Traces(data=("/var/lib/k0s",)))))
    assert error.resolution.startswith("remove what is left: ssh 10.88.0.2 'reboot'; and when it is up again: ")
    early = recorded("d1_reset_noforce_notty")  # nothing was begun: what is there is no leftover
    assert "remove" not in error_of(verdict.reset(early, looks=looks(early, Traces(data=("/x/y",))))).resolution


def test_a_version_that_was_not_installed_is_told() -> None:
    note = verdict.applied(recorded("b5_apply_version_mismatch")).notes[0]
    assert "v1.34.3+k0s.0 is installed, but v1.34.2+k0s.0 runs" in note
    assert verdict.applied(recorded("b1_apply_fresh")).notes == ()


def test_exit_0_without_its_proof_proves_nothing() -> None:
    silent = Evidence(exit_code=0)
    for result in (verdict.applied(silent), verdict.backed_up(silent), verdict.reset(silent)):
        assert isinstance(result.error, ToolFailed)
    assert isinstance(verdict.restored(silent, None).error, IntegrityError)
    assert verdict.identity(silent).state is Probe.UNCLEAR


def test_an_ignored_host_key_spoils_every_claim() -> None:
    seen = recorded("f4b_sshconfig_strict_no_changed").ignored_host_keys
    assert len(seen) == 1
    for name, claim, expected, *_ in ROWS:
        assert isinstance(
            judged(claim, replace(recorded(name), ignored_host_keys=seen), expected).error, IntegrityError
        )


def test_a_kill_is_a_timeout_for_every_claim_and_names_what_is_left() -> None:
    killed = replace(recorded("h2c_backup_kill"), exit_code=None)
    assert killed.cause is Cause.TIMEOUT
    for claim in ("applied", "restored", "backed_up", "reset"):
        assert isinstance(judged(claim, killed, "-").error, TimedOut)
    assert leftovers(killed) == (
        "ssh 10.88.0.2 'rm -rf /tmp/??????/k0s_backup* /tmp/k0s-backup*'",
        "ssh 10.88.0.2 'rm -f /tmp/k0sctl.lock'",
    )
    told = replace(killed, temp_dirs=(("10.88.0.2:22", "/tmp/abcdef"),))
    assert leftovers(told)[0] == "ssh 10.88.0.2 'rm -rf /tmp/abcdef'"
    assert leftovers(recorded("h2_backup_term_once")) == ()
    for name in ("f9_ssh_connection_dropped_during_backup", "f9b_ssh_connection_dropped_during_download"):
        (line,) = leftovers(recorded(name))
        assert re.fullmatch(r"ssh 10\.88\.0\.2 'rm -rf /tmp/(\w+|\?{6}/k0s_backup\* /tmp/k0s-backup\*)'", line)
    reset = replace(recorded("r5_real_reset"), exit_code=-9)
    assert leftovers(reset) == (f"ssh {reset.hosts[0].partition(':')[0]} 'rm -f /tmp/k0sctl.lock'",)
    restore = replace(recorded("h4_apply_restore_term_once"), exit_code=None)
    assert leftovers(restore)[0].startswith("ssh 10.88.0.2 'rm -rf /tmp/")
    assert verdict.identity(killed).state is Probe.UNCLEAR


def test_one_host_without_a_binary_does_not_make_the_cluster_absent() -> None:
    two = replace(recorded("c4d_backup_no_binary_useExisting"), hosts=("10.88.0.2:22", "10.88.0.3:22"))
    assert verdict.identity(two).state is Probe.UNCLEAR
    mixed = (*two.host_failures, ("10.88.0.3:22", "command failed"))
    assert verdict.identity(replace(two, host_failures=mixed)).state is Probe.UNCLEAR
    both = (*two.host_failures, ("10.88.0.3:22", two.host_failures[0][1]))
    assert verdict.identity(replace(two, host_failures=both)).state is Probe.ABSENT


def test_running_as_needs_a_uid_and_one_that_is_expected() -> None:
    probe = replace(recorded("c3_backup_dryrun"), uid=BACKUP)
    assert verdict.running_as(probe, [None, BACKUP.upper()]).proven
    assert "another cluster" in error_of(verdict.running_as(probe, [OTHER])).message
    for evidence, expected in (
        (probe, [None]),
        (replace(probe, uid=None), [BACKUP]),
        (replace(probe, uid=None), [None]),
    ):
        assert "not proven which cluster" in error_of(verdict.running_as(evidence, expected)).message
    assert isinstance(verdict.running_as(recorded("j4_backup_blocked_by_60s"), [BACKUP]).error, Conflict)
