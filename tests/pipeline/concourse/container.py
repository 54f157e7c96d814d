"""Runs the tasks of a pipeline in containers of the image."""

from __future__ import annotations

import subprocess
import time
from typing import Final

from tests.image.task import Task
from tests.pipeline.concourse.build import Call
from tests.pipeline.concourse.resources import StepErrored
from tests.support.lab import Ended

#: From TERM to KILL.
GRACE: Final = 10
#: What a shell ends with that finds no such program.
_NOT_FOUND: Final = 127


def in_container(call: Call) -> Ended:
    """One task in a container of its own; an abort is TERM, and KILL ten seconds later."""
    task = Task(call.image, call.places, call.user)
    try:
        process, terminal = task.start(call.words, call.env)
        _wait(process, task, call)
        if process.returncode == _NOT_FOUND and not task.has(call.words[0]):
            raise StepErrored(f"exec: {call.words[0]}: executable file not found in $PATH")
        text = terminal.text()
        return Ended(process.returncode, text, text)
    finally:
        task.close()


def _wait(process: subprocess.Popen[bytes], task: Task, call: Call) -> None:
    kill_at = float("inf")
    while process.poll() is None:
        if kill_at == float("inf") and call.abort():
            task.signal("TERM")
            kill_at = time.monotonic() + GRACE
        if time.monotonic() > kill_at:
            task.signal("KILL")
            kill_at = time.monotonic() + GRACE
        time.sleep(0.02)
