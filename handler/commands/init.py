"""``init``: a backup branch with its password, as one signed commit."""

from __future__ import annotations

import base64
import os

from handler.archive import at_least_one_after, check_not_future, whole_second
from handler.breakglass import readme
from handler.commands.catching_up import catch_up
from handler.commands.context import Context
from handler.commands.delivering import Delivery
from handler.commands.remote import destination
from handler.commands.trust import Keys, backup_directory, find_to_write, import_keys, verify_head
from handler.errors import ConfigurationError
from handler.publishing import Change, Target, prepared, publish, require_writing_key
from handler.repository import SEALED, Repository
from handler.secret import Secret
from handler.stored import holds_backups


def init(ctx: Context) -> str:
    """Make the branch; what an earlier one holds is put aside, signed, and never lost."""
    ctx.reporter.headline(f"init: a backup branch in {destination(ctx)}")
    opened, remote = find_to_write(ctx)
    keys = import_keys(ctx)
    if warning := require_writing_key(ctx.gpg, ctx.now()):
        ctx.reporter.warn(warning)
    if remote is not None:
        opened, _ = catch_up(ctx, opened, remote, keys)
    parent = verify_head(ctx, opened.source, keys) if opened.source and opened.source.head else None
    replaces = _replaces(ctx, parent, keys)
    password = Secret(base64.b64encode(os.urandom(32)).decode())
    ctx.reporter.redactor.learn(password)
    with ctx.reporter.step("encrypt a new password") as step:
        sealed = seal(ctx, password, keys)
        step.note(f"to the cluster's key and {len(keys.recovery)} recovery key(s)")
    at = at_least_one_after(whole_second(ctx.now()), parent.commit.committed_at if parent else None)
    check_not_future(at, ctx.now())
    change = Change(
        files={
            SEALED: sealed,
            "README.md": readme(
                cluster=keys.cluster, signer=keys.identity.fingerprint, recovery=len(keys.recovery), latest=None
            ),
        },
        links={},
        moved_to=f"archive/{at:%Y-%m-%dT%H-%M-%SZ}" if replaces else None,
    )
    with prepared(ctx.git, opened, parent, backup_directory(ctx)) as target:
        with ctx.reporter.step("commit") as step:
            commit, problem = publish(
                target, change, git=ctx.git, gpg=ctx.gpg, children=ctx.children, identity=keys.identity, at=at,
                message=_message(keys, change.moved_to),
            )  # fmt: skip
            step.note(commit[:12])
        if problem:
            ctx.reporter.warn(f"the commit is made, but the working tree does not show it: {problem}")
        ctx.reporter.fact("commit", commit)
        if remote is not None:
            moved = f"look at what is there; then empty {ctx.settings.backup_dir} and run again"
            Delivery(ctx=ctx, remote=remote, keys=keys, moved=moved).push(target, commit)
    where = f"{remote.shown}" if remote else str(ctx.settings.backup_dir)
    if remote is None:
        _tell_next(ctx, target)
    aside = f"; the former tree is in {change.moved_to}/" if change.moved_to else ""
    return f"the backup branch of {keys.cluster} begins with commit {commit[:12]} in {where}{aside}"


def _tell_next(ctx: Context, target: Target) -> None:
    bak = ctx.settings.backup_dir
    push = "push" if target.located.origin else f"remote add origin URL && git -C {bak} push --set-upstream origin HEAD"
    ctx.reporter.note(f"next: put it where it is safe: git -C {bak} {push}")


def seal(ctx: Context, password: Secret, keys: Keys) -> bytes:
    """Encrypt and sign the password, and prove that this key opens it again."""
    sealed = ctx.gpg.encrypt(password.reveal().encode() + b"\n", keys.recovery)
    opened, _ = ctx.gpg.decrypt(sealed, SEALED)
    if opened != password.reveal().encode() + b"\n":
        raise ConfigurationError("the GPG key does not open what was encrypted to it")
    return sealed


def _replaces(ctx: Context, parent: Repository | None, keys: Keys) -> bool:
    """Whether there is a branch to put aside, which only its own cluster's name may ask for."""
    if parent is None or not (holds_backups(parent.entries) or parent.entry(SEALED)):
        return False
    if ctx.settings.confirm_init != keys.cluster:
        said = (
            f"K0SCTL_CONFIRM_INIT={ctx.settings.confirm_init!r} is not its name. " if ctx.settings.confirm_init else ""
        )
        raise ConfigurationError(
            f"{parent.located.shown} is a backup branch already, with {len(parent.backups())} backup(s)",
            resolution=f"{said}to put them aside in archive/ and begin anew: K0SCTL_CONFIRM_INIT={keys.cluster}",
        )
    return True


def _message(keys: Keys, moved_to: str | None) -> str:
    title = f"init: {keys.cluster}"
    aside = f"\nThe former tree is kept in {moved_to}.\n" if moved_to else ""
    return f"{title}\n\ncluster   {keys.cluster}\nsigner    {keys.identity.fingerprint}\n{aside}"
