"""Backups as a commit's entries name them."""

from __future__ import annotations

import pytest

from handler.stored import Stored, holds_backups, stored_in
from handler.tools.gitobjects import FILE, Entry

ONE = "k0s_backup_2026-11-20T01-02-03Z"
TWO = "k0s_backup_2026-11-21T01-02-03Z"


def entries(*paths: str) -> list[Entry]:
    return [Entry(path=path, mode=FILE, oid="0" * 40) for path in paths]


def one(*paths: str) -> Stored:
    found = stored_in(entries(*paths))
    assert len(found) == 1
    return found[0]


def test_a_whole_backup() -> None:
    stored = one(f"{ONE}.tar.gz.enc", f"{ONE}.k0sctl.yaml.enc", f"{ONE}.json", f"{ONE}.json.asc", "README.md")
    assert (stored.stem, stored.name, stored.path, stored.directory) == (ONE, f"{ONE}.tar.gz", ONE, "")
    assert stored.manifest is not None
    assert stored.manifest.path == f"{ONE}.json"
    assert stored.signature is not None
    assert stored.signature.path == f"{ONE}.json.asc"
    assert not stored.legacy


def test_parts_of_another_directory_do_not_count() -> None:
    stored = one(f"archive/2026-01-01T00-00-00Z/{ONE}.tar.gz.enc", f"{ONE}.json", f"archive/x/{ONE}.json.asc")
    assert stored.path == f"archive/2026-01-01T00-00-00Z/{ONE}"
    assert stored.manifest is None
    assert stored.signature is None


def test_the_original_layout() -> None:
    stored = one("k0s_backup_1700000000.tar.gz.b64", "secret.gpg", "k0s_backup_latest")
    assert (stored.stem, stored.name, stored.legacy) == ("k0s_backup_1700000000", "k0s_backup_1700000000.tar.gz", True)
    assert stored.age_key == (0.0, "k0s_backup_1700000000")


def test_newest_first_and_names_without_a_time_last() -> None:
    found = stored_in(
        entries("k0s_backup_9.tar.gz.b64", f"{ONE}.tar.gz.enc", f"zzz/{TWO}.tar.gz.enc", f"{ONE}.zip.b64")
    )
    assert found[0].stem == TWO
    assert found[-1].stem == "k0s_backup_9"
    assert stored_in([]) == ()


@pytest.mark.parametrize(
    "path",
    [
        "README.md", "secret.gpg", f"{ONE}.json", f"{ONE}.k0sctl.yaml.enc", f"{ONE}.tar.gz", ".hidden.tar.gz.b64",
        f"-{ONE}.tar.gz.enc", "k0s_backup_2026-13-20T01-02-03Z.tar.gz.enc", f"{ONE}.enc", "x\n.tar.gz.b64",
    ],
)  # fmt: skip
def test_what_is_no_backup(path: str) -> None:
    assert stored_in(entries(path)) == ()


@pytest.mark.parametrize(
    ("path", "speaks"),
    [
        (f"{ONE}.tar.gz.enc", True), (f"archive/x/{ONE}.tar.gz.enc", True), (f"{ONE}.json", True), ("x.zip.b64", True),
        ("k0s_backup_latest", True), ("other_latest", True), ("README.md", False), ("secret.gpg", False),
        (f"{ONE}.tar.gz", False), ("_latest", False),
    ],
)  # fmt: skip
def test_whatever_speaks_of_a_backup(path: str, speaks: bool) -> None:
    assert holds_backups(entries("other", path)) is speaks
    assert not holds_backups([])


@pytest.mark.parametrize(
    ("path", "prefix", "has"),
    [
        (f"{ONE}.tar.gz.enc", "k0s_backup", True),
        (f"{ONE}.tar.gz.enc", "k0s", False),
        (f"{ONE}.tar.gz.enc", "other", False),
        ("k0s_backup_x_2026-11-20T01-02-03Z.tar.gz.enc", "k0s_backup", False),
        ("k0s_backup_x_2026-11-20T01-02-03Z.tar.gz.enc", "k0s_backup_x", True),
        ("k0s_backup_1700000000.tar.gz.b64", "k0s_backup", True),
        ("k0s_backup_1700000000.tar.gz.b64", "other", False),
    ],
)
def test_the_prefix(path: str, prefix: str, has: bool) -> None:
    assert one(path).has_prefix(prefix) is has
