"""The stand-in's resets, line by line beside the recorded ones of the real k0sctl."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.practice.client import Client
from tests.practice.host import PracticeHost

TRANSCRIPTS = Path(__file__).parents[1] / "transcripts"
USE_EXISTING = "    useExistingK0s: true\n"


def recorded(name: str) -> tuple[int, list[str]]:
    text = (TRANSCRIPTS / f"{name}.txt").read_text(encoding="utf-8")
    code = re.search(r"^exit code: (\d+)$", text, re.MULTILINE)
    assert code
    stdout = text.partition("## stdout\n")[2].partition("\n## ")[0]
    return int(code[1]), told(stdout.replace("10.88.0.2:22", "H").replace("10.88.0.3:22", "W"))


def told(stdout: str) -> list[str]:
    """The lines in any order, for hosts are worked on side by side; without the version and the seconds."""
    lines = [re.sub(r"log file saved to \S+|Finished in \d+s", "...", line) for line in stdout.strip().splitlines()]
    return sorted(line for line in lines if not line.startswith("k0sctl v"))


def stopped(host: PracticeHost) -> None:
    host.install()
    host.stop_service()


@pytest.mark.e2e
@pytest.mark.parametrize(
    ("name", "prepare", "existing", "words"),
    [
        ("d1b_reset_dryrun_force", PracticeHost.install, True, ("--dry-run",)),
        ("d4b_reset_already_clean_noUseExisting", lambda host: host.node.binary.unlink(), False, ()),
        ("d5_reset_force_stopped_installed", stopped, True, ()),
    ],
)
def test_one_host(
    client: Client,
    host: PracticeHost,
    name: str,
    prepare: Callable[[PracticeHost], None],
    existing: bool,
    words: tuple[str, ...],
) -> None:
    if not existing:
        client.config.write_text(client.config.read_text(encoding="utf-8").replace(USE_EXISTING, ""), encoding="utf-8")
    prepare(host)
    outcome = client.run("reset", "--force", *words)
    assert (outcome.status, told(outcome.stdout)) == recorded(name)
    assert (host.files() == []) != bool(words)


@pytest.mark.e2e
def test_a_worker_that_is_not_reset(tmp_path: Path) -> None:
    with PracticeHost(tmp_path) as host, PracticeHost(tmp_path, name="h2", role="worker") as worker:
        client = Client(tmp_path / "client", host, worker)
        host.install()
        worker.install()
        worker.fault("fail-reset", "device busy")
        outcome = client.run("reset", "--force")
        stdout = outcome.stdout.replace(f"127.0.0.1:{worker.port}", "W")
        assert (outcome.status, told(stdout)) == recorded("k4_reset_worker_reset_fails")
        assert worker.files()
        assert not worker.node.binary.exists()
