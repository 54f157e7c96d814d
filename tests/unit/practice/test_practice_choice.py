"""A real k0sctl never meets anything but hosts in containers."""

import subprocess
from pathlib import Path

import pytest

from tests.practice.choice import NotForReal, chosen_k0sctl, practice_host
from tests.practice.container.host import ContainerHost
from tests.practice.host import PracticeHost


@pytest.fixture
def real(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Something that tells whether it was started."""
    program = tmp_path / "given"
    program.write_text('#!/bin/sh\necho "real $*"\n', encoding="utf-8")
    program.chmod(0o755)
    monkeypatch.setenv("PRACTICE_K0SCTL", str(program))
    return program


def test_the_stand_in_is_the_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PRACTICE_K0SCTL", raising=False)
    host = practice_host(tmp_path)
    assert isinstance(host, PracticeHost)
    k0sctl, faults = chosen_k0sctl(tmp_path / "bin", [host])
    faults.set("k0sctl-crash")
    assert "tests.practice.k0sctl" in k0sctl.read_text(encoding="utf-8")


def test_a_real_one_gets_containers(tmp_path: Path, real: Path) -> None:
    assert isinstance(practice_host(tmp_path), ContainerHost)
    with pytest.raises(RuntimeError, match="containers only"):
        chosen_k0sctl(tmp_path, [PracticeHost(tmp_path)])


@pytest.mark.parametrize("named", ["given", "/nowhere/k0sctl"])
def test_a_wrong_path_is_told(named: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PRACTICE_K0SCTL", named)
    with pytest.raises(RuntimeError, match="no absolute path of a program"):
        practice_host(tmp_path)


def test_a_real_one_has_no_faults_and_may_not_hurry(tmp_path: Path, real: Path) -> None:
    _, faults = chosen_k0sctl(tmp_path, [])
    faults.set("hurry", "40")
    with pytest.raises(NotForReal, match="k0sctl-crash"):
        faults.set("k0sctl-crash")


@pytest.mark.parametrize("host", ["localhost: {enabled: true}", '"localhost": {"enabled": true}', "localhost :"])
def test_a_configuration_that_names_this_machine_is_refused(tmp_path: Path, real: Path, host: str) -> None:
    k0sctl, _ = chosen_k0sctl(tmp_path, [])
    config = tmp_path / "k0sctl.yaml"
    config.write_text("spec:\n  hosts:\n  - role: single\n    ssh: {address: 10.0.0.1}\n", encoding="utf-8")
    words = [str(k0sctl), "apply", "--config", str(config)]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    assert done.stdout == f"real apply --config {config}\n"
    config.write_text(f"spec:\n  hosts:\n  - role: single\n    {host}\n", encoding="utf-8")
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (97, "")
    assert "this machine" in done.stderr
    done = subprocess.run([*words[:2], f"--config={config}"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (97, "")
