"""Keys and known hosts survive the ways in which they are passed on."""

from __future__ import annotations

import base64
import textwrap

import pytest

from handler.settings import blocks
from handler.settings.convert import Rejected

SSH_KEY = "-----BEGIN OPENSSH PRIVATE KEY-----\nc3NoLWtleS1ib2R5\n-----END OPENSSH PRIVATE KEY-----\n"
GPG_KEY = "-----BEGIN PGP PRIVATE KEY BLOCK-----\n\nbGdwLWtleS1ib2R5\n=abcd\n-----END PGP PRIVATE KEY BLOCK-----\n"
PUBLIC_KEY = GPG_KEY.replace("PRIVATE", "PUBLIC")
HOSTS = "# pinned\n[10.0.0.1]:22 ssh-ed25519 AAAAC3\nnode2 ssh-ed25519 AAAAC4\n"


@pytest.mark.parametrize(
    "mangle",
    [
        lambda text: text,
        str.strip,
        lambda text: text.replace("\n", "\r\n"),
        lambda text: text.replace("\n", "\\n"),
        lambda text: text.strip().replace("\n", "\\r\\n"),
        lambda text: text.strip().replace("\n", "\\n") + "\n",
        lambda text: '"' + text.replace("\n", "\\n") + '"',
        lambda text: textwrap.indent(text, "      "),
        lambda text: text.replace("\n", "\n    "),
        lambda text: "\n\n" + text + "\n\n",
    ],
    ids=["plain", "no end", "crlf", "literal", "literal crlf", "literal+end", "quoted", "indented", "yaml", "blank"],
)
@pytest.mark.parametrize(
    ("check", "text"),
    [
        (blocks.ssh_key, SSH_KEY),
        (blocks.gpg_key, GPG_KEY),
        (blocks.recovery_keys, PUBLIC_KEY + PUBLIC_KEY),
        (blocks.known_hosts, HOSTS),
    ],
    ids=["ssh", "gpg", "recovery", "hosts"],
)
def test_line_ends_and_indentation_are_mended(check, text, mangle) -> None:  # type: ignore[no-untyped-def]  # noqa: ANN001
    assert check(mangle(text)) == text


def test_a_literal_backslash_in_a_text_of_several_lines_stays() -> None:
    assert blocks.lines_of("a\\nb\nc") == "a\\nb\nc\n"


def openssh(cipher: bytes) -> str:
    body = base64.b64encode(b"openssh-key-v1\0\0\0\0" + bytes([len(cipher)]) + cipher + b"\0" * 40).decode()
    return f"-----BEGIN OPENSSH PRIVATE KEY-----\n{body}\n-----END OPENSSH PRIVATE KEY-----\n"


def test_a_real_key_without_a_passphrase_is_accepted() -> None:
    assert blocks.ssh_key(openssh(b"none")) == openssh(b"none")
    assert blocks.ssh_key(SSH_KEY.replace("OPENSSH ", "")) == SSH_KEY.replace("OPENSSH ", "")
    assert blocks.ssh_key(SSH_KEY.replace("OPENSSH", "RSA"))


@pytest.mark.parametrize("body", ["no base64", "ünïcode", "abc"])
def test_whether_the_content_is_a_key_is_for_ssh_to_say(body: str) -> None:
    text = SSH_KEY.replace("c3NoLWtleS1ib2R5", body)
    assert blocks.ssh_key(text) == text


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("rubbish", "must be one block"),
        ("ssh-ed25519 AAAAC3Nza me@here", "public SSH key"),
        ("PuTTY-User-Key-File-3: ssh-ed25519", "puttygen"),
        (GPG_KEY, "PGP block"),
        (SSH_KEY + SSH_KEY, "one block"),
        ("# mine\n" + SSH_KEY, "one block"),
        (SSH_KEY.replace("PRIVATE", "PUBLIC"), "one block"),
        (SSH_KEY.replace("\n", " "), "lost its line breaks"),
        (SSH_KEY.partition("-----END")[0], "cut off"),
        (SSH_KEY.replace("END OPENSSH", "END RSA"), "do not match"),
        (SSH_KEY.partition("\n")[2], "do not match"),
        (SSH_KEY.replace("c3", "\0"), "NUL"),
        (openssh(b"aes256-ctr"), "passphrase"),
        (SSH_KEY.replace("OPENSSH", "ENCRYPTED"), "passphrase"),
        (SSH_KEY.replace("OPENSSH", "RSA").replace("\nc3", "\nProc-Type: 4,ENCRYPTED\n\nc3"), "passphrase"),
    ],
)
def test_what_is_no_private_ssh_key(text: str, told: str) -> None:
    with pytest.raises(Rejected, match=told):
        blocks.ssh_key(text)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("rubbish", "must be an armored block"),
        (PUBLIC_KEY, "public key; the private one"),
        (SSH_KEY, "SSH or TLS key"),
        (GPG_KEY.replace("\n", " "), "line breaks"),
        (GPG_KEY[:60], "cut off"),
    ],
)
def test_what_is_no_private_gpg_key(text: str, told: str) -> None:
    with pytest.raises(Rejected, match=told):
        blocks.gpg_key(text)


def test_a_private_export_with_its_public_part_is_fine() -> None:
    assert blocks.gpg_key(PUBLIC_KEY + GPG_KEY)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("rubbish", "PGP PUBLIC KEY BLOCK"),
        (GPG_KEY, "PRIVATE key, which must stay offline"),
        (PUBLIC_KEY + GPG_KEY, "PRIVATE key"),
        (SSH_KEY, "PRIVATE key"),
    ],
)
def test_what_is_no_recovery_key(text: str, told: str) -> None:
    with pytest.raises(Rejected, match=told):
        blocks.recovery_keys(text)


def test_known_hosts_name_the_wrong_line_without_showing_it() -> None:
    with pytest.raises(Rejected, match="line 2 is not") as caught:
        blocks.known_hosts("node1 ssh-ed25519 AAAA\nhunter2\n")
    assert "hunter2" not in str(caught.value)
    with pytest.raises(Rejected, match="key block"):
        blocks.known_hosts(SSH_KEY)


@pytest.mark.parametrize("text", ["a\nb", "a\r", "a\0b"])
def test_a_passphrase_is_one_line(text: str) -> None:
    with pytest.raises(Rejected, match="one line"):
        blocks.passphrase(text)
