"""Why a run failed and what an operator does next, in words. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

from handler.errors import Conflict, HandlerError, IntegrityError, TimedOut, ToolFailed
from handler.evidence import RESTORE, TAKE_BACKUP, Cause, Evidence
from handler.hosts import DATA_DIR
from handler.traces import ARCHIVES, LOCK, Traces

NOT_RUNNING = "is not running but has been installed as a service"
_DIFFERENT_ERRORS = {Cause.HOST_KEY: IntegrityError, Cause.LOCKED: Conflict, Cause.TIMEOUT: TimedOut}

#: What an operator is told: why | what to do next. ``{on}`` are the hosts, ``{ssh:…}`` is a command for each of them.
_TOLD: Final = {
    Cause.HOST_KEY: "the SSH host key of {on} is not the pinned one | compare it with the key at the host's console; "
    "change known_hosts only when it is known who changed the key",
    Cause.LOCKED: "another k0sctl is working on {on} | wait for its end and run again (a dead run's lock expires after "
    "30 s); if it never does: {ssh:rm /tmp/k0sctl.lock}",
    Cause.AUTH: "{on} accepts no SSH key that k0sctl has | check K0SCTL_SSH_KEY, the user in the configuration, and "
    "authorized_keys on the host",
    Cause.CONFIG: "k0sctl does not accept its configuration or arguments | correct what k0sctl names, and run again",
    Cause.VERSION_LOOKUP: "no k0s version is pinned, and none could be looked up | set spec.k0s.version",
    Cause.DOWNLOAD: "{on} could not download the k0s binary | give the host a way to it, or set uploadBinary with "
    "k0sBinaryPath, or useExistingK0s",
    Cause.STOPPED: "k0s is installed on {on} but stopped | start it and run again: {ssh:k0s start}; if this host is to "
    "be made anew, remove k0s from it: {ssh:k0s reset}",
    Cause.ABSENT: "k0sctl found no k0s on {on} | apply makes or restores the cluster; with useExistingK0s the k0s "
    "binary must be put there first",
    Cause.DISK_FULL: "no space is left on {on} | make room (a backup needs twice its size in /tmp) and run again: "
    "{ssh:df -h}",
    Cause.ARCHIVE: "k0s on {on} could not restore from the archive | verify the backup or choose another one "
    "(K0SCTL_BACKUP); remove what k0s unpacked, keys in clear: {ssh:rm -rf /tmp/k0s-backup*}",
    Cause.HOOK: "a hook of the configuration failed on {on} | run the hook by hand, correct it, run again",
    Cause.COLLISION: "another run installs, or has just installed, k0s on {on} | make sure that no other apply works "
    "there, then run again",
    Cause.API_NOT_READY: "k0s runs on {on}, but its API or its etcd does not answer | read its log, then run again: "
    "{ssh:journalctl -u k0scontroller -n 100}",
    Cause.UNREACHABLE: "{on} does not answer on the SSH port | check host, address and firewall, then run again",
    Cause.CONNECTION_LOST: "the SSH connection to {on} broke off | check the network and the host, then run again",
    Cause.ABORTED: "k0sctl was stopped from outside | run it again",
    Cause.TIMEOUT: "k0sctl did not end within its time limit | see the phase above; raise K0SCTL_TIMEOUT if it still "
    "worked",
    Cause.OTHER: "k0sctl gave up in the phase {phase} | read k0sctl's words above and its log",
}


def failed_run(evidence: Evidence, action: str, extra: Iterable[str] = ()) -> HandlerError:
    """The error for a run whose end is a failure, by its cause."""
    cause = evidence.cause or Cause.OTHER
    why, todo = explain(evidence, cause)
    error = _DIFFERENT_ERRORS.get(cause, ToolFailed)
    return error(f"{action} failed: {why}", details=(*extra, *facts(evidence), *leftovers(evidence)), resolution=todo)


def explain(evidence: Evidence, cause: Cause) -> tuple[str, str]:
    """Why, and what to do next, with the hosts' names in it."""
    names = tuple(dict.fromkeys(host for host, _ in evidence.host_failures)) or evidence.hosts
    if cause is Cause.NOT_EMPTY:
        if any(NOT_RUNNING in warning for warning in evidence.warnings):
            why = f"the data of a stopped cluster is still on {joined(names)}"
            return (
                why,
                f"start it: {ssh_lines(names, 'k0s start')}; or, if nothing of it is needed, {wipe(evidence, names)}",
            )
        return f"an earlier restore was interrupted and left its data on {joined(names)}", wipe(evidence, names)
    why, _, todo = _TOLD[cause].partition(" | ")
    if cause is Cause.DISK_FULL and "download backup:" in (evidence.fatal or ""):
        why, todo = "no space is left here, where the backup is written", "make room in TMPDIR, and run again"
    if cause is Cause.HOST_KEY and evidence.ignored_host_keys:
        todo = "take StrictHostKeyChecking out of ssh.options in the configuration; " + todo
    phase = evidence.phases[-1] if evidence.phases else "before the first one"
    return why.format(on=joined(names), phase=phase), re.sub(
        r"\{ssh:([^}]*)\}", lambda command: ssh_lines(names, command[1]), todo
    )


def facts(evidence: Evidence) -> tuple[str, ...]:
    """How far k0sctl came, and its own last words."""
    came = (
        f"k0sctl came to the phase: {evidence.phases[-1]}" if evidence.phases else "k0sctl did not begin with a phase"
    )
    said = [line for line in (evidence.fatal or "").splitlines() if line.strip()]
    more = [error for error in evidence.errors if error not in (evidence.fatal or "")]
    return (came, *(f"k0sctl: {line}" for line in (*said, *more)[:12]), *evidence.ignored_host_keys)


def leftovers(evidence: Evidence) -> tuple[str, ...]:
    """Lines that remove what a run that did not end by itself left on the hosts: archives in clear, and the lock."""
    if evidence.exit_code is None or not 0 <= evidence.exit_code < 128:  # noqa: PLR2004  # killed
        lock = tuple(ssh_lines((host,), f"rm -f {LOCK}") for host in evidence.hosts)
    elif evidence.cause is Cause.CONNECTION_LOST:
        lock = ()  # it expires by itself; k0sctl came to its end without the host
    else:
        return ()
    made = [ssh_lines((host,), f"rm -rf {path}") for host, path in evidence.temp_dirs]
    if not made and (TAKE_BACKUP in evidence.phases or RESTORE in evidence.phases):
        made = [ssh_lines((host,), f"rm -rf {' '.join(ARCHIVES)}") for host in evidence.hosts]
    return (*made, *lock)


def archives_found(host: str, traces: Traces) -> tuple[str, ...]:
    """Lines that remove what a look found of archives in clear, whoever left them."""
    return tuple(ssh_lines((host,), f"rm -rf {path}") for path in traces.archives)


def removal(host: str, traces: Traces) -> str:
    """How what a reset left is removed: a host that is rebooted first has no mount left that rm would follow."""
    commands = []
    for unit in traces.units:
        name = unit.rpartition("/")[2].removesuffix(".service")
        plain = name if re.fullmatch(r"[\w.@-]+", name) else "UNIT"
        if unit.startswith("/etc/init.d/"):
            commands += [f"rc-service {plain} stop", f"rc-update del {plain}", f"rm -f {unit}"]
        else:
            commands += [f"systemctl disable --now {plain}", f"rm -f {unit}", "systemctl daemon-reload"]
    lines = ssh_lines((host,), "; ".join([*commands, "reboot"]))
    for path in traces.data:
        plain_path = re.fullmatch(r"(?:/[\w-][\w.-]*){2,}", path)
        what = ssh_lines((host,), f"rm -rf {path}") if plain_path else f"remove {path} on {host}"
        lines += f"; and when it is up again: {what}"
    return lines


def wipe(evidence: Evidence, hosts: Iterable[str]) -> str:
    """How to go on after data was left on a host; the path comes from a host, so only a plain one is repeated."""
    named = re.search(r'data-dir \\?"(/[\w-]+(?:/[\w-]+)+)/(?:etcd|db)\\?"', evidence.fatal or "")
    line = ssh_lines(hosts, f"k0s reset; rm -rf {named[1] if named else DATA_DIR}")
    return f"wipe the data directory there, then run apply again: {line}"


def joined(hosts: Iterable[str]) -> str:
    return ", ".join(hosts) or "a host"


def ssh_lines(hosts: Iterable[str], command: str) -> str:
    """A line to type for each host; k0sctl names hosts as address:port."""
    lines = []
    for host in hosts:
        plain = host if re.fullmatch(r"[\w.:%\[\]-]+", host) else "HOST"  # it is to be typed: no host adds to the line
        address, _, port = plain.rpartition(":") if re.search(r":\d+$", plain) else (plain, "", "22")
        lines.append(f"ssh {'' if port == '22' else f'-p {port} '}{address.strip('[]')} '{command}'")
    return "; ".join(lines) or f"ssh HOST '{command}'"
