"""The proportional set size of a process and its descendants, sampled."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from types import TracebackType
from typing import Self


class PeakMemory:
    """Samples until the block ends; ``peak`` is the largest sum, in bytes.

    Args:
        without: names of programs that do not count.
    """

    def __init__(self, without: tuple[str, ...] = ()) -> None:
        self.peak = 0
        self._without = without
        self._root = 0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join()

    def watch(self, pid: int) -> None:
        self._root = pid

    def _sample(self) -> None:
        while not self._over.is_set():
            if self._root:
                self.peak = max(self.peak, sum(_pss(pid) for pid in self._family()))
            time.sleep(0.01)

    def _family(self) -> list[int]:
        parents: dict[int, list[int]] = {}
        names: dict[int, str] = {}
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                try:
                    head, _, tail = (entry / "stat").read_text().rpartition(")")
                except OSError:
                    continue
                names[int(entry.name)] = head.partition("(")[2]
                parents.setdefault(int(tail.split()[1]), []).append(int(entry.name))
        found = [self._root]
        for pid in found:
            found.extend(child for child in parents.get(pid, ()) if names[child] not in self._without)
        return found


def _pss(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:")), 0)
