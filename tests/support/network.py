"""A network of the test's own: a client, two routers and hosts behind them, each in a network namespace.

Nothing of it is in the machine's own network, and nothing is left of it: namespaces have names that no other process
takes, and they go with all that runs in them. Inside, addresses are always the same: 10.1.N.2 and fd00:1:N::2 for the
N-th host. Only root can have it.

    client -- near -- far -- host 1
                        |--- host 2 ...
"""

from __future__ import annotations

import contextlib
import itertools
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from tests.practice.k0s.node import is_alive
from tests.practice.sshd import Sshd, make_key

TOOLS: Final = {"ip": "iproute2", "nft": "nftables", "mtr": "mtr-tiny"}
_FILES: Final = Path("/etc/netns")
_NUMBERS: Final = itertools.count(1)
_LISTENS: Final = "0A"

# Addresses count at once, without a search for duplicates.
_BEGIN: Final = """
for name in all default; do
  echo 0 > /proc/sys/net/ipv6/conf/$name/disable_ipv6
  echo 0 > /proc/sys/net/ipv6/conf/$name/accept_dad
done
ip link set lo up
"""
_ROUTER: Final = """
echo 1 > /proc/sys/net/ipv4/ip_forward
echo 1 > /proc/sys/net/ipv6/conf/all/forwarding
"""
# A neighbour that is not there is given up soon, and who asked for it is told, each time.
_IMPATIENT: Final = """
echo 0 > /proc/sys/net/ipv4/icmp_ratelimit
echo 0 > /proc/sys/net/ipv6/icmp/ratelimit
for family in ipv4 ipv6; do
  echo 1 > /proc/sys/net/$family/neigh/{device}/mcast_solicit
  echo 200 > /proc/sys/net/$family/neigh/{device}/retrans_time_ms
done
"""
_LINK: Final = """
ip address add {v4}/24 dev {device}
ip -6 address add {v6}/64 dev {device} nodad
ip link set {device} up
"""
_DEFAULT: Final = """
ip route add default via {v4}
ip -6 route add default via {v6}
"""
_LOSS: Final = """
add table inet loss
add chain inet loss path {{ type filter hook forward priority 0; }}
add rule inet loss path ip daddr {v4} icmp type echo-request numgen inc mod 10 {{ 2, 5, 8 }} drop
add rule inet loss path ip6 daddr {v6} icmpv6 type echo-request numgen inc mod 10 {{ 2, 5, 8 }} drop
"""
_FILTER: Final = """
add table inet filter
add chain inet filter input {{ type filter hook input priority 0; }}
add rule inet filter input {what} drop
"""


def missing() -> str:
    """What stands against networks of their own here; empty when nothing does."""
    if os.geteuid() != 0:
        return "only root can have a network of its own"
    if lacking := [package for tool, package in TOOLS.items() if not shutil.which(tool)]:
        return f"not installed: {', '.join(lacking)}"
    tried = subprocess.run(["unshare", "-mn", "true"], capture_output=True, text=True, check=False)
    return f"no network of its own here: {tried.stderr.strip()}" if tried.returncode else ""


class Namespace:
    """One network namespace.

    Args:
        role: the last part of its name.
    """

    def __init__(self, prefix: str, role: str) -> None:
        self.name = f"{prefix}-{role}"
        self.files = _FILES / self.name

    @property
    def enter(self) -> list[str]:
        """What stands before a command that is to run in it."""
        return ["ip", "netns", "exec", self.name]

    def create(self) -> None:
        _run("ip", "netns", "add", self.name)
        self.sh(_BEGIN)

    def sh(self, script: str) -> None:
        _run(*self.enter, "sh", "-eu", "-c", script)

    def nft(self, rules: str) -> None:
        _run(*self.enter, "nft", "-f", "-", text=rules)

    def file(self, name: str, text: str) -> None:
        """Put a file in the place of one in /etc, for what is started in it from now on."""
        self.files.mkdir(parents=True, exist_ok=True)
        (self.files / name).write_text(text, encoding="utf-8")

    def processes(self) -> list[int]:
        listed = subprocess.run(["ip", "netns", "pids", self.name], capture_output=True, text=True, check=False)
        return [int(pid) for pid in listed.stdout.split()]

    def remove(self) -> None:
        """End what runs in it, and remove it, whatever of it there is."""
        for pid in self.processes():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        subprocess.run(["ip", "netns", "delete", self.name], capture_output=True, check=False)
        shutil.rmtree(self.files, ignore_errors=True)
        with contextlib.suppress(OSError):
            _FILES.rmdir()  # only when nobody else has files there


def _run(*command: str, text: str = "") -> None:
    done = subprocess.run(command, input=text, capture_output=True, text=True, check=False)
    assert done.returncode == 0, (command, text, done.stderr)


class _Sshd(Sshd):
    """An sshd in a namespace, at all its addresses."""

    listen = "0.0.0.0"

    def __init__(self, directory: Path, namespace: Namespace, ports: Sequence[int], more: str) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        super().__init__(directory, directory / "root", directory / "nobody")
        self._namespace = namespace
        self._ports = ports
        self._more = more
        self.port = ports[0]

    def _configuration(self) -> str:
        more = "".join(f"Port {port}\n" for port in self._ports[1:])
        text = super()._configuration().replace("MaxStartups 100", "MaxStartups 1000")
        return f"{more}ListenAddress ::\n{text}{self._more}"

    def _spawn(self, command: list[str]) -> int:
        program, *words = [*self._namespace.enter, *command]
        return super()._spawn([shutil.which(program) or program, *words])

    def _answers(self, pid: int) -> bool:
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline and is_alive(pid):
            if all(_listens(pid, port) for port in self._ports):
                (self.directory / "started").touch()
                return True
            time.sleep(0.02)
        return False


def _listens(pid: int, port: int) -> bool:
    """Whether somebody listens at a port in the network of a process, over IPv4 and IPv6."""
    try:
        tables = [Path(f"/proc/{pid}/net/{name}").read_text(encoding="ascii") for name in ("tcp", "tcp6")]
    except OSError:
        return False
    return all(
        any(words[1].endswith(f":{port:04X}") and words[3] == _LISTENS for words in map(str.split, table.splitlines()))
        for table in tables
    )


@dataclass
class Node:
    """One line of k0sctl's configuration: an address where somebody may listen.

    Attributes:
        keys: the public host keys that are pinned for it, the type before each.
    """

    address: str
    port: int = 22
    keys: tuple[str, ...] = ()
    role: str = "worker"
    storage: str = "etcd"
    user: str = "root"

    @property
    def label(self) -> str:
        return f"[{self.address}]:{self.port}" if ":" in self.address else f"{self.address}:{self.port}"

    def known_hosts_lines(self) -> str:
        name = self.address if self.port == 22 else f"[{self.address}]:{self.port}"
        return "".join(f"{name} {key}\n" for key in self.keys)


class NetHost:
    """A host behind both routers.

    Attributes:
        keys: its public host keys; none before its sshd was started.
    """

    def __init__(self, directory: Path, namespace: Namespace, number: int) -> None:
        self.namespace = namespace
        self.number = number
        self.v4, self.v6 = _addresses(number)
        self.keys: tuple[str, ...] = ()
        self._directory = directory
        self._sshd: Sshd | None = None

    def stop(self) -> None:
        if self._sshd:
            self._sshd.stop()

    def serve(self, *ports: int, more: str = "") -> Self:
        """Start an sshd, at port 22 unless others are named, with ``more`` lines in its configuration."""
        sshd = self._sshd = _Sshd(self._directory, self.namespace, ports or (22,), more)
        sshd.start()
        publics = [self._directory / f"ssh_host_{kind}_key.pub" for kind in sshd.key_types]
        self.keys = tuple(" ".join(path.read_text(encoding="ascii").split()[:2]) for path in publics)
        return self

    def pin_another_key(self) -> Self:
        """From now on its nodes name a host key that it does not have."""
        other = self._directory / "other_key"
        make_key(other, "ed25519")
        self.keys = (" ".join(other.with_suffix(".pub").read_text(encoding="ascii").split()[:2]),)
        return self

    def filter_ssh(self) -> Self:
        """What comes to port 22 gets no answer; all else does."""
        self.namespace.nft(_FILTER.format(what="tcp dport 22"))
        return self

    def filter_echo(self) -> Self:
        """It answers no echo request, but all else."""
        for what in ("icmp type echo-request", "icmpv6 type echo-request"):
            self.namespace.nft(_FILTER.format(what=what))
        return self

    def addresses(self, count: int) -> list[str]:
        """Give it so many IPv4 addresses, at most 60000."""
        added = [f"10.2.{number // 250}.{number % 250 + 1}" for number in range(count)]
        lines = "".join(f"address add {address}/32 dev eth0\n" for address in added)
        _run("ip", "-netns", self.namespace.name, "-batch", "-", text=lines)
        return added

    def node(self, address: str = "", *, port: int = 22, role: str = "worker") -> Node:
        return Node(address or self.v4, port, self.keys, role)


def _addresses(number: int, last: int = 2) -> tuple[str, str]:
    return f"10.1.{number}.{last}", f"fd00:1:{number:x}::{last:x}"


class Network:
    """The client, the routers, and as many hosts as are asked for.

    Attributes:
        client: where the handler is run.
        far: the router that the hosts are behind.
        namespaces: those of all.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._prefix = f"k0h{os.getpid()}x{next(_NUMBERS)}"
        self.namespaces: list[Namespace] = []
        self._hosts: list[NetHost] = []
        self._subnets = 0

    def __enter__(self) -> Self:
        try:
            self._build()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        for host in self._hosts:
            host.stop()
        for namespace in reversed(self.namespaces):
            namespace.remove()
        self.namespaces.clear()

    def _build(self) -> None:
        self.client, self.near, self.far = map(self._namespace, ("client", "near", "far"))
        for router in (self.near, self.far):
            router.sh(_ROUTER)
        self._connect((self.client, "eth0", "10.0.1.2", "fd00:a::2"), (self.near, "left", "10.0.1.1", "fd00:a::1"))
        self._connect((self.near, "right", "10.0.2.1", "fd00:b::1"), (self.far, "left", "10.0.2.2", "fd00:b::2"))
        self.client.sh(_DEFAULT.format(v4="10.0.1.1", v6="fd00:a::1"))
        self.far.sh(_DEFAULT.format(v4="10.0.2.1", v6="fd00:b::1"))
        self.near.sh("ip route add 10.0.0.0/8 via 10.0.2.2; ip -6 route add fd00:1::/32 via fd00:b::2")
        self.client.file("nsswitch.conf", "passwd: files\ngroup: files\nhosts: files\n")
        self.names({})

    def _namespace(self, role: str) -> Namespace:
        namespace = Namespace(self._prefix, role)
        self.namespaces.append(namespace)
        namespace.create()
        return namespace

    @staticmethod
    def _connect(*ends: tuple[Namespace, str, str, str]) -> None:
        (one, one_device, *_), (other, other_device, *_) = ends
        _run(
            "ip", "link", "add", one_device, "netns", one.name, "type", "veth",
            "peer", "name", other_device, "netns", other.name,
        )  # fmt: skip
        for namespace, device, v4, v6 in ends:
            namespace.sh(_LINK.format(device=device, v4=v4, v6=v6))

    def host(self) -> NetHost:
        """A running host where nobody listens yet."""
        number = self._subnet()
        namespace = self._namespace(f"host{number}")
        gateway = _addresses(number, 1)
        self._connect((namespace, "eth0", *_addresses(number)), (self.far, f"host{number}", *gateway))
        self.far.sh(_IMPATIENT.format(device=f"host{number}"))
        namespace.sh(_DEFAULT.format(v4=gateway[0], v6=gateway[1]))
        self._hosts.append(NetHost(self._directory / namespace.name, namespace, number))
        return self._hosts[-1]

    def _subnet(self) -> int:
        self._subnets += 1
        return self._subnets

    def route_more(self, host: NetHost) -> None:
        """The way to the addresses that a host was given besides its own."""
        self.far.sh(f"ip route add 10.2.0.0/16 via {host.v4}")

    # --- trouble -----------------------------------------------------------------------------------------------

    @staticmethod
    def down(beside: NetHost) -> tuple[str, str]:
        """The addresses of a host that is switched off: the router lives, and says that the host is unreachable."""
        return _addresses(beside.number, 0x63)

    def silent(self) -> tuple[str, str]:
        """The addresses of a host to which every packet is lost without a word."""
        v4, v6 = _addresses(self._subnet())
        self.far.sh(f"ip route add blackhole {v4}; ip -6 route add blackhole {v6}")
        return v4, v6

    def lose(self, host: NetHost) -> None:
        """Of ten echo requests to a host three are lost on the way, always the same ones; nothing else is."""
        self.far.nft(_LOSS.format(v4=host.v4, v6=host.v6))

    def names(self, table: Mapping[str, Sequence[str]]) -> None:
        """What the client knows about names, and nothing more."""
        lines = [f"{address} {name}" for name, addresses in table.items() for address in addresses]
        self.client.file("hosts", "\n".join(["127.0.0.1 localhost", *lines, ""]))
