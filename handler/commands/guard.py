"""The guard before ``reset``: nothing is removed that cannot be brought back, unless somebody says so by name."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from handler.claims import Claim, claims
from handler.commands.context import Context
from handler.commands.proving import prove
from handler.commands.trust import find_repository, import_keys, verify_head
from handler.errors import ConfigurationError, Conflict, IntegrityError
from handler.manifest import Datastore
from handler.repository import Repository
from handler.verdict import Identity, Probe

_MOST_TOLD: Final = 5
#: What the probe found that is no known cluster: why that allows no reset, and what to do besides confirming it.
_REFUSED: Final = {
    Probe.RUNNING: ("the cluster's UID is not known, so no backup is known to be of it", "run again"),
    Probe.RUNNING_UNKNOWN: (
        "the cluster's UID could not be read, so no backup is known to be of it",
        "look why its API server does not answer (k0s kubectl get ns kube-system), and run again",
    ),
    Probe.ABSENT: (
        "no cluster runs there, so no backup is known to be of it",
        "check K0SCTL_CFG_PATH; what an earlier reset left behind goes only with a confirmation",
    ),
    Probe.STOPPED: ("k0s is stopped there, so no backup is known to be of it", "start k0s, and run again"),
    Probe.UNCLEAR: ("nobody can tell which cluster runs there", "mend what k0sctl says, and run again"),
}


@dataclass(frozen=True, kw_only=True)
class Allowed:
    """What allows a reset: ``backup`` is the path of the proven backup, None where somebody has confirmed it."""

    cluster: str
    backup: str | None
    uid: str | None


@dataclass(frozen=True, kw_only=True)
class Candidates:
    """The fresh backups of a repository, newest first: claimed, and not proven before it is known which one counts."""

    repository: Repository
    cluster: str
    fresh: tuple[Claim, ...]


def confirmed(ctx: Context, given: str) -> Allowed:
    """The cluster's name was given: no backup and no probe is needed.

    Raises:
        ConfigurationError: it is not the name, even where a backup would do.
    """
    name = import_keys(ctx).cluster if ctx.settings.gpg_key else ctx.settings.cluster_name
    if name is None:
        raise ConfigurationError(
            "K0SCTL_CONFIRM_RESET is set, but what the cluster is called is not known: nothing was reset",
            resolution="set K0SCTL_GPG_KEY, whose uid names the cluster, or K0SCTL_CLUSTER_NAME",
        )
    if given != name:
        raise ConfigurationError(
            f"K0SCTL_CONFIRM_RESET is {given!r}, but this cluster is called {name!r}: nothing was reset",
            resolution=f"make sure which cluster is meant; the name that resets this one is {name!r}",
        )
    return Allowed(cluster=name, backup=None, uid=None)


def candidates(ctx: Context) -> Candidates:
    """The backups that may allow a reset, found before any host is asked.

    Raises:
        ConfigurationError: there is none that is fresh enough.
        IntegrityError: the repository fails verification.
    """
    if ctx.settings.gpg_key is None:
        raise ConfigurationError(
            "reset needs a fresh backup of the cluster, and K0SCTL_GPG_KEY, which reads it, is not set",
            resolution="set K0SCTL_GPG_KEY; or, if the cluster may be lost, set K0SCTL_CLUSTER_NAME and "
            "K0SCTL_CONFIRM_RESET to the cluster's name",
        )
    keys = import_keys(ctx)
    opened = find_repository(ctx)
    if opened.source is None or opened.source.head is None:
        places = opened.source.shown if opened.source else f"{ctx.settings.restore_dir} or {ctx.settings.backup_dir}"
        raise ConfigurationError(
            f"there is no backup in {places} that could bring this cluster back: nothing was reset",
            resolution=both_ways(keys.cluster),
        )
    repository = verify_head(ctx, opened.source, keys)
    known = claims(repository)
    why = {claim.stored.path: _unfit(ctx, claim) for claim in known}
    fresh = tuple(claim for claim in known if not why[claim.stored.path])
    if not fresh:
        raise _nothing_fresh(ctx, why, keys.cluster)
    return Candidates(repository=repository, cluster=keys.cluster, fresh=fresh)


def _unfit(ctx: Context, claim: Claim) -> str:
    """Why a backup allows no reset of any cluster; empty when it may."""
    manifest = claim.manifest
    if manifest is None or claim.problem:
        return claim.problem or "it has no manifest"
    if not manifest.accepted:
        return "it is of another cluster than this branch's"
    if manifest.cluster.uid is None:
        return "it does not know the cluster's UID"
    if manifest.datastore is Datastore.EXTERNAL:
        return "its datastore is outside of k0s, so it cannot bring the cluster back"
    if ctx.now() - manifest.taken_at >= ctx.settings.max_age:
        return f"it is {age_text(ctx.now() - manifest.taken_at)} old"
    return ""


def _nothing_fresh(ctx: Context, why: dict[str, str], cluster: str) -> ConfigurationError:
    told = [f"{path}: {reason}" for path, reason in why.items()]
    newest = f": the newest one, {told[0]}" if told else ": there is none at all"
    return ConfigurationError(
        f"no backup allows a reset{newest}",
        details=[*told[:_MOST_TOLD], f"K0SCTL_MAX_AGE, the age that is allowed: {age_text(ctx.settings.max_age)}"],
        resolution=both_ways(cluster),
    )


def fitting(ctx: Context, found: Candidates, identity: Identity) -> Allowed:
    """The fresh backup of just the cluster that runs there, proven to the last byte.

    Raises:
        ConfigurationError: it is not known which cluster runs, or no fresh backup is of it.
        IntegrityError: the backup is not what it claims to be.
        Conflict: another k0sctl works there.
    """
    uid = _running(identity, found.cluster)
    claim = next((claim for claim in found.fresh if _uid(claim) == uid.lower()), None)
    if claim is None:
        raise ConfigurationError(
            f"the fresh backups are of another cluster than the one that runs there ({uid}): nothing was reset",
            details=[f"{one.stored.path}: cluster {_uid(one)}" for one in found.fresh[:_MOST_TOLD]],
            resolution=f"check K0SCTL_CFG_PATH and the repository; {both_ways(found.cluster)}",
        )
    proven = prove(ctx, found.repository, claim.stored)
    if not proven.content.restorable:
        raise IntegrityError(f"{claim.stored.path} cannot bring the cluster back: it holds no datastore of k0s")
    return Allowed(cluster=found.cluster, backup=claim.stored.path, uid=uid)


def _uid(claim: Claim) -> str:
    return ((claim.manifest.cluster.uid if claim.manifest else None) or "").lower()


def _running(identity: Identity, cluster: str) -> str:
    """The UID of the running cluster; whatever else was found allows no reset."""
    if identity.state is Probe.RUNNING and identity.uid:
        return identity.uid
    if identity.state is Probe.LOCKED:
        raise Conflict(
            f"nothing was reset: {identity.reason}",
            resolution="wait for its end and run again; a lock that nobody holds expires after 30 seconds",
        )
    why, way = _REFUSED[identity.state]
    raise ConfigurationError(
        f"nothing was reset: {why} ({identity.reason})",
        resolution=f"{way}; or, if the cluster may be lost, {confirmation(cluster)}",
    )


def both_ways(cluster: str) -> str:
    return f"take a backup: k0sctl-handler backup; or, if the cluster may be lost, {confirmation(cluster)}"


def confirmation(cluster: str) -> str:
    return f"confirm it: K0SCTL_CONFIRM_RESET={shlex.quote(cluster)}"


def age_text(age: timedelta) -> str:
    """Such as 49 h 20 min: what K0SCTL_MAX_AGE is counted in."""
    minutes, seconds = divmod(int(age.total_seconds()), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min" if minutes else f"{hours} h"
    return f"{minutes} min" if minutes else f"{seconds} s"
