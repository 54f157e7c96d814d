"""``backup``: taken, proven, encrypted, read back, signed, committed."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from handler.cluster import ClusterConfig
from handler.commands.catching_up import catch_up
from handler.commands.context import Context
from handler.commands.hosts import (
    check_host_keys,
    controllers_config,
    open_doors,
    prepare_ssh,
    read_config,
    run_k0sctl,
)
from handler.commands.remote import destination
from handler.commands.storing import Job, Taken, store
from handler.commands.trust import (
    backup_directory,
    find_for_backup,
    import_keys,
    require_repository,
    verify_head,
)
from handler.errors import ConfigurationError, IntegrityError, from_os_error
from handler.evidence import Cause, Evidence
from handler.hosts import Host
from handler.proof import Content, inspect
from handler.publishing import prepared, require_writing_key
from handler.repository import SEALED, NoUsableLatest, Repository
from handler.settings.model import BackupHosts
from handler.stored import holds_backups
from handler.tools.k0sctl import Run
from handler.verdict import backed_up


def backup(ctx: Context) -> str:
    """Take a backup; nothing is committed before it was read back and proven."""
    ctx.reporter.headline(f"backup: taken, proven and committed to {destination(ctx)}")
    opened, remote, current = find_for_backup(ctx)
    if opened.target is None or opened.target.head is None:
        require_repository(ctx, opened)
    keys = import_keys(ctx)
    if warning := require_writing_key(ctx.gpg, ctx.now()):
        ctx.reporter.warn(warning)
    if remote is not None and current:
        opened, current = catch_up(ctx, opened, remote, keys)
    parent = verify_head(ctx, require_repository(ctx, opened), keys)
    if parent.entry(SEALED) is None and not holds_backups(parent.entries):
        raise ConfigurationError(
            f"{parent.located.shown} is no backup branch yet: it has no {SEALED}",
            resolution="begin it: k0sctl-handler init",
        )
    password = parent.password()
    ctx.reporter.redactor.learn(password)
    known_uid = _known_uid(ctx, parent)
    config = read_config(ctx)
    prepare_ssh(ctx)
    with prepared(ctx.git, opened, parent, backup_directory(ctx)) as target:
        taken = _take(ctx, config)
        job = Job(ctx=ctx, target=target, parent=parent, keys=keys, password=password, remote=remote, current=current)
        return store(job, taken, known_uid)


def _known_uid(ctx: Context, parent: Repository) -> str | None:
    """Which cluster the branch belongs to; a branch without a usable latest does not stop a backup."""
    try:
        parent.latest(ctx.settings.prefix)
    except NoUsableLatest as error:
        ctx.reporter.warn(f"{error.message}; an accepted backup becomes the latest")
    return parent.known_uid(ctx.settings.prefix, now=ctx.now())


def _take(ctx: Context, config: ClusterConfig) -> Taken:
    """Let k0sctl take the archive, through every controller that answers, and look into it."""
    everyone = ctx.settings.backup_hosts is BackupHosts.ALL
    hosts = config.hosts if everyone else config.controllers
    left_out = set(open_doors(ctx, hosts, required=everyone))
    left_out |= {*check_host_keys(ctx, [host for host in hosts if host not in left_out], required=everyone)}
    while True:
        archive = ctx.workspace.bulk / f"archive-{len(left_out)}"
        evidence = _run(ctx, config, left_out, archive)
        stopped = _stopped(evidence, hosts) - left_out
        if everyone or not stopped or len(stopped | left_out) >= len(hosts):
            break
        for host in stopped:
            ctx.reporter.warn(f"{host.label}: k0s is stopped there; left out")
        left_out |= stopped
    verdict = backed_up(evidence)
    for note in verdict.notes:
        ctx.reporter.warn(note)
    verdict.require()
    return Taken(archive=archive, content=_look_into(ctx, archive), evidence=evidence, config=config.original)


def _run(ctx: Context, config: ClusterConfig, left_out: Collection[Host], archive: Path) -> Evidence:
    original = ctx.settings.backup_hosts is BackupHosts.ALL
    return run_k0sctl(
        ctx,
        "k0sctl backup",
        Run(
            action="backup",
            config=controllers_config(ctx, config, left_out, hooks="backup"),
            timeout=ctx.settings.timeout,
            variables=config.environment if original else {},
            arguments=("--output", str(archive), *ctx.settings.extra_arguments),
        ),
    )


def _stopped(evidence: Evidence, hosts: Collection[Host]) -> set[Host]:
    if evidence.cause is not Cause.STOPPED:
        return set()
    failed = {label for label, _ in evidence.host_failures}
    return {host for host in hosts if host.label in failed}


def _look_into(ctx: Context, archive: Path) -> Content:
    """What k0sctl calls a backup with exit 0 may be empty, cut or without a datastore.

    Raises:
        IntegrityError: it is not a restorable archive.
    """
    done = 0

    def on_bytes(count: int) -> None:
        nonlocal done
        done += count
        ctx.progress(done, size)

    with ctx.reporter.step("look into the archive") as step:
        try:
            size = archive.stat().st_size
            with archive.open("rb") as file:
                content = inspect(file, on_bytes=on_bytes)
        except FileNotFoundError:
            raise IntegrityError("k0sctl said it took a backup, but wrote no archive") from None
        except OSError as error:
            raise from_os_error(error, "reading the archive") from error
        except IntegrityError as error:
            raise IntegrityError(
                f"k0sctl said it took a backup, but {error.message}",
                details=error.details,
                resolution="look at the controller (k0s status, free space in /tmp), then take the backup again; "
                "nothing was committed",
            ) from error
        step.note(f"{content.size} bytes, {content.datastore.value}, {content.members} members")
    if not content.restorable:
        ctx.reporter.warn("the datastore is outside of k0s: this archive alone cannot bring the cluster back")
    return content
