"""Pushing what was committed: never by force, and never without the commits that others have pushed meanwhile."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

from handler.commands.context import Context
from handler.commands.remote import push_line
from handler.commands.trust import Keys
from handler.errors import Conflict, HandlerError, Interrupted
from handler.publishing import Target
from handler.repository import Repository
from handler.tools.gitremote import Remote
from handler.tools.gitstore import Store

#: How often a commit is made and pushed before somebody has to look.
_TRIES: Final = 5

#: Commits once more, on the target's parent, and returns the commit; the former one is its argument.
Again = Callable[[Target, str], str]


@dataclass(frozen=True, kw_only=True)
class Delivery:
    """How commits of backup/ get to a remote branch.

    Attributes:
        again: None where a commit is not made again once the branch has moved.
        moved: what to do then.
    """

    ctx: Context
    remote: Remote
    keys: Keys
    again: Again | None = None
    moved: str = "run again"

    def push(self, target: Target, commit: str) -> str:
        """Push a commit that was made on ``target``, made again on each newer tip; returns the one that is there.

        Raises:
            Conflict: the branch moves faster than we do, or its history was rewritten; the commit stays in backup/.
            ToolFailed, TimedOut, IntegrityError: it cannot be pushed, or nothing may be put on what is there now.
        """
        try:
            return self._push(target, commit)
        except Interrupted:
            self.ctx.reporter.warn(f"{self._kept}; by hand: {push_line(self.ctx)}")
            raise
        except HandlerError as error:
            error.details = (*error.details, self._kept)
            error.resolution = f"{error.resolution}; the next run pushes it first, or by hand: {push_line(self.ctx)}"
            raise

    @property
    def _kept(self) -> str:
        return f"what was not pushed is committed in {self.ctx.settings.backup_dir}"

    def _push(self, target: Target, commit: str) -> str:
        if self.again is not None and target.parent is not None:
            self._remember(target, target.parent.commit.oid)
        for number in range(1, _TRIES + 1):
            with self.ctx.reporter.step(f"push to {self.remote.shown}") as step:
                pushed = target.store.push(self.remote, commit)
                step.note(commit[:12] if pushed else "somebody else was faster")
            if pushed:
                self._remember(target, commit)
                return commit
            if self.again is None or target.parent is None:
                raise Conflict(
                    f"somebody else has moved {self.remote.shown} meanwhile",
                    resolution=self.moved,
                )
            if number < _TRIES:
                self.ctx.children.sleep(random.uniform(0.05, 0.3) * number)  # noqa: S311  # two must not keep in step
                target = self._on_new_tip(target, commit, number)
                commit = self.again(target, commit)
        raise Conflict(
            f"{self.remote.shown} was moved by others {_TRIES} times while this run tried to push",
            resolution="see that only one job writes there at a time, then run again",
        )

    def _on_new_tip(self, target: Target, commit: str, number: int) -> Target:
        """The target for the next try: the newest commit there, verified, as the parent.

        Raises:
            Conflict: what is there does not descend from what was there before.
        """
        ctx, shown = self.ctx, self.remote.shown
        before = target.parent.commit.oid if target.parent else ""
        located = replace(target.located, head=commit)
        store = Store(ctx.git, located, incoming=target.staging / f"objects{number}")
        with ctx.reporter.step("verify what was pushed meanwhile") as step:
            tip = store.fetch_tip(self.remote, before)
            if before not in store.history(tip):
                raise Conflict(
                    f"the history of {shown} was rewritten during this run",
                    details=(f"it was at {before}, it is at {tip}, which does not descend from it",),
                    resolution="find out who did that; protect the branch against forced pushes",
                )
            parent = Repository.trust(
                replace(located, head=tip, label=shown), store, ctx.gpg, cluster=self.keys.cluster, accept_commit=None
            )
            step.note(tip[:12])
        return Target(located=located, store=store, parent=parent, staging=target.staging)

    def _remember(self, target: Target, commit: str) -> None:
        """Write down what is there: for `git -C backup status`, and for who reads while something is unpushed."""
        ref = f"refs/remotes/origin/{self.remote.branch}"
        self.ctx.git.attempt("update-ref", ref, commit, env={"GIT_DIR": str(target.located.git_dir)})
