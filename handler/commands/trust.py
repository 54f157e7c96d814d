"""Opening the repository: the cluster's key, its name, and a commit that it signed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from handler.commands.context import Context
from handler.commands.remote import push_line, remote_of
from handler.errors import ConfigurationError, TimedOut, ToolFailed
from handler.opening import Opened, Relation, find, find_remote
from handler.repository import Repository
from handler.settings.model import Settings
from handler.tools.gitlocated import Located
from handler.tools.gitremote import Remote
from handler.tools.gitstore import Identity, Store
from handler.tools.keyring import Key, UserId


@dataclass(frozen=True, kw_only=True)
class Keys:
    """The keys of a run: ``identity`` is the cluster's name and the signer, ``recovery`` who may read besides."""

    identity: Identity
    recovery: tuple[Key, ...]

    @property
    def cluster(self) -> str:
        return self.identity.name


def import_keys(ctx: Context) -> Keys:
    """Import the key pair and the recovery keys, and settle the cluster's name."""
    settings = ctx.settings
    if settings.gpg_key is None:
        raise ConfigurationError(
            "there is a backup repository, and K0SCTL_GPG_KEY is not set",
            resolution="set K0SCTL_GPG_KEY or K0SCTL_GPG_KEY_FILE; or K0SCTL_RESTORE=never to leave the backups alone",
        )
    with ctx.reporter.step("import the GPG key") as step:
        key = ctx.gpg.import_cluster_key(settings.gpg_key)
        recovery = ctx.gpg.import_recovery_keys(settings.recovery_keys) if settings.recovery_keys else ()
        identity = identify(key, settings)
        step.note(f"{identity.name} <{identity.mail}> {key.fingerprint}")
    ctx.reporter.fact("cluster", identity.name)
    ctx.reporter.fact("signer", identity.fingerprint)
    return Keys(identity=identity, recovery=recovery)


def identify(key: Key, settings: Settings) -> Identity:
    """The cluster's name: the settings', which must be those of a valid uid of the key without a comment.

    Raises:
        ConfigurationError: no uid fits.
    """
    usable = [uid for uid in key.user_ids if uid.valid and not uid.comment and uid.name]
    wanted_name, wanted_mail = settings.cluster_name, settings.cluster_mail
    fitting = [uid for uid in usable if wanted_name in {None, uid.name} and wanted_mail in {None, uid.mail}]
    if not fitting:
        raise ConfigurationError(
            _no_uid(wanted_name, wanted_mail),
            details=tuple(f"the key has: {_described(uid)}" for uid in key.user_ids),
            resolution="set K0SCTL_CLUSTER_NAME and K0SCTL_CLUSTER_MAIL to Name and Mail of the key's uid, "
            f"or add one: gpg --quick-add-uid {key.fingerprint} 'NAME <MAIL>'",
        )
    return Identity(name=fitting[0].name, mail=fitting[0].mail, fingerprint=key.fingerprint)


def _no_uid(name: str | None, mail: str | None) -> str:
    if name is None and mail is None:
        return "the GPG key has no valid uid with a Name and without a Comment"
    wanted = " and ".join(
        f"{variable}={value!r}"
        for variable, value in (("K0SCTL_CLUSTER_NAME", name), ("K0SCTL_CLUSTER_MAIL", mail))
        if value is not None
    )
    return f"{wanted} fits no valid uid of the GPG key without a Comment"


def _described(uid: UserId) -> str:
    reason = "revoked or expired" if not uid.valid else "has a Comment" if uid.comment else ""
    return f"{uid}{f' ({reason})' if reason else ''}"


def find_repository(ctx: Context, *, tell: bool = True) -> Opened:
    """The repository to read: that of K0SCTL_GIT_URL, else restore/, else backup/.

    Args:
        tell: warn of commits that are not pushed, and so not read.
    """
    remote = remote_of(ctx)
    if remote is None:
        return find(ctx.git, restore=_absolute(ctx, ctx.settings.restore_dir), backup=backup_directory(ctx))
    opened = _fetched(ctx, remote, writing=False)
    if tell and opened.relation is Relation.AHEAD:
        read = "it is read" if opened.source is opened.target else "they are not read"
        ctx.reporter.warn(
            f"{ctx.settings.backup_dir} has commits that {remote.shown} has not, and {read}; "
            f"the next backup pushes them, or by hand: {push_line(ctx)}"
        )
    return opened


def find_to_write(ctx: Context) -> tuple[Opened, Remote | None]:
    """The repository to write on, and where this run pushes to."""
    remote = remote_of(ctx)
    return (_fetched(ctx, remote, writing=True), remote) if remote else (find_repository(ctx), None)


def find_for_backup(ctx: Context) -> tuple[Opened, Remote | None, bool]:
    """The same; a remote that cannot be reached tonight does not stop a backup, where backup/ has a branch already.

    Returns:
        What is to be written on, where this run pushes to, and whether that could be reached.
    """
    remote = remote_of(ctx)
    if remote is None:
        return find_repository(ctx), None, True
    try:
        return _fetched(ctx, remote, writing=True), remote, True
    except (ToolFailed, TimedOut) as error:
        located = ctx.git.locate(backup_directory(ctx))
        if located is None or located.head is None:
            raise
        ctx.reporter.warn(f"{error.message}; the backup goes on top of what {located.shown} has, and is pushed later")
        return Opened(source=located, target=located, relation=Relation.EQUAL), remote, False


def _fetched(ctx: Context, remote: Remote, *, writing: bool) -> Opened:
    with ctx.reporter.step(f"fetch {remote.shown}") as step:
        opened = find_remote(ctx.git, remote, backup=backup_directory(ctx), writing=writing)
        step.note(opened.tip[:12] if opened.tip else "there is no such branch")
    if opened.tip is None and (others := remote.branches()):
        ctx.reporter.warn(
            f"{remote.url} has no branch {remote.branch} (K0SCTL_GIT_BRANCH); it has: {', '.join(others[:10])}"
        )
    return opened


def backup_directory(ctx: Context) -> Path:
    return _absolute(ctx, ctx.settings.backup_dir)


def _absolute(ctx: Context, path: Path) -> Path:
    return ctx.cwd / path


def verify_head(ctx: Context, located: Located, keys: Keys) -> Repository:
    """Check the signature of the newest commit; nothing of it is used before."""
    with ctx.reporter.step("verify the newest commit") as step:
        repository = Repository.trust(
            located, Store(ctx.git, located), ctx.gpg, cluster=keys.cluster, accept_commit=ctx.settings.accept_commit
        )
        step.note(f"{repository.commit.oid[:12]}, backups: {len(repository.backups())}")
    if repository.unsigned:
        ctx.reporter.warn(
            f"the newest commit {repository.commit.oid} is not signed: it is trusted for this run because "
            "K0SCTL_ACCEPT_COMMIT names it"
        )
        ctx.reporter.fact("accepted_commit", repository.commit.oid)
    elif ctx.settings.accept_commit:
        ctx.reporter.note("K0SCTL_ACCEPT_COMMIT is not needed any more: the newest commit is signed")
    ctx.reporter.fact("commit", repository.commit.oid)
    return repository


def require_repository(ctx: Context, opened: Opened) -> Located:
    """The repository to read.

    Raises:
        ConfigurationError: there is none.
    """
    if opened.source is None or opened.source.head is None:
        places = opened.source.shown if opened.source else f"{ctx.settings.restore_dir} or {ctx.settings.backup_dir}"
        raise ConfigurationError(
            f"there is no backup repository with a commit in {places}",
            resolution="clone it there, or make one: k0sctl-handler init",
        )
    return opened.source
