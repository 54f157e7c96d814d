"""openssl: encryption of backups with ``openssl enc``, streamed, the password by file descriptor."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import IO, BinaryIO, Final

from handler.digest import Digest, Meter
from handler.errors import ConfigurationError, IntegrityError
from handler.process import Children, Command
from handler.secret import Secret

#: openssl reads a password from a descriptor up to 1023 bytes and silently drops the rest.
LONGEST_PASSWORD: Final = 1023
#: What `openssl enc -d` says of a wrong password, of a file that is not its own, and of one that is too short.
_NOT_CIPHERTEXT: Final = ("bad decrypt", "bad magic number", "error reading input file")
_NO_SUCH_CIPHER: Final = ("unknown cipher", "error setting cipher", "not supported", "unknown option")
_TIMEOUT: Final = 6 * 3600.0


def usable_password(text: str) -> Secret:
    """The password from decrypted text, one final newline dropped.

    Raises:
        IntegrityError: openssl would read another password than the one given.
    """
    password = text.removesuffix("\n").removesuffix("\r")
    if not password or len(password.encode()) > LONGEST_PASSWORD or any(char in password for char in "\n\r\0"):
        raise IntegrityError(
            "secret.gpg does not hold a usable password",
            details=(f"it must be one line of 1 to {LONGEST_PASSWORD} bytes",),
            resolution="restore secret.gpg from the history of the branch",
        )
    return Secret(password)


class OpenSSL:
    """``openssl enc -<cipher> -pbkdf2`` with openssl's defaults: SHA-256, 10,000 iterations, 8-byte salt."""

    def __init__(self, children: Children, env: Mapping[str, str]) -> None:
        self._children = children
        self._env = env

    def version(self) -> str:
        """Such as ``3.0.19``; raises ToolMissing when there is none."""
        done = self._children.run(Command(argv=("openssl", "version"), env=self._env, timeout=30))
        words = done.require_success("asking for its version").stdout.split()
        return words[1] if len(words) > 1 else "unknown"

    def encrypt(
        self, source: Path, target: IO[bytes], *, cipher: str, password: Secret, progress: Callable[[int], None]
    ) -> Digest:
        """Encrypt a file into an open one; returns size and hash of the ciphertext, taken as it was written."""
        meter = Meter(target, progress)
        with source.open("rb") as stdin:
            self._enc(cipher, [], stdin, password, meter, doing=f"encrypting {source.name}")
        target.flush()
        os.fsync(target.fileno())
        return meter.digest

    def decrypt(
        self,
        source: Path,
        target: IO[bytes] | None,
        *,
        cipher: str,
        password: Secret,
        progress: Callable[[int], None],
        base64: bool = False,
    ) -> Digest:
        """Decrypt a file; returns size and hash of the plaintext.

        A stream cipher decrypts anything with exit 0, so the caller compares the hash.

        Raises:
            IntegrityError: openssl refused the file or the password.
        """
        meter = Meter(target, progress)
        with source.open("rb") as stdin:
            flags = ["-d", "-a"] if base64 else ["-d"]
            self._enc(cipher, flags, stdin, password, meter, doing=f"decrypting {source.name}")
        if target is not None:
            target.flush()
            os.fsync(target.fileno())
        return meter.digest

    def _enc(
        self, cipher: str, flags: list[str], stdin: BinaryIO, password: Secret, meter: Meter, *, doing: str
    ) -> None:
        with _password_pipe(password) as fd:
            command = Command(
                argv=("openssl", "enc", f"-{cipher}", *flags, "-pbkdf2", "-bufsize", "65536", "-pass", f"fd:{fd}"),
                env=self._env,
                timeout=_TIMEOUT,
                stdin=stdin,
                pass_fds=(fd,),
            )
            done = self._children.stream(command, meter.take)
        said = "" if done.exit_code == 0 else "\n".join(done.tail).lower()
        if "-d" in flags and any(words in said for words in _NOT_CIPHERTEXT):
            raise IntegrityError(
                f"openssl refused the ciphertext while {doing}",
                details=done.tail[-3:],
                resolution="it is damaged, or was encrypted with another password or cipher",
            )
        if any(words in said for words in _NO_SUCH_CIPHER):
            raise ConfigurationError(f"openssl cannot do this cipher: {cipher}", details=done.tail[-3:])
        done.require_success(doing)


@contextlib.contextmanager
def _password_pipe(password: Secret) -> Iterator[int]:
    """The reading end of a pipe that holds the password: it is in no argv, environment or file."""
    read, write = os.pipe()
    try:
        with open(write, "wb") as file:  # noqa: PTH123
            file.write(password.reveal().encode() + b"\n")
        yield read
    finally:
        os.close(read)
