"""gpg's status lines about signatures."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from handler.errors import IntegrityError
from handler.tools.keyring import Key, Subkey
from handler.tools.signature import Signature, parse_signatures, require_signer

PRIMARY, SUBKEY, OTHER = "A" * 40, "B" * 40, "C" * 40
MADE = 1_700_000_000
NEW = "[GNUPG:] NEWSIG\n"


def valid(signer: str = PRIMARY, subkey: str = SUBKEY, made: str = str(MADE)) -> str:
    return f"[GNUPG:] VALIDSIG {subkey} 2023-11-14 {made} 0 4 0 22 10 00 {signer}\n"


GOOD = NEW + "[GNUPG:] GOODSIG BBBB prod <prod@example.org>\n" + valid()
EXPIRED = NEW + "[GNUPG:] EXPKEYSIG BBBB prod <prod@example.org>\n" + valid()


def key(*, expires: datetime | None = None, sub_expires: datetime | None = None) -> Key:
    def one(fingerprint: str, end: datetime | None) -> Subkey:
        return Subkey(
            key_id=fingerprint[-16:], fingerprint=fingerprint, validity="u", expires=end, abilities="sc", present=True
        )

    return Key(subkeys=(one(PRIMARY, expires), one(SUBKEY, sub_expires)), user_ids=())


def check(status: str, of: Key | None = None) -> Signature:
    return require_signer(parse_signatures(status), of or key(), "the thing")


def test_a_good_signature() -> None:
    signature = check(GOOD)
    assert (signature.signer, signature.subkey, signature.made) == (PRIMARY, SUBKEY, datetime.fromtimestamp(MADE, UTC))
    assert check(GOOD.replace(str(MADE), "20231114T221320")).made == datetime.fromtimestamp(MADE, UTC)
    assert check(GOOD.removeprefix(NEW)).good
    assert check("gpg: Good signature\n" + GOOD + "[GNUPG:] TRUST_UNDEFINED 0 pgp\n").good


@pytest.mark.parametrize(
    ("status", "says"),
    [
        ("", "is not signed"),
        ("gpg: Good signature from prod\nGOODSIG x\n VALIDSIG y\n", "is not signed"),
        (GOOD + GOOD, "carries 2 signatures"),
        (NEW + GOOD, "carries 2 signatures"),
        (GOOD + NEW, "carries 2 signatures"),
        (NEW + "[GNUPG:] BADSIG BBBB prod\n", "does not fit"),
        (GOOD + "[GNUPG:] BADSIG BBBB prod\n", "does not fit"),
        (NEW + "[GNUPG:] ERRSIG BBBB 22 10 00 1 9 x\n[GNUPG:] NO_PUBKEY BBBB\n", "unknown key"),
        (NEW + "[GNUPG:] ERRSIG BBBB 22 10 00 1 4 x\n", "cannot be checked"),
        (GOOD.replace("GOODSIG", "EXPSIG"), "itself has expired"),
        (GOOD.replace("GOODSIG", "REVKEYSIG"), "is revoked"),
        (NEW + "[GNUPG:] GOODSIG BBBB prod\n", "another key"),
        (GOOD.replace(PRIMARY, OTHER), "another key"),
        (NEW + "[GNUPG:] GOODSIG x\n" + valid(signer=OTHER, subkey=PRIMARY), "another key"),
        (NEW + valid(), "already expired"),
    ],
)
def test_everything_else_is_refused(status: str, says: str) -> None:
    with pytest.raises(IntegrityError, match=says) as caught:
        check(status)
    assert caught.value.message.startswith("the thing")


def test_an_expired_key_counts_for_what_it_signed_before() -> None:
    before, after = datetime.fromtimestamp(MADE - 1, UTC), datetime.fromtimestamp(MADE, UTC)
    assert check(EXPIRED, key(expires=after)).signer == PRIMARY
    assert check(EXPIRED, key(sub_expires=after)).signer == PRIMARY
    for dead in (key(expires=before), key(sub_expires=before), key(expires=after, sub_expires=before), key()):
        with pytest.raises(IntegrityError, match="already expired"):
            check(EXPIRED, dead)
