"""Writes what a client of the practice cluster needs: a k0sctl.yaml and an executable k0sctl."""

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Protocol

from tests.practice.faults import K0SCTL_FAULTS
from tests.practice.k0s.node import VERSION

SOURCE = Path(__file__).resolve().parents[2]


class Address(Protocol):
    """What the configuration says about a host."""

    role: str
    storage: str
    address: str
    user: str

    @property
    def port(self) -> int:
        """The SSH port."""


def practice_cluster(
    directory: Path,
    hosts: Iterable[Address],
    *,
    key_path: Path | str | None = None,
    name: str = "lab",
    extra: str = "",
) -> Path:
    """Writes `directory`/k0sctl.yaml for the hosts; `extra` is added to each host's `ssh` (8 blanks, own lines)."""
    hosts = list(hosts)
    directory.mkdir(parents=True, exist_ok=True)
    lines = ["apiVersion: k0sctl.k0sproject.io/v1beta1", "kind: Cluster", "metadata:", f"  name: {name}", "spec:"]
    lines += ["  hosts:"]
    for host in hosts:
        lines += [f"  - role: {host.role}", "    useExistingK0s: true", "    ssh:"]
        lines += [f"      address: {host.address}", f"      user: {host.user}", f"      port: {host.port}"]
        lines += [f"      keyPath: {key_path}"] if key_path else []
        lines += extra.splitlines()
    storage = next((host.storage for host in hosts if host.role != "worker"), "etcd")
    lines += ["  k0s:", f"    version: {VERSION}", "    config:", "      apiVersion: k0s.k0sproject.io/v1beta1"]
    lines += ["      kind: ClusterConfig", "      metadata:", f"        name: {name}", "      spec:"]
    lines += ["        storage:", f"          type: {storage}"]
    target = directory / "k0sctl.yaml"
    target.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return target


def k0s_config(address: str, storage: str, name: str = "lab") -> str:
    """The k0s.yaml that k0sctl writes for that configuration."""
    head = "# generated-by-k0sctl 2026-11-20T21:42:59Z\napiVersion: k0s.k0sproject.io/v1beta1\nkind: ClusterConfig\n"
    spec = f"spec:\n  api:\n    sans:\n    - {address}\n  storage:\n    type: {storage}\n"
    return f"{head}metadata:\n  name: {name}\n{spec}"


def install_k0sctl(bin_dir: Path) -> Path:
    """Writes an executable `k0sctl` that runs the stand-in; its faults are files in `bin_dir`/faults."""
    bin_dir = bin_dir.resolve()
    faults = bin_dir / "faults"
    faults.mkdir(parents=True, exist_ok=True)
    load = f"import sys; sys.path.insert(0, {str(SOURCE)!r}); from tests.practice.k0sctl.main import main"
    code = f"{load}; sys.exit(main({str(faults)!r}))"
    target = bin_dir / "k0sctl"
    target.write_text(f'#!/bin/sh\nexec \'{sys.executable}\' -I -c "{code}" "$@"\n', encoding="utf-8")
    target.chmod(0o755)
    return target


class K0sctlFaults:
    """The faults of an installed k0sctl (see faults.py)."""

    def __init__(self, bin_dir: Path) -> None:
        self.directory = bin_dir.resolve() / "faults"

    def set(self, name: str, value: str = "") -> None:
        """Switches a fault on."""
        if name not in K0SCTL_FAULTS:
            raise ValueError(f"no k0sctl fault {name!r}; known: {', '.join(K0SCTL_FAULTS)}")
        (self.directory / name).write_text(value, encoding="utf-8")

    def clear(self, name: str) -> None:
        """Switches a fault off."""
        (self.directory / name).unlink(missing_ok=True)
