"""``reset``: k0s removed from all hosts, behind the guard; then a look at each host whether it is gone."""

from __future__ import annotations

from handler.causes import archives_found
from handler.cluster import ClusterConfig
from handler.commands.context import Context
from handler.commands.guard import Allowed, candidates, confirmation, confirmed, fitting
from handler.commands.hosts import original_config, probe, ready, run_k0sctl
from handler.commands.looking import look_at
from handler.errors import HandlerError, Interrupted
from handler.evidence import Evidence
from handler.hosts import Host
from handler.tools.k0sctl import Run
from handler.traces import Traces
from handler.verdict import reset as judged

#: Seconds after which processes that were just ending are looked for once more.
_LINGER = 3.0


def reset(ctx: Context) -> str:
    """Remove k0s from all hosts of the configuration; the first line says what allows it."""
    ctx.reporter.hold()
    try:
        config, allowed = _guarded(ctx)
    except HandlerError:
        ctx.reporter.headline("reset: not begun: k0s is left as it is on all hosts")
        raise
    ctx.reporter.headline(f"reset: {_about(allowed, config)}")
    ctx.reporter.fact("guard", {"cluster": allowed.cluster, "backup": allowed.backup, "confirmed": not allowed.backup})
    evidence, looks = _remove(ctx, config, allowed)
    _require_gone(ctx, evidence, looks, allowed)
    back = f"; the backup {allowed.backup} brings the cluster back" if allowed.backup else ""
    looked = sum(traces.looked for traces in looks.values())
    return f"k0s is removed from {_hosts(len(looks))} (looked at {looked}){back}"


def _guarded(ctx: Context) -> tuple[ClusterConfig, Allowed]:
    """The configuration, its hosts ready, and what allows the reset; nothing is changed before it is known."""
    if ctx.settings.confirm_reset is not None:
        allowed = confirmed(ctx, ctx.settings.confirm_reset)
        return ready(ctx), allowed
    found = candidates(ctx)
    config = ready(ctx)
    return config, fitting(ctx, found, probe(ctx, config))


def _about(allowed: Allowed, config: ClusterConfig) -> str:
    about = f"cluster {allowed.cluster}, {_hosts(len(config.hosts))}"
    if allowed.backup is None:
        return f"{about}: confirmed by name, no backup is looked at"
    return f"{about}: {allowed.backup}, the backup of {allowed.uid}, is proven to bring it back"


def _hosts(count: int) -> str:
    return "1 host" if count == 1 else f"{count} hosts"


def _remove(ctx: Context, config: ClusterConfig, allowed: Allowed) -> tuple[Evidence, dict[Host, Traces]]:
    """Let k0sctl remove k0s, then look, whatever it said."""
    run = Run(
        action="reset",
        config=original_config(ctx, config),
        timeout=ctx.settings.timeout,
        variables=config.environment,
        arguments=("--force", *ctx.settings.extra_arguments),
    )
    try:
        evidence = run_k0sctl(ctx, "k0sctl reset", run)
        return evidence, _look(ctx, config, evidence)
    except Interrupted:
        ctx.reporter.warn(
            "k0s may be removed from some hosts only, and in part; nobody has looked. To go on: reset again, and "
            + confirmation(allowed.cluster)
        )
        raise


def _require_gone(ctx: Context, evidence: Evidence, looks: dict[Host, Traces], allowed: Allowed) -> None:
    verdict = judged(evidence, looks={host.label: traces for host, traces in looks.items()})
    for note in verdict.notes:
        ctx.reporter.note(note)
    if verdict.error and _halfway(evidence) and not all(traces.clean for traces in looks.values()):
        again = f"run reset again, and {confirmation(allowed.cluster)}"
        verdict.error.resolution = f"{again}; where that finds no k0s binary any more, {verdict.error.resolution}"
    verdict.require()


def _halfway(evidence: Evidence) -> bool:
    """Whether k0sctl did not come to its end: another run may do the rest."""
    return evidence.resetting and evidence.cause is not None


def _look(ctx: Context, config: ClusterConfig, evidence: Evidence) -> dict[Host, Traces]:
    """What k0sctl has left, whatever it said; processes may need a moment to end."""
    looks = look_at(ctx, config.hosts)
    lingering = [host for host, traces in looks.items() if traces.processes]
    if lingering and evidence.resetting:
        ctx.children.sleep(_LINGER)
        looks |= look_at(ctx, lingering)
    ctx.reporter.fact("looks", {host.label: traces for host, traces in looks.items()})
    for host, traces in looks.items():
        if not traces.looked:
            ctx.reporter.warn(f"{host.label}: not looked at, so k0sctl's word stands alone: {traces.problem}")
        elif not traces.processes_seen:
            ctx.reporter.warn(f"{host.label}: processes were not looked for: it has neither pgrep nor pidof")
        for line in archives_found(host.label, traces):
            ctx.reporter.warn(f"a backup in clear is left on a host, remove it: {line}")
    return looks
