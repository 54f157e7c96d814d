"""Key pairs for tests, made by gpg itself in a home of their own."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class KeyPair:
    name: str
    mail: str
    fingerprint: str
    private: str
    public: str
    passphrase: str = ""


class KeyMaker:
    """A gpg home on a short path (sockets) that makes and exports keys."""

    def __init__(self) -> None:
        self.home = Path(tempfile.mkdtemp(prefix="keys-", dir="/tmp"))
        self.env = {
            "PATH": os.environ["PATH"],
            "GNUPGHOME": str(self.home),
            "HOME": str(self.home),
            "LC_ALL": "C.UTF-8",
        }
        (self.home / "gpg-agent.conf").write_text("s2k-count 65536\nallow-loopback-pinentry\n")

    def close(self) -> None:
        subprocess.run(["gpgconf", "--kill", "all"], env=self.env, check=False, capture_output=True)
        shutil.rmtree(self.home, ignore_errors=True)

    def gpg(self, *args: str, text: str = "", check: bool = True) -> str:
        done = subprocess.run(
            ["gpg", "--batch", "--pinentry-mode", "loopback", *args],
            env=self.env, input=text, text=True, capture_output=True, check=False,
        )  # fmt: skip
        assert not check or done.returncode == 0, done.stderr
        return done.stdout

    def make(
        self, name: str, mail: str = "", *, passphrase: str = "", algo: str = "ed25519", expires: str = "0",
        encrypt: bool = True, when: str = "",
    ) -> KeyPair:  # fmt: skip
        mail = mail or f"{name.split(maxsplit=1)[0].lower()}@example.org"
        clock = ["--faked-system-time", when] if when else []
        secret = ["--passphrase", passphrase]
        user = f"{name} <{mail}>"
        self.gpg(*clock, *secret, "--quick-generate-key", user, algo, "sign", expires)
        fingerprint = self.fingerprint(user)
        if encrypt:
            sub = "cv25519" if algo == "ed25519" else algo
            self.gpg(*clock, *secret, "--quick-add-key", fingerprint, sub, "encr", expires)
        return self.export(fingerprint, name=name, mail=mail, passphrase=passphrase)

    def fingerprint(self, user: str) -> str:
        lines = self.gpg("--with-colons", "--list-secret-keys", f"={user}").splitlines()
        return next(line.split(":")[9] for line in lines if line.startswith("fpr"))

    def export(self, fingerprint: str, *, name: str, mail: str, passphrase: str = "") -> KeyPair:
        private = self.gpg("--armor", "--passphrase", passphrase, "--export-secret-keys", fingerprint)
        public = self.gpg("--armor", "--export", fingerprint)
        return KeyPair(name, mail, fingerprint, private, public, passphrase)

    def revoke(self, pair: KeyPair) -> KeyPair:
        certificate = self.home / "openpgp-revocs.d" / f"{pair.fingerprint}.rev"
        text = certificate.read_text().replace(":-----BEGIN", "-----BEGIN")
        self.gpg("--import", text=text)
        return self.export(pair.fingerprint, name=pair.name, mail=pair.mail, passphrase=pair.passphrase)

    def expire(self, pair: KeyPair) -> KeyPair:
        """The key as it is when its time is over."""
        self.gpg("--quick-set-expire", pair.fingerprint, "seconds=1")
        self.gpg("--quick-set-expire", pair.fingerprint, "seconds=1", "*")
        time.sleep(2)
        return self.export(pair.fingerprint, name=pair.name, mail=pair.mail, passphrase=pair.passphrase)
