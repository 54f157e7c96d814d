"""``check``: what would go wrong, told before anything is done."""

from __future__ import annotations

from handler.commands.checks.cluster import check_cluster
from handler.commands.checks.config import check_config
from handler.commands.checks.hosts import check_hosts
from handler.commands.checks.keys import OPENS, check_keys
from handler.commands.checks.repository import check_repository
from handler.commands.checks.settings import check_settings
from handler.commands.checks.tools import check_tools
from handler.commands.context import Context
from handler.findings import Area, Finding, table, verdict


def check(ctx: Context) -> str:
    """Look at everything that a command needs; nothing is changed, on no host either.

    Raises:
        HandlerError: there are problems; all of them are told, each with what mends it.
    """
    ctx.reporter.headline("check: tools, settings, keys, configuration, hosts and backups; nothing is changed")
    findings: list[Finding] = []
    try:
        _look(ctx, findings)
    finally:
        ctx.reporter.fact("findings", findings)
        ctx.output.show(findings, table(findings))
    return verdict(findings)


def _look(ctx: Context, findings: list[Finding]) -> None:
    """Area by area; what was found so far is told even where a signal ends it."""

    def area(name: str) -> Area:
        return Area(name, findings)

    unusable = check_tools(ctx, area("tools"))
    check_settings(ctx, area("settings"))
    key = area("key")
    keys = check_keys(ctx, key, unusable)
    config = check_config(ctx, area("config"))
    usable = check_hosts(ctx, area("hosts"), config, unusable)
    opens = keys is not None and not key.has_problem(OPENS)
    backups = check_repository(ctx, area("repository"), keys, unusable, opens=opens)
    check_cluster(ctx, area("cluster"), config, unusable=unusable, usable=usable, backups=backups)
