"""Start and end of the process: the only place that knows its environment."""

from __future__ import annotations

import ctypes
import json
import os
import resource
import signal
import sys
from pathlib import Path
from typing import Final

#: Names the descriptor through which the environment reaches the second start.
_HANDED_OVER: Final = "K0SCTL_HANDLER_ENVIRONMENT_FD"
#: What the interpreter, the dynamic linker and the terminal need; nothing of it is a secret.
_KEPT: Final[tuple[str, ...]] = (
    "PATH",
    "LD_LIBRARY_PATH",
    "TERM",
    "COLORTERM",
    "NO_COLOR",
    "FORCE_COLOR",
    "COLUMNS",
    "LINES",
)
_PR_SET_DUMPABLE: Final = 4


def main() -> None:
    """Entry point of the console script."""
    # Kept until `handler.watch` takes over: PID 1 would lose a signal that comes before, and others die without a word.
    signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGTERM, signal.SIGINT))
    variables = _take_over()
    _leave_no_core()
    os.umask(os.umask(0o077) | 0o022)  # what is written for others to read is not for them to write
    from handler.app import main as run  # noqa: PLC0415  # not needed by the first start

    sys.exit(run(sys.argv[1:], variables, Path.cwd()))


def _take_over() -> dict[str, str]:
    """The environment the user gave, taken out of this process.

    ``/proc/PID/environ`` shows what a process was started with, of every child too between fork and exec. So the
    handler starts itself anew without the variables and hands them over in memory that has no name.
    """
    handed_over = os.environ.pop(_HANDED_OVER, None)
    if handed_over is None:
        _start_anew()
        raise AssertionError("not reached")
    with open(int(handed_over), encoding="utf-8") as file:  # noqa: PTH123
        variables: dict[str, str] = json.load(file)
    kept: dict[str, str] = {name: variables[name] for name in _KEPT if name in variables}
    os.environ.clear()
    # GitPython copies this environment into its children, and looks for git when it is imported.
    os.environ.update({**kept, "LC_ALL": "C.UTF-8", "GIT_PYTHON_REFRESH": "quiet"})
    return variables


def _start_anew() -> None:
    fd = os.memfd_create("environment", 0)
    with open(os.dup(fd), "w", encoding="utf-8") as file:  # noqa: PTH123
        json.dump(dict(os.environ), file)
    os.lseek(fd, 0, os.SEEK_SET)
    kept: dict[str, str] = {
        name: value for name, value in os.environ.items() if name in _KEPT or name.startswith("PYTHON")
    }
    environment: dict[str, str] = {**kept, "LC_ALL": "C.UTF-8", _HANDED_OVER: str(fd)}
    os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], environment)  # noqa: S606


def _leave_no_core() -> None:
    """No core file, and none through a pipe either: a limit of one byte stops both (kernel, fs/coredump.c)."""
    _, hard = resource.getrlimit(resource.RLIMIT_CORE)
    limit = 0 if hard == 0 else 1
    resource.setrlimit(resource.RLIMIT_CORE, (limit, limit))
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)


if __name__ == "__main__":
    main()
