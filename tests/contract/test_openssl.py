"""The openssl adapter against the real openssl."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import os
import subprocess
import threading
from pathlib import Path

import pytest

from handler.archive import CIPHERS
from handler.digest import digest_of
from handler.errors import ConfigurationError, IntegrityError, Interrupted, ToolFailed, ToolMissing
from handler.process import Children
from handler.secret import Secret
from handler.tools.openssl import LONGEST_PASSWORD, OpenSSL, usable_password
from handler.watch import Watch, descendants

pytestmark = pytest.mark.contract

PASSWORD = Secret("correct horse battery staple ü")
DATA = os.urandom(200_001)


def quiet(_: int) -> None:
    """Nobody looks at the progress."""


@pytest.fixture
def openssl(children: Children, tool_env: dict[str, str]) -> OpenSSL:
    return OpenSSL(children, tool_env)


@pytest.fixture
def plain(tmp_path: Path) -> Path:
    path = tmp_path / "plain"
    path.write_bytes(DATA)
    return path


def encrypt(openssl: OpenSSL, source: Path, *, cipher: str = "chacha20", password: Secret = PASSWORD) -> Path:
    target = source.with_suffix(".enc")
    with target.open("wb") as file:
        digest = openssl.encrypt(source, file, cipher=cipher, password=password, progress=quiet)
    assert digest == digest_of(target.read_bytes())
    return target


def decrypt(
    openssl: OpenSSL, source: Path, *, cipher: str = "chacha20", password: Secret = PASSWORD, base64: bool = False
) -> bytes:
    target = source.with_suffix(".out")
    with target.open("wb") as file:
        digest = openssl.decrypt(source, file, cipher=cipher, password=password, progress=quiet, base64=base64)
    assert digest == digest_of(target.read_bytes())
    return target.read_bytes()


def test_version(openssl: OpenSSL, children: Children) -> None:
    assert openssl.version()[0].isdigit()
    with pytest.raises(ToolMissing, match="openssl was not found"):
        OpenSSL(children, {"PATH": "/nowhere"}).version()


@pytest.mark.parametrize("cipher", sorted(CIPHERS))
def test_every_allowed_cipher_comes_back(openssl: OpenSSL, plain: Path, cipher: str) -> None:
    assert decrypt(openssl, encrypt(openssl, plain, cipher=cipher), cipher=cipher) == DATA


@pytest.mark.parametrize("size", [0, 1, 15, 16, 17, 65536, 3_000_000])
def test_sizes(openssl: OpenSSL, plain: Path, size: int) -> None:
    plain.write_bytes(DATA[:1] * size)
    for cipher in ("chacha20", "aes-256-cbc"):
        assert decrypt(openssl, encrypt(openssl, plain, cipher=cipher), cipher=cipher) == DATA[:1] * size


def test_the_format_is_openssls_own(openssl: OpenSSL, plain: Path) -> None:
    """What break-glass relies on: pbkdf2 with SHA-256, 10,000 rounds and a salt of 8 bytes, no base64."""
    encrypted = encrypt(openssl, plain, cipher="aes-256-ctr").read_bytes()
    assert encrypted[:8] == b"Salted__"
    assert len(encrypted) == 16 + len(DATA)
    made = hashlib.pbkdf2_hmac("sha256", PASSWORD.reveal().encode(), encrypted[8:16], 10_000, 48)
    by_hand = subprocess.run(
        ["openssl", "enc", "-d", "-aes-256-ctr", "-K", made[:32].hex(), "-iv", made[32:].hex()],
        input=encrypted[16:], capture_output=True, check=True,
    )  # fmt: skip
    assert by_hand.stdout == DATA


def test_progress_is_told_and_digests_are_of_what_was_written(openssl: OpenSSL, plain: Path) -> None:
    told: list[int] = []
    with plain.with_suffix(".enc").open("wb") as file:
        digest = openssl.encrypt(plain, file, cipher="chacha20", password=PASSWORD, progress=told.append)
    assert told == sorted(told)
    assert told[-1] == digest.size
    nowhere = openssl.decrypt(plain.with_suffix(".enc"), None, cipher="chacha20", password=PASSWORD, progress=quiet)
    assert nowhere == digest_of(DATA)


def test_a_wrong_password_with_a_stream_cipher_is_only_seen_by_the_digest(openssl: OpenSSL, plain: Path) -> None:
    encrypted = encrypt(openssl, plain)
    assert decrypt(openssl, encrypted, password=Secret("wrong")) != DATA


def test_a_wrong_password_or_a_damaged_file_with_a_block_cipher(openssl: OpenSSL, plain: Path) -> None:
    encrypted = encrypt(openssl, plain, cipher="aes-256-cbc")
    whole = encrypted.read_bytes()
    refused = 0
    for number in range(4):  # one of 256 wrong passwords passes by chance
        with contextlib.suppress(IntegrityError):
            refused += 1
            assert decrypt(openssl, encrypted, cipher="aes-256-cbc", password=Secret(f"wrong {number}")) != DATA
            refused -= 1
    assert refused
    for evil in (whole[:-3], b"garbage" * 100, b"", b"Salted__1234"):
        encrypted.write_bytes(evil)
        with pytest.raises(IntegrityError):
            decrypt(openssl, encrypted, cipher="aes-256-cbc")


def test_a_cut_ciphertext_of_a_stream_cipher(openssl: OpenSSL, plain: Path) -> None:
    encrypted = encrypt(openssl, plain)
    whole = encrypted.read_bytes()
    encrypted.write_bytes(whole[:1000])
    assert decrypt(openssl, encrypted) == DATA[: 1000 - 16]
    for evil in (b"", whole[:10], b"x" * 100):
        encrypted.write_bytes(evil)
        with pytest.raises(IntegrityError):
            decrypt(openssl, encrypted)


@pytest.mark.parametrize("cipher", ["aes-256-gcm", "chacha20-poly1305", "aes-256-xts", "no-such-cipher", "bf-cbc"])
def test_ciphers_that_openssl_refuses(openssl: OpenSSL, plain: Path, cipher: str) -> None:
    assert cipher not in CIPHERS
    with pytest.raises(ConfigurationError, match=cipher) as caught:
        encrypt(openssl, plain, cipher=cipher)
    assert caught.value.exit_code == 2


# --- passwords ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["", "\n", "\r\n", "a\nb", "a\rb", "a\0b", "x" * 1024, "ü" * 512, "\n\n"])
def test_unusable_passwords(text: str) -> None:
    with pytest.raises(IntegrityError, match="usable password") as caught:
        usable_password(text)
    assert not text.strip() or text.strip() not in str(caught.value)
    assert "x" * 20 not in "".join(caught.value.details)


@pytest.mark.parametrize("text", ["x", " x ", "x\n", "x\r\n", "ü" * 511, "x" * LONGEST_PASSWORD, "ab'\"$(c)\\"])
def test_usable_passwords_reach_openssl_as_they_are(openssl: OpenSSL, plain: Path, text: str) -> None:
    password = usable_password(text)
    encrypted = encrypt(openssl, plain, password=password).read_bytes()
    made = hashlib.pbkdf2_hmac("sha256", text.rstrip("\r\n").encode(), encrypted[8:16], 10_000, 48)
    cut = hashlib.pbkdf2_hmac("sha256", text.rstrip("\r\n").encode()[:-1], encrypted[8:16], 10_000, 48)
    for material, fits in ((made, True), (cut, False)):
        back = subprocess.run(
            ["openssl", "enc", "-d", "-chacha20", "-K", material[:32].hex(), "-iv", material[32:].hex()],
            input=encrypted[16:], capture_output=True, check=True,
        ).stdout  # fmt: skip
        assert (back == DATA) is fits


def test_the_password_is_in_no_argv_and_no_environment(openssl: OpenSSL, tmp_path: Path, plain: Path) -> None:
    big = tmp_path / "big"
    with big.open("wb") as file:
        file.truncate(256 << 20)
    password = Secret("p4ssw0rd-that-nobody-may-see")
    seen: list[bytes] = []
    over = threading.Event()

    def look() -> None:
        while not over.is_set():
            for pid in descendants():
                for name in ("cmdline", "environ"):
                    try:
                        seen.append(Path(f"/proc/{pid}/{name}").read_bytes())
                    except OSError:
                        continue

    looker = threading.Thread(target=look)
    looker.start()
    try:
        with (tmp_path / "big.enc").open("wb") as target:
            openssl.encrypt(big, target, cipher="chacha20", password=password, progress=quiet)
    finally:
        over.set()
        looker.join()
    assert any(text.startswith(b"openssl\0enc\0-chacha20") or b"/openssl\0enc\0" in text for text in seen)
    everything = b"".join(seen)
    for form in (password.reveal().encode(), base64.b64encode(password.reveal().encode())):
        assert form not in everything


def test_no_descriptor_is_left(openssl: OpenSSL, plain: Path) -> None:
    def open_ones() -> int:
        return len(os.listdir("/proc/self/fd"))  # noqa: PTH208

    encrypt(openssl, plain)
    before = open_ones()
    for _ in range(3):
        encrypt(openssl, plain)
        with pytest.raises(ConfigurationError):
            encrypt(openssl, plain, cipher="no-such-cipher")
    assert open_ones() == before


# --- the original layout, failures -------------------------------------------------------------------------------


def legacy(openssl: OpenSSL, plain: Path) -> Path:
    target = plain.with_suffix(".b64")
    target.write_bytes(base64.encodebytes(encrypt(openssl, plain).read_bytes()))
    return target


def test_base64_is_read(openssl: OpenSSL, plain: Path) -> None:
    target = legacy(openssl, plain)
    assert decrypt(openssl, target, base64=True) == DATA
    target.write_bytes(target.read_bytes().replace(b"\n", b"\r\n"))
    assert decrypt(openssl, target, base64=True) == DATA


def test_damaged_base64_never_gives_the_whole(openssl: OpenSSL, plain: Path) -> None:
    """openssl cuts it silently at the first wrong character; gzip decides then."""
    target = legacy(openssl, plain)
    whole = target.read_bytes()
    for evil in (whole[:5000] + b"!" + whole[5001:], whole[: len(whole) // 2], whole[:-40]):
        target.write_bytes(evil)
        assert decrypt(openssl, target, base64=True) != DATA
    for evil in (b"", b"!!!!", base64.encodebytes(b"no header at all" * 10)):
        target.write_bytes(evil)
        with pytest.raises(IntegrityError):
            decrypt(openssl, target, base64=True)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount a small file system")
def test_a_full_disk(openssl: OpenSSL, plain: Path, tmp_path: Path) -> None:
    mount = tmp_path / "small"
    mount.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "none", str(mount)], check=True)
    try:
        before = set(descendants())
        file = (mount / "out").open("wb")
        with pytest.raises(OSError, match="No space left"):
            openssl.encrypt(plain, file, cipher="chacha20", password=PASSWORD, progress=quiet)
        with contextlib.suppress(OSError):
            file.close()  # what is still in its buffer has no place either
        assert set(descendants()) <= before
    finally:
        subprocess.run(["umount", "-l", str(mount)], check=True)


def test_an_interrupt_ends_it(tool_env: dict[str, str], tmp_path: Path) -> None:
    watch = Watch()
    openssl = OpenSSL(Children(watch), tool_env)
    big = tmp_path / "big"
    with big.open("wb") as file:
        file.truncate(1 << 32)
    before = set(descendants())

    def progress(_: int) -> None:
        watch.signum = 15

    with (tmp_path / "out").open("wb") as target, pytest.raises(Interrupted):
        openssl.encrypt(big, target, cipher="chacha20", password=PASSWORD, progress=progress)
    assert set(descendants()) <= before


def test_a_missing_source(openssl: OpenSSL, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        openssl.decrypt(tmp_path / "no", None, cipher="chacha20", password=PASSWORD, progress=quiet)


def test_other_failures_are_the_tools(
    children: Children, tool_env: dict[str, str], tmp_path: Path, plain: Path
) -> None:
    fake = tmp_path / "bin"
    fake.mkdir()
    (fake / "openssl").write_text("#!/bin/sh\necho 'out of memory' >&2\nexit 1\n")
    (fake / "openssl").chmod(0o755)
    openssl = OpenSSL(children, {**tool_env, "PATH": f"{fake}:{tool_env['PATH']}"})
    with pytest.raises(ToolFailed, match="openssl failed while encrypting plain") as caught:
        encrypt(openssl, plain)
    assert caught.value.details == ("out of memory",)
