"""How old the newest proven backup is: what `status`, `check` and the guard of `reset` go by."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from handler.archive import check_not_future
from handler.claims import Claim, claims
from handler.commands.context import Context
from handler.errors import IntegrityError
from handler.manifest import Datastore
from handler.repository import Repository

#: Backups that are read in search of one that is whole; a branch with more bad ones in a row needs a person.
_MOST_TRIED: Final = 5


@dataclass(frozen=True, kw_only=True)
class Freshness:
    """The newest backups of a branch.

    Attributes:
        claims: all backups, the newest first.
        newest: the newest that counts, by what its manifest says.
        proven: the newest whose signature, size and checksum were checked, and that can bring a cluster back.
        age: of the proven one.
        problems: why newer ones of this branch than the proven one are not proven, a sentence each.
    """

    claims: tuple[Claim, ...]
    newest: Claim | None
    proven: Claim | None
    age: timedelta | None
    problems: tuple[str, ...]


def freshness(ctx: Context, repository: Repository) -> Freshness:
    """Find the newest proven backup. Its ciphertext is read and compared with its manifest, but not decrypted."""
    every = claims(repository)
    counting = newest_first([claim for claim in every if claim.counts])
    proven = None
    tried: list[str] = []
    for claim in counting[:_MOST_TRIED]:
        problem = _problem(ctx, repository, claim)
        if not problem:
            proven = claim
            break
        tried.append(f"{claim.stored.path}: {problem}")
    taken = taken_at(proven) if proven else None
    unreadable = [
        f"{claim.stored.path}: {claim.problem}"
        for claim in every
        if claim.problem and not claim.stored.directory and _seconds(taken_at(claim)) > _seconds(taken)
    ]
    return Freshness(
        claims=every,
        newest=counting[0] if counting else None,
        proven=proven,
        age=ctx.now() - taken if taken else None,
        problems=(*tried, *unreadable),
    )


def newest_first(some: Sequence[Claim]) -> list[Claim]:
    """By the time in the manifest; legacy ones, whose name is all there is, by that."""
    return sorted(some, key=lambda claim: (_seconds(taken_at(claim)), claim.stored.path), reverse=True)


def taken_at(claim: Claim) -> datetime | None:
    """When a backup was taken: as its manifest says, else as its name does."""
    return claim.manifest.taken_at if claim.manifest else claim.stored.taken_at


def _seconds(moment: datetime | None) -> float:
    return moment.timestamp() if moment else 0.0


def _problem(ctx: Context, repository: Repository, claim: Claim) -> str:
    """Why a backup is not proven; empty where it is."""
    if claim.manifest and claim.manifest.datastore is Datastore.EXTERNAL:
        return "its datastore is outside of k0s, so it cannot bring the cluster back"
    taken = taken_at(claim)
    if taken is None:
        return "nothing tells when it was taken"
    with ctx.reporter.step(f"read {claim.stored.path}") as step:
        try:
            check_not_future(taken, ctx.now())
            repository.prove_ciphertext(claim.stored, None, now=ctx.now(), progress=ctx.progress)
        except IntegrityError as error:
            step.note(f"not proven: {error.message}")
            return error.message
        step.note("as its signed manifest says" if claim.manifest else "legacy: only the commit is signed")
    return ""
