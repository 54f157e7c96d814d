"""What gpg says about signatures, read from its status lines (doc/DETAILS in the GnuPG sources): pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Final

from handler.errors import IntegrityError
from handler.tools.keyring import Key

_STATUS: Final = "[GNUPG:] "
_PROBLEMS: Final = {
    "BADSIG": "the signature does not fit the content",
    "ERRSIG": "the signature cannot be checked",
    "EXPSIG": "the signature itself has expired",
    "REVKEYSIG": "the signing key is revoked",
    "NO_PUBKEY": "it was made by an unknown key",
}


@dataclass(frozen=True, kw_only=True)
class Signature:
    """One signature: ``signer`` is the primary fingerprint, ``subkey`` the one that signed; empty when unknown."""

    good: bool = False
    key_expired: bool = False
    signer: str = ""
    subkey: str = ""
    made: datetime | None = None
    problem: str = ""


def parse_signatures(status: str) -> tuple[Signature, ...]:
    """All signatures that gpg met, in order."""
    found: list[Signature] = []
    for words in _status_lines(status):
        keyword = words[0]
        if keyword == "NEWSIG":
            found.append(Signature())
        elif keyword in _STATES:
            # Old versions print no NEWSIG for a signature they cannot parse further.
            found = found or [Signature()]
            found[-1] = _STATES[keyword](found[-1], words)
    return tuple(found)


def status_keywords(status: str) -> frozenset[str]:
    """The keywords of all status lines."""
    return frozenset(words[0] for words in _status_lines(status))


def _status_lines(status: str) -> Iterator[list[str]]:
    """The words of each status line; they share a stream with gpg's messages, which repeat parts of its input.

    Only a newline ends a line: gpg escapes it in what it repeats, but not U+2028 and the like, at which
    `str.splitlines` splits too.
    """
    for line in status.split("\n"):
        if line.startswith(_STATUS) and (words := line.removeprefix(_STATUS).split(" ")) and words[0]:
            yield words


def _problem(signature: Signature, words: list[str]) -> Signature:
    # ERRSIG and NO_PUBKEY come together; the second one says more.
    return replace(signature, good=False, problem=_PROBLEMS[words[0]], signer=signature.signer)


def _valid(signature: Signature, words: list[str]) -> Signature:
    made = datetime.fromtimestamp(int(words[3]), UTC) if words[3].isdigit() else _iso(words[3])
    return replace(signature, subkey=words[1], signer=words[-1], made=made)


def _iso(text: str) -> datetime:
    return datetime.strptime(text, "%Y%m%dT%H%M%S").replace(tzinfo=UTC)


_STATES = {
    "GOODSIG": lambda signature, _: replace(signature, good=True),
    "EXPKEYSIG": lambda signature, _: replace(signature, key_expired=True),
    "VALIDSIG": _valid,
    **dict.fromkeys(_PROBLEMS, _problem),
}


def require_signer(signatures: Sequence[Signature], key: Key, what: str) -> Signature:
    """The one signature, when it is the key's own and was good when it was made.

    gpg's trust level says nothing here: the fingerprint is the trust.

    Raises:
        IntegrityError: none, several, a bad one, a foreign one, or one made after the key expired.
    """
    if not signatures:
        raise IntegrityError(f"{what} is not signed", details=(f"expected: a signature by {key.fingerprint}",))
    if len(signatures) > 1:
        raise IntegrityError(f"{what} carries {len(signatures)} signatures, exactly one is allowed")
    signature = signatures[0]
    if signature.problem:
        raise IntegrityError(
            f"{what} is not signed by the cluster's key: {signature.problem}",
            details=(f"expected: a signature by {key.fingerprint}",),
        )
    if signature.signer != key.fingerprint:
        raise IntegrityError(
            f"{what} is signed by another key",
            details=(f"signed by: {signature.signer or 'unknown'}", f"expected:  {key.fingerprint}"),
        )
    if not signature.good and not _made_before_expiry(signature, key):
        raise IntegrityError(f"{what} was signed when the key {key.fingerprint} had already expired")
    return signature


def _made_before_expiry(signature: Signature, key: Key) -> bool:
    expiry = key.expiry_of(signature.subkey)
    return signature.key_expired and signature.made is not None and expiry is not None and signature.made <= expiry
