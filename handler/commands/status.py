"""``status``: how old the newest proven backup is."""

from __future__ import annotations

import gc
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from handler.archive import rfc_3339
from handler.commands.context import Context
from handler.commands.freshness import Freshness, freshness, taken_at
from handler.commands.listing import age_text
from handler.commands.trust import find_repository, import_keys, require_repository, verify_head
from handler.errors import HandlerError, IntegrityError, from_os_error
from handler.metrics import metrics_text
from handler.report.text import size_text
from handler.repository import Repository
from handler.settings.convert import duration_text
from handler.workspace import write_atomic

METRICS_FILE: Final = "k0sctl_handler.prom"
#: Of backups that are not what they claim: more would hide the rest of the story.
_MOST_WARNED: Final = 5


@dataclass
class Known:
    """What was learned before the end, whatever the end is."""

    cluster: str | None = None
    fresh: Freshness | None = None


def status(ctx: Context) -> str:
    """Tell the age of the newest proven backup, to people, programs and Prometheus.

    Raises:
        IntegrityError: there is none, it is too old, or the latest cannot be used.
    """
    gc.disable()  # what is read here lives to the end, and there may be very many
    ctx.reporter.headline("status: the age of the newest proven backup")
    known = Known(cluster=ctx.settings.cluster_name)
    try:
        what = _status(ctx, known)
    except Exception as error:
        _write_metrics(ctx, known, _exit_code(error))
        raise
    _write_metrics(ctx, known, 0)
    return what


def _exit_code(error: Exception) -> int:
    told = from_os_error(error, "working") if isinstance(error, OSError) else error
    return told.exit_code if isinstance(told, HandlerError) else HandlerError.exit_code


def _status(ctx: Context, known: Known) -> str:
    located = require_repository(ctx, find_repository(ctx))
    keys = import_keys(ctx)
    known.cluster = keys.cluster
    repository = verify_head(ctx, located, keys)
    fresh = known.fresh = freshness(ctx, repository)
    _warn(ctx, fresh.problems)
    latest, no_latest = _latest(ctx, repository)
    _show(ctx, known.cluster, fresh, latest)
    if no_latest:  # a restore by `apply` needs it
        raise no_latest
    take_one = "take one: k0sctl-handler backup"
    if fresh.proven is None or fresh.age is None:
        none = "there is no backup" if fresh.newest is None else "no backup is proven"
        raise IntegrityError(f"{none} in {repository.located.shown}", details=fresh.problems, resolution=take_one)
    told = f"the newest proven backup is {fresh.proven.stored.path}, {age_text(fresh.age)} old"
    if fresh.age > ctx.settings.max_age:
        raise IntegrityError(
            f"{told}: more than {duration_text(ctx.settings.max_age)} (K0SCTL_MAX_AGE)",
            resolution=f"{take_one}; and look why the last ones failed",
        )
    return told


def _warn(ctx: Context, problems: Sequence[str]) -> None:
    for problem in problems[:_MOST_WARNED]:
        ctx.reporter.warn(problem)
    if len(problems) > _MOST_WARNED:
        ctx.reporter.warn(f"{len(problems) - _MOST_WARNED} more like these: k0sctl-handler list tells them all")


def _latest(ctx: Context, repository: Repository) -> tuple[str | None, IntegrityError | None]:
    """The path of the latest backup, or why it cannot be used."""
    try:
        stored = repository.latest(ctx.settings.prefix)
    except IntegrityError as error:
        return None, error
    return stored.path if stored else None, None


def _show(ctx: Context, cluster: str, fresh: Freshness, latest: str | None) -> None:
    newest, proven = fresh.newest, fresh.proven
    manifest = proven.manifest if proven else None
    taken, proven_at = (taken_at(claim) if claim else None for claim in (newest, proven))
    size = manifest.archive.size if manifest else None
    result = {
        "cluster": cluster,
        "latest": latest,
        "newest": newest.stored.path if newest else None,
        "taken_at": rfc_3339(taken) if taken else None,
        "proven": proven.stored.path if proven else None,
        "proven_taken_at": rfc_3339(proven_at) if proven_at else None,
        "age_seconds": int(fresh.age.total_seconds()) if fresh.age else None,
        "max_age_seconds": int(ctx.settings.max_age.total_seconds()),
        "size": size,
        "uid": manifest.cluster.uid if manifest else None,
        "count": len(fresh.claims),
        "problems": fresh.problems,
    }
    ctx.reporter.fact("status", result)
    lines = {
        "cluster": cluster,
        "newest": newest.stored.path if newest else "none",
        "proven": proven.stored.path if proven else "none",
        "age": age_text(fresh.age) if fresh.age else "-",
        "allowed": duration_text(ctx.settings.max_age),
        "size": size_text(size) if size is not None else "-",
        "cluster UID": (manifest.cluster.uid if manifest else None) or "-",
        "backups": str(len(fresh.claims)),
    }
    ctx.output.show(result, "".join(f"{name:<12} {value}\n" for name, value in lines.items()))


def _write_metrics(ctx: Context, known: Known, exit_code: int) -> None:
    fresh = known.fresh
    taken, proven = (
        (taken_at(claim) if claim else None for claim in (fresh.newest, fresh.proven)) if fresh else (None,) * 2
    )
    manifest = fresh.proven.manifest if fresh and fresh.proven else None
    text = metrics_text(
        {
            "k0sctl_handler_backup_taken_timestamp_seconds": taken.timestamp() if taken else None,
            "k0sctl_handler_backup_proven_timestamp_seconds": proven.timestamp() if proven else None,
            "k0sctl_handler_backup_size_bytes": manifest.archive.size if manifest else None,
            "k0sctl_handler_backups": len(fresh.claims) if fresh else None,
            "k0sctl_handler_status_exit_code": exit_code,
            "k0sctl_handler_status_timestamp_seconds": ctx.now().timestamp(),
        },
        cluster=known.cluster,
    )
    path = ctx.cwd / ctx.settings.log_dir / METRICS_FILE
    try:
        write_atomic(path, text.encode())
    except OSError as error:
        ctx.reporter.warn(f"the metrics could not be written to {path}: {error.strerror}")
