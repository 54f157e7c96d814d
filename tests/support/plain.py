"""What an operator has without the handler: gpg, openssl and git, with the key in a gpg home of its own."""

from __future__ import annotations

import atexit
import os
import re
import shutil
import subprocess
import tempfile
from datetime import datetime
from pathlib import Path


class PlainTools:
    """gpg, openssl and git with one private key.

    Args:
        directory: for files; made when missing. The gpg home is elsewhere: its sockets need a short path.
        private: the armored private key, with ``passphrase`` where it has one.
    """

    def __init__(self, directory: Path, private: str, passphrase: str = "") -> None:
        self.directory = directory
        self.directory.mkdir(parents=True, exist_ok=True)
        self.passphrase = passphrase
        self.home = Path(tempfile.mkdtemp(prefix="plain-", dir="/tmp"))
        self.env = {
            "PATH": os.environ["PATH"],
            "HOME": str(directory),
            "GNUPGHOME": str(self.home),
            "LC_ALL": "C.UTF-8",
        }
        atexit.register(self.close)
        self.import_key(private)
        listed = self._run(["gpg", "--batch", "--with-colons", "--list-secret-keys"])[0]
        self.fingerprint = re.findall(r"^fpr:+([0-9A-F]{40}):", listed, re.MULTILINE)[0]

    def close(self) -> None:
        subprocess.run(["gpgconf", "--kill", "all"], env=self.env, check=False, capture_output=True)
        shutil.rmtree(self.home, ignore_errors=True)

    def _run(
        self, words: list[str], *, text: str = "", cwd: Path | None = None, ok: tuple[int, ...] = (0,)
    ) -> tuple[str, str]:
        done = subprocess.run(words, env=self.env, cwd=cwd, input=text, text=True, capture_output=True, check=False)
        assert done.returncode in ok, done.stderr
        return done.stdout, done.stderr

    def import_key(self, armor: str) -> None:
        self._run(["gpg", "--batch", "--import"], text=armor)

    # --- reading -----------------------------------------------------------------------------------------------

    def verify_commit(self, repository: Path, commit: str) -> str:
        """The fingerprint of the key that signed a commit, as ``git verify-commit`` finds it."""
        said = self._run(["git", "verify-commit", "--raw", commit], cwd=repository)[1]
        assert "GOODSIG" in said, said
        found: list[str] = re.findall(r"VALIDSIG .* ([0-9A-F]{40})$", said, re.MULTILINE)
        return found[0]

    def verify(self, signature: Path, file: Path) -> None:
        self._run(["gpg", "--batch", "--verify", str(signature), str(file)])

    def open_password(self, sealed: Path) -> str:
        extra = ["--pinentry-mode", "loopback", "--passphrase", self.passphrase] if self.passphrase else []
        # 2: the signature in it is by a key that this home does not have
        decrypted = self._run(["gpg", "--batch", "--quiet", *extra, "--decrypt", str(sealed)], ok=(0, 2))[0]
        assert decrypted
        return decrypted.removesuffix("\n")

    def openssl(self, *words: str, password: str, source: Path, target: Path) -> None:
        command = ["openssl", "enc", *words, "-pass", "stdin", "-in", str(source), "-out", str(target)]
        self._run(command, text=password + "\n")

    @staticmethod
    def sha256(path: Path) -> str:
        return subprocess.run(["sha256sum", str(path)], text=True, capture_output=True, check=True).stdout.split()[0]

    @staticmethod
    def epoch(text: str) -> int:
        return int(datetime.fromisoformat(text).timestamp())

    # --- writing -----------------------------------------------------------------------------------------------

    def seal(self, target: Path, password: str, *, to: str, sign: bool = True) -> None:
        """Encrypt a password, signed by the key of this home or not at all."""
        words = ["gpg", "--batch", "--yes", "--armor", "--trust-model", "always", "--recipient", to]
        words += ["--sign"] if sign else []
        self._run([*words, "--output", str(target), "--encrypt"], text=password + "\n")

    def commit(self, repository: Path, message: str, *options: str, sign: bool = True) -> str:
        """A commit of the whole working tree, as git makes it; returns its id."""
        signing = [f"--gpg-sign={self.fingerprint}"] if sign else ["--no-gpg-sign"]
        who = ["-c", "user.name=prod", "-c", "user.email=prod@example.org"]
        self._run(["git", "add", "-A"], cwd=repository)
        self._run(["git", *who, "commit", "-q", "-m", message, *signing, *options], cwd=repository)
        return self._run(["git", "rev-parse", "HEAD"], cwd=repository)[0].strip()


def only(directory: Path, *tools: str) -> str:
    """A PATH on which nothing is found but these tools."""
    directory.mkdir(exist_ok=True)
    for tool in tools:
        found = shutil.which(tool)
        assert found, tool
        (directory / tool).symlink_to(found)
    return str(directory)
