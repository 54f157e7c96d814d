"""The README of a backup branch."""

from __future__ import annotations

import re
import subprocess
from datetime import UTC, datetime

import pytest

from handler.breakglass import readme
from handler.manifest import Cluster, Datastore, File, Manifest, Versions

SIGNER = "A" * 40
STEM = "k0s_backup_2026-11-20T01-02-03Z"


def manifest(stem: str = STEM, suffix: str = "tar.gz") -> Manifest:
    return Manifest(
        branch="backup",
        cluster=Cluster(name="prod", uid=None),
        taken_at=datetime(2026, 11, 20, 1, 2, 3, tzinfo=UTC),
        archive=File(name=f"{stem}.{suffix}", size=1, sha256="1" * 64),
        ciphertext=File(name=f"{stem}.{suffix}.enc", size=2, sha256="2" * 64),
        config=File(name=f"{stem}.k0sctl.yaml.enc", size=3, sha256="3" * 64),
        accepted=True,
        datastore=Datastore.ETCD,
        cipher="aes-256-ctr",
        versions=Versions(handler="0", k0sctl="0", k0s=None, openssl="3"),
        signer=SIGNER,
    )


def text(latest: Manifest | None, recovery: int = 0) -> str:
    return readme(cluster="prod", signer=SIGNER, recovery=recovery, latest=latest).decode()


def blocks(markdown: str) -> list[str]:
    found: list[str] = re.findall(r"^```sh\n(.*?)^```$", markdown, re.MULTILINE | re.DOTALL)
    return found


@pytest.mark.parametrize("latest", [None, manifest()], ids=["empty", "backup"])
def test_exactly_one_sh_block_that_a_shell_can_read(latest: Manifest | None) -> None:
    (block,) = blocks(text(latest))
    subprocess.run(["sh", "-n"], input=block.encode(), check=True)
    assert text(latest).count("```") == 2
    assert not re.search(r"\{[a-z_]+\}", text(latest))


def test_it_names_what_is_needed() -> None:
    told = text(manifest(), recovery=2)
    (block,) = blocks(told)
    for part in (
        SIGNER,
        "-aes-256-ctr",
        "-pbkdf2",
        f"archive={STEM}.tar.gz\n",
        f"{STEM}.json",
        "1" * 64,
        "2" * 64,
        "umask 077",
    ):
        assert part in block
    assert "2 recovery key(s)" in told
    assert "recovery" not in text(manifest())
    assert f"{STEM}.k0sctl.yaml.enc" in told
    assert "restore-from" in told


def test_only_the_promised_tools() -> None:
    (block,) = blocks(text(manifest()))
    words = set(re.findall(r"^\s*([a-z]+)(?= )|\|\s*\n?\s*([a-z]+)|\$\(([a-z]+)", block, re.MULTILINE))
    used = {word for group in words for word in group if word}
    assert used <= {"umask", "case", "gpg", "openssl", "tar", "echo"}


def test_a_branch_without_a_backup_says_so() -> None:
    (block,) = blocks(text(None))
    done = subprocess.run(["sh", "-eu"], input=block.encode(), capture_output=True, check=False)
    assert done.returncode == 1
    assert b"no backup" in done.stderr
