"""What is written beside the code agrees with it."""

from __future__ import annotations

import os
import re
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from handler import __version__
from handler.app import _STORIES, _story
from handler.errors import EXIT_CODES
from handler.process import Children
from handler.secret import Secret
from handler.settings.commands import COMMANDS
from handler.settings.help import readme_problems
from handler.settings.table import known_names
from handler.tools.gpg import Gpg
from tests.support.documents import ROOT, block, text


def test_the_readme_has_the_tables_of_the_code() -> None:
    assert readme_problems(text("readme")) == []


def test_help_tells_every_command_setting_and_exit_code() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "handler", "--help"], env={"PATH": os.environ["PATH"]}, cwd=ROOT,
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    words = set(re.findall(r"\w+", done.stdout))
    assert {name for command in COMMANDS for name in command.names} <= words
    assert set(known_names()) <= words
    assert {str(code) for code in EXIT_CODES} <= words


def test_the_changelog_begins_with_this_version() -> None:
    found = re.search(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert found
    assert found[1] == __version__


def anchors(path: Path) -> set[str]:
    """What a heading is linked by."""
    titles = re.findall(r"^#+ (.+)$", path.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^a-z0-9 -]", "", title.lower()).replace(" ", "-") for title in titles}


def test_links_lead_somewhere() -> None:
    for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "docs/worst-day.md", "docs/pipeline.md"):
        page = ROOT / name
        for target in re.findall(r"\]\((?!https?:)([^)]+)", page.read_text(encoding="utf-8")):
            file, _, anchor = target.partition("#")
            there = page.parent / file if file else page
            assert there.exists(), f"{name}: {target}"
            assert not anchor or anchor in anchors(there), f"{name}: {target}"


def test_documents_name_only_files_that_exist() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    for path in re.findall(r"\b((?:handler|tests)/[\w./]+\w)", text):
        assert (ROOT / path).exists(), path


@pytest.mark.parametrize("script", ["dev", ".ci/run"])
def test_scripts_can_be_run(script: str) -> None:
    assert (ROOT / script).stat().st_mode & stat.S_IXUSR


def test_dev_help_tells_every_command() -> None:
    text = (ROOT / "dev").read_text(encoding="utf-8")
    done = subprocess.run([ROOT / "dev", "help"], capture_output=True, text=True, check=True)
    cases = text.rpartition("case $job in")[2]
    jobs = re.findall(r"^  ([a-z]+)(?: \||\))", cases, re.MULTILINE)
    assert len(jobs) >= 8
    for job in jobs:
        assert re.search(rf"^  {job} ", done.stdout, re.MULTILINE), job


def test_dev_refuses_an_unknown_command() -> None:
    done = subprocess.run([ROOT / "dev", "tset"], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stdout == ""
    assert "no command 'tset'" in done.stderr


@pytest.fixture
def short_dir() -> Iterator[Path]:
    """gpg-agent's socket has to fit into 108 characters."""
    path = Path(tempfile.mkdtemp(prefix="docs-", dir="/tmp"))
    yield path
    for home in path.iterdir():
        subprocess.run(["gpgconf", "--homedir", home, "--kill", "all"], capture_output=True, check=False)
    shutil.rmtree(path, ignore_errors=True)


@pytest.mark.contract
def test_the_gpg_lines_make_keys_that_the_handler_takes(
    short_dir: Path, children: Children, tool_env: dict[str, str]
) -> None:
    script = block("readme", "cluster-key") + block("readme", "recovery-key")
    subprocess.run(["sh", "-eu", "-c", script], cwd=short_dir, env=tool_env, capture_output=True, check=True)
    for name in ("cluster.asc", "recovery.asc"):
        assert stat.S_IMODE((short_dir / name).stat().st_mode) == 0o600
    home = short_dir / "import"
    home.mkdir(mode=0o700)
    gpg = Gpg(children, tool_env, home, None)
    key = gpg.import_cluster_key(Secret((short_dir / "cluster.asc").read_text()))
    assert [(uid.name, uid.mail, uid.comment) for uid in key.user_ids] == [("prod", "prod@example.org", "")]
    assert key.can_sign
    recovery = gpg.import_recovery_keys((short_dir / "recovery.pub").read_text())
    sealed = gpg.encrypt(b"password", recovery)
    assert gpg.recipients(sealed, "secret.gpg") == {key.fingerprint, recovery[0].fingerprint}
    assert gpg.decrypt(sealed, "secret.gpg")[0] == b"password"
    assert gpg.require_signed(b"data", gpg.sign(b"data"), "x").signer == key.fingerprint


@pytest.mark.e2e
def test_the_demo_keeps_its_promises(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.demo"], cwd=ROOT, stdin=subprocess.DEVNULL, timeout=240,
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr
    assert "✓ both objects are back" in done.stdout
    assert "\033" not in done.stdout
    for mark in ("cluster-key", "recovery-key", "break-glass"):
        for line in block("readme", mark).splitlines():
            assert f"$ {line}\n" in done.stdout
    places = set(re.findall(r"/tmp/demo-\w+", done.stdout))
    assert len(places) == 1
    assert not Path(places.pop()).exists()


def test_every_command_has_its_story() -> None:
    assert {command.name for command in COMMANDS} == _STORIES.keys()
    for command in COMMANDS:
        assert callable(_story(command.name))
