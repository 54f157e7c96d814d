"""Values of several lines: keys and known hosts, as they arrive through YAML, shells and files."""

from __future__ import annotations

import base64
import re
from typing import Final

from handler.settings.convert import Rejected

_BORDER: Final = re.compile(r"-----(BEGIN|END) ([A-Z0-9 ]+)-----")
_PGP_PRIVATE: Final = "PGP PRIVATE KEY BLOCK"
_PGP_PUBLIC: Final = "PGP PUBLIC KEY BLOCK"
_OPENSSH_MAGIC: Final = b"openssh-key-v1\0"
#: The cipher's name follows the magic, with its length in four bytes.
_OPENSSH_PLAIN: Final = _OPENSSH_MAGIC + b"\0\0\0\x04none"
_FEWEST_FIELDS: Final = 3


def lines_of(text: str) -> str:
    r"""The text with clean line ends: CRLF, a literal ``\n`` and indentation are what YAML and shells leave behind.

    No line of a key or of known_hosts means anything by its indentation, so each is stripped.
    """
    text = text.strip().replace("\r\n", "\n").replace("\r", "\n")
    # docker's --env-file keeps the quotes
    if len(text) > 1 and text[0] == text[-1] and text[0] in "\"'":
        text = text[1:-1].strip()
    if "\n" not in text:
        text = text.replace("\\r\\n", "\n").replace("\\n", "\n")
    return "\n".join(line.strip() for line in text.strip().split("\n")) + "\n"


def ssh_key(text: str) -> str:
    """A private SSH key without a passphrase, ready to be written to a file."""
    text = lines_of(text)
    if text.startswith("PuTTY-User-Key-File"):
        raise Rejected("is a PuTTY key: convert it with `puttygen KEY -O private-openssh`")
    if re.match(r"(?:ssh|ecdsa|sk)-\S+ AAAA", text) or text.startswith("---- BEGIN SSH2 PUBLIC"):
        raise Rejected("is a public SSH key; the private key is needed")
    labels = _labels(text)
    if any(label.startswith("PGP ") for label in labels):
        raise Rejected("is a PGP block, not an SSH key")
    lines = text.splitlines()
    whole = len(labels) == 1 and _BORDER.fullmatch(lines[0]) and _BORDER.fullmatch(lines[-1])
    if not whole or not re.fullmatch(r"(?:[A-Z0-9]+ )*PRIVATE KEY", labels[0]):
        raise Rejected("must be one block from -----BEGIN … PRIVATE KEY----- to its END line")
    if _has_passphrase(labels[0], lines):
        raise Rejected("is protected by a passphrase, which k0sctl cannot ask for: remove it with `ssh-keygen -p`")
    return text


def _has_passphrase(label: str, lines: list[str]) -> bool:
    if label.startswith("ENCRYPTED ") or any(line.startswith("Proc-Type: 4,ENCRYPTED") for line in lines):
        return True
    try:
        raw = base64.b64decode("".join(lines[1:-1]))
    except ValueError:
        return False  # whether the content is a key at all is for ssh to say
    return raw.startswith(_OPENSSH_MAGIC) and not raw.startswith(_OPENSSH_PLAIN)


def gpg_key(text: str) -> str:
    """An armored private PGP key."""
    text = lines_of(text)
    labels = _labels(text)
    if _PGP_PRIVATE not in labels:
        if _PGP_PUBLIC in labels:
            raise Rejected("is a public key; the private one is needed: `gpg --armor --export-secret-keys KEY`")
        if any(label.endswith("PRIVATE KEY") for label in labels):
            raise Rejected("is an SSH or TLS key, not a PGP key")
        raise Rejected(f"must be an armored block from -----BEGIN {_PGP_PRIVATE}----- to its END line")
    return text


def recovery_keys(text: str) -> str:
    """Armored public PGP keys, one block or several."""
    text = lines_of(text)
    labels = _labels(text)
    if any("PRIVATE KEY" in label for label in labels):
        raise Rejected("holds a PRIVATE key, which must stay offline: give `gpg --armor --export KEY`")
    if not labels or set(labels) != {_PGP_PUBLIC}:
        raise Rejected(f"must be armored blocks from -----BEGIN {_PGP_PUBLIC}----- to their END lines")
    return text


def known_hosts(text: str) -> str:
    """Lines as in ssh's known_hosts; what they say is for ssh to judge."""
    text = lines_of(text)
    if "-----BEGIN" in text:
        raise Rejected("holds a key block; lines such as `host ssh-ed25519 AAAA…` are needed")
    for number, line in enumerate(text.splitlines(), start=1):
        if line and not line.startswith("#") and len(line.split()) < _FEWEST_FIELDS:
            raise Rejected(f"line {number} is not `host ssh-ed25519 AAAA…`")
    return text


def passphrase(text: str) -> str:
    """A passphrase: gpg reads one line."""
    if set(text) & set("\n\r\0"):
        raise Rejected("must be one line without NUL characters")
    return text


def token(text: str) -> str:
    """A token: one word, without what copying leaves around it."""
    text = text.strip()
    if not re.fullmatch(r"[!-~]+", text):
        raise Rejected("must be one word of printable ASCII characters")
    return text


def _labels(text: str) -> list[str]:
    """The labels of all complete blocks, in their order."""
    if "\0" in text:
        raise Rejected("holds NUL characters")
    labels: list[str] = []
    inside = ""
    for line in text.splitlines():
        border = _BORDER.fullmatch(line)
        if not border:
            continue
        edge, label = border.groups()
        if (edge == "BEGIN") == bool(inside) or (inside and label != inside):
            raise Rejected("its BEGIN and END lines do not match: is a part missing?")
        if inside:
            labels.append(inside)
        inside = "" if inside else label
    if inside:
        raise Rejected("has a BEGIN line without its END line: is it cut off?")
    if not labels and "-----BEGIN " in text:
        raise Rejected("has lost its line breaks: a BEGIN line must stand alone (a literal \\n is fine)")
    return labels
