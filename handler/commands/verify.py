"""``verify``: stored backups proven, by everything that a restore would check."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from handler.archive import rfc_3339
from handler.claims import Claim, claims
from handler.commands.context import Context
from handler.commands.freshness import newest_first, taken_at
from handler.commands.proving import Proven, prove
from handler.commands.restore import chosen, no_backup
from handler.commands.trust import find_repository, import_keys, require_repository, verify_head
from handler.errors import IntegrityError
from handler.manifest import Datastore
from handler.report.output import table
from handler.report.text import size_text
from handler.repository import Repository

_HEAD = ("NAME", "TAKEN", "SIZE", "VERDICT")


@dataclass(frozen=True, kw_only=True)
class Judged:
    """A backup and what came of its proof: ``problem`` is empty where it is good."""

    claim: Claim
    proven: Proven | None
    problem: str

    @property
    def good(self) -> bool:
        return not self.problem

    @property
    def verdict(self) -> str:
        if not self.good:
            return f"BAD: {self.problem}"
        if self.claim.manifest is None:
            return "good; legacy: only the commit is signed"
        if self.claim.manifest.datastore is Datastore.EXTERNAL:
            return "good, but its datastore is outside of k0s: it cannot bring the cluster back"
        return "good" if self.claim.manifest.accepted else "good, but of another cluster"

    @property
    def restorable(self) -> bool:
        """Whether `apply` could bring this branch's cluster back from it."""
        return self.good and self.claim.counts and bool(self.proven and self.proven.content.restorable)


def verify(ctx: Context) -> str:
    """Prove one backup or all; where one is bad, find the newest that is good.

    Raises:
        IntegrityError: one is bad, or nothing says which is the latest.
    """
    what = "all backups" if ctx.invocation.all else ctx.settings.backup_choice
    ctx.reporter.headline(f"verify: {what}, with full decryption")
    located = require_repository(ctx, find_repository(ctx))
    repository = verify_head(ctx, located, import_keys(ctx))
    every = claims(repository)
    wanted, no_latest = _wanted(ctx, repository, every)
    judged = [_judge(ctx, repository, claim) for claim in wanted]
    bad = [one for one in judged if not one.good]
    if bad or no_latest:
        judged += _search_good(ctx, repository, every, judged)
    _show(ctx, judged)
    if bad or no_latest:
        raise _bad(bad, no_latest, judged)
    return _told(judged, repository)


def _wanted(
    ctx: Context, repository: Repository, every: Sequence[Claim]
) -> tuple[Sequence[Claim], IntegrityError | None]:
    """What is to be proven; and why the latest, where that matters, cannot be used."""
    try:
        if not ctx.invocation.all:
            stored = chosen(ctx, repository)
            return [claim for claim in every if claim.stored == stored], None
        if repository.latest(ctx.settings.prefix) is None:
            raise no_backup(repository)
    except IntegrityError as error:
        return (every if ctx.invocation.all else ()), error
    return every, None


def _judge(ctx: Context, repository: Repository, claim: Claim) -> Judged:
    """Only what is wrong with the backup is a judgement; a full disk or a wrong passphrase ends the run."""
    try:
        return Judged(claim=claim, proven=prove(ctx, repository, claim.stored), problem="")
    except IntegrityError as error:
        return Judged(claim=claim, proven=None, problem=error.message)


def _search_good(
    ctx: Context, repository: Repository, every: Sequence[Claim], judged: Sequence[Judged]
) -> list[Judged]:
    """Go on from the newest to the oldest until one is good, unless one of those judged is."""
    done = {one.claim.stored.path: one for one in judged}
    more: list[Judged] = []
    for claim in newest_first([claim for claim in every if claim.counts]):
        one = done.get(claim.stored.path) or _judge(ctx, repository, claim)
        if claim.stored.path not in done:
            more.append(one)
        if one.restorable:
            break
    return more


def _bad(bad: Sequence[Judged], no_latest: IntegrityError | None, judged: Iterable[Judged]) -> IntegrityError:
    names = ", ".join(one.claim.stored.path for one in bad[:5]) + (f" and {len(bad) - 5} more" if len(bad) > 5 else "")  # noqa: PLR2004
    good = newest_first([one.claim for one in judged if one.restorable])
    found = f"the newest good one is {good[0].stored.path}" if good else "NO backup of this branch is good"
    use = f"to restore, use K0SCTL_BACKUP={good[0].stored.path}; " if good else "look into other clones of the branch; "
    told = [f"{len(bad)} bad: {names}"] if bad else []
    if no_latest and all(one.problem != no_latest.message for one in bad):
        told.append(no_latest.message)
    return IntegrityError(
        "; ".join((*told, found)),
        details=[
            *(f"{one.claim.stored.path}: {one.problem}" for one in bad),
            *(no_latest.details if no_latest else ()),
        ],
        resolution=f"{use}and while the cluster runs, take a new one: k0sctl-handler backup",
    )


def _show(ctx: Context, judged: Sequence[Judged]) -> None:
    result = []
    rows = []
    for one in judged:
        manifest, taken = one.claim.manifest, taken_at(one.claim)
        size = manifest.archive.size if manifest else None
        when = rfc_3339(taken) if taken else None
        content = one.proven.content if one.proven else None
        result.append(
            {
                "name": one.claim.stored.path,
                "taken_at": when,
                "size": size,
                "good": one.good,
                "restorable": one.restorable,
                "datastore": content.datastore.value if content else None,
                "uid": manifest.cluster.uid if manifest else None,
                "problem": one.problem or None,
            }
        )
        rows.append((one.claim.stored.path, when or "?", size_text(size) if size is not None else "?", one.verdict))
    ctx.reporter.fact("verified", result)
    ctx.output.show(result, table(_HEAD, rows))


def _told(judged: Sequence[Judged], repository: Repository) -> str:
    if len(judged) == 1:
        return f"{judged[0].claim.stored.path} is {judged[0].verdict}"
    return f"all {len(judged)} backups in {repository.located.shown} are good"
