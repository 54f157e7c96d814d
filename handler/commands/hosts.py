"""Before and around k0sctl: the configuration, the keys, the hosts' doors and host keys, and the run itself."""

from __future__ import annotations

import stat
from collections.abc import Callable, Collection
from datetime import timedelta
from pathlib import Path
from typing import Final

from handler.causes import leftovers
from handler.cluster import ClusterConfig, read
from handler.commands.context import Context
from handler.derive import derived
from handler.door import Answer, Door
from handler.envsubst import Location
from handler.errors import ConfigurationError, Conflict, IntegrityError, ToolFailed, from_os_error
from handler.evidence import Evidence
from handler.hosts import Host
from handler.logfmt import phase_of
from handler.settings.model import BackupHosts
from handler.tools.hostkeys import HostKey, PinCheck, PinState, known_hosts_name
from handler.tools.k0sctl import Run
from handler.verdict import Identity, identity
from handler.workspace import write_private

#: The probe only reads; a cluster that does not answer in this time is unclear.
_PROBE_AT_MOST: Final = timedelta(minutes=2)
_MOST_BYTES: Final = 8 << 20


def ready(ctx: Context) -> ClusterConfig:
    """The configuration read, every host's door open and its key the pinned one."""
    config = read_config(ctx)
    prepare_ssh(ctx)
    open_doors(ctx, config.hosts)
    check_host_keys(ctx, config.hosts)
    return config


def read_config(ctx: Context) -> ClusterConfig:
    """The configuration as k0sctl will read it; its secrets become known to the redactor."""
    path = ctx.settings.config_path
    with ctx.reporter.step(f"read {path}") as step:
        config = read(config_text(ctx), name=str(path), variables=ctx.variables, home=str(ctx.workspace.home))
        step.note(f"hosts: {len(config.hosts)}, controllers: {len(config.controllers)}")
    ctx.reporter.redactor.learn(*config.secrets)
    if config.k0s_version is None:
        ctx.reporter.warn(f"{path} does not pin spec.k0s.version: every command then needs the internet")
    for host in config.hosts:
        for weakness in host.weakening:
            ctx.reporter.warn(f"{host.label}: {weakness}")
    return config


def config_text(ctx: Context) -> str:
    try:
        return text_of_file(ctx, ctx.settings.config_path)
    except FileNotFoundError:
        raise ConfigurationError(
            f"there is no {ctx.settings.config_path}",
            resolution="put k0sctl's configuration there, or set K0SCTL_CFG_PATH",
        ) from None
    except OSError as error:
        raise from_os_error(error, f"reading {ctx.settings.config_path}") from error


def original_config(ctx: Context, config: ClusterConfig) -> Path:
    """The configuration's path, for a run of k0sctl on the file itself; it must still be what was read and judged.

    Raises:
        Conflict: somebody has changed it meanwhile.
    """
    if config_text(ctx) != config.original:
        raise Conflict(
            f"{ctx.settings.config_path} was changed while this run worked with what it was before",
            resolution="run again, when nobody changes it any more",
        )
    return ctx.cwd / ctx.settings.config_path


def text_of_file(ctx: Context, path: Path) -> str:
    """
    Raises:
        ConfigurationError: it is no file, too large, or not UTF-8 text, and where.
        OSError: it cannot be read.
    """
    kind = (ctx.cwd / path).stat().st_mode
    if not stat.S_ISREG(kind) and not stat.S_ISDIR(kind):  # a directory is an error of its own
        raise ConfigurationError(f"{path} is a device or a pipe", resolution=f"put a file there, or remove {path}")
    with (ctx.cwd / path).open("rb") as file:
        raw = file.read(_MOST_BYTES + 1)
    if len(raw) > _MOST_BYTES:
        raise ConfigurationError(
            f"{path} has more than {_MOST_BYTES >> 20} MiB, which no configuration has",
            resolution=f"put the right file there, or remove {path}",
        )
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as error:
        before = raw[: error.start].decode("utf-8")
        raise ConfigurationError(
            f"{path}:{Location.of(before, len(before))}: this is not UTF-8 text",
            resolution=f"save {path} as UTF-8 and run again",
        ) from None


def prepare_ssh(ctx: Context) -> None:
    """Lay the private key where k0sctl looks for it."""
    if ctx.settings.ssh_key is not None:
        ctx.ssh.use_key(ctx.settings.ssh_key, ctx.settings.ssh_key_name)
        return
    home = ctx.variables.get("HOME", "")
    copied = ctx.ssh.copy_keys(Path(home) / ".ssh") if home else []
    if copied:
        ctx.reporter.note(f"K0SCTL_SSH_KEY is not set: using {', '.join(copied)} of {home}/.ssh")
    elif not ctx.variables.get("SSH_AUTH_SOCK"):
        ctx.reporter.warn("K0SCTL_SSH_KEY is not set, and there is no key in ~/.ssh and no SSH agent")


def open_doors(ctx: Context, hosts: Collection[Host], *, required: bool = True) -> tuple[Host, ...]:
    """Try the SSH doors of all hosts that can be reached directly; returns those that stay closed.

    Raises:
        ToolFailed: one stays closed, and all are ``required``.
    """
    doors = {host: Door(host.address, host.port) for host in hosts if host.reachable_directly}
    if not doors:
        return ()
    with ctx.reporter.step("try the SSH doors") as step:
        from handler.doors import knock  # noqa: PLC0415  # start-up time of commands that ask no host

        answers = knock(list(doors.values()), wait=ctx.settings.ssh_wait.total_seconds(), check=ctx.children.check)
        closed = {host: answers[door] for host, door in doors.items() if not answers[door].open}
        step.note(f"open: {len(doors) - len(closed)} of {len(doors)}")
        if closed and (required or len(closed) == len(doors)):
            raise closed_doors(closed, ctx.settings.ssh_wait)
    for host, answer in closed.items():
        ctx.reporter.warn(f"{host.label}: SSH door closed ({answer.problem}); left out")
    return tuple(closed)


def closed_doors(closed: dict[Host, Answer], wait: timedelta) -> ToolFailed:
    names = ", ".join(host.label for host in closed)
    return ToolFailed(
        f"the SSH door stays closed: {names}",
        details=[f"{host.label}: {answer.problem}" for host, answer in closed.items()],
        resolution="check host, network and address; K0SCTL_SSH_WAIT is how long it is tried "
        f"({wait.total_seconds():g} s)",
    )


def check_host_keys(ctx: Context, hosts: Collection[Host], *, required: bool = True) -> tuple[Host, ...]:
    """Pin the hosts' keys for k0sctl, and compare them with what the hosts show now; returns those that show none.

    Raises:
        IntegrityError: a host shows another key than the pinned one, or none is pinned for it.
        ToolFailed: a host shows no key at all, and all are ``required``; or none shows one.
    """
    doors = {host: Door(host.address, host.port) for host in hosts if host.reachable_directly}
    shown = _compare_host_keys(ctx, doors, required=required, all_direct=len(doors) == len(hosts))
    silent = tuple(host for host, door in doors.items() if not shown[door])
    for host in silent:
        ctx.reporter.warn(f"{host.label}: the SSH door is open, but no host key is shown; left out")
    return silent


def _compare_host_keys(
    ctx: Context, doors: dict[Host, Door], *, required: bool, all_direct: bool
) -> dict[Door, tuple[HostKey, ...]]:
    pinned = pinned_keys(ctx)
    with ctx.reporter.step("check host keys") as step:
        shown = ctx.ssh.scan([*doors.values()]) if doors else {}
        silent = [door for door, keys in shown.items() if not keys]
        if silent and (required or len(silent) == len(shown)):
            raise no_host_keys(silent)
        if pinned is None:
            lines = [
                key.line(known_hosts_name(door.address, door.port)) for door, keys in shown.items() for key in keys
            ]
            # Hosts behind a bastion show no key here: strictness would refuse them, so k0sctl then trusts all at once.
            if lines:
                ctx.ssh.pin("\n".join(lines), for_k0sctl=all_direct)
            tell_unpinned(ctx, lines)
            return shown
        ctx.ssh.pin(pinned)
        checks = ctx.ssh.check(shown)
        step.note(f"as pinned: {sum(check.state is PinState.FITS for check in checks)} of {len(checks)}")
    wrong = [check for check in checks if check.state not in {PinState.FITS, PinState.UNCHECKED}]
    if wrong:
        raise wrong_host_keys(ctx, wrong)
    return shown


def pinned_keys(ctx: Context) -> str | None:
    if ctx.settings.known_hosts is not None:
        return ctx.settings.known_hosts
    path = pins_path(ctx)
    try:
        return path.read_text(encoding="utf-8", errors="replace") if path.exists() else None
    except OSError as error:
        raise from_os_error(error, f"reading {path}") from error


def pins_path(ctx: Context) -> Path:
    return ctx.cwd / ctx.settings.config_path.parent / "known_hosts"


def tell_unpinned(ctx: Context, lines: list[str]) -> None:
    path = ctx.settings.config_path.parent / "known_hosts"
    ctx.reporter.warn(
        f"UNPINNED: no host keys are pinned, so whoever answers is believed. Compare these keys with the hosts' own, "
        f"then put the lines into {path} or K0SCTL_KNOWN_HOSTS:" + "".join(f"\n{line}" for line in lines)
    )


def no_host_keys(silent: Collection[Door]) -> ToolFailed:
    return ToolFailed(
        f"the SSH door is open, but no host key is shown: {', '.join(door.label for door in silent)}",
        resolution="look at its sshd: journalctl -u ssh",
    )


def wrong_host_keys(ctx: Context, wrong: list[PinCheck]) -> IntegrityError:
    details = []
    for check in wrong:
        pinned = ", ".join(f"{key.kind} {key.fingerprint}" for key in check.pinned) or "none"
        shown = f"{check.shown.kind} {check.shown.fingerprint}" if check.shown else "none"
        details.append(f"{check.name}: shown {shown}{', which is revoked' if check.revoked else ''}; pinned {pinned}")
        if check.shown and not check.revoked:
            details.append(f"  to accept it: {check.shown.line(check.name)}")
    changed = any(check.state is PinState.CHANGED for check in wrong)
    names = ", ".join(check.name for check in wrong)
    path = ctx.settings.config_path.parent / "known_hosts"
    resolution = (
        "ask the host itself (ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub); only if it shows the same "
        f"fingerprint, replace its line in {path} or K0SCTL_KNOWN_HOSTS by the one above"
    )
    if all(check.revoked for check in wrong):
        resolution = (
            "a revoked key must never be accepted: make new ones on the host (rm /etc/ssh/ssh_host_*_key*; "
            "ssh-keygen -A; systemctl restart ssh), and pin those"
        )
    return IntegrityError(
        f"{'another host key than the pinned one' if changed else 'no fitting host key is pinned'}: {names}",
        details=details,
        resolution=resolution,
    )


def run_k0sctl(
    ctx: Context, name: str, run: Run, told: Callable[[Evidence], str] = lambda evidence: f"exit {evidence.exit_code}"
) -> Evidence:
    """One run of k0sctl as one step, its phases told as they happen; ``told`` says what came of it."""

    def on_line(line: str) -> None:
        if phase := phase_of(line):
            ctx.reporter.phase(phase)

    with ctx.reporter.step(name) as step:
        evidence = ctx.k0sctl.run(run, on_line)
        step.note("killed at its time limit" if evidence.exit_code is None else told(evidence))
    ctx.reporter.fact(f"k0sctl {run.action}", evidence.as_report())
    if left := leftovers(evidence):
        known = ctx.reporter.facts.get("leftovers", ())
        ctx.reporter.fact("leftovers", (*known, *left) if isinstance(known, tuple) else left)
    for line in left:
        ctx.reporter.warn(f"left on a host, remove it: {line}")
    ctx.children.check()
    return evidence


def controllers_config(ctx: Context, config: ClusterConfig, left_out: Collection[Host], *, hooks: str | None) -> Path:
    """Write the derived configuration, for a run through the controllers only.

    With K0SCTL_BACKUP_HOSTS=all it is the original, untouched.
    """
    if ctx.settings.backup_hosts is BackupHosts.ALL:
        return original_config(ctx, config)
    gone = {host.index for host in left_out}
    text = derived(config.text, keep=lambda host: host.index not in gone, hooks=hooks, base_dir=str(ctx.cwd))
    path = ctx.workspace.secrets / "derived.yaml"
    path.unlink(missing_ok=True)
    return write_private(path, text)


def probe(ctx: Context, config: ClusterConfig) -> Identity:
    """The identity probe: which cluster runs there, told by a dry run of a backup, which changes nothing."""
    run = Run(
        action="backup",
        config=controllers_config(ctx, config, (), hooks=None),
        timeout=min(_PROBE_AT_MOST, ctx.settings.timeout),
        variables=config.environment if ctx.settings.backup_hosts is BackupHosts.ALL else {},
        arguments=("--dry-run", "--output", str(ctx.workspace.bulk / "probe.tar.gz")),
    )
    found = identity(run_k0sctl(ctx, "ask who runs there", run, lambda evidence: identity(evidence).reason))
    ctx.reporter.fact("identity", {"state": found.state.name.lower(), "uid": found.uid, "reason": found.reason})
    return found
