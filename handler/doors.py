"""The SSH doors of many hosts, tried at once: does something listen, and does it speak SSH? And their names.

k0sctl stays silent for ten minutes when a host cannot be reached; this tells it in seconds.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
import time
from collections.abc import Callable, Coroutine, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Final, TypeVar

from handler.door import Answer, Door, Resolved

_Asked = TypeVar("_Asked")
_Told = TypeVar("_Told")
_ATTEMPT_TIMEOUT: Final = 5.0
_PAUSE: Final = 0.5
_AT_ONCE: Final = 64
#: RFC 4253, 4.2: lines may come before the one that begins with SSH-, and none is longer than 255 bytes.
_MOST_LINES: Final = 50
_LONGEST_LINE: Final = 255


def knock(doors: Sequence[Door], *, wait: float, check: Callable[[], None]) -> dict[Door, Answer]:
    """Try all doors until each is open or ``wait`` seconds have passed.

    Args:
        check: called several times a second; what it raises ends the search.
    """
    deadline = time.monotonic() + wait
    at_once = asyncio.Semaphore(_AT_ONCE)
    return _all(doors, lambda door: _until(door, deadline, at_once), check)


def resolve(names: Sequence[str], *, wait: float, check: Callable[[], None]) -> dict[str, Resolved]:
    """Ask for the addresses of all names, IPv4 and IPv6, for at most ``wait`` seconds.

    Args:
        check: called several times a second; what it raises ends the search.
    """
    return _all(names, lambda name: _addresses(name, wait), check)


class _NeverWaitedFor(ThreadPoolExecutor):
    """Runs each call in a daemon thread: a name server that does not answer must not hold up the end."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:  # noqa: ANN401
        future: Future[Any] = Future()
        future.set_running_or_notify_cancel()  # from now on nobody can cancel it, so an answer that comes late fits

        def call() -> None:
            try:
                future.set_result(fn(*args, **kwargs))
            except BaseException as error:  # noqa: BLE001
                future.set_exception(error)

        threading.Thread(target=call, daemon=True).start()
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:  # noqa: FBT001, FBT002
        """Nothing: no thread is waited for."""


def _all(
    asked: Sequence[_Asked], ask: Callable[[_Asked], Coroutine[Any, Any, _Told]], check: Callable[[], None]
) -> dict[_Asked, _Told]:
    """What each is answered with, in order; all are asked at once.

    ``check`` is called between two turns of the loop, never inside one: it may start programs, and `sh` would tie each
    of them to a loop that runs.
    """
    with asyncio.Runner() as runner:
        loop = runner.get_loop()
        loop.set_default_executor(_NeverWaitedFor())
        tasks = {one: loop.create_task(ask(one)) for one in dict.fromkeys(asked)}
        try:
            while waiting := [task for task in tasks.values() if not task.done()]:
                check()
                runner.run(asyncio.wait(waiting, timeout=0.1))
        finally:
            for task in tasks.values():
                task.cancel()
            runner.run(_ended(tasks.values()))
        return {one: task.result() for one, task in tasks.items()}


async def _ended(tasks: Iterable[asyncio.Task[Any]]) -> None:
    await asyncio.gather(*tasks, return_exceptions=True)


async def _addresses(name: str, wait: float) -> Resolved:
    try:
        async with asyncio.timeout(wait):
            found = await asyncio.get_running_loop().getaddrinfo(name, None)
    except TimeoutError:
        return Resolved(problem=f"no name server answers for {name} within {wait:g} s")
    except OSError as error:
        return Resolved(problem=f"{name} does not resolve ({error.strerror or error})")
    except ValueError as error:  # a name that cannot be one
        return Resolved(problem=f"{name} does not resolve ({error})")
    return Resolved(addresses=tuple(dict.fromkeys(str(address[0]) for *_, address in found)))


async def _until(door: Door, deadline: float, at_once: asyncio.Semaphore) -> Answer:
    while True:
        left = deadline - time.monotonic()
        async with at_once:
            answer = await _try(door, max(0.5, min(_ATTEMPT_TIMEOUT, left)))
        if answer.open or time.monotonic() + _PAUSE > deadline:
            return answer
        await asyncio.sleep(_PAUSE)


async def _try(door: Door, timeout: float) -> Answer:
    writer = None
    try:
        async with asyncio.timeout(timeout):
            reader, writer = await asyncio.open_connection(door.address, door.port, limit=4096)
            return await _greeting(reader)
    except TimeoutError:
        return Answer(problem="connected, but no SSH greeting came" if writer else "no answer")
    except OSError as error:
        # asyncio puts its own words in the place of the system's
        known = error.errno if error.errno and error.errno > 0 else None
        return Answer(problem=os.strerror(known) if known else error.strerror or str(error))
    except ValueError as error:  # a name that cannot be one
        return Answer(problem=str(error))
    finally:
        if writer is not None:
            writer.close()
            with contextlib.suppress(OSError, TimeoutError):
                await asyncio.wait_for(writer.wait_closed(), 1)


async def _greeting(reader: asyncio.StreamReader) -> Answer:
    for _ in range(_MOST_LINES):
        try:
            line = (await reader.readline()).decode("ascii", "replace").strip()
        except ValueError:  # longer than any line may be
            break
        if line.startswith("SSH-"):
            return Answer(banner="".join(filter(str.isprintable, line[:_LONGEST_LINE])))
        if reader.at_eof():
            return Answer(problem="connected, and closed again without an SSH greeting")
    return Answer(problem="connected, but it does not speak SSH")
