"""Children and signals, with real processes."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from handler.errors import Interrupted, TimedOut, ToolFailed, ToolMissing
from handler.process import CHUNK, TAIL_LINES, Children, Command, Result
from handler.watch import Watch, descendants

pytestmark = pytest.mark.contract

ROOT = Path(__file__).resolve().parents[2]
Run = Callable[..., Result]


@pytest.fixture
def run(children: Children, tool_env: dict[str, str]) -> Run:
    def call(script: str, *, timeout: float = 30, **more: object) -> Result:
        return children.run(Command(argv=("sh", "-c", script), env=tool_env, timeout=timeout, **more))  # type: ignore[arg-type]

    return call


def until(condition: Callable[[], object], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it never came to that"
        time.sleep(0.01)


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


# --- running -----------------------------------------------------------------------------------------------------


def test_a_result(run: Run) -> None:
    result = run("echo out; echo err >&2; exit 3")
    assert (result.program, result.exit_code, result.stdout, result.stderr) == ("sh", 3, "out", "err")
    assert result.tail == ("err", "out")
    with pytest.raises(ToolFailed, match=r"sh failed while testing \(exit 3\)") as caught:
        result.require_success("testing")
    assert caught.value.details == ("err", "out")
    assert run("true").require_success("x").exit_code == 0
    with pytest.raises(ToolFailed, match="killed by SIGKILL"):
        run("kill -9 $$").require_success("x")
    with pytest.raises(ToolFailed, match="no space left"):
        run("echo 'write: No space left on device' >&2; exit 1").require_success("x")


def test_a_missing_program(children: Children, tool_env: dict[str, str]) -> None:
    for program in ("no-such-program", "/nowhere/program"):
        with pytest.raises(ToolMissing, match=f"{program} was not found") as caught:
            children.run(Command(argv=(program,), env=tool_env, timeout=5))
        assert caught.value.exit_code == 3
    with pytest.raises(ToolMissing):  # the search path is the child's
        children.run(Command(argv=("sh",), env={"PATH": "/nowhere"}, timeout=5))


def test_the_environment_is_exactly_what_is_given(children: Children) -> None:
    result = children.run(Command(argv=("/usr/bin/env",), env={"ONLY": "this", "PATH": "/usr/bin"}, timeout=5))
    assert set(result.stdout.splitlines()) == {"ONLY=this", "PATH=/usr/bin"}


def test_stdin_is_empty_and_no_terminal(run: Run) -> None:
    assert run("cat; test -t 0 || readlink /proc/self/fd/0").stdout == "/dev/null"
    assert run("test -t 1 || test -t 2 || echo none").stdout == "none"


def test_stdin_and_stdout_files(children: Children, tool_env: dict[str, str], tmp_path: Path) -> None:
    data = os.urandom(3_000_000) + b"\r\n\xff"
    (tmp_path / "in").write_bytes(data)
    with (tmp_path / "in").open("rb") as stdin, (tmp_path / "out").open("wb") as stdout:
        children.run(Command(argv=("cat",), env=tool_env, timeout=30, stdin=stdin, stdout=stdout))
    assert (tmp_path / "out").read_bytes() == data


def test_much_output_does_not_block(run: Run) -> None:
    lines: list[str] = []
    result = run("seq 1 100000 >&2; seq 1 100000", on_line=lines.append)
    assert len(lines) == 100_000
    assert result.stderr.splitlines()[-1] == "100000"
    assert len(result.stderr.splitlines()) == TAIL_LINES
    long = run("head -c 3000000 /dev/zero | tr '\\0' x; printf '\\377\\n' >&2")
    assert len(long.stdout) == 3_000_000
    assert long.stderr == "\ufffd"


def test_stream(children: Children, tool_env: dict[str, str]) -> None:
    pieces: list[bytes] = []
    command = Command(
        argv=("sh", "-c", "head -c 5000000 /dev/urandom; seq 1 50000 >&2; exit 4"), env=tool_env, timeout=30
    )
    result = children.stream(command, lambda piece: pieces.append(bytes(piece)))
    assert sum(map(len, pieces)) == 5_000_000
    assert max(map(len, pieces)) <= CHUNK
    assert (result.exit_code, result.stderr.splitlines()[-1]) == (4, "50000")


def test_a_stream_that_cannot_be_taken_ends_the_child(children: Children, tool_env: dict[str, str]) -> None:
    def full(_: memoryview) -> None:
        raise OSError(28, "No space left on device")

    before = set(descendants())
    with pytest.raises(OSError, match="No space left"):
        children.stream(Command(argv=("cat", "/dev/zero"), env=tool_env, timeout=30), full)
    assert set(descendants()) <= before


def test_an_exception_in_a_callback_surfaces(run: Run) -> None:
    def bad(line: str) -> None:
        raise ValueError(line)

    for script in ("echo one", "seq 1 200000", "echo one; exit 5"):
        with pytest.raises(ValueError, match=r"one|1"):
            run(script, on_line=bad)


def test_pass_fds(run: Run) -> None:
    read, write = os.pipe()
    os.write(write, b"secret\n")
    os.close(write)
    assert run(f"cat /proc/self/fd/{read}", pass_fds=(read,)).stdout == "secret"
    os.close(read)
    other, unused = os.pipe()
    os.set_inheritable(other, True)  # another child's; sh closes it
    assert run(f"test -e /proc/self/fd/{other} || echo closed").stdout == "closed"
    os.close(other)
    os.close(unused)


# --- time --------------------------------------------------------------------------------------------------------


def test_a_timeout_kills_the_group(run: Run, tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    began = time.monotonic()
    with pytest.raises(TimedOut, match="sh took longer than 1 s") as caught:
        run(f"trap '' TERM; sleep 60 & echo $$ $! > {pids}; echo why >&2; wait", timeout=1)
    assert time.monotonic() - began < 5
    assert caught.value.exit_code == 6
    assert caught.value.details == ("why",)
    for pid in map(int, pids.read_text().split()):
        until(lambda pid=pid: not alive(pid))  # type: ignore[misc]


def test_a_stream_times_out(children: Children, tool_env: dict[str, str]) -> None:
    for script in ("sleep 60", "setsid sleep 4 & echo gone"):  # the second leaves one who holds the pipe
        began = time.monotonic()
        with pytest.raises(TimedOut):
            children.stream(Command(argv=("sh", "-c", script), env=tool_env, timeout=0.5), lambda _: None)
        assert time.monotonic() - began < 8


def test_an_orphan_that_holds_the_pipe_does_not_hold_the_run(run: Run) -> None:
    began = time.monotonic()
    assert run("setsid sleep 8 & echo done").stdout == "done"
    assert time.monotonic() - began < 6


def test_sleep_and_check(children: Children) -> None:
    watch = Watch()
    owner = Children(watch)
    owner.sleep(0.01)
    watch.signum = signal.SIGINT
    watch._came.set()
    began = time.monotonic()
    with pytest.raises(Interrupted) as caught:
        owner.sleep(30)
    assert time.monotonic() - began < 5
    assert caught.value.exit_code == 130
    with pytest.raises(Interrupted):
        owner.run(Command(argv=("true",), env={"PATH": "/bin"}, timeout=5))


def test_uninterrupted_steps_are_all_done() -> None:
    watch = Watch()
    owner = Children(watch)
    done: list[str] = []
    with owner.uninterrupted():
        watch.signum = signal.SIGTERM
        owner.check()
        done.append("first")
        owner.check()
        done.append("second")
    assert done == ["first", "second"]
    with pytest.raises(Interrupted):
        owner.check()
    with pytest.raises(Interrupted), owner.uninterrupted():
        done.append("never")
    assert "never" not in done


# --- signals, each scene a process of its own --------------------------------------------------------------------

SCENES = """
import json, os, subprocess, sys, time
from pathlib import Path
from handler.errors import Interrupted
from handler.process import Children, Command
from handler.watch import Watch, descendants
place, scene = Path(sys.argv[1]), sys.argv[2]
watch = Watch(last_moment=lambda: (place / "wiped").write_text("x"))
watch.install()
children = Children(watch)
env = {"PATH": os.environ["PATH"], "PLACE": str(place)}
started = lambda script: subprocess.Popen(["sh", "-c", script], env=env, start_new_session=True)
GRACEFUL = 'trap "date +%s.%N >> $PLACE/terms" TERM INT; touch $PLACE/ready; while :; do sleep 0.05; done'
QUICK = 'trap "sleep 0.5; echo bye; exit 0" TERM; touch $PLACE/ready; while :; do sleep 0.05; done'
STUBBORN = "(trap : TERM INT HUP; while :; do sleep 0.05; done)"
ORPHANS = f'(setsid sh -c "trap : TERM; {STUBBORN} & sleep 90" &) ; sleep 0.1'
code, told = 0, {}
try:
    if scene == "hang":
        (place / "ready").touch()
        while True:
            time.sleep(0.5)
    if scene in ("grace", "two"):
        side = started("echo $$ > $PLACE/side; sleep 90")
        command = Command(argv=("sh", "-c", GRACEFUL), env=env, timeout=60, graceful=True)
        told["result"] = children.run(command).exit_code
        children.check()
    if scene == "quick":
        told["result"] = children.run(Command(argv=("sh", "-c", QUICK), env=env, timeout=60, graceful=True)).stdout
        children.check()
    if scene == "plain":
        children.run(Command(argv=("sh", "-c", "trap '' TERM; touch $PLACE/ready; sleep 90"), env=env, timeout=60))
    if scene == "library":
        # as python-gnupg and GitPython do: the main thread waits for a child that it has not started through us
        child = started("touch $PLACE/ready; exec sleep 90")
        told["result"] = child.wait()
        children.check()
    if scene == "shielded":
        with children.uninterrupted():
            child = started("touch $PLACE/ready; sleep 2; touch $PLACE/whole")
            child.wait()
        children.check()
    if scene == "orphans":
        children.run(Command(argv=("sh", "-c", ORPHANS), env=env, timeout=60))
        told["before"] = len(descendants())
except Interrupted as error:
    code = error.exit_code
began = time.monotonic()
watch.finish()
told["finish"] = time.monotonic() - began
told["left"] = descendants()
def state_and_parent(entry):
    try:
        return (entry / "stat").read_text().rpartition(")")[2].split()[:2]
    except OSError:  # somebody else's, and gone
        return []
ours = ["Z", str(os.getpid())]
told["zombies"] = [entry.name for entry in Path("/proc").iterdir() if state_and_parent(entry) == ours]
(place / "told").write_text(json.dumps(told))
sys.exit(code)
"""


@dataclass
class Scene:
    """One process and what became of it."""

    place: Path
    process: subprocess.Popen[bytes]
    signalled: float = 0.0
    seconds: float = 0.0

    @property
    def told(self) -> dict[str, object]:
        loaded: dict[str, object] = json.loads((self.place / "told").read_text())
        return loaded

    @property
    def code(self) -> int:
        return self.process.returncode


PLAN = {
    "hang": ("hang", [signal.SIGTERM]),
    "grace": ("grace", [signal.SIGTERM]),
    "grace-int": ("grace", [signal.SIGINT]),
    "two": ("two", [signal.SIGTERM, signal.SIGINT, signal.SIGTERM]),
    "quick": ("quick", [signal.SIGTERM]),
    "plain": ("plain", [signal.SIGTERM]),
    "plain-int": ("plain", [signal.SIGINT]),
    "hangup": ("orphans", []),
    "library": ("library", [signal.SIGTERM]),
    "shielded": ("shielded", [signal.SIGTERM]),
    "orphans": ("orphans", []),
}


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Scene]]:
    """All of them at once, since some take their seven seconds."""
    running: dict[str, Scene] = {}
    for name, (scene, _) in PLAN.items():
        place = tmp_path_factory.mktemp(name)
        process = subprocess.Popen(
            [sys.executable, "-c", SCENES, str(place), scene], cwd=ROOT, stdin=subprocess.DEVNULL
        )
        running[name] = Scene(place, process)
    try:
        for name, (_, signals) in PLAN.items():
            if signals:
                until(lambda scene=running[name]: (scene.place / "ready").exists())  # type: ignore[misc]
                running[name].signalled = time.time()
                for signum in signals:
                    running[name].process.send_signal(signum)
                    time.sleep(0.01)  # so that each one arrives by itself
        waiting = dict(running)
        deadline = time.monotonic() + 30
        while waiting and time.monotonic() < deadline:
            for name, one in list(waiting.items()):
                if one.process.poll() is not None:
                    one.seconds = time.time() - one.signalled
                    del waiting[name]
            time.sleep(0.02)
        yield running
    finally:
        for one in running.values():
            if one.process.poll() is None:
                one.process.kill()
                one.process.wait()


def test_exit_codes(scenes: dict[str, Scene]) -> None:
    codes = {name: scene.code for name, scene in scenes.items()}
    expected = dict.fromkeys(PLAN, 143) | {"grace-int": 130, "plain-int": 130, "orphans": 0, "hangup": 0}
    assert codes == expected


def test_all_end_in_time(scenes: dict[str, Scene]) -> None:
    for name, (_, signals) in PLAN.items():
        if signals:
            assert scenes[name].seconds < 7.9, name


def test_a_hanging_main_thread_is_ended_by_force(scenes: dict[str, Scene]) -> None:
    assert (scenes["hang"].place / "wiped").exists()
    assert scenes["hang"].seconds > 6


@pytest.mark.parametrize("name", ["grace", "grace-int", "two"])
def test_a_graceful_child_gets_one_sigterm_and_six_seconds(scenes: dict[str, Scene], name: str) -> None:
    scene = scenes[name]
    terms = [float(line) for line in (scene.place / "terms").read_text().split()]
    assert len(terms) == 1
    assert terms[0] - scene.signalled < 2
    assert 5.5 < scene.seconds < 7.9
    assert scene.told["result"] == -signal.SIGKILL
    assert not alive(int((scene.place / "side").read_text()))


def test_a_graceful_child_may_end_in_its_own_time(scenes: dict[str, Scene]) -> None:
    assert scenes["quick"].told["result"] == "bye"
    assert scenes["quick"].seconds < 5


@pytest.mark.parametrize("name", ["plain", "plain-int", "library"])
def test_all_others_are_stopped_at_once(scenes: dict[str, Scene], name: str) -> None:
    assert scenes[name].seconds < 5


def test_steps_that_belong_together_are_done(scenes: dict[str, Scene]) -> None:
    assert (scenes["shielded"].place / "whole").exists()
    assert scenes["shielded"].seconds > 1


def test_nothing_is_left(scenes: dict[str, Scene]) -> None:
    told = {name: scene.told for name, scene in scenes.items() if name != "hang"}
    for name, facts in told.items():
        assert facts["left"] == [], name
        assert facts["zombies"] == [], name
        assert isinstance(facts["finish"], float)
        assert facts["finish"] < 3, name
    before = told["orphans"]["before"]
    assert isinstance(before, int)
    assert before >= 2


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make a process namespace here")
def test_as_process_1(tmp_path: Path) -> None:
    code = SCENES.replace('if scene == "orphans":', 'if scene == "first":\n        assert os.getpid() == 1\n    if scene in ("orphans", "first"):')  # fmt: skip  # noqa: E501
    code = code.replace('told["before"] = len(descendants())', 'told["before"] = len(descendants()); '
                        '(place / "ready").touch(); children.sleep(60)')  # fmt: skip
    process = subprocess.Popen(
        ["unshare", "-pf", "--mount-proc", sys.executable, "-c", code, str(tmp_path), "first"],
        cwd=ROOT, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        until(lambda: (tmp_path / "ready").exists() or process.poll() is not None)
        if process.poll() is not None:
            assert process.stderr is not None
            said = process.stderr.read()
            if re.search("unshare|mount", said):
                pytest.skip(f"no process namespace here: {said.strip()}")
            pytest.fail(said)
        first = int(Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()[0])
        began = time.monotonic()
        os.kill(first, signal.SIGTERM)
        assert process.wait(20) == 143
        assert time.monotonic() - began < 7.5
    finally:
        process.kill()
        process.communicate()
    told = json.loads((tmp_path / "told").read_text())
    assert told["before"] >= 2
    assert told["left"] == []
    assert told["zombies"] == []
