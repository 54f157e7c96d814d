"""The cluster itself, asked only on demand: which one runs there, and is it the one of the backups?"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Final

from handler.cluster import ClusterConfig
from handler.commands.context import Context
from handler.commands.hosts import probe
from handler.errors import Conflict, IntegrityError, ToolFailed
from handler.findings import Area
from handler.hosts import Host
from handler.settings.model import BackupHosts
from handler.verdict import Identity, Probe

_IDENTITY: Final = "identity"


@dataclass(frozen=True, kw_only=True)
class Backups:
    """What the repository says of the cluster: ``uid`` is that of its backups, ``read`` whether it could be read."""

    read: bool = False
    count: int = 0
    uid: str | None = None


def check_cluster(
    ctx: Context,
    area: Area,
    config: ClusterConfig | None,
    *,
    unusable: frozenset[str],
    usable: Collection[Host],
    backups: Backups,
) -> None:
    """Ask who runs there, by k0sctl.

    Args:
        unusable: programs that cannot be used.
        usable: the hosts that can be logged in to.
    """
    if not ctx.invocation.deep:
        area.unchecked(_IDENTITY, "only on demand, since it runs k0sctl", mend="k0sctl-handler check --deep")
        return
    if config is None:
        area.unchecked(_IDENTITY, "there is no configuration that could be read, see config")
        return
    if "k0sctl" in unusable:
        area.unchecked(_IDENTITY, "k0sctl cannot be used, see tools")
        return
    asked = config.hosts if ctx.settings.backup_hosts is BackupHosts.ALL else config.controllers
    lacking = [host.label for host in asked if host.reachable_directly and host not in usable]
    if lacking:
        area.unchecked(_IDENTITY, f"k0sctl needs {', '.join(lacking)}, see hosts")
        return
    with area.trying(_IDENTITY):
        _tell(ctx, area, probe(ctx, config), backups)


def _tell(ctx: Context, area: Area, identity: Identity, backups: Backups) -> None:
    match identity.state:
        case Probe.RUNNING:
            area.ok(_IDENTITY, f"{identity.reason}{_compared(ctx, identity.uid, backups)}")
        case Probe.RUNNING_UNKNOWN:
            area.warn(
                _IDENTITY, identity.reason, mend="look why its API does not answer: k0s kubectl get ns kube-system"
            )
        case Probe.ABSENT:
            would = "restore the latest backup" if backups.count else "make a new one"
            area.ok(_IDENTITY, f"{identity.reason}: apply would {would}")
        case Probe.STOPPED:
            area.warn(_IDENTITY, identity.reason, mend="start it on its controllers: k0s start")
        case Probe.LOCKED:
            raise Conflict(
                identity.reason, resolution="wait for its end; a lock that nobody holds expires after 30 seconds"
            )
        case Probe.UNCLEAR:
            raise ToolFailed(
                f"nobody can tell which cluster runs there: {identity.reason}",
                resolution="mend what k0sctl says, and run again",
            )


def _compared(ctx: Context, uid: str | None, backups: Backups) -> str:
    """How it stands to the cluster of the backups.

    Raises:
        IntegrityError: it is another one.
    """
    if not backups.read:
        return "; not compared with any backup, see repository"
    if backups.uid is None:
        return "; no backup here knows a UID"
    if uid == backups.uid:
        return ", that of the backups"
    if uid == ctx.settings.accept_cluster:
        return f", and K0SCTL_ACCEPT_CLUSTER lets it take over the backups of {backups.uid}"
    raise IntegrityError(
        f"another cluster runs there: its UID is {uid}, the backups are of {backups.uid}",
        resolution="check K0SCTL_CFG_PATH and the repository; if this cluster is to take over the branch, run apply or "
        f"backup once with K0SCTL_ACCEPT_CLUSTER={uid}",
    )
