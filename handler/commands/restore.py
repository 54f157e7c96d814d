"""``restore``: a proven backup, decrypted into a file, for a restore by hand."""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO

from handler.commands.context import Context
from handler.commands.trust import find_repository, import_keys, require_repository, verify_head
from handler.errors import ConfigurationError, IntegrityError, from_os_error
from handler.proof import inspect
from handler.repository import Repository
from handler.stored import Stored
from handler.verified import Verified
from handler.workspace import new_file


def restore(ctx: Context) -> str:
    """Verify a backup, decrypt it to the path the user named, and prove what was written."""
    ctx.reporter.headline(f"restore: {ctx.settings.backup_choice} for a manual restore")
    located = require_repository(ctx, find_repository(ctx))
    keys = import_keys(ctx)
    repository = verify_head(ctx, located, keys)
    stored = chosen(ctx, repository)
    target = _target(ctx, stored)
    verified = verify_backup(ctx, repository, stored)
    password = repository.password(stored.directory)
    ctx.reporter.redactor.learn(password)
    try:
        with ctx.reporter.step(f"decrypt to {target}") as step, new_file(target) as file:
            digest = verified.decrypt(ctx.openssl, password, file, ctx.progress)
            step.note(f"{digest.size} bytes, sha256 {digest.sha256}")
            file.seek(0)
            _inspect(ctx, verified, file)
    except FileExistsError as error:
        raise _exists(target) from error
    except OSError as error:
        raise from_os_error(error, f"writing {target}") from error
    ctx.reporter.fact("restored_to", str(target))
    return f"{stored.path} is in {target}, mode 0600"


def chosen(ctx: Context, repository: Repository) -> Stored:
    stored = repository.choose(ctx.settings.backup_choice, ctx.settings.prefix)
    if stored is None:
        raise no_backup(repository)
    return stored


def no_backup(repository: Repository) -> ConfigurationError:
    return ConfigurationError(
        f"there is no backup in {repository.located.shown} yet", resolution="take one: k0sctl-handler backup"
    )


def verify_backup(ctx: Context, repository: Repository, stored: Stored) -> Verified:
    """Manifest, signature, size and checksum of the ciphertext; from here on only the private copy is used."""
    with ctx.reporter.step(f"verify {stored.path}") as step:
        verified = repository.verify(
            stored, ctx.workspace.bulk, legacy_cipher=ctx.settings.cipher, now=ctx.now(), progress=ctx.progress
        )
        manifest = verified.manifest
        step.note(
            f"signed by {manifest.signer}, taken {manifest.taken_at:%Y-%m-%d %H:%M:%S} UTC"
            if manifest
            else "legacy layout"
        )
    if manifest is None:
        ctx.reporter.warn(
            f"{stored.path} is of the legacy layout, without a manifest: the signature of the newest commit and gzip's "
            "checksum are its only proof"
        )
    elif not manifest.accepted:
        ctx.reporter.warn(f"{stored.path} is a backup of another cluster (UID {manifest.cluster.uid})")
    ctx.reporter.fact("backup", stored.path)
    return verified


def _inspect(ctx: Context, verified: Verified, file: BinaryIO) -> None:
    """Look into the archive; of a legacy backup, whose bytes nothing else proves, a fault is the end."""
    try:
        content = inspect(file, on_bytes=lambda _: ctx.children.check())
    except IntegrityError as error:
        if verified.manifest is None:
            raise IntegrityError(
                f"{verified.stored.path} does not decrypt to a k0s archive: {error.message}",
                resolution="if the cipher of that time was another one, set K0SCTL_ENC_CIPHER to it",
            ) from error
        ctx.reporter.warn(f"the archive is exactly what was backed up, but k0s would not restore it: {error.message}")
        return
    ctx.reporter.fact("datastore", content.datastore.value)


def _target(ctx: Context, stored: Stored) -> Path:
    asked = ctx.invocation.to
    path = ctx.cwd / (asked or stored.name)
    if path.is_dir():
        path /= stored.name
    if not path.parent.is_dir():
        raise ConfigurationError(
            f"--to {asked}: there is no directory {path.parent}", resolution="make it first, or name another path"
        )
    path = path.parent.resolve() / path.name
    if kept := ctx.kept_directory(path):
        raise ConfigurationError(
            f"{path} lies inside {kept}, which is kept or published: a decrypted archive must not be there",
            resolution="name another path with --to PATH",
        )
    if path.exists() or path.is_symlink():
        raise _exists(path)
    return path


def _exists(path: Path) -> ConfigurationError:
    return ConfigurationError(
        f"{path} exists already, and is never overwritten", resolution="move it away, or use --to PATH"
    )
