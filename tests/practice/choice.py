"""Which k0sctl and which hosts the end-to-end tests take.

The stand-in k0sctl with hosts that are processes of this machine; or, by `PRACTICE_K0SCTL=/path/to/k0sctl`, a real one.
That one gets hosts in containers only: it would do to this machine whatever a practice host does not keep from it.
"""

import os
from collections.abc import Sequence
from pathlib import Path

from tests.practice.cluster import K0sctlFaults, install_k0sctl
from tests.practice.container.host import ContainerHost
from tests.practice.faults import K0SCTL_FAULTS
from tests.practice.host import PracticeHost

Host = PracticeHost | ContainerHost
#: With a real k0sctl these have no meaning: it has no such faults. (To hurry is none; it takes its real time.)
NOT_FOR_REAL = frozenset(K0SCTL_FAULTS) - {"hurry"}
REASON = "PRACTICE_K0SCTL is set, and they need faults of the stand-in k0sctl"

# A host named localhost needs no SSH: it would be this machine.
GUARD = """#!/bin/sh
for word; do
  file=${{word#--config=}}
  if [ -f "$file" ] && grep -Eq 'localhost"? *:' "$file"; then
    echo "$file names this machine as a host; only containers are allowed" >&2
    exit 97
  fi
done
exec '{real}' "$@"
"""


def real_k0sctl() -> Path | None:
    """The real k0sctl that is asked for."""
    named = os.environ.get("PRACTICE_K0SCTL")
    if not named:
        return None
    path = Path(named)
    if not path.is_absolute() or not os.access(path, os.X_OK):
        raise RuntimeError(f"PRACTICE_K0SCTL={named} is no absolute path of a program")
    return path


def practice_host(directory: Path, *, name: str = "h1", storage: str = "etcd", role: str = "controller") -> Host:
    """A host of the chosen kind; it is started by `with` or `start`."""
    kind = ContainerHost if real_k0sctl() else PracticeHost
    return kind(directory, name=name, storage=storage, role=role)


class NotForReal(ValueError):
    """A fault that a real k0sctl has not."""


class NoFaults(K0sctlFaults):
    """Of a real k0sctl."""

    def set(self, name: str, value: str = "") -> None:
        if name in NOT_FOR_REAL:
            raise NotForReal(f"a real k0sctl has no fault {name!r}; mark the test with k0sctl_faults")

    def clear(self, name: str) -> None:
        pass


def chosen_k0sctl(bin_dir: Path, hosts: Sequence[Host]) -> tuple[Path, K0sctlFaults]:
    """Puts the chosen k0sctl into the directory; returns it and its faults."""
    real = real_k0sctl()
    if not real:
        return install_k0sctl(bin_dir), K0sctlFaults(bin_dir)
    if not all(isinstance(host, ContainerHost) for host in hosts):
        raise RuntimeError("a real k0sctl works on hosts in containers only")
    target = bin_dir.resolve() / "k0sctl"
    target.write_text(GUARD.format(real=real), encoding="utf-8")
    target.chmod(0o755)
    return target, NoFaults(bin_dir)
