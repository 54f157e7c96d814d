"""The README's block: with gpg, openssl and tar alone, in a plain clone, it brings back the exact bytes."""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.e2e.conftest import Site
from tests.support.keys import KeyPair
from tests.support.lab import Ended, Lab, sha256
from tests.support.plain import PlainTools

pytestmark = pytest.mark.e2e

#: What gpg and tar start themselves: the agent, and gzip.
TOOLS = ("gpg", "gpg-agent", "openssl", "tar", "gzip")


@dataclass
class Glass:
    """A clone and an operator with nothing but TOOLS and a key."""

    clone: Path
    bin: Path

    def block(self) -> str:
        blocks: list[str] = re.findall(
            r"^```sh\n(.*?)^```$", (self.clone / "README.md").read_text(), re.DOTALL | re.MULTILINE
        )
        assert len(blocks) == 1
        return blocks[0]

    def run(self, tools: PlainTools) -> Ended:
        env = {**tools.env, "PATH": str(self.bin)}
        done = subprocess.run(
            ["/bin/sh", "-eu", "-c", self.block()], cwd=self.clone, env=env, capture_output=True, text=True,
            stdin=subprocess.DEVNULL, check=False,
        )  # fmt: skip
        return Ended(done.returncode, done.stdout, done.stderr)


def glass_of(repository: Path, directory: Path) -> Glass:
    clone = directory / "clone"
    subprocess.run(["git", "clone", "-q", str(repository), str(clone)], check=True)
    bin_directory = directory / "bin"
    bin_directory.mkdir()
    for tool in TOOLS:
        found = shutil.which(tool)
        assert found, tool
        (bin_directory / tool).symlink_to(found)
    return Glass(clone, bin_directory)


@pytest.fixture
def glass(site: Site, tmp_path: Path) -> Glass:
    return glass_of(site.repository, tmp_path)


def test_the_exact_bytes(glass: Glass, site: Site, tmp_path: Path, cluster_key: KeyPair) -> None:
    done = glass.run(PlainTools(tmp_path / "plain", cluster_key.private))
    assert done.code == 0, done.stderr
    assert "WARNING: the signature" not in done.stderr
    assert "WARNING: tar" not in done.stderr
    archive = glass.clone / f"{site.latest}.tar.gz"
    told = Lab.load(glass.clone / f"{site.latest}.json")["archive"]
    assert (sha256(archive), archive.stat().st_size) == (told["sha256"], told["size"])
    assert archive.stat().st_mode & 0o077 == 0
    assert archive.name in done.stdout


def test_damage_is_noticed(glass: Glass, site: Site, tmp_path: Path, cluster_key: KeyPair) -> None:
    tools = PlainTools(tmp_path / "plain", cluster_key.private)
    ciphertext = glass.clone / f"{site.latest}.tar.gz.enc"
    whole = ciphertext.read_bytes()
    for damaged in (whole[:-1], whole[:100] + b"x" + whole[101:], b""):
        ciphertext.write_bytes(damaged)
        done = glass.run(tools)
        assert done.code != 0
        assert "damaged" in done.stderr
        assert not (glass.clone / f"{site.latest}.tar.gz").exists()
    ciphertext.write_bytes(whole)
    # a manifest that was changed
    manifest = glass.clone / f"{site.latest}.json"
    manifest.write_text(manifest.read_text().replace("prod", "evil"))
    done = glass.run(tools)
    assert done.code != 0
    assert "changed after it was signed" in done.stderr
    # without any key
    other = PlainTools(tmp_path / "other", cluster_key.private)
    shutil.rmtree(other.home / "private-keys-v1.d")
    glass_again = glass_of(site.repository, tmp_path / "again")
    assert glass_again.run(other).code != 0


def test_with_a_recovery_key_and_a_passphrase(
    site: Site, tmp_path: Path, locked_key: KeyPair, recovery_key: KeyPair
) -> None:
    lab = Lab(tmp_path / "lab", [site.host], locked_key)
    lab.extra["K0SCTL_GPG_RECOVERY"] = recovery_key.public
    lab.ok("init")
    glass = glass_of(lab.backup, tmp_path / "empty")
    done = glass.run(PlainTools(tmp_path / "none", locked_key.private))
    assert done.code != 0
    assert "no backup on this branch yet" in done.stderr
    lab.ok("backup")
    checksum = lab.manifest()["archive"]["sha256"]
    # the offline key alone: it opens the password, and says that it cannot check the signer
    glass = glass_of(lab.backup, tmp_path / "by-recovery")
    done = glass.run(PlainTools(tmp_path / "offline", recovery_key.private))
    assert done.code == 0, done.stderr
    assert "WARNING: the signature" in done.stderr
    assert sha256(glass.clone / f"{lab.latest()}.tar.gz") == checksum
    # the cluster's key, its passphrase asked for by gpg: here a pinentry that answers
    glass = glass_of(lab.backup, tmp_path / "by-passphrase")
    tools = PlainTools(tmp_path / "locked", locked_key.private)
    pinentry = tmp_path / "pinentry"
    pinentry.write_text(
        "#!/bin/sh\necho OK\nwhile read -r word rest; do\n"
        f"  [ \"$word\" != GETPIN ] || echo 'D {locked_key.passphrase}'\n  echo OK\ndone\n"
    )
    pinentry.chmod(0o755)
    (tools.home / "gpg-agent.conf").write_text(f"pinentry-program {pinentry}\n")
    subprocess.run(["gpgconf", "--kill", "all"], env=tools.env, check=True)
    done = glass.run(tools)
    assert done.code == 0, done.stderr
    assert sha256(glass.clone / f"{lab.latest()}.tar.gz") == checksum
