"""The manifest of a backup, and which of several is the latest."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from handler.archive import Names
from handler.errors import IntegrityError
from handler.manifest import Cluster, Datastore, File, Manifest, Versions, known_uid, latest
from handler.manifestfields import LARGEST_MANIFEST

WHEN = datetime(2026, 11, 20, 1, 2, 3, tzinfo=UTC)
NAMES = Names(taken_at=WHEN)
STEM = "k0s_backup_2026-11-20T01-02-03Z"
SECOND = timedelta(seconds=1)


def manifest(when: datetime = WHEN, uid: str | None = "4c615bdd-e0b0", **changes: object) -> Manifest:
    names = Names(taken_at=when)
    made = Manifest(
        branch="prod",
        cluster=Cluster(name="prod", uid=uid),
        taken_at=when,
        archive=File(name=names.archive, size=2049051, sha256="a" * 64),
        ciphertext=File(name=names.ciphertext, size=2049067, sha256="b" * 64),
        config=File(name=names.config, size=0, sha256="c" * 64),
        accepted=True,
        datastore=Datastore.ETCD,
        cipher="chacha20",
        versions=Versions(handler="1.0.0", k0sctl="v0.32.2", k0s="v1.37.0+k0s.0", openssl="OpenSSL 3.5.4"),
        signer="0123456789ABCDEF0123456789ABCDEF01234567",
    )
    return replace(made, **changes)  # type: ignore[arg-type]


def test_manifest_as_it_is_written() -> None:
    text = manifest().to_json().decode()
    tree = json.loads(text)

    assert text == json.dumps(tree, indent=2, sort_keys=True) + "\n"
    assert tree["format"] == 1
    assert tree["taken_at"] == "2026-11-20T01:02:03Z"
    assert tree["archive"] == {"name": NAMES.archive, "size": 2049051, "sha256": "a" * 64}
    assert tree["kdf"] == {"name": "pbkdf2", "digest": "sha256", "iterations": 10000, "salt_bytes": 8}
    assert set(tree) == {
        "accepted", "archive", "branch", "cipher", "ciphertext", "cluster", "config", "datastore", "format", "kdf",
        "signer", "taken_at", "versions",
    }  # fmt: skip


@pytest.mark.parametrize(
    "made",
    [
        manifest(),
        manifest(uid=None, branch=None, accepted=False, datastore=Datastore.EXTERNAL, cipher="aes-256-ctr"),
        manifest(cluster=Cluster(name="Jörg's Cluster", uid="x")),
        manifest(versions=Versions(handler="1", k0sctl="2", k0s=None, openssl="3")),
    ],
)
def test_manifest_is_read_back(made: Manifest) -> None:
    document = made.to_json()
    again = Manifest.from_json(document, file_name=NAMES.manifest)
    assert again == made
    assert again.to_json() == document
    assert again.stem == STEM


def test_manifest_knows_its_file_name() -> None:
    with pytest.raises(IntegrityError, match="own file name"):
        Manifest.from_json(manifest().to_json(), file_name=Names(taken_at=WHEN + SECOND).manifest)


def test_keys_of_a_later_handler_are_passed_over() -> None:
    tree = json.loads(manifest().to_json()) | {"proof": {"deep": True}}
    tree["archive"]["mode"] = "0600"
    assert Manifest.from_json(json.dumps(tree).encode()) == manifest()


MISSING = object()
KEYS = sorted(json.loads(manifest().to_json()))
LATER = Names(taken_at=WHEN + SECOND)
WRONG: dict[str, list[object]] = {
    "format": [2, 0, True, 1.0, "1", None],
    "branch": ["", 1, "a\nb"],
    "accepted": [1, "true", None],
    "datastore": ["mysql", "ETCD", None],
    "cipher": ["aes-256-gcm", "-chacha20", "id-aes256-wrap-pad", ""],
    "signer": ["a" * 40, "A" * 16, "A" * 41, "A" * 40 + "\n"],
    "taken_at": [
        *("2026-11-20T01:02:03+00:00", "2026-11-20T01:02:03", "2026-11-20T01:02:03.5Z", "2026-11-20 01:02:03Z"),
        *("2026-11-31T01:02:03Z", "2026-1-2T01:02:03Z", "0000-11-20T01:02:03Z", "2026-11-20T01:02:03z", 1795136523),
    ],
    "cluster.name": [MISSING, None, "", "a\nb", "\x1b[2J", "x" * 2000, "\ud800"],
    "cluster.uid": [MISSING, "", 1],
    "versions.k0sctl": [MISSING, "", None],
    "versions.k0s": [MISSING, 1],
    "kdf": [{"name": "pbkdf2", "digest": "sha256", "iterations": 1, "salt_bytes": 8}],
    "kdf.digest": [MISSING, 256],
    "kdf.iterations": [MISSING, "10000"],
    "archive.size": [MISSING, -1, 1.5, True, 2**63, "1"],
    "archive.sha256": [MISSING, "a" * 63, "a" * 65, ""],
    "config.sha256": [MISSING, "A" * 64, "g" * 64, "a" * 64 + "\n"],
    "archive.name": [
        *(
            MISSING,
            "..",
            "x.tar.gz",
            f"../{NAMES.archive}",
            f"/{NAMES.archive}",
            f"-{NAMES.archive}",
            f".{NAMES.archive}",
        ),
        *(NAMES.manifest, NAMES.ciphertext, f"{STEM}.tar.gz.b64", NAMES.latest),
    ],
    "ciphertext.name": [MISSING, NAMES.archive, f"{STEM}.tgz.enc", f"a/{NAMES.ciphertext}", LATER.ciphertext],
    "config.name": [MISSING, LATER.config, NAMES.ciphertext],
}


@pytest.mark.parametrize(
    ("path", "value"),
    [
        *((key, value) for key in KEYS for value in (MISSING, [])),
        *((path, value) for path, values in WRONG.items() for value in values),
    ],
)
def test_wrong_fields_are_named(path: str, value: object) -> None:
    tree = json.loads(manifest().to_json())
    *parents, key = path.split(".")
    at = tree
    for parent in parents:
        at = at[parent]
    if value is MISSING:
        del at[key]
    else:
        at[key] = value

    with pytest.raises(IntegrityError) as caught:
        Manifest.from_json(json.dumps(tree).encode())

    assert f"field {path} is wrong" in caught.value.message
    assert caught.value.message.isprintable()


GOOD = manifest().to_json()


@pytest.mark.parametrize(
    "document",
    [
        b"", b"{", b"null", b"[]", b'"x"', b"1", b"NaN", b"\xff\xfe", b"\0", GOOD + b"x", GOOD[:-3],
        GOOD.decode().encode("utf-16"), b"\xef\xbb\xbf" + GOOD,
        GOOD.replace(b"2049051", b"NaN"), GOOD.replace(b"2049051", b"-Infinity"), GOOD.replace(b"2049051", b"9" * 5000),
        GOOD.replace(b"2049051", b"1e400"), b"[" * 60_000, b'{"a":' * 12_000, GOOD + b" " * LARGEST_MANIFEST,
    ],
    ids=lambda document: ascii(document[:20]),
)  # fmt: skip
def test_documents_that_are_no_manifest(document: bytes) -> None:
    with pytest.raises(IntegrityError):
        Manifest.from_json(document)


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        (b'"accepted": true', b'"accepted": false, "accepted": true', "'accepted'"),
        (b'"size": 0', b'"size": 1, "size": 0', "'size'"),
        (b'"name": "prod"', b'"name": "prod", "n\\u0061me": "prod"', "'name'"),
    ],
)
def test_keys_that_are_there_twice(old: bytes, new: bytes, told: str) -> None:
    assert old in GOOD
    with pytest.raises(IntegrityError, match=f"field {told} is wrong: it is there twice"):
        Manifest.from_json(GOOD.replace(old, new, 1))


def test_any_bytes_raise_nothing_but_integrity_errors() -> None:
    chosen = random.Random(20261120)
    alphabet = [*range(256), *b'{}[]",:\\u0019-eE.truefalsn \n' * 8]
    read = 0
    for _ in range(5000):
        document = bytearray(GOOD)
        for _ in range(chosen.randrange(1, 6)):
            at = chosen.randrange(len(document))
            document[at : at + chosen.randrange(3)] = bytes(chosen.choices(alphabet, k=chosen.randrange(3)))
        try:
            again = Manifest.from_json(bytes(document))
        except IntegrityError as e:
            assert e.message.isprintable()  # noqa: PT017 - most of them raise, some are still good
        else:
            read += 1
            assert Manifest.from_json(again.to_json()) == again
    assert read < 2500


# --- ordering --------------------------------------------------------------------------------------------------


def test_latest_is_the_newest_that_was_accepted() -> None:
    old, new = manifest(WHEN), manifest(WHEN + SECOND)
    foreign = manifest(WHEN + 2 * SECOND, accepted=False)
    assert latest([new, foreign, old]) == new
    assert latest([foreign]) is None
    assert latest([]) is None


def test_known_uid_is_that_of_latest_or_of_the_last_one_that_has_one() -> None:
    first, second = manifest(WHEN, uid="first"), manifest(WHEN + SECOND, uid="second")
    foreign = manifest(WHEN + 2 * SECOND, uid="foreign", accepted=False)
    unknown = manifest(WHEN + 3 * SECOND, uid=None)
    later = manifest(WHEN + 4 * SECOND, uid="later")
    everything = [later, unknown, first, foreign, second]

    assert known_uid(everything, second) == "second"
    assert known_uid(everything, unknown) == "second"
    assert known_uid(everything, later) == "later"
    assert known_uid([unknown, foreign], unknown) is None
    assert known_uid(everything, None) is None
