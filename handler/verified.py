"""A backup whose ciphertext was proven: the only thing that can be decrypted."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from handler.digest import Digest
from handler.errors import IntegrityError, from_os_error
from handler.manifest import File, Manifest
from handler.secret import Secret
from handler.stored import Stored
from handler.tools.openssl import OpenSSL


def require_same(path: str, found: Digest, expected: File, resolution: str) -> None:
    """Compare what was read with what the signed manifest says of it.

    Raises:
        IntegrityError: size or checksum differ.
    """
    if (found.size, found.sha256) != (expected.size, expected.sha256):
        raise IntegrityError(
            f"{path} is not what its signed manifest says", details=differing(found, expected), resolution=resolution
        )


def differing(found: Digest, expected: File) -> tuple[str, str]:
    return (
        f"expected {expected.size} bytes, sha256 {expected.sha256}",
        f"found    {found.size} bytes, sha256 {found.sha256}",
    )


@dataclass(frozen=True, kw_only=True)
class Verified:
    """A backup whose ciphertext is what the cluster's key signed; made by `Repository.verify` only.

    Attributes:
        ciphertext: a private copy, which nobody can change between proof and decryption.
        manifest: None for a legacy backup, whose only proof is HEAD's signature.
    """

    stored: Stored
    manifest: Manifest | None
    ciphertext: Path
    cipher: str

    def decrypt(
        self, openssl: OpenSSL, password: Secret, target: IO[bytes], progress: Callable[[int], None] = lambda _: None
    ) -> Digest:
        """Decrypt into an open private file.

        Raises:
            IntegrityError: the plaintext is not what the manifest says.
        """
        try:
            digest = openssl.decrypt(
                self.ciphertext,
                target,
                cipher=self.cipher,
                password=password,
                progress=progress,
                base64=self.stored.legacy,
            )
        except OSError as error:
            raise from_os_error(error, f"decrypting {self.stored.name}") from error
        expected = self.manifest.archive if self.manifest else None
        if expected and (digest.size, digest.sha256) != (expected.size, expected.sha256):
            raise IntegrityError(
                f"{self.stored.name} does not decrypt to what its manifest says",
                details=differing(digest, expected),
                resolution="the password in secret.gpg is not the one that this backup was made with",
            )
        return digest
