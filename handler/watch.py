"""Signals, from arrival to the last moment: a thread that acts even while the main thread waits in a library.

The interpreter writes each arriving signal to a pipe (`signal.set_wakeup_fd`); this thread reads it, passes it
on, and stops all descendants, so that whatever the main thread waits for comes to an end. The main thread only
looks at `Watch.signum` between its steps: no exception is ever raised into the middle of one.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

#: Seconds a graceful child has after a signal. A CI system kills ten seconds after its SIGTERM.
GRACE: Final = 6.0
#: Seconds after a signal at which the process ends, whatever the main thread does.
LAST_MOMENT: Final = 6.9
#: Seconds between SIGTERM, on which git removes its lock files, and SIGKILL.
TERM_TO_KILL: Final = 1.0

#: Signals that end a process by default; those besides SIGINT are taken for SIGTERM, so that none leaves a key behind.
STOPPING: Final = (
    signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2, signal.SIGALRM, signal.SIGVTALRM,
    signal.SIGXCPU,
)  # fmt: skip

_PR_SET_CHILD_SUBREAPER: Final = 36


def adopt_orphans() -> None:
    """Make this process the new parent of its descendants' orphans, as PID 1 is by nature (prctl(2))."""
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def descendants(root: int | None = None) -> list[int]:
    """Process ids of all living descendants of a process (this one by default), nearest first."""
    parents: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError, ValueError):
                after_name = (entry / "stat").read_text(errors="replace").rpartition(")")[2].split()
                if after_name[0] != "Z":
                    parents.setdefault(int(after_name[1]), []).append(int(entry.name))
    found = list(parents.get(root or os.getpid(), ()))
    for pid in found:
        found.extend(parents.get(pid, ()))
    return found


def reap() -> None:
    """Collect children that have ended, adopted ones too."""
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


class Watch:
    """What is done about SIGTERM and SIGINT.

    Args:
        last_moment: called just before the process is ended by force; wipes what is private.
    """

    def __init__(self, last_moment: Callable[[], None] = lambda: None) -> None:
        self.signum: int = 0
        self.graceful: int | None = None
        self._last_moment = last_moment
        self._shield = threading.Lock()
        self._came = threading.Event()
        self._over = threading.Event()
        self._read, self._write = -1, -1

    def install(self) -> None:
        """Take over SIGTERM and SIGINT, PID 1's missing defaults included; main thread only."""
        adopt_orphans()
        self._read, self._write = os.pipe()
        os.set_blocking(self._write, False)
        signal.set_wakeup_fd(self._write, warn_on_full_buffer=False)
        for signum in STOPPING:
            signal.signal(signum, lambda *_: None)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, STOPPING)
        # A closed terminal or pipe is not a reason to leave a backup half done.
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        threading.Thread(target=self._act, name="signals", daemon=True).start()

    def wait(self, seconds: float) -> None:
        """Sleep until a signal comes, at most this long."""
        self._came.wait(seconds)

    @contextlib.contextmanager
    def shielded(self) -> Iterator[None]:
        """Descendants are left alone inside this block, up to the grace period."""
        with self._shield:
            yield

    def finish(self) -> None:
        """End all descendants; called once, when the work is over. Nothing is left behind, zombies neither."""
        self._over.set()
        deadline = time.monotonic() + TERM_TO_KILL
        while left := descendants():
            _signal_all(left, signal.SIGTERM if time.monotonic() < deadline - TERM_TO_KILL / 2 else signal.SIGKILL)
            if time.monotonic() > deadline + 1:
                break  # a child in uninterruptible sleep: nobody can end it
            time.sleep(0.01)
            reap()
        reap()

    def _act(self) -> None:
        while not self.signum:
            for signum in os.read(self._read, 64):
                if signum in STOPPING:
                    self.signum = self.signum or (signal.SIGINT if signum == signal.SIGINT else signal.SIGTERM)
        began = time.monotonic()
        self._came.set()
        told: int | None = None
        while True:
            if self.graceful not in {None, told}:  # once, also to one that was just being started
                told = self.graceful
                _signal_all([told] if told else [], signal.SIGTERM)
            passed = time.monotonic() - began
            if passed > LAST_MOMENT:
                self._end_by_force()
            self._stop_descendants(passed)
            if self._over.wait(0.05):
                return

    def _stop_descendants(self, passed: float) -> None:
        if passed < GRACE and not self._shield.acquire(blocking=False):
            return
        try:
            graceful = self.graceful if passed < GRACE else None
            spared = {graceful, *descendants(graceful)} if graceful else set()
            left = [pid for pid in descendants() if pid not in spared]
            _signal_all(left, signal.SIGTERM if passed < TERM_TO_KILL else signal.SIGKILL)
        finally:
            if self._shield.locked() and passed < GRACE:
                self._shield.release()

    def _end_by_force(self) -> None:
        try:
            _signal_all(descendants(), signal.SIGKILL)
            self._last_moment()
        finally:
            os._exit(128 + self.signum)


def _signal_all(pids: list[int], signum: int) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, signum)
