"""Commits of an earlier run that could not be pushed: they go first, on top of what others have pushed since."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from handler.archive import Kind, at_least_one_after, check_not_future, parse
from handler.breakglass import readme
from handler.commands.context import Context
from handler.commands.delivering import Delivery
from handler.commands.remote import push_line
from handler.commands.trust import Keys, backup_directory, verify_head
from handler.errors import Conflict, TimedOut, ToolFailed
from handler.manifest import Manifest
from handler.opening import Opened, Relation
from handler.publishing import Blob, Change, Target, prepared, publish
from handler.repository import SEALED, NoUsableLatest, Repository
from handler.tools.gitlocated import Located
from handler.tools.gitobjects import Entry
from handler.tools.gitremote import Remote
from handler.tools.gitstore import Store

_OF_A_BACKUP = frozenset({Kind.CIPHERTEXT, Kind.CONFIG, Kind.MANIFEST, Kind.SIGNATURE})


def catch_up(ctx: Context, opened: Opened, remote: Remote, keys: Keys) -> tuple[Opened, bool]:
    """Push what is in backup/ only; a remote that refuses it now is no reason to take no backup tonight.

    Returns:
        What is to be written on, and whether all of it is on the remote branch.

    Raises:
        Conflict: backup/ and the branch went apart in a way that only a person can mend.
    """
    if opened.target is None or opened.relation not in {Relation.AHEAD, Relation.DIVERGED}:
        return opened, True
    ctx.reporter.note(f"{len(opened.unpushed)} commit(s) of an earlier run were not pushed; they go first")
    _require_signed(ctx, opened.target, opened.unpushed)
    push = _push if opened.relation is Relation.AHEAD else _put_on_top
    try:
        push(ctx, opened, remote, keys)
        pushed = True
    except (ToolFailed, TimedOut) as error:
        ctx.reporter.warn(f"{error.message}: {'; '.join(error.details)}")
        pushed = False
    located = ctx.git.locate(backup_directory(ctx))
    return Opened(source=located, target=located, relation=Relation.EQUAL), pushed


def _require_signed(ctx: Context, located: Located, commits: Sequence[str]) -> None:
    store = Store(ctx.git, located)
    for oid in commits:
        commit = store.commit(oid)
        ctx.gpg.require_signed(commit.payload, commit.signature or b"", f"the commit {oid} in {located.shown}")


def _push(ctx: Context, opened: Opened, remote: Remote, keys: Keys) -> None:
    """Nobody else has pushed since."""
    if opened.target is None:
        raise AssertionError("there is something to push")
    repository = verify_head(ctx, opened.target, keys)
    target = Target(located=opened.target, store=repository.store, parent=None, staging=opened.target.git_dir)
    Delivery(ctx=ctx, remote=remote, keys=keys).push(target, repository.commit.oid)


def _put_on_top(ctx: Context, opened: Opened, remote: Remote, keys: Keys) -> None:
    """Others have pushed since: the backups go into one new commit on top of theirs."""
    if opened.source is None or opened.target is None:
        raise AssertionError("what went apart are two")
    tip = verify_head(ctx, opened.source, keys)
    with prepared(ctx.git, opened, tip, backup_directory(ctx)) as target:
        target.store.fetch(tip.store, tip.commit.oid)
        lost = _Unpushed(ctx=ctx, keys=keys, located=opened.target, commits=opened.unpushed)
        delivery = Delivery(ctx=ctx, remote=remote, keys=keys, again=lambda newer, _: lost.publish(newer))
        delivery.push(target, lost.publish(target))


@dataclass(frozen=True, kw_only=True)
class _Unpushed:
    """The backups of commits that are nowhere else."""

    ctx: Context
    keys: Keys
    located: Located
    commits: tuple[str, ...]

    def publish(self, target: Target) -> str:
        """Commit them on the target's parent. Their manifests stay: they tell when the backups were taken."""
        ctx, tip = self.ctx, target.parent
        if tip is None:
            raise AssertionError("there is a commit to put them on")
        mine = Repository.trust(
            self.located, Store(ctx.git, self.located), ctx.gpg, cluster=self.keys.cluster, accept_commit=None
        )
        added = self._added(mine, tip)
        if mine.password() != tip.password():
            raise self._apart(f"{SEALED} of {tip.located.shown} holds another password than these backups have")
        stems = {parsed.stem for entry in added if (parsed := parse(entry.name))}
        taken = [self._manifest(mine, stem) for stem in sorted(stems)]
        at = at_least_one_after(ctx.now(), tip.commit.committed_at)
        check_not_future(at, ctx.now())
        change = Change(files={entry.path: Blob(entry.oid) for entry in added}, links={})
        change = self._with_latest(change, tip, taken)
        commit, problem = publish(
            target, change, git=ctx.git, gpg=ctx.gpg, children=ctx.children, identity=self.keys.identity,
            message=_message(self.keys, sorted(stems)), at=at,
        )  # fmt: skip
        if problem:
            ctx.reporter.warn(f"the backups are committed, but the working tree does not show it: {problem}")
        return commit

    def _added(self, mine: Repository, tip: Repository) -> list[Entry]:
        """What the commits added; nothing but backups, none of whose names is taken there."""
        first = mine.store.commit(self.commits[0])
        before = {
            entry.path: entry.oid
            for parent in first.parents[:1]
            for entry in mine.store.tree(mine.store.commit(parent).tree)
        }
        there = {entry.path for entry in tip.entries}
        added = []
        for entry in mine.entries:
            parsed = parse(entry.name)
            if before.pop(entry.path, None) == entry.oid or entry.path in {SEALED, "README.md"}:
                continue
            if parsed and parsed.kind is Kind.LATEST:
                continue
            if not parsed or parsed.kind not in _OF_A_BACKUP or "/" in entry.path or entry.path in there:
                raise self._apart(f"{entry.path} cannot be put on top of what others have pushed")
            added.append(entry)
        if before or not added:
            raise self._apart("they do more than add backups")
        return added

    def _manifest(self, mine: Repository, stem: str) -> Manifest:
        stored = next(stored for stored in mine.backups() if stored.stem == stem and not stored.directory)
        manifest = mine.manifest(stored, now=self.ctx.now())
        if manifest is None:
            raise self._apart(f"{stem} has no manifest")
        return manifest

    def _with_latest(self, change: Change, tip: Repository, taken: Sequence[Manifest]) -> Change:
        """``latest`` is the greatest time among the accepted ones, there and here, of each prefix."""
        own = self.ctx.settings.prefix
        accepted = sorted((manifest for manifest in taken if manifest.accepted), key=lambda each: each.taken_at)
        known = tip.known_uid(own, now=self.ctx.now())
        if any(manifest.cluster.uid not in {known, None} for manifest in accepted if known):
            raise self._apart("they are of another cluster than the branch's")
        newest = {manifest.stem.rpartition("_")[0]: manifest for manifest in accepted}
        links = {
            f"{prefix}_latest": manifest.ciphertext.name
            for prefix, manifest in newest.items()
            if manifest.taken_at > self._latest_of(tip, prefix)
        }
        files = change.files
        if links and accepted[-1].taken_at > self._latest_of(tip, own):
            text = readme(
                cluster=self.keys.cluster, signer=self.keys.identity.fingerprint, recovery=len(self.keys.recovery),
                latest=accepted[-1],
            )  # fmt: skip
            files = {**files, "README.md": text}
        return Change(files=files, links=links)

    def _latest_of(self, tip: Repository, prefix: str) -> datetime:
        try:
            stored = tip.latest(prefix)
        except NoUsableLatest:
            stored = None  # an accepted backup becomes the latest
        manifest = tip.manifest(stored, now=self.ctx.now()) if stored else None
        return manifest.taken_at if manifest else datetime.min.replace(tzinfo=UTC)

    def _apart(self, why: str) -> Conflict:
        directory = self.ctx.settings.backup_dir
        rescue = push_line(self.ctx).rpartition("/")[0] + "/rescue"
        return Conflict(
            f"{directory} has commits that are not pushed, and others have pushed meanwhile: {why}",
            details=tuple(f"not pushed: {oid}" for oid in self.commits),
            resolution=f"keep them: {rescue}; then empty {directory} and run again",
        )


def _message(keys: Keys, stems: Sequence[str]) -> str:
    listed = "".join(f"{stem}\n" for stem in stems)
    title = f"backup: {keys.cluster}, kept from an earlier run"
    return f"{title}\n\nThey could not be pushed when they were taken.\n\n{listed}"
