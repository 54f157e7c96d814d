"""Looks at all processes below one, from outside: which run, and what of them every user of the machine can see."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from types import TracebackType
from typing import Self


def descendants(root: int) -> list[int]:
    """Process ids of all living descendants of a process, nearest first."""
    parents: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError, ValueError, IndexError):
                words = (entry / "stat").read_text(errors="replace").rpartition(")")[2].split()
                if words[0] != "Z":
                    parents.setdefault(int(words[1]), []).append(int(entry.name))
    found = list(parents.get(root, ()))
    for pid in found:
        found.extend(parents.get(pid, ()))
    return found


def read(pid: int, what: str) -> bytes:
    try:
        return Path(f"/proc/{pid}/{what}").read_bytes()
    except OSError:
        return b""


def with_mark(mark: str) -> dict[int, str]:
    """All processes that have a text in their words, environment or working directory: orphans too."""
    found = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            pid = int(entry.name)
            with contextlib.suppress(OSError):
                where = os.fsencode(Path(f"/proc/{pid}/cwd").readlink())
                if mark.encode() in read(pid, "cmdline") + read(pid, "environ") + where:
                    found[pid] = read(pid, "cmdline").replace(b"\0", b" ").decode(errors="replace")
    return found


def wait_for(what: Callable[[], object], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.01)


class Watcher:
    """A thread that looks at a process and all below it as often as it can, for texts that must not be seen there.

    Attributes:
        found: process and place where one was seen.
        programs: names of all programs that were seen.
    """

    def __init__(self, root: int, texts: Iterable[str]) -> None:
        self.found: set[str] = set()
        self.programs: set[str] = set()
        self.looks = 0
        self._root = root
        self._texts = {text.encode() for text in texts}
        self._over = threading.Event()
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._look, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join()

    def learn(self, text: str) -> None:
        with self._lock:
            self._texts.add(text.encode())

    def _look(self) -> None:
        while not self._over.is_set():
            with self._lock:
                texts = tuple(self._texts)
            for pid in [self._root, *descendants(self._root)]:
                name = read(pid, "comm").decode(errors="replace").strip()
                self.programs.add(name)
                for what in ("cmdline", "environ"):
                    seen = read(pid, what)
                    self.found.update(f"{name} {what}" for text in texts if text in seen)
            self.looks += 1
