"""Names, ciphers and times of backups."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest

from handler.archive import (
    CIPHERS,
    Kind,
    Names,
    at_least_one_after,
    check_not_future,
    is_bare,
    is_prefix,
    is_suffix,
    matches,
    next_free,
    parse,
)
from handler.errors import IntegrityError

WHEN = datetime(2026, 11, 20, 1, 2, 3, tzinfo=UTC)
NAMES = Names(taken_at=WHEN)
STEM = "k0s_backup_2026-11-20T01-02-03Z"
SECOND = timedelta(seconds=1)


# --- names -----------------------------------------------------------------------------------------------------


def test_names_of_one_backup() -> None:
    assert NAMES.stem == STEM
    assert NAMES.archive == f"{STEM}.tar.gz"
    assert NAMES.ciphertext == f"{STEM}.tar.gz.enc"
    assert NAMES.config == f"{STEM}.k0sctl.yaml.enc"
    assert NAMES.manifest == f"{STEM}.json"
    assert NAMES.signature == f"{STEM}.json.asc"
    assert NAMES.latest == "k0s_backup_latest"


def test_names_are_in_utc() -> None:
    east = WHEN.astimezone(timezone(timedelta(hours=9)))
    assert Names(taken_at=east).stem == STEM


@pytest.mark.parametrize(
    "moment", [datetime(2026, 11, 20, 1, 2, 3), WHEN.replace(microsecond=1)], ids=["no zone", "fraction"]  # noqa: DTZ001
)  # fmt: skip
def test_names_need_a_whole_second_of_a_zone(moment: datetime) -> None:
    with pytest.raises(ValueError, match=r"zone|whole second"):
        Names(taken_at=moment)


@pytest.mark.parametrize("prefix", ["k0s_backup", "a", "prod", "my cluster", "a_latest", "ü", "x.y", STEM])
@pytest.mark.parametrize("suffix", ["tar.gz", "tgz", "backup", "a b"])
def test_names_are_read_back_whatever_prefix_and_suffix(prefix: str, suffix: str) -> None:
    names = Names(prefix=prefix, suffix=suffix, taken_at=WHEN)
    kinds = {
        names.archive: Kind.ARCHIVE,
        names.ciphertext: Kind.CIPHERTEXT,
        names.config: Kind.CONFIG,
        names.manifest: Kind.MANIFEST,
        names.signature: Kind.SIGNATURE,
        f"{names.archive}.b64": Kind.LEGACY,
    }
    for name, kind in kinds.items():
        parsed = parse(name)
        assert parsed
        assert (parsed.kind, parsed.stem, parsed.taken_at) == (kind, names.stem, WHEN)
    link = parse(names.latest)
    assert link
    assert (link.kind, link.taken_at) == (Kind.LATEST, None)


@pytest.mark.parametrize(
    ("name", "stem"),
    [
        ("k0s_backup_1690000000.tar.gz.b64", "k0s_backup_1690000000"),
        ("k0s_backup_2023-07-22_04:26:40.tar.gz.b64", "k0s_backup_2023-07-22_04:26:40"),
        ("old.tgz.b64", "old"),
    ],
)
def test_legacy_names_with_a_time_of_another_form(name: str, stem: str) -> None:
    parsed = parse(name)
    assert parsed
    assert (parsed.kind, parsed.stem, parsed.taken_at) == (Kind.LEGACY, stem, None)


HOSTILE = [
    "",
    ".",
    "..",
    f"../{STEM}.tar.gz.enc",
    f"archive/{STEM}.tar.gz.enc",
    f"/{STEM}.tar.gz.enc",
    f"-{STEM}.tar.gz.enc",
    f".{STEM}.tar.gz.enc",
    f"{STEM}..enc",
    f"a..b_{STEM}.tar.gz.enc",
    f"{STEM}.tar.gz.enc\n",
    f"{STEM}\0.tar.gz.enc",
    f"\x1b[2J{STEM}.tar.gz.enc",
    f"\udcff{STEM}.tar.gz.enc",
    f"{'x' * 250}{STEM}.tar.gz.enc",
]


@pytest.mark.parametrize("name", HOSTILE, ids=ascii)
def test_hostile_names_are_not_read(name: str) -> None:
    assert not is_bare(name)
    assert parse(name) is None


@pytest.mark.parametrize(
    "name",
    [
        STEM,
        f"{STEM}.",
        f"{STEM}.enc",
        f"{STEM}.b64",
        f"{STEM}x.tar.gz.enc",
        "2026-11-20T01-02-03Z.tar.gz.enc",
        "_latest",
        ".b64",
        "secret.gpg",
        "README.md",
        "k0s_backup_2026-13-20T01-02-03Z.tar.gz.enc",
        "k0s_backup_2026-11-20T01-02-60Z.tar.gz.enc",
        "k0s_backup_0000-11-20T01-02-03Z.tar.gz.enc",
        "k0s_backup_٢٠٢٦-11-20T01-02-03Z.tar.gz.enc",
    ],
)
def test_other_names_are_no_backup(name: str) -> None:
    assert parse(name) is None


@pytest.mark.parametrize("prefix", ["", "-x", ".x", "a/b", "..", "a..b", "a\n", "x" * 200])
def test_prefixes_that_cannot_be_used(prefix: str) -> None:
    assert not is_prefix(prefix)
    with pytest.raises(ValueError, match="no backup can be named"):
        Names(prefix=prefix, taken_at=WHEN)


@pytest.mark.parametrize(
    "suffix",
    [
        *(
            "",
            ".",
            "enc",
            "tar.gz.enc",
            "b64",
            "json",
            "json.asc",
            "k0sctl.yaml",
            "k0sctl.yaml.enc",
            ".tar.gz",
            "tar.gz.",
        ),
        *("a/b", "a..b", "a\n", "x" * 200, "x_2026-11-20T01-02-03Z.gz"),
    ],
)
def test_suffixes_that_cannot_be_used(suffix: str) -> None:
    assert not is_suffix(suffix)


def test_next_free_second() -> None:
    used = [Names(taken_at=WHEN + n * SECOND).ciphertext for n in (0, 1, 3)] + ["README.md", "secret.gpg"]
    assert next_free(WHEN + timedelta(milliseconds=700), used) == WHEN + 2 * SECOND
    assert next_free(WHEN + 9 * SECOND, used) == WHEN + 9 * SECOND
    assert next_free(WHEN, [f"archive/2026-01-01T00-00-00Z/{NAMES.manifest}"]) == WHEN + SECOND
    assert next_free(WHEN, [Names(prefix="other", taken_at=WHEN).ciphertext]) == WHEN + SECOND


@pytest.mark.parametrize("query", [STEM, NAMES.archive, NAMES.ciphertext, f"{STEM}.tgz.enc"])
def test_a_user_may_give_any_of_these(query: str) -> None:
    assert matches(query, STEM)
    assert matches(query, STEM, "archive/2026-01-01T00-00-00Z")
    assert matches(f"archive/2026-01-01T00-00-00Z/{query}", STEM, "archive/2026-01-01T00-00-00Z")
    assert not matches(f"archive/2026-01-01T00-00-00Z/{query}", STEM)
    assert not matches(f"archive/other/{query}", STEM, "archive/2026-01-01T00-00-00Z")
    assert not matches(query, Names(taken_at=WHEN + SECOND).stem)


@pytest.mark.parametrize("name", ["k0s_backup_1690000000.tar.gz.b64", "k0s_backup_1690000000"])
def test_a_legacy_backup_by_its_name(name: str) -> None:
    assert matches(name, "k0s_backup_1690000000")


@pytest.mark.parametrize(
    "query", ["", "latest", NAMES.manifest, NAMES.config, NAMES.latest, f"{STEM}/", f"../{STEM}", *HOSTILE]
)
def test_nothing_else_means_a_backup(query: str) -> None:
    assert not matches(query, STEM)


# --- ciphers ---------------------------------------------------------------------------------------------------


def test_ciphers_that_lose_or_show_data_are_not_allowed() -> None:
    assert {"chacha20", "aes-256-ctr", "aes-128-cbc"} <= CIPHERS
    assert not any(word in cipher for cipher in CIPHERS for word in ("wrap", "ecb", "gcm", "xts", "poly", "des", "rc4"))


# --- time ------------------------------------------------------------------------------------------------------


def test_times_up_to_five_minutes_ahead_are_a_clock_that_is_a_little_wrong() -> None:
    check_not_future(WHEN, WHEN - timedelta(minutes=5))
    check_not_future(WHEN, WHEN + timedelta(days=400))
    with pytest.raises(IntegrityError, match=r"2026-11-20T01:02:03Z, but it is 2026-11-20T00:57:02Z"):
        check_not_future(WHEN, WHEN - timedelta(minutes=5, seconds=1))


def test_at_least_one_second_behind_the_predecessor() -> None:
    assert at_least_one_after(WHEN + timedelta(milliseconds=999), None) == WHEN
    assert at_least_one_after(WHEN, WHEN - SECOND) == WHEN
    assert at_least_one_after(WHEN, WHEN) == WHEN + SECOND
    assert at_least_one_after(WHEN, WHEN + timedelta(hours=1)) == WHEN + timedelta(hours=1, seconds=1)
