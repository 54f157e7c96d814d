"""gpg: the cluster's key, signatures and the encrypted password. The only user of python-gnupg.

python-gnupg never raises for a bad result, so every call here looks at gpg's own status lines
(doc/DETAILS in the GnuPG sources) before a byte is used.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from handler.errors import ConfigurationError, HandlerError, IntegrityError, ToolFailed, ToolMissing
from handler.process import Children
from handler.secret import Secret
from handler.tools.armor import bare_message, bare_signature
from handler.tools.keyring import Key, parse_keys
from handler.tools.signature import Signature, parse_signatures, require_signer, status_keywords
from handler.workspace import write_private

if TYPE_CHECKING:
    import gnupg

_OPTIONS: Final = ["--pinentry-mode", "loopback", "--no-auto-key-locate", "--no-auto-key-retrieve", "--no-greeting"]
#: The agent re-protects an imported key with a calibrated S2K, which takes seconds, in a home that lives for minutes;
#: and it must not forget the passphrase during a long k0sctl run.
_AGENT_CONF: Final = "s2k-count 65536\ndefault-cache-ttl 86400\nmax-cache-ttl 86400\n"


#: gpg's error code 11, GPG_ERR_BAD_PASSPHRASE, whatever part of it reports it (gpg-error.h); 2.4 also reports a
#: missing key in this way, with another code.
_WRONG_PASSPHRASE: Final = re.compile(
    r"^gpg: .*: Bad passphrase$|^\[GNUPG:\] ERROR \S+ (?:67108875|11)\b", re.MULTILINE
)


class Gpg:
    """One private keyring: the cluster's key pair and the recovery public keys.

    Args:
        home: private, empty GNUPGHOME on a short path.
        passphrase: of the cluster's key; None for none.
    """

    def __init__(self, children: Children, env: Mapping[str, str], home: Path, passphrase: Secret | None) -> None:
        self._children = children
        self._home = home
        self._passphrase = passphrase.reveal() if passphrase else None
        self._gnupg = self._open(env)
        self._pinned: Key | None = None

    def _open(self, env: Mapping[str, str]) -> gnupg.GPG:
        import gnupg  # noqa: PLC0415  # start-up time

        write_private(self._home / "gpg-agent.conf", _AGENT_CONF)
        try:
            return gnupg.GPG(
                gnupghome=str(self._home),
                options=_OPTIONS,
                env={**env, "GNUPGHOME": str(self._home)},
                encoding="utf-8",
            )
        except OSError as error:
            raise ToolMissing("gpg was not found in PATH") from error

    @property
    def version(self) -> str:
        return ".".join(map(str, self._gnupg.version or ("unknown",)))

    @property
    def home(self) -> Path:
        return self._home

    @property
    def key(self) -> Key:
        """The cluster's key, once it was imported."""
        if self._pinned is None:
            raise AssertionError("import_cluster_key comes first")
        return self._pinned

    def import_cluster_key(self, armor: Secret) -> Key:
        """Import the key pair of the cluster; it becomes the only signer that is trusted.

        Raises:
            ConfigurationError: no key, a public key only, a second secret key, or a revoked one.
        """
        self._children.check()
        outcome = self._gnupg.import_keys(armor.reveal())
        secret = parse_keys(self._listing(secret=True))
        self._children.check()
        if not secret:
            raise self._no_secret_key(str(outcome.stderr))
        if len(secret) > 1:
            raise ConfigurationError(
                f"K0SCTL_GPG_KEY holds {len(secret)} secret keys, one is allowed",
                details=tuple(f"{key.fingerprint} {key.display_name}" for key in secret),
                resolution="export the cluster's key alone: gpg --armor --export-secret-keys FINGERPRINT",
            )
        key = secret[0]
        if key.revoked:
            raise ConfigurationError(
                f"the key {key.fingerprint} in K0SCTL_GPG_KEY is revoked",
                resolution="make a new key pair, and a new branch or a confirmed second init for it",
            )
        self._pinned = key
        return key

    def _no_secret_key(self, stderr: str) -> HandlerError:
        if "error running" in stderr and "gpg-agent" in stderr:
            return ToolMissing("gpg-agent could not be started", details=(stderr.strip().splitlines()[-1],))
        public = parse_keys(self._listing(secret=False))
        if public:
            return ConfigurationError(
                "K0SCTL_GPG_KEY holds a public key only",
                details=(f"{public[0].fingerprint} {public[0].display_name}",),
                resolution="give the private key: gpg --armor --export-secret-keys FINGERPRINT",
            )
        return ConfigurationError(
            "K0SCTL_GPG_KEY could not be read as an armored private key: it is cut or damaged",
            resolution="export it again: gpg --armor --export-secret-keys FINGERPRINT",
        )

    def import_recovery_keys(self, armor: str) -> tuple[Key, ...]:
        """Import public keys that may open the password too; those that cannot encrypt are refused."""
        self._children.check()
        before = {key.fingerprint for key in parse_keys(self._listing(secret=False))}
        self._gnupg.import_keys(armor)
        self._children.check()
        if len(parse_keys(self._listing(secret=True))) > 1:
            raise ConfigurationError(
                "K0SCTL_GPG_RECOVERY holds a private key: only public keys belong there",
                resolution="give the public part, and keep the private one offline: gpg --armor --export FINGERPRINT",
            )
        keys = [key for key in parse_keys(self._listing(secret=False)) if key.fingerprint not in before]
        if not keys:
            raise ConfigurationError(
                "K0SCTL_GPG_RECOVERY holds no public key besides the cluster's own",
                resolution="give the public part of an offline key: gpg --armor --export FINGERPRINT",
            )
        for key in keys:
            if key.revoked or key.expired or not key.can_encrypt:
                reason = "is revoked" if key.revoked else "has expired" if key.expired else "cannot encrypt"
                raise ConfigurationError(f"the recovery key {key.fingerprint} ({key.display_name}) {reason}")
        return tuple(keys)

    def sign(self, data: bytes) -> bytes:
        """An armored detached signature by the cluster's key.

        Raises:
            ConfigurationError: the passphrase is missing or wrong.
        """
        self._children.check()
        outcome = self._gnupg.sign(data, keyid=self.key.fingerprint, passphrase=self._passphrase, detach=True)
        self._children.check()
        if not outcome or outcome.returncode != 0:
            raise self._refused("signing", str(outcome.stderr))
        return bytes(outcome.data)

    def require_signed(self, data: bytes, signature: bytes, what: str) -> Signature:
        """Check a detached signature by gpg itself.

        Raises:
            IntegrityError: not exactly one good signature by the cluster's key.
        """
        self._children.check()
        file = self._home / "detached.sig"
        file.unlink(missing_ok=True)
        write_private(file, bare_signature(signature, what))
        outcome = self._gnupg.verify_data(str(file), data)
        file.unlink()
        self._children.check()
        signer = require_signer(parse_signatures(str(outcome.stderr)), self.key, what)
        if outcome.returncode != 0:
            raise IntegrityError(
                f"{what} is not signed: gpg refuses its signature", details=_reasons(str(outcome.stderr))
            )
        return signer

    def encrypt(self, data: bytes, recipients: Sequence[Key]) -> bytes:
        """Encrypt to the cluster's key and ``recipients``, signed by the cluster's key, armored."""
        self._children.check()
        fingerprints = [self.key.fingerprint, *(key.fingerprint for key in recipients)]
        outcome = self._gnupg.encrypt(
            data, fingerprints, sign=self.key.fingerprint, always_trust=True, passphrase=self._passphrase
        )
        self._children.check()
        if not outcome.ok or outcome.returncode != 0 or not outcome.data:
            raise self._refused("encrypting", str(outcome.stderr))
        return bytes(outcome.data)

    def decrypt(self, data: bytes, what: str) -> tuple[bytes, tuple[Signature, ...]]:
        """The plaintext and the signatures found on it; the caller decides about those.

        Raises:
            ConfigurationError: the passphrase is missing or wrong, or the key cannot open it.
            IntegrityError: the data is damaged.
        """
        self._children.check()
        packets = bare_message(data, what)
        outcome = self._gnupg.decrypt(packets, passphrase=self._passphrase, extra_args=["--max-output", "65536"])
        self._children.check()
        stderr = str(outcome.stderr)
        keywords = status_keywords(stderr)
        whole = {"DECRYPTION_OKAY", "GOODMDC"} <= keywords and "DECRYPTION_FAILED" not in keywords
        signatures = parse_signatures(stderr)
        # A signature by an unknown key makes gpg exit 2 although the plaintext is whole: the caller tells that better.
        if not whole or (outcome.returncode != 0 and not any(signature.problem for signature in signatures)):
            raise self._cannot_open(what, stderr)
        return bytes(outcome.data), signatures

    def recipients(self, data: bytes, what: str) -> frozenset[str]:
        """Primary fingerprints that can open a message; an id that no key here has is returned as it is."""
        self._children.check()
        owners = {
            subkey.key_id: key.fingerprint for key in parse_keys(self._listing(secret=False)) for subkey in key.subkeys
        }
        ids = self._gnupg.get_recipients(bare_message(data, what))
        self._children.check()
        return frozenset(owners.get(key_id, key_id) for key_id in ids)

    def _listing(self, *, secret: bool) -> str:
        # python-gnupg's parsed form does not tell revoked user ids; its raw output does.
        return bytes(self._gnupg.list_keys(secret).data).decode("utf-8", "replace")

    def _cannot_open(self, what: str, stderr: str) -> HandlerError:
        if "NO_SECKEY" in status_keywords(stderr) and not _WRONG_PASSPHRASE.search(stderr):
            return ConfigurationError(
                f"the key in K0SCTL_GPG_KEY cannot open {what}: it was encrypted to other keys",
                details=tuple(line for line in stderr.splitlines() if "ENC_TO" in line),
                resolution="use the key that the branch was made with, or a recovery key",
            )
        if "pkdecrypt_failed" in stderr or ("NEED_PASSPHRASE" in stderr and "DECRYPTION_KEY" not in stderr):
            return self._refused(f"opening {what}", stderr)
        return IntegrityError(f"{what} is damaged: gpg cannot decrypt it", details=_reasons(stderr))

    def _refused(self, doing: str, stderr: str) -> HandlerError:
        if self._passphrase is None and any(
            sign in stderr for sign in ("MISSING_PASSPHRASE", "NEED_PASSPHRASE", "No passphrase", "Bad passphrase")
        ):
            return ConfigurationError(
                "the GPG key has a passphrase, and K0SCTL_GPG_PASSPHRASE is not set",
                resolution="set K0SCTL_GPG_PASSPHRASE or K0SCTL_GPG_PASSPHRASE_FILE",
            )
        if "BAD_PASSPHRASE" in stderr or _WRONG_PASSPHRASE.search(stderr):
            return ConfigurationError(
                "the passphrase in K0SCTL_GPG_PASSPHRASE is wrong for the key in K0SCTL_GPG_KEY",
                resolution="set the passphrase that belongs to this key",
            )
        if "No space left" in stderr:
            return ToolFailed(f"no space left while gpg was {doing}", details=_reasons(stderr))
        return ToolFailed(f"gpg failed while {doing}", details=_reasons(stderr))


def _reasons(stderr: str) -> tuple[str, ...]:
    """gpg's words for people, without its status lines."""
    return tuple(line for line in stderr.splitlines() if line and not line.startswith("[GNUPG:]"))[-5:]
