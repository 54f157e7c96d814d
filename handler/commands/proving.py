"""The full proof of a stored backup: everything that a restore would check, and the content."""

from __future__ import annotations

from dataclasses import dataclass

from handler.commands.context import Context
from handler.errors import IntegrityError, from_os_error
from handler.manifest import Manifest
from handler.proof import Content, inspect
from handler.repository import Repository
from handler.secret import Secret
from handler.stored import Stored
from handler.workspace import write_private


@dataclass(frozen=True, kw_only=True)
class Proven:
    """A backup that would come back as it was taken; ``manifest`` is None for a legacy one."""

    stored: Stored
    manifest: Manifest | None
    content: Content


def prove(ctx: Context, repository: Repository, stored: Stored) -> Proven:
    """Manifest, ciphertext, full decryption, content and configuration; nothing is left on disk.

    Raises:
        IntegrityError: one of them does not hold; the message names the backup.
        ConfigurationError: the key or its passphrase do not open the password.
    """
    with ctx.reporter.step(f"prove {stored.path}") as step:
        try:
            verified = repository.verify(
                stored, ctx.workspace.bulk, legacy_cipher=ctx.settings.cipher, now=ctx.now(), progress=ctx.progress
            )
            path = ctx.workspace.bulk / "archive-to-prove"
            try:
                # not before: what an earlier key has signed is bad, and its password need not open with this one
                password = repository.password(stored.directory)
                ctx.reporter.redactor.learn(password)
                with path.open("x+b") as file:
                    path.chmod(0o600)
                    digest = verified.decrypt(ctx.openssl, password, file, ctx.progress)
                    file.seek(0)
                    content = inspect(file, on_bytes=lambda _: ctx.children.check())
            finally:
                path.unlink(missing_ok=True)
                verified.ciphertext.unlink(missing_ok=True)
            if verified.manifest:
                _prove_config(ctx, repository, stored, verified.manifest, password)
        except OSError as error:
            raise from_os_error(error, f"proving {stored.path}") from error
        except IntegrityError as error:
            if stored.stem in error.message:
                raise
            raise IntegrityError(
                f"{stored.path} would not come back: {error.message}",
                details=error.details,
                resolution=error.resolution,
            ) from error
        step.note(f"{digest.size} bytes, {content.datastore.value}")
    return Proven(stored=stored, manifest=verified.manifest, content=content)


def _prove_config(ctx: Context, repository: Repository, stored: Stored, manifest: Manifest, password: Secret) -> None:
    """The configuration of that time: as the manifest says, and a text when it is decrypted."""
    encrypted = write_private(ctx.workspace.bulk / "config-to-prove", repository.config(stored, manifest))
    plain = ctx.workspace.secrets / "config-to-prove"
    try:
        with plain.open("x+b") as file:
            plain.chmod(0o600)
            ctx.openssl.decrypt(encrypted, file, cipher=manifest.cipher, password=password, progress=ctx.progress)
            file.seek(0)
            file.read().decode("utf-8")
    except UnicodeDecodeError:
        raise IntegrityError(f"{manifest.config.name} does not decrypt to a text") from None
    finally:
        encrypted.unlink()
        plain.unlink(missing_ok=True)
