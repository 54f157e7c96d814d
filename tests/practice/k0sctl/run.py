"""One run of k0sctl: its log, deadline, signals, phases and what it has to clean up."""

import contextlib
import os
import select
import shutil
import signal
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType

from tests.practice.k0sctl.config import Cluster
from tests.practice.k0sctl.flags import Options
from tests.practice.k0sctl.log import Fatal, Log

DEFAULT_TIMEOUT = 600.0
CANCELED = "context canceled"
EXPIRED = "context deadline exceeded"


class Cancelled(Exception):
    """The run was cancelled or its time is over, and a command was not started for that reason."""


class Run:
    """What all phases share."""

    def __init__(self, out: Log, options: Options, cluster: Cluster, faults: Path) -> None:
        self.out, self.options, self.cluster, self.faults = out, options, cluster, faults
        self.started = time.monotonic()
        self.deadline = self.started + (options.timeout or DEFAULT_TIMEOUT)
        self.cancelled = 0.0
        self.on_cancel: list[Callable[[], None]] = []
        self.cleanups: list[tuple[str, Callable[[], None]]] = []
        self.phase_name = ""
        self.dry_lines: list[tuple[str, str]] = []
        self.scratch = Path(tempfile.mkdtemp(prefix="k0sctl-", dir="/tmp"))
        self._watch = start_watcher(self.scratch)
        self._wake, wake_write = os.pipe()
        os.set_blocking(wake_write, False)
        signal.set_wakeup_fd(wake_write, warn_on_full_buffer=False)
        signal.signal(signal.SIGTERM, self._signal)
        signal.signal(signal.SIGINT, self._signal)

    @property
    def dry(self) -> bool:
        """Whether nothing may be altered."""
        return self.options.on("dry-run")

    @property
    def force(self) -> bool:
        """Whether certain failures are ignored."""
        return self.options.on("force")

    def fault(self, name: str) -> str | None:
        """The value of a fault of this k0sctl, None when it is off."""
        try:
            return (self.faults / name).read_text(encoding="utf-8").strip()
        except OSError:
            return None

    def hurry(self, seconds: float) -> float:
        """A time to wait, shorter when the tests are in a hurry."""
        factor = self.fault("hurry")
        return seconds if factor is None else seconds / float(factor or 10)

    def forget(self) -> None:
        """Removes what the run needed on this machine."""
        os.close(self._watch)
        shutil.rmtree(self.scratch, ignore_errors=True)

    def watch(self, pid: int) -> None:
        """Names an SSH connection that must not outlive this process."""
        os.write(self._watch, f"{pid}\n".encode())

    def _signal(self, _number: int, _frame: FrameType | None) -> None:
        now = time.monotonic()
        if self.cancelled:
            if now - self.cancelled < 0.05:
                self.out.error("Forced exit")
                os._exit(130)
            return
        self.cancelled = now
        self.out.warning("Aborting... Press Ctrl-C again to exit now.")
        for action in self.on_cancel:
            action()

    def over(self) -> str:
        """Why no more commands may start, empty while they may."""
        if self.cancelled:
            return CANCELED
        return EXPIRED if time.monotonic() > self.deadline else ""

    def check(self, what: str = "") -> None:
        """Raises when no more commands may start."""
        over = self.over()
        if over:
            raise Cancelled(f"{what}runner context error: {over}")

    def wait(self, seconds: float) -> bool:
        """Waits; False as soon as the run is over."""
        until = time.monotonic() + self.hurry(seconds)
        while not self.over():
            left = min(until, self.deadline) - time.monotonic()
            if left <= 0:
                return not self.over() and time.monotonic() >= until
            if select.select([self._wake], [], [], left)[0]:
                os.read(self._wake, 100)
        return False

    def phase(self, name: str) -> None:
        """Enters a phase."""
        over = self.over()
        if over:
            raise Fatal(f'context canceled before entering phase "{name}": {over}')
        self.phase_name = name
        self.out.debug(f"Preparing phase '{name}'")
        self.out.info(f"==> Running phase: {name}")
        if name == "Gather k0s facts" and self.fault("k0sctl-crash") is not None:
            text = self.fault("k0sctl-crash") or "SEGV"
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            os.kill(os.getpid(), signal.Signals[f"SIG{text.removeprefix('SIG')}"])

    def skip(self, *names: str) -> None:
        """Notes phases that have nothing to do."""
        for name in names:
            self.out.debug(f"Preparing phase '{name}'")

    def clean_up(self) -> None:
        """Runs the clean-up of the phases that have one."""
        for name, action in self.cleanups:
            self.out.info(f"* Running clean-up for phase: {name}")
            action()


def start_watcher(scratch: Path) -> int:
    """A child that ends the SSH connections and removes the scratch directory when this process is gone."""
    watched, watch = os.pipe()
    if os.fork():
        os.close(watched)
        return watch
    try:
        os.close(watch)
        os.setsid()
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        quiet = os.open(os.devnull, os.O_RDWR)
        for stream in (0, 1, 2):
            os.dup2(quiet, stream)
        os.closerange(watched + 1, 64)
        names = b""
        while block := os.read(watched, 4096):
            names += block
        for pid in names.split():
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(pid), signal.SIGKILL)
        shutil.rmtree(scratch, ignore_errors=True)
    finally:
        os._exit(0)
