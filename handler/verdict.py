"""What counts as true: one pure function a claim, from `Evidence` to `Verdict`.

k0sctl exits 0 for several kinds of failure (a skipped restore, a failed ``k0s reset``, a dry run), so each claim has
its own proof. What could not be read is unknown and proves nothing.
"""

from __future__ import annotations

import enum
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from handler.causes import NOT_RUNNING, explain, facts, failed_run, joined, removal, ssh_lines, wipe
from handler.errors import HandlerError, IntegrityError, ToolFailed
from handler.evidence import INITIALIZE, RESET_LEADER, RESTORE, TAKE_BACKUP, Cause, Evidence
from handler.hosts import DATA_DIR
from handler.traces import Traces

#: The first words of the message for every apply that may have replaced a cluster by an empty one.
NEW_CLUSTER: Final = "a NEW, EMPTY cluster was made"
#: Warnings that every good run prints, or that are told in another way.
_NOISE = ("Aborting...", "failed to clean up backup temp dir", "failed to remove backup temp dir", "reported failure:")


class Probe(enum.Enum):
    """What the identity probe (``k0sctl backup --dry-run``) found."""

    RUNNING = "running"
    RUNNING_UNKNOWN = "running, UID unknown"
    ABSENT = "absent"
    STOPPED = "stopped"
    LOCKED = "locked"
    UNCLEAR = "unclear"


@dataclass(frozen=True, slots=True)
class Identity:
    """Which cluster is there; ``uid`` is known for RUNNING only."""

    state: Probe
    uid: str | None
    reason: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a claim is proven; if not, ``error`` is what to raise. ``notes`` are for the operator in both cases."""

    proven: bool
    error: HandlerError | None = None
    notes: tuple[str, ...] = ()

    def require(self) -> Verdict:
        """Return self, or raise the error of an unproven claim."""
        if self.error:
            raise self.error
        return self


def identity(evidence: Evidence) -> Identity:
    """The verdict on the probe; a wrong host key raises IntegrityError: nothing that such a host says is known."""
    cause = evidence.cause
    if cause is Cause.HOST_KEY:
        raise failed_run(evidence, "asking the cluster for its identity")
    if cause is None:
        if TAKE_BACKUP not in evidence.phases:
            return Identity(Probe.UNCLEAR, None, f"k0sctl ended with 0, but without the phase {TAKE_BACKUP}")
        runs = f"k0s {evidence.k0s_version or 'of an unknown version'} runs"
        if evidence.uid is None:
            return Identity(Probe.RUNNING_UNKNOWN, None, f"{runs}, but its API did not tell the cluster's UID")
        return Identity(Probe.RUNNING, evidence.uid, f"{runs}, the cluster's UID is {evidence.uid}")
    why, _ = explain(evidence, cause)
    state = {Cause.STOPPED: Probe.STOPPED, Cause.LOCKED: Probe.LOCKED}.get(cause, Probe.UNCLEAR)
    if cause is Cause.ABSENT and any(NOT_RUNNING in warning for warning in evidence.warnings):
        state, why = Probe.STOPPED, "k0s is installed, but it is stopped"
    elif cause is Cause.ABSENT and _nowhere(evidence):
        state, why = Probe.ABSENT, "no host of the configuration runs a controller"
    elif state is Probe.UNCLEAR:
        said = [f"{host}: {text}" for host, text in evidence.host_failures] or (evidence.fatal or "").splitlines()[:1]
        why = "; ".join((why, *said))
    return Identity(state, None, why)


def applied(evidence: Evidence) -> Verdict:
    """Exit 0, ``is now installed``, no dry run."""
    notes = list(_notes(evidence))
    if evidence.cause:
        return _unproven(failed_run(evidence, "apply"), notes)
    if evidence.dry_run:
        return _unproven(ToolFailed("nothing was applied: k0sctl made a dry run", resolution=_NO_DRY_RUN), notes)
    if evidence.installed_version is None:
        said = "the apply is not proven: k0sctl ended with 0 but never said that the cluster is installed"
        return _unproven(ToolFailed(said, details=facts(evidence)), notes)
    if evidence.k0s_version not in (None, evidence.installed_version):
        told, runs = evidence.installed_version, evidence.k0s_version
        notes.insert(
            0, f"k0sctl says that {told} is installed, but {runs} runs: the binary on the host was not replaced"
        )
    if failed := [failure for failure in evidence.reset_failures if not failure.benign]:
        notes += [
            f"a node was taken out, but k0s reset failed on {f.host}: {f.text or 'no reason given'}" for f in failed
        ]
    return Verdict(proven=True, notes=tuple(notes))


def restored(evidence: Evidence, expected_uid: str | None) -> Verdict:
    """Exit 0, phase ``Restore cluster state``, then the UID of the backup (None: the backup does not know it)."""
    notes, expected = list(_notes(evidence)), (expected_uid or "").lower()
    known = f"UID of the backup: {expected or 'unknown'}; UID of the cluster now: {evidence.uid or 'unknown'}"
    differs = bool(expected and evidence.uid and evidence.uid != expected)
    begun = RESTORE in evidence.phases
    made = new_cluster(evidence, restored=begun)
    if evidence.cause and (not differs or INITIALIZE not in evidence.phases or evidence.cause is Cause.HOST_KEY):
        extra = [f"{NEW_CLUSTER} perhaps: k0sctl went on without the phase {RESTORE}"] if made else []
        if begun and evidence.uid == expected:
            extra.append(f"the cluster already runs with the restored data ({known}): a plain apply goes on from there")
        elif begun and evidence.cause not in (Cause.NOT_EMPTY, Cause.HOST_KEY):
            extra.append(f"{DATA_DIR} may be filled already: if the next try says 'not empty', wipe it there")
        return _unproven(failed_run(evidence, "the restore", extra), notes)
    if evidence.dry_run:
        filled = "k0sctl restores even in a dry run, so the data directory is filled now" if begun else known
        said = "the restore is not proven: k0sctl made a dry run"
        return _unproven(IntegrityError(said, details=(filled,), resolution=wipe(evidence, evidence.hosts)), notes)
    if not begun or differs:
        return _unproven(_not_this_cluster(evidence, made=made, details=(known, *facts(evidence)[1:])), notes)
    if not expected:
        return Verdict(proven=True, notes=(f"the only proof is the phase {RESTORE}: the backup has no UID", *notes))
    if evidence.uid is None:
        said = "the restore cannot be proven: the cluster's UID could not be read"
        todo = "compare it by hand: k0s kubectl get namespace kube-system -o jsonpath={.metadata.uid}"
        return _unproven(
            IntegrityError(said, details=(known,), resolution=f"{todo}; do not use the cluster before"), notes
        )
    return Verdict(proven=True, notes=tuple(notes))


def backed_up(evidence: Evidence) -> Verdict:
    """Exit 0, phase ``Take backup``, no dry run; whether the archive is any good is proven from the archive."""
    notes = _notes(evidence)
    if evidence.cause:
        return _unproven(failed_run(evidence, "the backup"), notes)
    if evidence.dry_run:
        return _unproven(ToolFailed("no backup was taken: k0sctl made a dry run", resolution=_NO_DRY_RUN), notes)
    if TAKE_BACKUP not in evidence.phases:
        said = f"no backup was taken: k0sctl ended with 0, but without the phase {TAKE_BACKUP}"
        return _unproven(ToolFailed(said, details=facts(evidence)), notes)
    return Verdict(proven=True, notes=notes)


def reset(evidence: Evidence, *, looks: Mapping[str, Traces] = MappingProxyType({})) -> Verdict:
    """Exit 0, each host called reset, no ``k0s reset`` that failed, and nothing left where a host was looked at.

    Where nobody looked, k0sctl's lines decide alone. Where a look found nothing of k0s, a missing binary is no failure.
    """
    notes = _notes(evidence)
    left = {host: traces for host, traces in looks.items() if traces.left}
    clean = {host for host, traces in looks.items() if traces.clean}
    bad = [f for f in evidence.reset_failures if not f.benign and not (f.missing and f.host in clean)]
    silent = [host for host in evidence.hosts if host not in evidence.reset_hosts]
    names = tuple(dict.fromkeys((*left, *(f.host for f in bad), *silent))) or evidence.hosts
    details = [
        *(f"{host}: still there: {', '.join(traces.left)}" for host, traces in left.items()),
        *(f"{f.host}: k0s reset: {f.text or 'no reason given'}" for f in bad),
        *_looked(looks, clean),
        *(f"{host}: to remove it: {removal(host, traces)}" for host, traces in left.items() if len(left) > 1),
    ]
    todo = _after_reset(looks, left, names)
    if evidence.cause:
        error = failed_run(evidence, "the reset", details)
        if evidence.cause is Cause.ABSENT or evidence.resetting:
            # k0sctl deletes the binary even after a reset that failed, so the next one cannot run there
            error.resolution = todo
        return _unproven(error, notes)
    if evidence.dry_run:
        said = "nothing was reset: k0sctl made a dry run"
        return _unproven(ToolFailed(said, details=details, resolution=_NO_DRY_RUN), notes)
    if not left and not bad and not silent and RESET_LEADER in evidence.phases:
        return Verdict(proven=True, notes=notes)
    why = "k0s reset failed or did not run, although k0sctl ended with 0; data and services may still be there"
    if left:
        why = "something of k0s is still there, although k0sctl ended with 0"
    elif bad and all(failure.missing for failure in bad):
        why = "there was no k0s binary to reset with: clean already, or an earlier reset stopped halfway and left data"
    elif clean.issuperset(names):
        why = "k0s reset failed or did not run, although k0sctl ended with 0; what is looked for is gone all the same"
    said = f"the reset is not proven: on {joined(names)} {why}"
    return _unproven(ToolFailed(said, details=details, resolution=todo), notes)


def _looked(looks: Mapping[str, Traces], clean: Collection[str]) -> Iterable[str]:
    if looks and len(clean) == len(looks):
        yield "nothing of k0s is left on any host: no data directory, no unit, no process"
    elif clean:
        yield f"nothing of k0s is left on {joined(clean)}"
    yield from (f"{host}: not looked at: {traces.problem}" for host, traces in looks.items() if not traces.looked)


def _after_reset(looks: Mapping[str, Traces], left: Mapping[str, Traces], names: Collection[str]) -> str:
    """What is to be done about hosts that are not proven clean."""
    todo = []
    if len(left) == 1:
        todo.append("remove what is left: " + "".join(removal(host, traces) for host, traces in left.items()))
    elif left:
        todo.append("remove what is left by the lines above")
    if unseen := [host for host in names if host not in looks or not looks[host].looked]:
        look = ssh_lines(unseen, f"ls -d {DATA_DIR} /etc/systemd/system/k0s* /etc/init.d/k0s*; pgrep -a k0s")
        todo.append(f"look what is left: {look}; remove it, reboot the host, and look again")
    return "; ".join(todo) or "nothing is left to remove; reboot the hosts, as k0s advises"


def running_as(evidence: Evidence, expected: Collection[str | None]) -> Verdict:
    """Exit 0 and the UID is one of ``expected``; an unknown UID is none of them."""
    notes = _notes(evidence)
    uids = sorted({uid.lower() for uid in expected if uid})
    if evidence.cause:
        return _unproven(failed_run(evidence, "asking the cluster for its identity"), notes)
    if evidence.uid in uids:
        return Verdict(proven=True, notes=notes)
    known = f"expected UID: {' or '.join(uids) or 'none is known'}; UID of the cluster: {evidence.uid or 'unknown'}"
    said = (
        "another cluster runs than the one expected" if evidence.uid and uids else "it is not proven which cluster runs"
    )
    todo = "check K0SCTL_CFG_PATH and the backup repository; K0SCTL_ACCEPT_CLUSTER names a cluster that may take over"
    return _unproven(IntegrityError(said, details=(known,), resolution=todo), notes)


def new_cluster(evidence: Evidence, *, restored: bool) -> bool:
    """Whether a cluster was begun that holds nothing of a backup.

    ``restored``: what is proven otherwise, by `restored` or, where leftover data came up again, by `running_as`.
    """
    return INITIALIZE in evidence.phases and not restored and not evidence.dry_run


_NO_DRY_RUN = "remove --dry-run from K0SCTL_EXTRA_ARGS, and run again"


def _unproven(error: HandlerError, notes: Iterable[str]) -> Verdict:
    return Verdict(proven=False, error=error, notes=tuple(notes))


def _not_this_cluster(evidence: Evidence, *, made: bool, details: Iterable[str]) -> IntegrityError:
    """k0sctl ended well, but what runs now is not what the backup holds."""
    again = "reset it (K0SCTL_CMD_NAME=reset), then apply again"
    if made:
        said, todo = f"{NEW_CLUSTER}: k0sctl went on without restoring", f"do not use it: {again}"
    elif RESTORE in evidence.phases:
        said = f"{NEW_CLUSTER}, or old data on the host won: what runs now is not the cluster of the backup"
        todo = f"do not use it: {again}; the datastore of the backup must be the one of the configuration"
    else:
        said = f"{NEW_CLUSTER}, or one that was running already was left as it is: k0sctl skipped the restore"
        todo = (
            f"if the running cluster is the right one, nothing is to be restored (K0SCTL_RESTORE=never); else {again}"
        )
    return IntegrityError(said, details=tuple(details), resolution=todo)


def _notes(evidence: Evidence) -> tuple[str, ...]:
    return tuple(f"k0sctl warns: {text}" for text in evidence.warnings if not any(noise in text for noise in _NOISE))


def _nowhere(evidence: Evidence) -> bool:
    """Whether no host runs k0s: one host without a binary says nothing about the others."""
    without = {host for host, text in evidence.host_failures if Cause.ABSENT.pattern.search(text)}
    # the whole of k0sctl's words: what they quote of a host proves nothing
    nothing = evidence.fatal == "failed to find a running controller"
    return nothing or (bool(evidence.hosts) and without >= set(evidence.hosts))
