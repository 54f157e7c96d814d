"""What is in the image, and what is not."""

from __future__ import annotations

import hashlib
import json
import os
import re
import stat
import subprocess
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from handler import __version__
from image.sizes import BY_FILE, BY_PACKAGE, REST, compressed_size
from tests.image.conftest import build
from tests.practice.container.engine import ROOT, call
from tests.practice.k0sctl.log import VERSION

Listing = dict[str, tarfile.TarInfo]
README = (ROOT / "README.md").read_text(encoding="utf-8")
OWN = 65532
#: What engines put into every container.
OF_THE_ENGINE = re.compile(
    r"(etc/(hosts|hostname|resolv\.conf|mtab)|run/\.containerenv|\.dockerenv|dev|proc|sys)(/.*)?"
)


@pytest.fixture(scope="session")
def listing(image: str, tmp_path_factory: pytest.TempPathFactory) -> Listing:
    return listed(image, tmp_path_factory.mktemp("export"))


def listed(image: str, directory: Path) -> Listing:
    """Every file of an image by its path."""
    made, archive = call("create", image), directory / "image.tar"
    try:
        call("export", f"--output={archive}", made)
    finally:
        call("rm", made)
    with tarfile.open(archive) as opened:
        members = {member.name.removeprefix("./").rstrip("/"): member for member in opened}
    archive.unlink()
    return {name: member for name, member in members.items() if not OF_THE_ENGINE.fullmatch(name)}


@pytest.fixture(scope="session")
def inspected(image: str) -> dict[str, Any]:
    told: dict[str, Any] = json.loads(call("image", "inspect", image))[0]
    return told


@pytest.fixture(scope="session")
def inside(image: str) -> Callable[..., str]:
    """Runs a shell line in the image, as its own user."""
    return lambda line: call("run", "--rm", "--entrypoint=sh", image, "-euc", line)


def test_how_it_is_started(inspected: dict[str, Any]) -> None:
    config = inspected["Config"]
    assert config["Entrypoint"] == ["k0sctl-handler"]
    assert config["Cmd"] == ["version"]
    assert config["User"] == f"{OWN}:{OWN}"
    assert config["WorkingDir"] == "/work"
    assert "HOME=/home/handler" in config["Env"]
    assert "Healthcheck" not in config
    assert "HealthCheck" not in inspected


def git(directory: Path, *words: str) -> str:
    identity = ["-c", "user.name=test", "-c", "user.email=test@example.org", "-c", "commit.gpgSign=false"]
    done = subprocess.run(["git", *identity, *words], cwd=directory, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_labels(inspected: dict[str, Any]) -> None:
    labels = inspected["Config"]["Labels"]
    told = {name.removeprefix("org.opencontainers.image."): value for name, value in labels.items()}
    assert told["title"] == "k0sctl-handler"
    assert told["description"]
    assert told["version"] == __version__
    assert told["revision"].removesuffix("-dirty") == git(ROOT, "rev-parse", "HEAD")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", told["created"])
    assert told["licenses"] == "Apache-2.0"
    assert re.search(r"/debian:13-slim$", told["base.name"])
    assert {"source", "base.digest"} <= told.keys()


def test_the_commit_is_told_when_no_file_of_the_image_changed(image: str, tmp_path: Path) -> None:
    """Podman 4.3 takes a layer with a label from its cache, whatever the value of an argument in the label."""
    del image  # that it is built puts all of its layers into the cache
    name = f"localhost/k0sctl-handler:again-{os.getpid()}"
    git(tmp_path, "clone", "--quiet", str(ROOT), "again")
    again = tmp_path / "again"
    git(again, "commit", "--quiet", "--allow-empty", "--message=no file is changed")
    try:
        built = build(name, source=again)
        told = call("image", "inspect", '--format={{index .Config.Labels "org.opencontainers.image.revision"}}', built)
    finally:
        call("rmi", "--force", name)
    assert told == git(again, "rev-parse", "HEAD")


def test_no_release_is_told(inspected: dict[str, Any], image: str) -> None:
    """An image with the practice k0sctl can never be mistaken for a release."""
    why = inspected["Config"]["Labels"]["k0sctl-handler.not-a-release"]
    assert "practice stand-in" in why
    said = call("run", "--rm", image)
    assert f"NOT A RELEASE: {why}" in said
    assert f"k0sctl {VERSION}+practice" in said
    told = json.loads(call("run", "--rm", image, "version", "--json"))["result"]
    assert told["not_a_release"] == why


def test_a_k0sctl_that_is_given(tmp_path: Path) -> None:
    """It is what runs, and the image tells which file it was."""
    program = tmp_path / "k0sctl"
    program.write_text("#!/bin/sh\necho version: v9.9.9\n", encoding="ascii")
    digest = hashlib.sha256(program.read_bytes()).hexdigest()
    name = f"localhost/k0sctl-handler:given-{os.getpid()}"
    built = build(name, k0sctl=program)
    try:
        said = call("run", "--rm", built)
    finally:
        call("rmi", "--force", name)
    assert "k0sctl v9.9.9\n" in said
    assert f"sha256 {digest}" in said.partition("NOT A RELEASE: ")[2]


def test_a_k0sctl_that_is_not_there(image: str, tmp_path: Path) -> None:
    del image  # an engine works here
    done = subprocess.run(
        [ROOT / "image/build.sh", "--tag", "localhost/k0sctl-handler:never"],
        env={**os.environ, "K0SCTL_BINARY": str(tmp_path / "absent")}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert f"K0SCTL_BINARY={tmp_path}/absent is no file that can be read" in done.stderr


def test_the_user(inside: Callable[..., str]) -> None:
    told = inside('id; test -w /work; echo "$HOME"; getent passwd 65532; ! test -w "$HOME"').splitlines()
    assert told == [
        "uid=65532(handler) gid=65532(handler) groups=65532(handler)", "/home/handler",
        "handler:x:65532:65532:k0sctl-handler:/home/handler:/bin/bash",
    ]  # fmt: skip


def test_a_user_without_an_entry(image: str) -> None:
    """ssh refuses to work for a user that it cannot look up."""
    options = ["--passwd=false"] if "podman" in call("--version") else []
    who = call("run", "--rm", "--user=12345:12345", *options, "--entrypoint=sh", image, "-c", "id -un; ssh -G node")
    assert who.startswith("uid-12345\n")
    assert "\nhostname node\n" in who


def test_the_name_of_the_original(inside: Callable[..., str]) -> None:
    assert inside("k0sctl-handler.sh version").startswith(f"k0sctl-handler {__version__}\n")


def test_the_programs(inside: Callable[..., str]) -> None:
    programs = "bash curl git gpg gpg-agent grep mtr mtr-packet openssl ssh ssh-keygen ssh-keyscan k0sctl tar gzip"
    assert len(inside(f"for one in {programs}; do command -v $one; done").split()) == len(programs.split())
    assert inside("git --version && gpg --version && openssl version && ssh -V && mtr --version && curl --version")
    assert inside("test -s /etc/ssl/certs/ca-certificates.crt && echo there") == "there"


def test_every_library_is_there(image: str) -> None:
    found = call(
        "run", "--rm", "--user=0:0", "--entrypoint=sh", image, "-c",
        "find / -xdev -type f \\( -perm -0100 -o -name '*.so*' \\) -size +0"
        " -exec sh -c 'for one; do ldd \"$one\" 2> /dev/null | grep \"not found\" && echo \"$one\"; done' - {} + || :",
    )  # fmt: skip
    assert found == ""


def test_owners_and_modes(listing: Listing) -> None:
    foreign = {name for name, member in listing.items() if (member.uid, member.gid) != (0, 0)}
    # groups of Debian's own, with modes that give them nothing more
    assert {name for name in foreign if listing[name].uid != 0} == {"work"}
    open_to_all = {
        name for name, member in listing.items() if not member.issym() and member.mode & stat.S_IWOTH
    }  # fmt: skip
    assert open_to_all == {"tmp", "var/tmp"}
    assert all(listing[name].mode & stat.S_ISVTX for name in open_to_all)


def test_programs_with_rights_of_their_own(listing: Listing) -> None:
    """Each is named in README.md, and nothing else is."""
    section = README[README.index("### Programs with rights of their own") :]
    named = set(re.findall(r"^\| `/([^`]+)` \|", section[: section.index("\n### ")], re.MULTILINE))
    assert {name for name, member in listing.items() if member.isreg() and member.mode & 0o6000} == named


def test_what_is_left_out(listing: Listing) -> None:
    unwanted = re.compile(
        r"usr/bin/(perl.*|apt.*|pip3?|passwd|mount|newgrp|chsh)|usr/share/(man|info|locale)/.*|var/lib/apt/.*"
        r"|usr/share/doc/.*/(?!copyright$)[^/]+\.(gz|html|txt|md)|.*/site-packages/pip/.*|.*\.whl|var/cache/.+/.*"
        r"|etc/ssh/ssh_host.*|root/.+|tmp/.+|home/handler/.+|(opt|usr/src|work)/.*(tests|\.git)/.*"
    )
    assert {name for name, member in listing.items() if unwanted.fullmatch(name) and not member.isdir()} == set()


def test_the_packages_are_known(inside: Callable[..., str]) -> None:
    """Vulnerability scanners read dpkg's database."""
    told = inside("dpkg-query --show --showformat '${Package} ${db:Status-Status}\\n'").splitlines()
    installed = {line.split()[0] for line in told if line.endswith(" installed")}
    assert {"bash", "git", "gpg", "libc6", "libssl3t64", "mtr-tiny", "openssh-client", "openssl"} <= installed
    assert not installed & {"perl-base", "apt", "passwd"}


def test_python_is_compiled(listing: Listing) -> None:
    """Nobody could write what is missing, so it would be compiled at every start."""
    sources = [name for name in listing if re.match(r"opt/k0sctl-handler/lib/.*\.py$", name)]
    assert len(sources) > 200
    missing = [
        name for name in sources
        if re.sub(r"([^/]+)\.py$", r"__pycache__/\1.cpython-313.pyc", name) not in listing
    ]  # fmt: skip
    assert missing == []


def test_nothing_of_the_working_directory_is_imported(image: str, tmp_path: Path) -> None:
    """It may be a clone of somebody else's repository."""
    for name in ("handler", "sitecustomize", "usercustomize", "json", "yaml"):
        (tmp_path / f"{name}.py").write_text('raise SystemExit("imported from the working directory")\n')
    tmp_path.chmod(0o755)
    assert call("run", "--rm", f"--volume={tmp_path}:/work:ro", image).startswith("k0sctl-handler ")


def test_the_size(image: str) -> None:
    """The practice k0sctl is next to nothing, so this is the image without k0sctl; a real one is below 25 MB."""
    assert compressed_size(image) <= 65e6


def test_the_table_of_sizes(listing: Listing) -> None:
    section = README[README.index("### What takes the room") :]
    rows = dict(re.findall(r"^\| ([^|*]+?) \| [\d.]+ \| ([\d.]+) \|$", section, re.MULTILINE))
    assert set(rows) == {*BY_FILE, *BY_PACKAGE, REST}
    whole = re.search(r"^\| \*\*the image\*\* \| \*\*([\d.]+)\*\* \| \*\*([\d.]+)\*\* \|$", section, re.MULTILINE)
    assert whole
    assert float(whole[2]) <= 90
    told = float(whole[1]) - float(re.search(r"^\| k0sctl \| ([\d.]+) ", section, re.MULTILINE)[1])  # type: ignore[index]
    measured = sum(member.size for member in listing.values() if member.isreg()) / 1e6
    assert measured == pytest.approx(told, rel=0.05)


@pytest.mark.long
def test_built_again(listing: Listing, tmp_path: Path) -> None:
    """Nothing depends on the time or on what an earlier build has left."""
    name = f"localhost/k0sctl-handler:again-{os.getpid()}"
    build(name, "--no-cache")
    try:
        again = listed(name, tmp_path)
    finally:
        call("rmi", name)

    def facts(listing: Listing) -> dict[str, tuple[int, int, int, int, str]]:
        return {
            name: (member.mode, member.uid, member.gid, member.size, member.linkname)
            for name, member in listing.items()
        }

    assert facts(again) == facts(listing)
