"""A practice cluster by hand: `python -m tests.practice start|stop|wipe|fault DIR [NAME [VALUE]]`."""

import argparse
import sys
from pathlib import Path

from tests.practice.faults import FAULTS, HOST_FAULTS
from tests.practice.host import K0sctlFaults, PracticeHost, install_k0sctl, practice_cluster

NAME = "host"


def start(directory: Path, storage: str) -> None:
    """Starts a host that outlives this process, and writes what a client needs."""
    host = PracticeHost(directory, name=NAME, storage=storage)
    host.start()
    config = practice_cluster(directory / "config", [host])
    known_hosts = directory / "config/known_hosts"
    known_hosts.write_text(host.known_hosts_lines(), encoding="utf-8")
    k0sctl = install_k0sctl(directory / "bin")
    print(f"k0sctl:        {k0sctl}")
    print(f"configuration: {config}")
    print(f"known hosts:   {known_hosts}")
    print(f"private key:   {host.private_key}")
    print(f"SSH:           ssh -i {host.private_key} -p {host.port} {host.user}@{host.address}")


def switch_fault(directory: Path, name: str, value: str) -> None:
    """Switches a fault on; the value `off` switches it off."""
    if name not in FAULTS:
        listed = "\n".join(f"  {known:18} {what}" for known, what in FAULTS.items())
        sys.exit(f"no fault {name!r}; there are\n{listed}")
    if name in HOST_FAULTS:
        host = PracticeHost.open(directory / NAME)
        if value == "off":
            host.clear_fault(name)
        else:
            host.fault(name, value)
        return
    faults = K0sctlFaults(directory / "bin")
    if value == "off":
        faults.clear(name)
    else:
        faults.set(name, value)


def main() -> None:
    """Runs one command."""
    parser = argparse.ArgumentParser(prog="python -m tests.practice", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    for name, what in (
        ("start", "start a host in the background; write config/, id_ed25519 and bin/k0sctl"),
        ("stop", "end every process of the host"),
        ("wipe", "as if the host's disk were new"),
        ("fault", "switch a fault on, or off with the value off"),
    ):
        command = commands.add_parser(name, help=what, description=what)
        command.add_argument("directory", type=Path)
        if name == "start":
            command.add_argument("--storage", choices=("etcd", "kine"), default="etcd")
        if name == "fault":
            command.add_argument("name", nargs="?", default="")
            command.add_argument("value", nargs="?", default="")
    words = parser.parse_args()
    directory = words.directory.resolve()
    if words.command == "start":
        start(directory, words.storage)
    elif words.command == "stop":
        PracticeHost.open(directory / NAME).stop()
    elif words.command == "wipe":
        PracticeHost.open(directory / NAME).wipe()
    else:
        switch_fault(directory, words.name, words.value)


main()
