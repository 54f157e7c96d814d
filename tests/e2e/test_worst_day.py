"""The lines of docs/worst-day.md, typed as they are."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

from tests.e2e.conftest import Site
from tests.support.documents import block, text
from tests.support.keys import KeyMaker
from tests.support.lab import Lab

pytestmark = pytest.mark.e2e


def lines_of(mark: str) -> str:
    """The shell block behind a mark."""
    return block("worst-day", mark)


def type_lines(lab: Lab, script: str, **env: str | None) -> str:
    """Run lines as a user would; all that was written."""
    handler = lab.bin / "k0sctl-handler"
    handler.write_text(f'#!/bin/sh\nexec {sys.executable} -m handler "$@"\n')
    handler.chmod(0o755)
    done = subprocess.run(
        ["sh", "-eu", "-c", script], cwd=lab.work, env=lab.env(**env), stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    return done.stdout


def test_restore_on_new_hosts(spare: Lab, site: Site) -> None:
    (spare.work / "config" / "known_hosts").unlink()  # of the old host
    assert site.latest in type_lines(spare, lines_of("what-there-is"))
    host = f"host={spare.host.address}\nport={spare.host.port}\n"
    assert re.fullmatch(r"host=\S+\nport=\d+\n", lines_of("new-host"))
    assert "SHA256:" in type_lines(spare, host + lines_of("pin"))
    type_lines(spare, lines_of("look"))
    restored = type_lines(spare, lines_of("restore"))
    assert restored.startswith(f"apply: restoring {site.latest}\n")
    assert f"ok: restored {site.latest} and installed" in restored
    assert (spare.host.uid(), spare.host.objects()) == (site.uid, ["one", "two"])
    written = type_lines(spare, lines_of("first-backup"))
    assert f"backup ok: {spare.latest()}" in written
    assert spare.latest() > site.latest
    # the state of that night was the wrong one
    older = re.sub(r"older=\S+", f"older={site.older}", lines_of("choose"))
    type_lines(spare, older)
    said = ""
    for line in lines_of("go-back").splitlines():
        said = type_lines(spare, f"older={site.older}\n{line}")
        spare.host.install_binary()  # a reset removes it, and the configuration says useExistingK0s
    assert said.startswith(f"apply: restoring {site.older}\n")
    assert (spare.host.uid(), spare.host.objects()) == (site.uid, ["one"])


def test_a_damaged_backup_and_the_newest_good_one(running: Lab, site: Site) -> None:
    assert site.older in type_lines(running, lines_of("newest-good"))


def test_a_new_key_and_a_new_branch(running: Lab, site: Site, key_maker: KeyMaker) -> None:
    new = key_maker.make(running.key.name, "second@example.org")
    (running.work / "new.asc").write_text(new.private)
    type_lines(running, lines_of("new-branch"), K0SCTL_GPG_KEY=None, K0SCTL_GPG_PASSPHRASE=new.passphrase or None)
    # the old branch is as it was, and the new one has a backup of the same cluster
    assert running.latest() == site.latest
    manifest = next((running.work / "backup-new").glob("*.json"))
    assert running.load(manifest)["cluster"]["uid"] == site.uid


def test_every_section_is_reached_from_the_table() -> None:
    titles = re.findall(r"^## (.+)$", text("worst-day"), re.MULTILINE)
    anchors = {re.sub(r"[^a-z -]", "", title.lower()).replace(" ", "-") for title in titles}
    assert set(re.findall(r"\]\(#([a-z-]+)\)", text("worst-day"))) == anchors - {"what-you-need"}
