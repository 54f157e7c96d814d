"""The hosts: is the SSH door open, is the key the pinned one, can the handler log in, and what was left there?"""

from __future__ import annotations

import shlex
from collections.abc import Collection
from pathlib import Path
from typing import Final

from handler.causes import archives_found, removal, ssh_lines
from handler.cluster import ClusterConfig
from handler.commands.checks.settings import rejected
from handler.commands.context import Context
from handler.commands.hosts import no_host_keys, pinned_keys, pins_path, wrong_host_keys
from handler.commands.looking import look_at
from handler.door import Door
from handler.errors import ConfigurationError, ToolFailed
from handler.findings import Area
from handler.hosts import Host
from handler.tools.hostkeys import PinState, known_hosts_name
from handler.traces import LOCK, Traces

_KEY: Final = "SSH key"
_PINS: Final = "pinned keys"
_ALL: Final = "all"
_KEY_STATES: Final = {
    PinState.FITS: "host key as pinned",
    PinState.UNCHECKED: "host key left to ssh to check (certificate authority)",
}


def check_hosts(ctx: Context, area: Area, config: ClusterConfig | None, unusable: frozenset[str]) -> frozenset[Host]:
    """Look at all hosts; returns those that can be used.

    A host has one line where all is well or where something stands in the way: what comes after that is not tried.
    """
    if config is None:
        area.unchecked(_ALL, "there is no configuration that could be read, see config")
        return frozenset()
    if why := _obstacle(ctx, unusable):
        area.unchecked(_ALL, why)
        return frozenset()
    hosts = config.hosts
    with area.trying(_KEY):
        _lay_key(ctx, area)
    direct = tuple(host for host in hosts if host.reachable_directly)
    answering = _doors(ctx, area, direct)
    known: dict[Host, str] = {}
    with area.trying(_PINS):
        known = _host_keys(ctx, area, answering, everyone=len(answering) == len(hosts))
    return _logins(ctx, area, hosts, known)


def _obstacle(ctx: Context, unusable: frozenset[str]) -> str:
    if wrong := rejected(ctx, "K0SCTL_SSH_KEY", "K0SCTL_SSH_TYPE", "K0SCTL_KNOWN_HOSTS"):
        return f"{wrong} does not fit, see settings"
    lacking = sorted(unusable & {"ssh", "ssh-keyscan", "ssh-keygen"})
    return f"{', '.join(lacking)} cannot be used, see tools" if lacking else ""


def _lay_key(ctx: Context, area: Area) -> None:
    """The keys as k0sctl gets them."""
    if ctx.settings.ssh_key is not None:
        ctx.ssh.use_key(ctx.settings.ssh_key, ctx.settings.ssh_key_name)
        area.ok(_KEY, f"K0SCTL_SSH_KEY, as ~/.ssh/{ctx.settings.ssh_key_name}")
        return
    home = ctx.variables.get("HOME", "")
    copied = ctx.ssh.copy_keys(Path(home) / ".ssh") if home else []
    agent = ["the SSH agent"] if ctx.variables.get("SSH_AUTH_SOCK") else []
    if copied or agent:
        area.ok(_KEY, f"K0SCTL_SSH_KEY is not set: {', '.join([*(f'~/.ssh/{name}' for name in copied), *agent])}")
    else:
        area.warn(
            _KEY,
            "K0SCTL_SSH_KEY is not set, and there is no key in ~/.ssh and no SSH agent",
            mend="set K0SCTL_SSH_KEY or K0SCTL_SSH_KEY_FILE to the private key that opens the hosts",
        )


def _doors(ctx: Context, area: Area, hosts: Collection[Host]) -> tuple[Host, ...]:
    """Those whose SSH door is open."""
    if not hosts:
        return ()
    wait = ctx.settings.ssh_wait.total_seconds()
    doors = {host: _door(host) for host in hosts}
    with ctx.reporter.step("try the SSH doors") as step:
        from handler.doors import knock  # noqa: PLC0415  # start-up time of commands that ask no host

        answers = knock(list(doors.values()), wait=wait, check=ctx.children.check)
        answering = tuple(host for host, door in doors.items() if answers[door].open)
        step.note(f"open: {len(answering)} of {len(doors)}")
    for host, door in doors.items():
        if not answers[door].open:
            area.problem(
                host.label,
                ToolFailed(
                    f"the SSH door stays closed: {answers[door].problem}; key and login were not tried",
                    resolution="check host, network, firewall and the address in the configuration; K0SCTL_SSH_WAIT "
                    f"is how long it is tried ({wait:g} s)",
                ),
            )
    return answering


def _door(host: Host) -> Door:
    return Door(host.address, host.port)


def _host_keys(ctx: Context, area: Area, hosts: Collection[Host], *, everyone: bool) -> dict[Host, str]:
    """Those that show a key that can be believed, and in which words."""
    pinned = pinned_keys(ctx)
    if pinned is not None:
        ctx.ssh.pin(pinned)
    with ctx.reporter.step("check host keys"):
        shown = ctx.ssh.scan([_door(host) for host in hosts]) if hosts else {}
        checks = {check.name: check for check in ctx.ssh.check(shown)} if pinned is not None else {}
    for host in hosts:
        if not shown[_door(host)]:
            area.problem(host.label, no_host_keys([_door(host)]))
    showing = [host for host in hosts if shown[_door(host)]]
    if pinned is None:
        lines = [key.line(_name(host)) for host in showing for key in shown[_door(host)]]
        return _unpinned(ctx, area, showing, tuple(dict.fromkeys(lines)), everyone=everyone)
    known = {}
    for host in showing:
        check = checks[_name(host)]
        if check.state in _KEY_STATES:
            known[host] = _KEY_STATES[check.state]
        else:
            area.problem(host.label, wrong_host_keys(ctx, [check]))
    return known


def _name(host: Host) -> str:
    return known_hosts_name(host.address, host.port)


def _unpinned(
    ctx: Context, area: Area, hosts: Collection[Host], lines: tuple[str, ...], *, everyone: bool
) -> dict[Host, str]:
    """Believe what they show, for this run, and tell it."""
    path = pins_path(ctx)
    shown = path.relative_to(ctx.cwd) if path.is_relative_to(ctx.cwd) else path
    area.warn(
        _PINS,
        "UNPINNED: no host keys are pinned, so whoever answers is believed",
        details=lines,
        mend=f"{'compare these keys with' if lines else 'look at'} the hosts' own (/etc/ssh/ssh_host_*_key.pub), then "
        f"put their lines into {shown} or K0SCTL_KNOWN_HOSTS",
    )
    if not lines:
        return {}
    ctx.ssh.pin("\n".join(lines), for_k0sctl=everyone)
    return dict.fromkeys(hosts, "host key believed, since none is pinned")


def _logins(ctx: Context, area: Area, hosts: Collection[Host], known: dict[Host, str]) -> frozenset[Host]:
    """Log in where that is safe, and look."""
    opening = [host for host in known if _has_key(ctx, area, host)]
    looks = look_at(ctx, opening) if opening else {}
    usable = set()
    for host in hosts:
        if not host.reachable_directly:
            area.unchecked(host.label, "plain SSH does not reach it; k0sctl does, in its own way")
        elif host in looks and looks[host].looked:
            usable.add(host)
            area.ok(host.label, f"door open, {known[host]}, login as {host.user} works; {_runs(looks[host])}")
            _left(area, host, looks[host])
        elif host in looks:
            area.problem(host.label, _no_login(host, looks[host]))
    return frozenset(usable)


def _has_key(ctx: Context, area: Area, host: Host) -> bool:
    """Whether the key is there that the configuration names for this host, if it names one."""
    if host.key_path is None or (ctx.cwd / host.key_path).is_file():
        return True
    if (ctx.cwd / host.key_path).is_relative_to(ctx.workspace.home):
        path = f"~/{(ctx.cwd / host.key_path).relative_to(ctx.workspace.home)}"
        area.problem(
            host.label,
            ConfigurationError(
                f"there is no SSH key {path}, which keyPath names",
                resolution=f"set K0SCTL_SSH_TYPE to its name (it is {ctx.settings.ssh_key_name}), or leave keyPath out",
            ),
        )
    else:
        area.unchecked(host.label, f"door open, {host.key_path} is missing, see config")
    return False


def _no_login(host: Host, traces: Traces) -> ToolFailed:
    port = "" if host.port == 22 else f"-p {host.port} "  # noqa: PLR2004
    return ToolFailed(
        f"the SSH door is open, but the login as {host.user}, or the look with root's rights, failed: {traces.problem}",
        resolution="check K0SCTL_SSH_KEY, the user in the configuration, its authorized_keys on the host and its right "
        f"to sudo without a password: ssh {port}{shlex.quote(f'{host.user}@{host.address}')} sudo -n id",
    )


def _runs(traces: Traces) -> str:
    if traces.processes:
        return "k0s runs"
    if not traces.processes_seen:
        return "its processes cannot be seen, for it has neither pgrep nor pidof"
    return "no k0s there" if traces.clean else "k0s is there and does not run"


def _left(area: Area, host: Host, traces: Traces) -> None:
    """What earlier runs have left, with the lines that remove it."""
    if traces.archives:
        area.warn(
            host.label,
            f"a backup IN CLEAR is left there: {', '.join(traces.archives)}",
            mend="; ".join(archives_found(host.label, traces)),
        )
    if traces.locked:
        area.warn(
            host.label,
            f"another k0sctl works there: {LOCK} is fresh ({traces.lock})",
            mend="wait for its end; a lock that nobody holds expires after 30 seconds",
        )
    elif traces.lock:
        area.warn(
            host.label,
            f"a k0sctl that was killed has left its lock: {LOCK} ({traces.lock})",
            mend=ssh_lines((host.label,), f"rm -f {LOCK}"),
        )
    if traces.processes_seen and not traces.processes:
        _not_running(area, host, traces)


def _not_running(area: Area, host: Host, traces: Traces) -> None:
    if traces.units:
        area.warn(
            host.label,
            f"k0s is installed and stopped: {', '.join(traces.units)}",
            mend=f"start it: {ssh_lines((host.label,), 'k0s start')}",
        )
    elif traces.data:
        area.warn(
            host.label,
            f"{', '.join(traces.left)}, but no unit and no process: an earlier reset or restore stopped halfway",
            mend=f"if nothing of it is needed, remove it: {removal(host.label, traces)}",
        )
