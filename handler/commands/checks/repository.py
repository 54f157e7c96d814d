"""The backup repository: found, trusted, fresh, readable by the right keys, and small enough for where it goes."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from handler.commands.checks.cluster import Backups
from handler.commands.checks.settings import rejected
from handler.commands.context import Context
from handler.commands.freshness import Freshness, freshness
from handler.commands.listing import age_text
from handler.commands.remote import push_line
from handler.commands.trust import Keys, backup_directory, find_repository
from handler.errors import IntegrityError, from_os_error
from handler.findings import Area
from handler.opening import Opened, Relation
from handler.report.text import size_text
from handler.repository import SEALED, Repository
from handler.settings.convert import duration_text
from handler.tools.gitlocated import Located, require_unlocked, shown
from handler.tools.gitstore import Store
from handler.worktree import require_rights

_PLACE: Final = "place"
_TRUST: Final = "newest commit"
_LATEST: Final = "latest backup"
_AGE: Final = "age"
_PASSWORD: Final = SEALED
_REMOTE: Final = "remote"
_FILE_SIZE: Final = "size of a backup"
_SIZE: Final = "size of it all"
_MEGA: Final = 1_000_000
#: GitHub warns of a file from 50 MiB and refuses one from 100 MiB; GitLab.com's free tier refuses one from 100 MiB.
#: https://docs.github.com/en/repositories/working-with-files/managing-large-files/about-large-files-on-github
#: https://docs.gitlab.com/ee/user/free_push_limit.html
_FILE_REFUSED: Final = 100 * 1024 * 1024
_FILE_WARNED: Final = 50 * 1024 * 1024
#: Half of what GitHub asks for and GitLab.com allows, so that there is time to act.
#: https://docs.github.com/en/repositories/creating-and-managing-repositories/repository-limits
#: https://docs.gitlab.com/user/gitlab_com/#account-and-limit-settings
_LARGE: Final = 5_000 * _MEGA


def check_repository(ctx: Context, area: Area, keys: Keys | None, unusable: frozenset[str], *, opens: bool) -> Backups:
    """Look at the repository; ``opens`` tells whether the key opens what is encrypted to it."""
    if why := _obstacle(ctx, unusable):
        area.unchecked(_PLACE, why)
        return Backups()
    opened = None
    with area.trying(_PLACE):
        opened = find_repository(ctx, tell=False)
        _place(ctx, area, opened)
    _rights(ctx, area, opened.target if opened else None)
    if opened is None or opened.source is None or opened.source.head is None:
        return Backups()
    repository = None
    if keys is None:
        area.unchecked(_TRUST, "without the cluster's key nothing in it can be trusted, see key")
    else:
        with area.trying(_TRUST):
            repository = _trusted(ctx, area, opened.source, keys)
    backups = _content(ctx, area, repository, keys, opens=opens) if repository and keys else Backups()
    _remote(ctx, area, opened)
    with area.trying(_SIZE):
        _size(area, opened.source)
    return backups


def _obstacle(ctx: Context, unusable: frozenset[str]) -> str:
    names = ("K0SCTL_DIR_LOG", "K0SCTL_DIR_BAK", "K0SCTL_DIR_RES", "K0SCTL_PREFIX_BAK", "K0SCTL_GIT_URL",
             "K0SCTL_GIT_BRANCH", "K0SCTL_GIT_SSH_KEY", "K0SCTL_GIT_KNOWN_HOSTS", "K0SCTL_GIT_TOKEN")  # fmt: skip
    if wrong := rejected(ctx, *names):
        return f"{wrong} does not fit, see settings"
    return "git cannot be used, see tools" if "git" in unusable else ""


def _place(ctx: Context, area: Area, opened: Opened) -> None:
    source, settings = opened.source, ctx.settings
    if source is None:
        directories = f"in {settings.restore_dir} or {settings.backup_dir}"
        where = f"on the branch {settings.git_branch} of K0SCTL_GIT_URL" if settings.git_url else directories
        area.warn(
            _PLACE,
            f"there is no backup repository {where}: backup needs one, and apply makes a new cluster",
            mend=("" if settings.git_url else "clone it there; or ") + "make one: k0sctl-handler init",
        )
    elif source.head is None:
        area.warn(_PLACE, f"{source.shown} has no commit yet", mend="k0sctl-handler init")
    else:
        branch = f"branch {source.branch}" if source.branch else "its branch is not known"
        area.ok(_PLACE, f"{source.shown}, {branch}")


def _rights(ctx: Context, area: Area, target: Located | None) -> None:
    """Whether backup/ could be written, and no other git is in the way; the log directory is being written."""
    directory = backup_directory(ctx)
    subject = f"{ctx.settings.backup_dir}/"
    with area.trying(subject):
        try:
            require_rights(_first_there(directory))
            if target is not None:
                require_rights(target.git_dir, target.objects, target.objects / "pack")
        except OSError as error:
            raise from_os_error(error, f"writing {shown(directory)}") from error
        if target is not None:
            require_unlocked(target)
        area.ok(subject, "can be written" if directory.exists() else "is not there yet, and can be made")


def _first_there(directory: Path) -> Path:
    """Itself, or the directory in which it would be made."""
    while not directory.exists() and directory != directory.parent:
        directory = directory.parent
    return directory


def _trusted(ctx: Context, area: Area, located: Located, keys: Keys) -> Repository:
    accept = ctx.settings.accept_commit
    with ctx.reporter.step("verify the newest commit"):
        repository = Repository.trust(
            located, Store(ctx.git, located), ctx.gpg, cluster=keys.cluster, accept_commit=accept
        )
    oid = repository.commit.oid
    if repository.unsigned:
        area.warn(
            _TRUST,
            f"{oid[:12]} is not signed: it is trusted only because K0SCTL_ACCEPT_COMMIT names it",
            mend="k0sctl-handler backup; its commit signs on top. Then unset K0SCTL_ACCEPT_COMMIT",
        )
    elif accept:
        area.warn(
            _TRUST, f"{oid[:12]} is signed, K0SCTL_ACCEPT_COMMIT is not needed", mend="unset K0SCTL_ACCEPT_COMMIT"
        )
    else:
        area.ok(_TRUST, f"{oid[:12]}, signed by the cluster's key")
    return repository


def _content(ctx: Context, area: Area, repository: Repository, keys: Keys, *, opens: bool) -> Backups:
    uid = None
    with area.trying(_LATEST):
        latest = repository.latest(ctx.settings.prefix)
        if latest is not None:
            area.ok(_LATEST, f"{latest.path}, one of {len(repository.backups())}")
        uid = repository.known_uid(ctx.settings.prefix, now=ctx.now())
    with area.trying(_AGE):
        fresh = freshness(ctx, repository)
        _file_size(area, repository, fresh)
        _age(ctx, area, fresh)
    if opens:
        with area.trying(_PASSWORD):
            _password(ctx, area, repository, keys)
    else:
        area.unchecked(_PASSWORD, "the cluster's key could not be tried, see key")
    return Backups(read=True, count=len(repository.backups()), uid=uid)


def _age(ctx: Context, area: Area, fresh: Freshness) -> None:
    """
    Raises:
        IntegrityError: there are backups, and none is proven, or the newest is not, or is too old.
    """
    take_one = "take a backup: k0sctl-handler backup"
    if not fresh.claims:
        area.warn(_AGE, "there is no backup yet", mend=take_one)
        return
    if fresh.proven is None or fresh.age is None:
        raise IntegrityError("no backup is proven", details=fresh.problems, resolution=take_one)
    told = f"the newest proven backup is {age_text(fresh.age)} old"
    if fresh.newest is not fresh.proven:
        raise IntegrityError(
            f"the newest backup is not proven; {told}",
            details=fresh.problems,
            resolution=f"{take_one}; until then K0SCTL_BACKUP={fresh.proven.stored.path} names the proven one",
        )
    if fresh.age > ctx.settings.max_age:
        raise IntegrityError(
            f"{told}: more than {duration_text(ctx.settings.max_age)} (K0SCTL_MAX_AGE)",
            details=fresh.problems,
            resolution=f"{take_one}; and look why the last ones failed",
        )
    if fresh.problems:
        area.warn(_AGE, f"{told}; others are not what they claim", details=fresh.problems, mend=take_one)
    else:
        area.ok(_AGE, f"{told}; allowed are {duration_text(ctx.settings.max_age)}")


def _file_size(area: Area, repository: Repository, fresh: Freshness) -> None:
    if fresh.newest is None:
        return
    size = repository.store.size(fresh.newest.stored.ciphertext.oid)
    if size >= _FILE_WARNED:
        what = "refuse" if size >= _FILE_REFUSED else "warn of"
        area.warn(
            _FILE_SIZE,
            f"the newest backup has {size_text(size)}: GitHub and others {what} files of this size",
            mend="keep the branch on a git host of your own that allows larger files, at least 200 MB each",
        )
    else:
        area.ok(_FILE_SIZE, f"{size_text(size)}; git hosts refuse files of 100 MB and more")


def _password(ctx: Context, area: Area, repository: Repository, keys: Keys) -> None:
    """Whether this key opens the password, and whom else the settings let open it."""
    ctx.reporter.redactor.learn(repository.password())
    entry = repository.entry(SEALED)
    present = ctx.gpg.recipients(repository.store.blob(entry.oid) if entry else b"", SEALED)
    wanted = {keys.identity.fingerprint, *(key.fingerprint for key in keys.recovery)}
    if present == wanted:
        area.ok(_PASSWORD, f"opens; so it does with {len(keys.recovery)} recovery key(s)")
        return
    more, fewer = sorted(present - wanted), sorted(wanted - present)
    told = [f"the settings do not name {', '.join(more)}"] if more else []
    told += [f"it does not open with {', '.join(fewer)}"] if fewer else []
    area.warn(
        _PASSWORD,
        f"opens, but its recipients differ from the settings: {'; '.join(told)}",
        mend=("if they are to open it later too, add their public keys to K0SCTL_GPG_RECOVERY; " if more else "")
        + "the next backup encrypts it anew: k0sctl-handler backup",
    )


def _remote(ctx: Context, area: Area, opened: Opened) -> None:
    """Where it goes, and what has not gone there, as far as that is known here."""
    if ctx.settings.git_url:
        _own_remote(ctx, area, opened)
        return
    located = opened.target or opened.source
    if located is None:
        return
    if located.origin is None:
        area.warn(
            _REMOTE,
            f"{located.shown} has no remote: with this disk the backups are lost",
            mend=f"git -C {located.shown} remote add origin URL && "
            f"git -C {located.shown} push --set-upstream origin HEAD",
        )
        return
    with area.trying(_REMOTE):
        unpushed = _unpushed(ctx, located)
        push = f"git -C {located.shown} push origin HEAD"
        if unpushed:
            area.warn(_REMOTE, f"{unpushed} commit(s) of {located.shown} are not pushed, as far as known", mend=push)
        elif opened.relation is Relation.AHEAD:
            area.warn(_REMOTE, f"{located.shown} is ahead of {ctx.settings.restore_dir}: is it pushed?", mend=push)
        else:
            known = "all is pushed, as far as known here" if unpushed == 0 else "what is pushed is not known here"
            area.ok(_REMOTE, f"{located.origin}; {known}")


def _own_remote(ctx: Context, area: Area, opened: Opened) -> None:
    if opened.relation is Relation.AHEAD:
        area.warn(
            _REMOTE,
            f"{ctx.settings.backup_dir} has commits that are not pushed: only runs in this directory read them",
            mend=f"k0sctl-handler backup; or by hand: {push_line(ctx)}",
        )
    else:
        area.ok(_REMOTE, "the handler fetches and pushes by itself (K0SCTL_GIT_URL)")


def _unpushed(ctx: Context, located: Located) -> int | None:
    """Commits that the remote's branch did not have when it was last seen; None where that is not known."""
    if located.head is None or located.branch is None:
        return None
    ref = f"refs/remotes/origin/{located.branch}"
    env = {"GIT_DIR": str(located.git_dir)}
    seen = ctx.git.text("rev-parse", "--quiet", "--verify", f"{ref}^{{commit}}", env=env, ok=(0, 1))
    if not seen:
        return None
    store = Store(ctx.git, located)
    return len(store.history(located.head).keys() - store.history(seen).keys())


def _size(area: Area, located: Located) -> None:
    try:
        size = _size_on_disk(located.objects)
    except OSError as error:
        raise from_os_error(error, f"looking into {located.shown}") from error
    if size >= _LARGE:
        area.warn(
            _SIZE,
            f"{located.shown} has {size_text(size)} of objects: git hosts ask for less than 10 GB",
            mend="begin a new branch in a new repository (k0sctl-handler init), and keep this one",
        )
    else:
        area.ok(_SIZE, f"{size_text(size)} of objects{' in this shallow clone' if located.shallow else ''}")


def _size_on_disk(directory: Path) -> int:
    found = (Path(top) / name for top, _, names in os.walk(directory) for name in names)
    return sum(path.lstat().st_size for path in found)
