"""The lock file on the hosts that keeps two k0sctl apart. apply does not take it."""

import os
import socket
import threading
import time
from datetime import datetime

from tests.practice.k0sctl.facts import each
from tests.practice.k0sctl.log import Fatal
from tests.practice.k0sctl.run import Cancelled, Run
from tests.practice.k0sctl.ssh import Host

LOCK = "/tmp/k0sctl.lock"
BUSY = (
    f"another instance of k0sctl is currently operating on the host, delete {LOCK} or wait 30 seconds for it to expire"
)
STAT = "env -i PATH=\"$PATH\" LC_ALL=C stat -c '%#f %s %y //%n//' -- {} 2> /dev/null"


class _HeldLocks:
    """The hosts whose lock file is ours."""

    def __init__(self) -> None:
        self.hosts: list[Host] = []
        self.released = threading.Event()

    def release(self) -> None:
        """Gives all of them back."""
        self.released.set()
        while self.hosts:
            self.hosts.pop().execute(f"rm -f {LOCK}", always=True)

    def keep_fresh(self) -> None:
        """Renews them every 10 seconds, so that nobody thinks that their owner is dead."""
        while not self.released.wait(10):
            for host in self.hosts:
                host.touch(LOCK)


def take(run: Run, hosts: list[Host]) -> None:
    """Takes the lock file on every host, waiting for another k0sctl for a while."""
    run.phase("Acquire exclusive host lock")
    content = f"{socket.gethostname()}-{os.getpid()}"
    held = _HeldLocks()
    run.cleanups.append(("Acquire exclusive host lock", held.release))
    run.on_cancel.append(held.release)

    def one(host: Host) -> None:
        error = BUSY
        for attempt in range(1, 11):
            if attempt > 1:
                run.out.debug(f"retrying: attempt {attempt} of 10 (previous error: {error})")
            if _take_lock(host, content):
                held.hosts.append(host)
                return
            if attempt < 10 and not run.wait(5):
                raise Cancelled(f"retry: context done after {attempt} attempts: {run.over()}: {error}")
        raise Fatal(f"retry limit exceeded after 10 attempts: {error}")

    each(hosts, one)
    threading.Thread(target=held.keep_fresh, daemon=True).start()


def _take_lock(host: Host, content: str) -> bool:
    found = host.batch('[ "$(id -u)" = 0 ]', "test -f /run/lock", STAT.format(LOCK), f"cat -- {LOCK}", sudo=True)
    if found[2].status == 0:
        day, clock, zone = found[2].text.split()[2:5]
        modified = datetime.strptime(f"{day} {clock[:15]} {zone}", "%Y-%m-%d %H:%M:%S.%f %z")
        age = time.time() - modified.timestamp()
        if found[3].text != content and age < host.run.hurry(30):
            return False
    size = len(content)
    host.batch(f"install -m 0600 /dev/null {LOCK}", STAT.format(LOCK), sudo=True)
    host.must(f"dd of={LOCK} bs=1 count={size} seek=0 conv=notrunc", stdin=content.encode())
    return True


def release(run: Run) -> None:
    """Gives the lock back."""
    run.phase("Release exclusive host lock")
    for name, action in run.cleanups:
        if name == "Acquire exclusive host lock":
            action()
    run.cleanups.clear()
