"""Every child process: started, watched, signalled and reaped here, adopted ones too.

`sh` starts the programs; python-gnupg and GitPython start their own, which is why signals and clean-up work on
all descendants and not on a list of what was started. The handler makes itself the reaper of orphans
(``PR_SET_CHILD_SUBREAPER``, prctl(2)), so a daemonised gpg-agent stays a descendant and cannot survive it.
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import os
import select
import signal
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING, BinaryIO, Final

from handler.errors import Interrupted, TimedOut, ToolFailed, ToolMissing, disk_full
from handler.watch import Watch

if TYPE_CHECKING:
    import sh

#: Lines of a child's output that are kept for the operator and for error messages.
TAIL_LINES: Final = 40
#: Bytes that a streamed output is handed over in, at most.
CHUNK: Final = 1 << 20

# Both libraries log what they run; sh even the text on stdin, gnupg the start of an imported private key.
for _name in ("sh", "gnupg", "git"):
    logging.getLogger(_name).setLevel(logging.CRITICAL + 1)


@dataclass(frozen=True, kw_only=True)
class Command:
    """One program to run.

    Attributes:
        argv: program and arguments; never a secret, since every user of the machine can read it.
        env: the child's whole environment.
        timeout: seconds after which the child's process group is killed.
        cwd: its working directory.
        stdin: a real file; nothing (``/dev/null``) otherwise, never a terminal.
        stdout: a real file that takes the output directly; lines otherwise.
        on_line: called with each line of stdout as it comes.
        pass_fds: file descriptors the child may use.
        graceful: a signal to the handler is passed on, and the child may end in its own time
            (`handler.watch.GRACE` at most); how it ended is returned even then, and the caller goes on with
            `Children.check`. All other children are stopped at once.
    """

    argv: tuple[str, ...]
    env: Mapping[str, str]
    timeout: float
    cwd: Path | None = None
    stdin: BinaryIO | None = None
    stdout: IO[bytes] | None = None
    on_line: Callable[[str], None] | None = None
    pass_fds: tuple[int, ...] = ()
    graceful: bool = False

    @property
    def program(self) -> str:
        return Path(self.argv[0]).name


@dataclass(frozen=True, kw_only=True)
class Result:
    """How a child ended: ``exit_code`` is negative for a signal; the texts are the last `TAIL_LINES` lines."""

    program: str
    exit_code: int
    stdout: str
    stderr: str
    seconds: float

    @property
    def tail(self) -> tuple[str, ...]:
        """The last words of the program, stderr first: that is where the reason usually is."""
        return tuple(line for text in (self.stderr, self.stdout) for line in text.splitlines() if line.strip())

    def require_success(self, doing: str) -> Result:
        """Return self, or raise ToolFailed that says what was being done and what the program said."""
        if self.exit_code != 0:
            raise failure(self.program, self.exit_code, doing, self.tail)
        return self


def failure(program: str, exit_code: int, doing: str, tail: tuple[str, ...]) -> ToolFailed:
    """The error for a program that ended badly; a full disk is named as such."""
    if any("no space left on device" in line.lower() for line in tail):
        return disk_full(doing, tail)
    how = f"killed by {signal.Signals(-exit_code).name}" if exit_code < 0 else f"exit {exit_code}"
    return ToolFailed(f"{program} failed while {doing} ({how})", details=tail[-10:])


@dataclass
class Child:
    """A running program; `Children.started` ends it in any case."""

    command: Command
    began: float
    running: sh.RunningCommand = field(init=False)
    out: deque[str] = field(default_factory=lambda: deque(maxlen=TAIL_LINES))
    err: deque[str] = field(default_factory=lambda: deque(maxlen=TAIL_LINES))
    problem: list[BaseException] = field(default_factory=list)

    @property
    def pid(self) -> int:
        return int(self.running.pid)

    @property
    def over(self) -> bool:
        """Whether it has ended, or should have: `Children.wait` then comes back at once."""
        return not self.running.process.is_alive()[0] or time.monotonic() > self.began + self.command.timeout

    def take(self, keep: deque[str], forward: Callable[[str], None] | None, line: str) -> None:
        # An exception in an sh callback is swallowed or hangs the run, so it is kept for the main thread.
        try:
            keep.append(line.rstrip("\r\n"))
            if forward and not self.problem:
                forward(keep[-1])
        except BaseException as error:  # noqa: BLE001
            self.problem.append(error)


def _timed_out(child: Child) -> TimedOut:
    command = child.command
    return TimedOut(f"{command.program} took longer than {command.timeout:.0f} s", details=tuple(child.err))


class Children:
    """Owner of all children of this process."""

    def __init__(self, watch: Watch) -> None:
        self._watch = watch
        self._together = False

    def check(self) -> None:
        """Raise Interrupted once a signal has come; called between any two steps that take time."""
        if self._watch.signum and not self._together:
            raise Interrupted(self._watch.signum)

    def sleep(self, seconds: float) -> None:
        """Wait, but not through a signal."""
        self._watch.wait(seconds)
        self.check()

    @contextlib.contextmanager
    def uninterrupted(self) -> Iterator[None]:
        """Run a few short steps that belong together even when a signal comes; the next `check` raises it."""
        self.check()
        with self._watch.shielded():
            self._together = True
            try:
                yield
            finally:
                self._together = False

    def run(self, command: Command) -> Result:
        """Run to the end.

        Raises:
            ToolMissing: there is no such program.
            TimedOut: it took longer than ``command.timeout`` and was killed.
            Interrupted: the handler was told to stop.
        """
        with self.started(command) as child:
            return self.wait(child)

    def stream(self, command: Command, take: Callable[[memoryview], None]) -> Result:
        """Run to the end and hand stdout over in pieces of at most `CHUNK` bytes; raises as `run` does."""
        read, write = os.pipe()
        try:
            with (
                open(write, "wb") as stdout,  # noqa: PTH123
                self.started(dataclasses.replace(command, stdout=stdout)) as child,
            ):
                stdout.close()  # the child has its own; only then is there an end to read
                self._drain(read, child, take)
                return self.wait(child)
        finally:
            os.close(read)

    def _drain(self, read: int, child: Child, take: Callable[[memoryview], None]) -> None:
        buffer = memoryview(bytearray(CHUNK))
        poll = select.poll()
        poll.register(read, select.POLLIN)
        while True:
            self.check()
            if time.monotonic() > child.began + child.command.timeout:
                raise _timed_out(child)
            if poll.poll(200):
                count = os.readv(read, [buffer])
                if not count:
                    return
                take(buffer[:count])

    @contextlib.contextmanager
    def started(self, command: Command) -> Iterator[Child]:
        """Start a program and make sure that it does not outlive the block."""
        self.check()
        # A signal that finds it half started must not stop it like any other child, and then once more as this one.
        with self._watch.shielded() if command.graceful else contextlib.nullcontext():
            child = self._start(command)
            if command.graceful:
                self._watch.graceful = child.pid
        try:
            yield child
        finally:
            if child.running.process.is_alive()[0]:
                self._kill(child)
            self._watch.graceful = None

    def wait(self, child: Child) -> Result:
        """Wait for the end of a started child; raises as `run` does."""
        pause = 0.001
        deadline = child.began + child.command.timeout
        while child.running.process.is_alive()[0]:
            self._watch.wait(pause) if not self._watch.signum else time.sleep(pause)
            pause = min(pause * 1.5, 0.05)
            if self._watch.signum and not child.command.graceful:
                self._kill(child)
            if time.monotonic() > deadline and not self._watch.signum:
                self._kill(child)
                raise _timed_out(child)
        child.running.wait()
        if not child.command.graceful:
            self.check()
        if child.problem:
            raise child.problem[0]
        return Result(
            program=child.command.program,
            exit_code=int(child.running.exit_code),
            stdout="\n".join(child.out),
            stderr="\n".join(child.err),
            seconds=time.monotonic() - child.began,
        )

    def _start(self, command: Command) -> Child:
        import sh  # noqa: PLC0415  # 100 ms that --help need not pay

        try:
            program = sh.Command(command.argv[0], search_paths=command.env.get("PATH", os.defpath).split(":"))
        except sh.CommandNotFound:
            raise ToolMissing(f"{command.argv[0]} was not found in PATH") from None
        for fd in command.pass_fds:
            os.set_inheritable(fd, True)  # noqa: FBT003  # sh does not do it
        child = Child(command=command, began=time.monotonic())
        with Path(os.devnull).open("rb") as nothing:
            child.running = program(
                *command.argv[1:],
                _in=command.stdin or nothing,
                _out=command.stdout or (lambda line: child.take(child.out, command.on_line, line)),
                _err=lambda line: child.take(child.err, None, line),
                _env=dict(command.env),
                _cwd=str(command.cwd) if command.cwd else None,
                _pass_fds=set(command.pass_fds),
                _tty_out=False,
                _new_group=True,
                _bg=True,
                _bg_exc=False,
                _ok_code=list(range(-65, 256)),
                _decode_errors="replace",
                _internal_bufsize=0,
                _return_cmd=True,
            )
        return child

    def _kill(self, child: Child) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(child.running.process.pgid, signal.SIGKILL)
        child.running.wait()
