"""``list``: what the repository holds."""

from __future__ import annotations

import gc
from datetime import datetime, timedelta

from handler.archive import rfc_3339
from handler.claims import Claim, claims
from handler.commands.context import Context
from handler.commands.freshness import taken_at
from handler.commands.trust import find_repository, import_keys, require_repository, verify_head
from handler.errors import IntegrityError
from handler.report.output import table
from handler.report.text import size_text
from handler.repository import Repository

_HEAD = ("NAME", "AGE", "SIZE", "CLUSTER UID", "K0S", "K0SCTL", "CIPHER", "PROOF")


def list_backups(ctx: Context) -> str:
    """List every backup, the newest first, as the signed newest commit tells of them."""
    gc.disable()  # what is read here lives to the end, and there may be very many
    ctx.reporter.headline("list: the backups in the repository")
    located = require_repository(ctx, find_repository(ctx))
    repository = verify_head(ctx, located, import_keys(ctx))
    found = claims(repository)
    latest = _latest(ctx, repository)
    if ctx.invocation.json:
        ctx.output.show([_row(claim, latest) for claim in found], "")
    else:
        ctx.output.show(None, _text(found, latest, ctx.now()))
    bad = sum(bool(claim.problem) for claim in found)
    ctx.reporter.fact("backups", len(found))
    where = repository.located.shown
    if not found:
        return f"no backup in {where} yet"
    return f"{len(found)} backup(s) in {where}, the newest is {found[0].stored.path}" + (
        f"; {bad} with a problem" * (bad > 0)
    )


def _latest(ctx: Context, repository: Repository) -> str:
    """The path of the latest backup; empty where there is none."""
    try:
        stored = repository.latest(ctx.settings.prefix)
    except IntegrityError as error:
        ctx.reporter.warn(error.message)
        return ""
    return stored.path if stored else ""


def _row(claim: Claim, latest: str) -> dict[str, object]:
    """One backup as JSON tells it; what is not known is null."""
    manifest, taken = claim.manifest, taken_at(claim)
    return {
        "name": claim.stored.path,
        "archive": claim.stored.name,
        "taken_at": rfc_3339(taken) if taken else None,
        "latest": claim.stored.path == latest,
        "size": manifest.archive.size if manifest else None,
        "uid": manifest.cluster.uid if manifest else None,
        "accepted": manifest.accepted if manifest else None,
        "datastore": manifest.datastore.value if manifest else None,
        "k0s": manifest.versions.k0s if manifest else None,
        "k0sctl": manifest.versions.k0sctl if manifest else None,
        "cipher": manifest.cipher if manifest else None,
        "legacy": claim.stored.legacy,
        "proof": proof_text(claim),
        "problem": claim.problem or None,
    }


def _text(found: tuple[Claim, ...], latest: str, now: datetime) -> str:
    if not found:
        return "no backup yet"
    rows = []
    for claim in found:
        manifest, taken = claim.manifest, taken_at(claim)
        rows.append(
            (
                claim.stored.path + " *" * (claim.stored.path == latest),
                age_text(now - taken) if taken else "?",
                size_text(manifest.archive.size) if manifest else "?",
                (manifest.cluster.uid if manifest else None) or "?",
                (manifest.versions.k0s if manifest else None) or "?",
                manifest.versions.k0sctl if manifest else "?",
                manifest.cipher if manifest else "?",
                f"PROBLEM: {claim.problem}" if claim.problem else proof_text(claim),
            )
        )
    return table(_HEAD, rows) + ("* the latest\n" if latest else "")


def proof_text(claim: Claim) -> str:
    """What vouches for a backup, in few words."""
    if claim.problem:
        return "none"
    if claim.manifest is None:
        return "legacy: the commit's signature"
    return "signed" if claim.manifest.accepted else "signed, but of another cluster"


def age_text(age: timedelta) -> str:
    """45 min, 17 h, 12 d."""
    minutes = int(age.total_seconds() // 60)
    if minutes < 0:
        return "in the future"
    hours, days = minutes // 60, minutes // (60 * 24)
    return f"{minutes} min" if hours < 1 else f"{hours} h" if days < 3 else f"{days} d"  # noqa: PLR2004
