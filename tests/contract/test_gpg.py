"""The gpg adapter against the real gpg."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from handler.errors import ConfigurationError, IntegrityError
from handler.process import Children
from handler.secret import Secret
from handler.tools.gpg import Gpg
from handler.watch import adopt_orphans, descendants
from tests.support.keys import KeyMaker, KeyPair

pytestmark = pytest.mark.contract

OpenGpg = Callable[..., Gpg]


@pytest.fixture
def open_gpg(children: Children, tool_env: dict[str, str]) -> Iterator[OpenGpg]:
    homes: list[Path] = []

    def make(pair: KeyPair | None = None, passphrase: str | None = None, *, recovery: str = "") -> Gpg:
        home = Path(tempfile.mkdtemp(prefix="gpg-", dir="/tmp"))
        homes.append(home)
        secret = passphrase if passphrase is not None else (pair.passphrase if pair else "")
        gpg = Gpg(children, tool_env, home, Secret(secret) if secret else None)
        if pair:
            gpg.import_cluster_key(Secret(pair.private))
        if recovery:
            gpg.import_recovery_keys(recovery)
        return gpg

    yield make
    for home in homes:
        shutil.rmtree(home, ignore_errors=True)  # the agent removes its sockets at the same time


def test_sign_and_verify(open_gpg: OpenGpg, cluster_key: KeyPair) -> None:
    gpg = open_gpg(cluster_key)
    signature = gpg.sign(b"data")
    assert gpg.require_signed(b"data", signature, "x").signer == cluster_key.fingerprint
    with pytest.raises(IntegrityError, match="does not fit"):
        gpg.require_signed(b"other", signature, "x")
    with pytest.raises(IntegrityError, match="not signed"):
        gpg.require_signed(b"data", b"", "x")


def test_two_signatures_are_refused(open_gpg: OpenGpg, cluster_key: KeyPair, key_maker: KeyMaker) -> None:
    gpg = open_gpg(cluster_key)
    data = key_maker.home / "data"
    data.write_bytes(b"data")
    output = key_maker.home / "two.sig"
    users = ["-u", cluster_key.fingerprint, "-u", cluster_key.fingerprint[-16:] + "!"]
    key_maker.gpg("--yes", "--detach-sign", "--output", str(output), *users, str(data))
    both = output.read_bytes()
    one = gpg.sign(b"data")
    if both.count(b"") and len(both) < 150:  # gpg folded equal signers into one signature
        key_maker.gpg("--yes", "--dearmor", "--output", str(output), text=one.decode())
        both = both + output.read_bytes()
    with pytest.raises(IntegrityError, match="2 signatures"):
        gpg.require_signed(b"data", both, "x")


def test_a_foreign_signature_is_refused(open_gpg: OpenGpg, cluster_key: KeyPair, foreign_key: KeyPair) -> None:
    signature = open_gpg(foreign_key).sign(b"data")
    with pytest.raises(IntegrityError, match="unknown key"):
        open_gpg(cluster_key).require_signed(b"data", signature, "x")
    # known as a recovery key, and still not the cluster's
    with pytest.raises(IntegrityError, match="another key"):
        open_gpg(cluster_key, recovery=foreign_key.public).require_signed(b"data", signature, "x")


def test_encrypt_and_decrypt_with_passphrase_in_utf8(open_gpg: OpenGpg, locked_key: KeyPair) -> None:
    gpg = open_gpg(locked_key)
    assert gpg.key.user_ids[0].name == "Jörg Müller"
    plain, signatures = gpg.decrypt(gpg.encrypt(b"secret", ()), "secret.gpg")
    assert plain == b"secret"
    assert [signature.signer for signature in signatures] == [locked_key.fingerprint]


@pytest.mark.parametrize(("passphrase", "says"), [("", "is not set"), ("wrong", "is wrong")])
def test_missing_and_wrong_passphrase(open_gpg: OpenGpg, locked_key: KeyPair, passphrase: str, says: str) -> None:
    message = open_gpg(locked_key).encrypt(b"secret", ())
    with pytest.raises(ConfigurationError, match=says):
        open_gpg(locked_key, passphrase).decrypt(message, "secret.gpg")
    with pytest.raises(ConfigurationError, match=says):
        open_gpg(locked_key, passphrase).sign(b"x")


def test_a_recovery_key_opens_the_password(open_gpg: OpenGpg, cluster_key: KeyPair, recovery_key: KeyPair) -> None:
    gpg = open_gpg(cluster_key)
    keys = gpg.import_recovery_keys(recovery_key.public)
    message = gpg.encrypt(b"secret", keys)
    assert gpg.recipients(message, "secret.gpg") == {cluster_key.fingerprint, recovery_key.fingerprint}
    assert open_gpg(recovery_key).decrypt(message, "secret.gpg")[0] == b"secret"


def test_a_key_that_is_not_a_recipient(open_gpg: OpenGpg, cluster_key: KeyPair, foreign_key: KeyPair) -> None:
    message = open_gpg(cluster_key).encrypt(b"secret", ())
    with pytest.raises(ConfigurationError, match=r"cannot open secret\.gpg"):
        open_gpg(foreign_key).decrypt(message, "secret.gpg")


def test_damage_is_integrity(open_gpg: OpenGpg, cluster_key: KeyPair, key_maker: KeyMaker) -> None:
    gpg = open_gpg(cluster_key)
    armored = key_maker.home / "m.asc"
    armored.write_bytes(gpg.encrypt(b"secret" * 100, ()))
    binary = key_maker.home / "m.gpg"
    key_maker.gpg("--yes", "--output", str(binary), "--dearmor", str(armored))
    raw = binary.read_bytes()
    for damaged in (raw[:-5], raw[:-30] + b"\0" * 30, b"", b"garbage"):
        with pytest.raises(IntegrityError, match="damaged"):
            gpg.decrypt(damaged, "secret.gpg")


def test_keys_that_are_refused(
    open_gpg: OpenGpg, cluster_key: KeyPair, foreign_key: KeyPair, key_maker: KeyMaker
) -> None:
    revoked = key_maker.revoke(key_maker.make("gone"))
    for armor, says in (
        (cluster_key.public, "public key only"),
        (cluster_key.private + foreign_key.private, "2 secret keys"),
        (revoked.private, "is revoked"),
        (cluster_key.private[: len(cluster_key.private) // 2], "cut or damaged"),
        ("garbage", "cut or damaged"),
    ):
        with pytest.raises(ConfigurationError, match=says):
            open_gpg().import_cluster_key(Secret(armor))


def test_an_expired_key_still_reads(open_gpg: OpenGpg, expired_key: KeyPair, key_maker: KeyMaker) -> None:
    then = ("--faked-system-time", "20200601T000000", "--yes")
    data = key_maker.home / "old"
    data.write_bytes(b"data")
    user = ("-u", expired_key.fingerprint)
    key_maker.gpg(*then, *user, "--detach-sign", "--armor", "--output", f"{data}.asc", str(data))
    key_maker.gpg(
        *then, *user, "-r", expired_key.fingerprint, "--trust-model", "always",
        "--sign", "--encrypt", "--output", f"{data}.gpg", str(data),
    )  # fmt: skip
    gpg = open_gpg(expired_key)
    assert gpg.key.expired
    assert not gpg.key.can_sign
    signature = Path(f"{data}.asc").read_bytes()
    assert gpg.require_signed(b"data", signature, "x").signer == expired_key.fingerprint
    assert gpg.decrypt(Path(f"{data}.gpg").read_bytes(), "secret.gpg")[0] == b"data"


def test_recovery_keys_that_are_refused(
    open_gpg: OpenGpg, cluster_key: KeyPair, expired_key: KeyPair, key_maker: KeyMaker
) -> None:
    signer = key_maker.make("signer", encrypt=False)
    for armor, says in (
        (expired_key.public, "has expired"),
        (signer.public, "cannot encrypt"),
        (cluster_key.public, "no public key besides"),
    ):
        with pytest.raises(ConfigurationError, match=says):
            open_gpg(cluster_key).import_recovery_keys(armor)


def test_the_agent_is_a_descendant(open_gpg: OpenGpg, cluster_key: KeyPair) -> None:
    adopt_orphans()
    open_gpg(cluster_key).sign(b"x")
    names = [Path(f"/proc/{pid}/comm").read_text().strip() for pid in descendants()]
    assert "gpg-agent" in names
