"""Listings of gpg --with-colons."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from handler.tools.keyring import parse_keys, parse_user_id

PRIMARY, SUB = "A" * 40, "B" * 40


def listing(
    *, validity: str = "u", expires: str = "", uid: str = "u", name: str = "prod <prod@example.org>", sub: str = "u",
    present: str = "+", abilities: str = "scESC",
) -> str:  # fmt: skip
    return (
        f"sec:{validity}:255:22:{PRIMARY[-16:]}:1600000000:{expires}::u:::{abilities}:::{present}::ed25519:::0:\n"
        f"fpr:::::::::{PRIMARY}:\n"
        f"grp:::::::::{'D' * 40}:\n"
        f"uid:{uid}::::1600000000::HASH::{name}::::::::::0:\n"
        f"ssb:{sub}:255:18:{SUB[-16:]}:1600000000:{expires}:::::e:::{present}::cv25519::\n"
        f"fpr:::::::::{SUB}:\n"
    )


@pytest.mark.parametrize(
    ("text", "name", "comment", "mail"),
    [
        ("prod <prod@example.org>", "prod", "", "prod@example.org"),
        ("Doe, John (work) <j@example.org>", "Doe, John", "work", "j@example.org"),
        ("A:B <a@b>", "A:B", "", "a@b"),
        ("two  spaces <a@b>", "two  spaces", "", "a@b"),
        ("<only@mail>", "", "", "only@mail"),
        ("only a name", "only a name", "", ""),
        ("name (comment)", "name", "comment", ""),
        ("Jörg Müller <j@m>", "Jörg Müller", "", "j@m"),
        ("", "", "", ""),
    ],
)
def test_user_ids(text: str, name: str, comment: str, mail: str) -> None:
    user = parse_user_id(text)
    assert (user.name, user.comment, user.mail, user.valid) == (name, comment, mail, True)


def test_how_a_user_id_is_shown() -> None:
    assert str(parse_user_id("a (b) <c@d>")) == "a (b) <c@d>"
    assert str(parse_user_id("a")).startswith("a")


def test_a_key() -> None:
    (key,) = parse_keys(listing())
    assert key.fingerprint == PRIMARY
    assert [subkey.fingerprint for subkey in key.subkeys] == [PRIMARY, SUB]
    assert key.display_name == "prod <prod@example.org>"
    assert key.can_sign
    assert key.can_encrypt
    assert not key.expired
    assert not key.revoked
    assert key.expires is None


def test_two_keys_and_none() -> None:
    assert len(parse_keys(listing() + listing().replace(PRIMARY, "E" * 40))) == 2
    assert parse_keys("") == ()
    assert parse_keys("tru::1:1600000000:0:3:1:5\ngarbage\nfpr:::::::::X:\n") == ()


def test_what_is_dead_can_nothing() -> None:
    (expired,) = parse_keys(listing(validity="e", sub="e", expires="1610000000"))
    assert expired.expired
    assert expired.expires == datetime.fromtimestamp(1_610_000_000, UTC)
    assert not expired.can_sign
    assert not expired.can_encrypt
    (revoked,) = parse_keys(listing(validity="r", sub="r"))
    assert revoked.revoked
    assert not revoked.can_sign
    (offline,) = parse_keys(listing(present="#"))
    assert not offline.can_sign
    (half,) = parse_keys(listing(sub="r"))
    assert half.can_sign
    assert not half.can_encrypt


def test_upper_case_abilities_are_those_of_the_whole_key() -> None:
    (key,) = parse_keys(listing(abilities="cSEC"))
    assert not key.can_sign


@pytest.mark.parametrize(("uid", "valid"), [("u", True), ("-", True), ("r", False), ("e", False), ("i", False)])
def test_user_ids_that_do_not_count(uid: str, valid: bool) -> None:
    assert parse_keys(listing(uid=uid))[0].user_ids[0].valid is valid


def test_user_ids_of_an_expired_key_still_name_it() -> None:
    assert parse_keys(listing(validity="e", uid="e"))[0].user_ids[0].valid
    assert not parse_keys(listing(validity="e", uid="r"))[0].user_ids[0].valid


def test_escaped_characters() -> None:
    assert parse_keys(listing(name="A\\x3aB <a@b>"))[0].user_ids[0].name == "A:B"


def test_from_when_a_signature_no_longer_counts() -> None:
    (key,) = parse_keys(listing(expires="1610000000"))
    assert key.expiry_of(SUB) == datetime.fromtimestamp(1_610_000_000, UTC)
    assert parse_keys(listing())[0].expiry_of(SUB) is None
