"""SSH doors, with real sockets on the loopback."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from handler.door import Answer, Door
from handler.doors import knock, resolve
from handler.errors import Interrupted
from tests.practice.host import PracticeHost

pytestmark = pytest.mark.contract

BANNER = b"SSH-2.0-Practice\r\n"
Serve = Callable[..., Door]


def nothing() -> None:
    """No signal comes."""


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Starts a server that says something to everyone."""
    listeners: list[socket.socket] = []

    def start(said: bytes | None, *, close: bool = False, family: int = socket.AF_INET, after: float = 0) -> Door:
        address = "::1" if family == socket.AF_INET6 else "127.0.0.1"
        listener = socket.socket(family)
        listener.bind((address, 0))
        listener.listen(100)
        listeners.append(listener)
        open_ones: list[socket.socket] = []

        def loop() -> None:
            try:
                while True:
                    connection, _ = listener.accept()
                    if after:
                        time.sleep(after)
                    if said:
                        connection.sendall(said)
                    if close:
                        connection.close()
                    else:
                        open_ones.append(connection)
            except OSError:
                for connection in open_ones:
                    connection.close()

        threading.Thread(target=loop, daemon=True).start()
        return Door(address, listener.getsockname()[1])

    yield start
    for listener in listeners:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()


@pytest.fixture
def closed() -> Iterator[Door]:
    """A port that is taken but does not listen."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield Door("127.0.0.1", taken.getsockname()[1])


def one(door: Door, wait: float = 0.6) -> Answer:
    return knock([door], wait=wait, check=nothing)[door]


def test_open(serve: Serve) -> None:
    answer = one(serve(BANNER))
    assert answer.open
    assert answer.banner == "SSH-2.0-Practice"


def test_a_banner_with_control_characters(serve: Serve) -> None:
    """It is shown in a terminal."""
    answer = one(serve(b"SSH-2.0-\x1b[31mevil\x07\r\n"))
    assert answer.banner == "SSH-2.0-[31mevil"


def test_lines_before_the_banner_are_allowed(serve: Serve) -> None:
    assert one(serve(b"Welcome\r\nto this host\r\n" + BANNER)).open


def test_a_real_sshd(tmp_path: Path) -> None:
    with PracticeHost(tmp_path / "hosts") as host:
        assert one(Door(host.address, host.port), 5).banner.startswith("SSH-2.0-OpenSSH")


def test_closed(closed: Door) -> None:
    began = time.monotonic()
    answer = one(closed)
    assert not answer.open
    assert "refused" in answer.problem.lower()
    assert time.monotonic() - began < 5


@pytest.mark.parametrize(
    ("said", "close", "problem"),
    [
        (None, False, "no SSH greeting came"),
        (None, True, "closed again"),
        (b"HTTP/1.1 400 Bad Request\r\n", True, "closed again"),
        (b"hello\r\n" * 60, False, "does not speak SSH"),
        (b"\0\xff" * 5000, False, "SSH"),
        (b"x" * 100_000, False, "SSH"),
        (b"SSH", False, "no SSH greeting came"),
    ],
    ids=["silent", "closes", "http", "chatty", "binary", "endless", "half"],
)
def test_no_ssh_server(serve: Serve, said: bytes | None, close: bool, problem: str) -> None:
    answer = one(serve(said, close=close))
    assert not answer.open
    assert problem in answer.problem
    assert answer.problem.isprintable()


def test_ipv6(serve: Serve) -> None:
    try:
        door = serve(BANNER, family=socket.AF_INET6)
    except OSError:
        pytest.skip("there is no IPv6 loopback here")
    assert one(door).open
    assert door.label == f"[::1]:{door.port}"
    assert Door("10.0.0.1", 22).label == "10.0.0.1:22"


def test_a_name_that_does_not_resolve() -> None:
    doors = [Door(name, 22) for name in ("no-such-host.invalid", "", "a..b", "x" * 300)]
    for answer in knock(doors, wait=0.1, check=nothing).values():
        assert not answer.open
        assert answer.problem


def test_a_name_that_resolves(serve: Serve) -> None:
    assert one(Door("localhost", serve(BANNER).port)).open


def test_a_door_that_opens_later() -> None:
    """It is tried again until the time is over."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]

    def open_it() -> None:
        with socket.socket() as listener:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(("127.0.0.1", port))
            listener.listen()
            connection, _ = listener.accept()
            connection.sendall(BANNER)
            connection.close()

    door = Door("127.0.0.1", port)
    started = threading.Event()

    def later() -> None:
        if not started.is_set():
            started.set()
            timer = threading.Timer(0.7, open_it)
            timer.daemon = True
            timer.start()

    assert knock([door], wait=15, check=later)[door].open


def test_many_at_once(serve: Serve, closed: Door) -> None:
    doors = [serve(BANNER, after=0.02) for _ in range(48)] + [closed, serve(None)]
    began = time.monotonic()
    answers = knock([*doors, *doors], wait=1, check=nothing)
    assert time.monotonic() - began < 6
    assert list(answers) == doors
    assert [answers[door].open for door in doors] == [True] * 48 + [False, False]


def test_no_doors() -> None:
    assert knock([], wait=1, check=nothing) == {}


def test_an_interrupt_ends_it_at_once(serve: Serve) -> None:
    calls: list[int] = []

    def check() -> None:
        calls.append(1)
        if len(calls) > 2:
            raise Interrupted(15)

    began = time.monotonic()
    with pytest.raises(Interrupted):
        knock([serve(None), Door("no-such-host.invalid", 22)], wait=60, check=check)
    assert time.monotonic() - began < 4


def test_names_resolve_to_addresses() -> None:
    found = resolve(["localhost", "127.0.0.1", "::1", "localhost"], wait=10, check=nothing)
    assert set(found["localhost"].addresses) <= {"127.0.0.1", "::1"}
    assert len(set(found["localhost"].addresses)) == len(found["localhost"].addresses) > 0
    assert (found["127.0.0.1"].addresses, found["::1"].addresses) == (("127.0.0.1",), ("::1",))
    assert not any(one.problem for one in found.values())


def test_names_that_do_not_resolve() -> None:
    for name, answer in resolve(["no-such-host.invalid", "a..b", "x" * 300], wait=10, check=nothing).items():
        assert answer.addresses == ()
        assert name in answer.problem


SLOW_RESOLVER = """
import socket, subprocess, sys, threading, time
from pathlib import Path
subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
silent = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
silent.bind(("127.0.0.1", 53))
Path(sys.argv[1]).write_text("nameserver 127.0.0.1\\noptions timeout:30 attempts:1\\n")
subprocess.run(["mount", "--bind", sys.argv[1], "/etc/resolv.conf"], check=True)
from handler.doors import Door, knock
from handler.errors import Interrupted
began = time.monotonic()
def check():
    if time.monotonic() - began > 0.5 and sys.argv[2] == "interrupt":
        raise Interrupted(15)
try:
    doors = [Door(f"host{number}.example.org", 22) for number in range(40)]
    listener = socket.create_server(("127.0.0.1", 0))
    doors.append(Door("127.0.0.1", listener.getsockname()[1]))
    answers = knock(doors, wait=1, check=check)
    print(len(answers), {answer.problem for answer in answers.values()})
except Interrupted:
    print("interrupted")
print(time.monotonic() - began < 4)
"""


LATE_ANSWER = """
import time
from handler.doors import resolve
began = time.monotonic()
answers = resolve([f"host{number}.example.org" for number in range(5)], wait=0.3, check=lambda: None)
print({answer.problem.partition(" for ")[0] for answer in answers.values()}, time.monotonic() - began < 3)
time.sleep(3)
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can have a network of its own")
def test_a_late_answer_of_a_resolver_is_nobodys_business(tmp_path: Path) -> None:
    """The run goes on after its names were given up; the threads that asked end then."""
    resolv = "options timeout:1 attempts:1"
    code = SLOW_RESOLVER.partition("from handler")[0].replace("options timeout:30 attempts:1", resolv) + LATE_ANSWER
    done = in_own_network(code, tmp_path / "resolv.conf")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.split("}")[0] == "{'no name server answers'"
    assert done.stdout.endswith("True\n")


def in_own_network(code: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    if not Path("/etc/resolv.conf").is_file():
        pytest.skip("no /etc/resolv.conf to put another over")
    if Path("/etc/resolv.conf").is_symlink():
        pytest.skip("/etc/resolv.conf is a link")
    done = subprocess.run(
        ["unshare", "-mn", sys.executable, "-c", code, *arguments],
        cwd=Path(__file__).resolve().parents[2], capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    if done.stderr.startswith("unshare:"):
        pytest.skip("no network of its own here")
    return done


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can have a network of its own")
@pytest.mark.parametrize("how", ["interrupt", "wait"])
def test_a_resolver_that_does_not_answer_holds_up_nothing(tmp_path: Path, how: str) -> None:
    began = time.monotonic()
    done = in_own_network(SLOW_RESOLVER, tmp_path / "resolv.conf", how)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "True", done.stdout
    assert time.monotonic() - began < 8  # and the interpreter ends too
    assert done.stdout.startswith("interrupted" if how == "interrupt" else "41 {"), done.stdout


def test_a_name_server_that_answers_after_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits for the answer any more, and it disturbs nobody."""
    asked, answer = threading.Event(), threading.Event()
    askers: list[threading.Thread] = []

    def late(*_: object, **__: object) -> None:
        askers.append(threading.current_thread())
        asked.set()
        answer.wait(30)
        raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")

    def stop() -> None:
        if asked.is_set():
            raise Interrupted(15)

    monkeypatch.setattr(socket, "getaddrinfo", late)
    with pytest.raises(Interrupted):
        knock([Door("node.invalid", 22)], wait=30, check=stop)
    answer.set()
    for asker in askers:
        asker.join(30)  # what a thread raises is an error of the test
