"""``ping``: the route to every node, and its SSH door; nothing is changed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from handler.addresses import Place
from handler.commands.context import Context
from handler.commands.hosts import wrong_host_keys
from handler.commands.targets import Targets, find_targets
from handler.commands.tracing import Found, Target, trace_and_knock
from handler.door import Door
from handler.errors import ConfigurationError, ToolFailed
from handler.hosts import Host
from handler.reach import Node, Seen, Verdict
from handler.report.output import table
from handler.routes import Route
from handler.settings.model import PingMode
from handler.tools.hostkeys import PinCheck, PinState
from handler.tools.mtr import Trace

_HEAD: Final = ("NODE", "ADDRESS", "HOPS", "LOSS", "AVG ms", "DOOR", "VERDICT")
#: While it runs; the SSH doors are still being tried.
_LIVE_HEAD: Final = (*_HEAD[:5], "ROUTE")
_HOP_HEAD: Final = ("HOP", "HOST", "LOSS", "SENT", "LAST", "AVG", "BEST", "WORST", "STDEV")
_SSH_PORT: Final = 22
#: Of failing nodes in the last line; the lines before it tell all.
_MOST_NAMED: Final = 8
_RIGHTS: Final = (
    'in a container: --cap-add NET_RAW, or else --sysctl net.ipv4.ping_group_range="0 2147483647"',
    'on a host: setcap cap_net_raw+ep "$(command -v mtr-packet)"',
    "where it has that right already, a firewall of this machine stops what mtr sends",
)
_KEYS: Final = {
    PinState.CHANGED: "another host key than the pinned one",
    PinState.OTHER_KIND: "no host key of this kind is pinned",
    PinState.NOT_PINNED: "no host key is pinned for it",
}


def ping(ctx: Context) -> str:
    """Look at all nodes at once, and tell which of them k0sctl could not reach.

    Raises:
        ToolFailed: a node does not answer.
        IntegrityError: nodes show wrong host keys, and all else is well.
        ConfigurationError: the files are wrong, or mtr has not the right to trace.
    """
    ctx.reporter.headline("ping: the route to every node, and its SSH door; nothing is changed")
    ctx.reporter.fact("mtr", ctx.mtr.version())
    targets = find_targets(ctx)
    found = _look(ctx, targets)
    nodes = [_node(ctx, found, host, targets) for host in targets.hosts]
    others = [(place, _seen(ctx, found, _target(ctx, place.address))) for place in targets.others]
    result = {
        "nodes": [node.as_row() for node in nodes],
        "others": [{**seen.as_row(), "where": place.where} for place, seen in others],
    }
    ctx.reporter.fact("ping", result)
    ctx.output.show(result, table(_HEAD, [*_node_rows(nodes), *_other_rows(others)]))
    return _concluded(ctx, nodes, found)


def _look(ctx: Context, targets: Targets) -> Found:
    """Trace, knock and compare keys; each route is told and logged as it comes."""
    owners: dict[Target, list[str]] = {}
    for host, one in targets.hosts.items():
        for address in one.addresses:
            owners.setdefault(_target(ctx, address, host.port), []).append(host.label)
    for place in targets.others:
        owners.setdefault(_target(ctx, place.address), []).append(place.where)
    doors = [
        (host, Door(address, host.port))
        for host, one in targets.hosts.items()
        for address in one.addresses
        if host.reachable_directly
    ]

    def ended(target: Target, trace: Trace) -> None:
        names, told = ", ".join(owners[target]), _told(ctx, trace)
        line = f"{target.address} ({names}): {told}"
        state = told if trace.route is None or not trace.route.reached(_max_loss(ctx)) else "reached"
        ctx.reporter.row(line, _LIVE_HEAD, (names, target.address, *_numbers(trace.route), state))
        ctx.log.extend([line, *_hops(trace.route)])

    with ctx.reporter.step("trace the routes and try the SSH doors") as step:
        found = trace_and_knock(ctx, list(owners), doors, ended)
        reached = sum(
            trace.route is not None and trace.route.reached(_max_loss(ctx)) for trace in found.traces.values()
        )
        step.note(f"reached: {reached} of {len(found.traces)}")
        if found.doors:
            step.note(f"doors open: {sum(one.open for one in found.doors.values())} of {len(found.doors)}")
    return found


def _target(ctx: Context, address: str, port: int = _SSH_PORT) -> Target:
    return Target(address, port if ctx.settings.ping_mode is PingMode.TCP else None)


def _max_loss(ctx: Context) -> float:
    return float(ctx.settings.ping_max_loss)


def _told(ctx: Context, trace: Trace) -> str:
    """One route in one line."""
    if trace.route is None:
        return trace.problem
    target = trace.route.target
    if target is None or not trace.route.reached(_max_loss(ctx)):
        return f"not reached: {trace.route.problem(_max_loss(ctx))}"
    return f"reached, hops: {target.count}, lost: {target.loss:g} %, average: {target.average:g} ms"


def _hops(route: Route | None) -> list[str]:
    """The route as a table, for the log."""
    rows = [
        (
            str(hub.count), hub.host, f"{hub.loss:g} %", str(hub.sent),
            *(f"{time:.1f}" for time in (hub.last, hub.average, hub.best, hub.worst, hub.deviation)),
        )
        for hub in (route.hubs if route else ())
    ]  # fmt: skip
    return [*(table(_HOP_HEAD, rows).splitlines() if rows else ()), ""]


# --- what was found, as verdicts


def _node(ctx: Context, found: Found, host: Host, targets: Targets) -> Node:
    resolved = targets.hosts[host]
    seen = []
    for address in resolved.addresses:
        door = Door(address, host.port) if host.reachable_directly else None
        seen.append(_seen(ctx, found, _target(ctx, address, host.port), host, door))
    return Node(host=host, seen=tuple(seen), problem=resolved.problem)


def _seen(ctx: Context, found: Found, target: Target, host: Host | None = None, door: Door | None = None) -> Seen:
    trace = found.traces[target]
    unknown = trace.refused and bool(found.refused)
    problem = trace.problem
    if trace.route:
        problem = trace.route.problem(_max_loss(ctx))
    return Seen(
        address=target.address,
        reached=None if unknown else trace.route is not None and not problem,
        route=trace.route,
        problem=f"mtr may not trace here ({trace.problem})" if unknown else problem,
        door=found.answer(door) if door else None,
        key=_key_problem(found.checks.get((host, door))) if host and door else "",
    )


def _key_problem(check: PinCheck | None) -> str:
    return _KEYS.get(check.state, "") if check else ""


# --- how it is shown


def _node_rows(nodes: Iterable[Node]) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = []
    for node in nodes:
        rows += [(node.host.label, *_cells(seen), _cell(node, seen)) for seen in node.seen]
        if not node.seen:
            rows.append((node.host.label, *"-----", _cell(node)))
    return rows


def _other_rows(others: Iterable[tuple[Place, Seen]]) -> list[tuple[str, ...]]:
    return [
        (place.where, *_cells(seen), "reached" if seen.reached else f"not reached: {seen.problem}")
        for place, seen in others
    ]


def _cells(seen: Seen) -> tuple[str, ...]:
    return (seen.address, *_numbers(seen.route), seen.door_text or "-")


def _numbers(route: Route | None) -> tuple[str, str, str]:
    """Hops, loss and average."""
    target = route.target if route else None
    return (
        str(target.count) if target else "-",
        f"{route.loss:g} %" if route else "-",
        f"{target.average:.1f}" if target else "-",
    )


def _cell(node: Node, seen: Seen | None = None) -> str:
    """The verdict on one line of a node."""
    verdict = node.verdict
    why = (seen.problems if seen else "") or (node.why if seen is None or verdict is Verdict.NOT_JUDGED else "")
    if verdict is Verdict.NOT_JUDGED:
        return f"not judged: {why}"
    if verdict is Verdict.OK:
        return f"warning: {why}" if why else "ok"
    return f"FAILED: {why}" if why else "ok"


# --- how it ends


def _concluded(ctx: Context, nodes: Sequence[Node], found: Found) -> str:
    for node in nodes:
        if node.verdict is Verdict.OK and node.why:
            ctx.reporter.warn(
                f"{node.host.label}: k0sctl takes the address that answers; the others do not: {node.why}"
            )
    failed = [node for node in nodes if node.verdict.ok is False]
    wrong = [check for node in failed for check in found.wrong(node.host)]
    rights = _no_rights(found.refused) if found.refused else None
    if rights and failed:
        ctx.reporter.warn("\n".join([f"{rights.message}; all else was looked at", *rights.details]))
    if any(node.verdict is not Verdict.WRONG_KEY for node in failed):
        raise _failure(ctx, nodes, failed, wrong)
    if wrong:
        raise wrong_host_keys(ctx, wrong)
    if rights:
        raise rights
    return _summary(nodes, found)


def _summary(nodes: Sequence[Node], found: Found) -> str:
    """What was looked at, and nothing else, is said to be fine."""
    reached = [node for node in nodes if node.verdict is Verdict.OK]
    told = ["1 node reached" if len(reached) == 1 else f"{len(reached)} nodes reached"]
    tried, opened = len(found.doors), sum(found.answer(door).open for door in found.doors)
    if tried:
        told.append(f"SSH doors open: {opened} of {tried}")
    if untried := [node.host.label for node in reached if all(seen.door is None for seen in node.seen)]:
        told.append(f"no SSH door tried: {', '.join(untried)}")
    rest = [node.host.label for node in nodes if node.verdict is Verdict.NOT_JUDGED]
    return ", ".join(told) + (f"; not judged: {', '.join(rest)}" if rest else "")


def _no_rights(said: str) -> ConfigurationError:
    return ConfigurationError(
        f"mtr may not trace routes here: {said}",
        details=_RIGHTS,
        resolution="give it the right to send, as the lines above tell; all else that was looked at is fine",
    )


def _failure(ctx: Context, nodes: Sequence[Node], failed: Sequence[Node], wrong: Sequence[PinCheck]) -> ToolFailed:
    named = ", ".join(f"{node.host.label} ({node.verdict})" for node in failed[:_MOST_NAMED])
    named += f" and {len(failed) - _MOST_NAMED} more" * (len(failed) > _MOST_NAMED)
    details = [f"{node.host.label}: {node.why}" for node in failed]
    if wrong:
        details += wrong_host_keys(ctx, list(wrong)).details
    if found_open := [node.host.label for node in failed if node.verdict is Verdict.NOT_REACHED and _is_open(node)]:
        details.append(f"SSH answers all the same at {', '.join(found_open)}: K0SCTL_PING_MODE=tcp traces without ICMP")
    return ToolFailed(
        f"{named}: {len(failed)} of {len(nodes)} nodes failed",
        details=details,
        resolution="check these hosts, the network between, and the addresses in the configuration; the routes are "
        "in the log beside the report",
    )


def _is_open(node: Node) -> bool:
    return any(seen.door is not None and seen.door.open for seen in node.seen)
