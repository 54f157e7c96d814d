"""``apply``: install or update; a new installation is restored from the latest backup, and it is proven."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from handler.cluster import ClusterConfig
from handler.commands.context import Context
from handler.commands.hosts import original_config, probe, ready, run_k0sctl
from handler.commands.restore import verify_backup
from handler.commands.trust import find_repository, import_keys, verify_head
from handler.errors import ConfigurationError, Conflict, IntegrityError, ToolFailed, from_os_error
from handler.evidence import Evidence
from handler.proof import inspect
from handler.repository import Repository
from handler.secret import Secret
from handler.settings.model import RestoreMode
from handler.tools.k0sctl import Run
from handler.verdict import NEW_CLUSTER, Identity, Probe, Verdict, applied, new_cluster, restored, running_as
from handler.verified import Verified

_LEAVE_ALONE = "K0SCTL_RESTORE=never applies without a look at the backups"


@dataclass(frozen=True, kw_only=True)
class Backup:
    """The backup that would be restored, its ciphertext proven, and the password that opens it."""

    repository: Repository
    verified: Verified
    password: Secret

    @property
    def name(self) -> str:
        return self.verified.stored.path

    @property
    def uid(self) -> str | None:
        return self.verified.manifest.cluster.uid if self.verified.manifest else None


def apply(ctx: Context) -> str:
    """Apply the configuration; the first line says what becomes of the backup."""
    ctx.reporter.hold()
    _check_arguments(ctx)
    try:
        return _apply(ctx)
    except IntegrityError as error:
        if error.message.startswith(NEW_CLUSTER):
            ctx.reporter.headline(error.message)
        raise


def _check_arguments(ctx: Context) -> None:
    """A kubeconfig opens the cluster: it must not be kept or published with logs or backups."""
    for argument in ctx.settings.extra_arguments:
        name, _, value = argument.partition("=")
        if name == "--kubeconfig-out" and (kept := ctx.kept_directory(ctx.cwd / value)):
            raise ConfigurationError(
                f"{name} leads into {kept}, which is kept or published", resolution="name another path for it"
            )


def _apply(ctx: Context) -> str:
    if ctx.settings.restore is RestoreMode.NEVER:
        ctx.reporter.headline("apply: never: no backup is read, nothing is restored, the cluster's UID is not judged")
        return _plain(ctx, ready(ctx), None)
    found = _find_backup(ctx)
    if isinstance(found, str):
        if ctx.settings.restore is RestoreMode.REQUIRE:
            ctx.reporter.headline(f"apply: no backup in {found}, and K0SCTL_RESTORE=require: nothing is done")
            raise IntegrityError(
                f"K0SCTL_RESTORE=require, but there is no backup in {found}",
                resolution=f"clone the backup repository to {ctx.settings.restore_dir}; K0SCTL_RESTORE=auto would make "
                "a new, empty cluster",
            )
        ctx.reporter.headline(f"apply: no backup in {found}: a new cluster")
        return _plain(ctx, ready(ctx), None)
    config = ready(ctx)
    return _with_backup(ctx, config, found, probe(ctx, config))


def _find_backup(ctx: Context) -> Backup | str:
    """The proven backup, or the place that has none."""
    opened = find_repository(ctx)
    if opened.source is None or opened.source.head is None:
        return opened.source.shown if opened.source else str(ctx.settings.restore_dir)
    keys = import_keys(ctx)
    repository = verify_head(ctx, opened.source, keys)
    stored = repository.choose(ctx.settings.backup_choice, ctx.settings.prefix)
    if stored is None:
        return opened.source.shown
    verified = verify_backup(ctx, repository, stored)
    password = repository.password(stored.directory)
    ctx.reporter.redactor.learn(password)
    return Backup(repository=repository, verified=verified, password=password)


def _with_backup(ctx: Context, config: ClusterConfig, backup: Backup, found: Identity) -> str:
    require = ctx.settings.restore is RestoreMode.REQUIRE
    match found.state:
        case Probe.ABSENT:
            ctx.reporter.headline(f"apply: restoring {backup.name}")
            return _restore(ctx, config, backup)
        case Probe.RUNNING if backup.uid is not None:
            if found.uid not in {backup.uid, ctx.settings.accept_cluster}:
                ctx.reporter.headline("apply: already running, but it is another cluster than the backups'")
                raise _another_cluster(found, backup)
            ctx.reporter.headline(f"apply: already running ({found.uid}), nothing is restored")
        case Probe.RUNNING | Probe.RUNNING_UNKNOWN:
            ctx.reporter.headline("apply: already running, nothing is restored")
            unknown = "the cluster's UID could not be read" if backup.uid else f"{backup.name} does not know its UID"
            if require:
                raise IntegrityError(
                    f"K0SCTL_RESTORE=require, but {unknown}: it cannot be proven to be the cluster of the backups",
                    resolution="look at the API server (k0s kubectl get ns kube-system), or use K0SCTL_RESTORE=auto",
                )
            ctx.reporter.warn(f"{unknown}: whether this is the cluster of the backups is not proven")
        case Probe.STOPPED:
            ctx.reporter.headline("apply: already running once, now stopped: a plain apply without a restore")
            ctx.reporter.warn(f"k0s is installed but stopped: {found.reason}")
        case Probe.LOCKED:
            ctx.reporter.headline("apply: not begun: whether a cluster is already running cannot be asked now")
            raise Conflict(
                f"another k0sctl works on the hosts: {found.reason}",
                resolution="wait for it to end; a lock that nobody holds expires after 30 seconds. " + _LEAVE_ALONE,
            )
        case Probe.UNCLEAR:
            ctx.reporter.headline("apply: not begun: nobody can tell whether a cluster is already running")
            raise ToolFailed(
                f"nobody can tell which cluster runs there: {found.reason}",
                resolution=f"mend what k0sctl says and run again. {_LEAVE_ALONE}",
            )
    return _plain(ctx, config, backup)


def _another_cluster(found: Identity, backup: Backup) -> IntegrityError:
    return IntegrityError(
        f"another cluster runs there: its UID is {found.uid}, that of {backup.name} is {backup.uid}",
        resolution="check K0SCTL_CFG_PATH and the backup repository; if that cluster is to take over the backups, "
        f"K0SCTL_ACCEPT_CLUSTER={found.uid}",
    )


def _plain(ctx: Context, config: ClusterConfig, backup: Backup | None) -> str:
    evidence = _run(ctx, config, ())
    _tell(ctx, applied(evidence))
    if backup is not None:
        _require_same_cluster(ctx, evidence, backup)
    version = evidence.installed_version or "unknown"
    return f"k0s {version} is installed" + (f", cluster {evidence.uid}" if evidence.uid else "")


def _require_same_cluster(ctx: Context, evidence: Evidence, backup: Backup) -> None:
    """A cluster that was begun here, or that has another UID, is not the one that was backed up."""
    allowed = {uid for uid in (backup.uid, ctx.settings.accept_cluster) if uid}
    proof = running_as(evidence, allowed)
    began = new_cluster(evidence, restored=proof.proven)
    if began or (allowed and evidence.uid is not None and evidence.uid not in allowed):
        how = "k0sctl initialized one, and nothing was restored" if began else "what runs now is not what was backed up"
        raise IntegrityError(
            f"{NEW_CLUSTER}: {how}",
            details=(f"its UID: {evidence.uid or 'unknown'}", f"that of {backup.name}: {backup.uid or 'unknown'}"),
            resolution="do not use it: reset it, then apply again, so that the backup is restored",
        )
    if ctx.settings.restore is RestoreMode.REQUIRE:
        _tell(ctx, proof)


def _restore(ctx: Context, config: ClusterConfig, backup: Backup) -> str:
    if "--force=true" in ctx.settings.extra_arguments:
        raise ConfigurationError(
            "k0sctl must not be forced while it restores: --force can start old data in the place of the backup's",
            resolution="take --force out of K0SCTL_EXTRA_ARGS",
        )
    archive = _decrypted(ctx, backup)
    evidence = _run(ctx, config, ("--restore-from", str(archive)))
    archive.unlink(missing_ok=True)
    _tell(ctx, restored(evidence, backup.uid))
    _tell(ctx, applied(evidence))
    proof = f"cluster {evidence.uid}" if backup.uid else "its UID was not known, so k0sctl's word is the only proof"
    return f"restored {backup.name} and installed k0s {evidence.installed_version}; {proof}"


def _decrypted(ctx: Context, backup: Backup) -> Path:
    """The archive in a private file, looked into once more before k0sctl gets it."""
    path = ctx.workspace.bulk / "k0s_backup.tar.gz"
    try:
        with ctx.reporter.step(f"decrypt {backup.name}") as step, path.open("x+b") as file:
            path.chmod(0o600)
            digest = backup.verified.decrypt(ctx.openssl, backup.password, file, ctx.progress)
            backup.verified.ciphertext.unlink()
            file.seek(0)
            content = inspect(file, on_bytes=lambda _: ctx.children.check())
            step.note(f"{digest.size} bytes, {content.datastore.value}")
    except OSError as error:
        raise from_os_error(error, f"decrypting {backup.name}") from error
    if not content.restorable:
        raise IntegrityError(
            f"{backup.name} cannot bring the cluster back: its datastore is outside of k0s",
            resolution=f"restore that datastore by its own means, then apply; {_LEAVE_ALONE}",
        )
    return path


def _run(ctx: Context, config: ClusterConfig, arguments: tuple[str, ...]) -> Evidence:
    return run_k0sctl(
        ctx,
        "k0sctl apply",
        Run(
            action="apply",
            config=original_config(ctx, config),
            timeout=ctx.settings.timeout,
            variables=config.environment,
            arguments=(*arguments, *ctx.settings.extra_arguments),
        ),
    )


def _tell(ctx: Context, verdict: Verdict) -> None:
    """Tell what the run noted, then go on only with a proven claim."""
    for note in verdict.notes:
        ctx.reporter.warn(note)
    verdict.require()
