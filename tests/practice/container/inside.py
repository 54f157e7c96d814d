"""The first process of a practice host's container.

It makes the host, then answers calls: lines of JSON on stdin, `{"call": NAME, "arguments": [...]}`, with `"path"` for a
method of that path, without it for a method of the host. When stdin ends, the container ends.
"""

import json
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any, ClassVar

sys.path.insert(0, str(Path(__file__).resolve().parents[3]))

from tests.practice.host import PLAIN_TOOLS, PracticeHost
from tests.practice.hostshell import FOREIGN_LOCK, SYSTEM_PATH
from tests.practice.k0s.node import Node
from tests.practice.sshd import Sshd

HOME = Path("/root")
#: Only the image has it. The host's root directory is the real one: outside of a container nothing here may run.
MARK = Path("/etc/practice-host")


class OpenSshd(Sshd):
    """An sshd that serves the container's network, with plain sessions."""

    listen = "0.0.0.0"

    def _configuration(self) -> str:
        lines = super()._configuration().splitlines()
        plain = [line for line in lines if not line.startswith(("ForceCommand", "SetEnv"))]
        return "\n".join([*plain, "SetEnv PRACTICE_ROOT= LC_ALL=C.UTF-8", "Subsystem sftp internal-sftp", ""])


class Inside(PracticeHost):
    """The host, seen from inside of its container."""

    # the network is not asked, and k0sctl's `mount --make-rshared /` needs a right that the container has not
    plain_tools: ClassVar = {name: PLAIN_TOOLS[name] for name in ("curl", "mount")}

    def __init__(self, name: str, storage: str, role: str, authorized_key: str) -> None:
        if not MARK.exists():
            raise RuntimeError(f"this is no practice host: there is no {MARK}")
        super().__init__(HOME / "practice", name=name, storage=storage, role=role)
        self.root = Path("/")
        self.node = Node(self.root)
        self.base.mkdir(parents=True)
        self.private_key.touch()  # it stays outside; only its other half is here
        public = self.private_key.with_suffix(".pub")
        public.write_text(authorized_key, encoding="ascii")
        self.sshd = OpenSshd(self.base / "sshd", self.root, public)
        self.sshd.port = 22
        words = subprocess.run(["hostname", "-I"], capture_output=True, text=True, check=True).stdout.split()
        self.address = words[0]
        self._unlocked = threading.Event()

    def facts(self) -> dict[str, str]:
        """What the outside has to know."""
        return {"address": self.address, "user": self.user}

    def known_hosts_lines(self) -> str:
        return super().known_hosts_lines().replace(f"[127.0.0.1]:{self.port}", self.address)

    def run(self, command: str) -> str:
        environment = {"PATH": SYSTEM_PATH, "HOME": str(HOME), "USER": "root", "LC_ALL": "C.UTF-8", "PRACTICE_ROOT": ""}
        done = subprocess.run(
            ["/bin/sh", "-c", command], env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True,
            cwd=HOME, check=False,
        )  # fmt: skip
        if done.returncode:
            raise RuntimeError(f"{command}: exit status {done.returncode}: {done.stderr}")
        return done.stdout

    def fault(self, name: str, value: str = "") -> None:
        super().fault(name, value)
        if name == "locked":
            self._unlocked.clear()
            self._lock()
            threading.Thread(target=self._keep_locked, daemon=True).start()

    def clear_fault(self, name: str) -> None:
        if name == "locked":
            self._unlocked.set()
        super().clear_fault(name)

    def _lock(self) -> None:
        (self.root / "tmp/k0sctl.lock").write_text(FOREIGN_LOCK, encoding="utf-8")

    def _keep_locked(self) -> None:
        while not self._unlocked.wait(1):
            self._lock()


def answer(host: Inside, request: dict[str, Any]) -> dict[str, Any]:
    """Does what one line asks for."""
    target: Any = Path(request["path"]) if "path" in request else host
    try:
        result = getattr(target, request["call"])(*request["arguments"])
    except FileNotFoundError as error:
        return {"missing": str(error)}
    except Exception as error:  # noqa: BLE001  # the other side raises it again
        return {"error": f"{type(error).__name__}: {error}"}
    if isinstance(result, Path):
        return {"paths": str(result)}
    if hasattr(result, "__next__"):
        return {"paths": sorted(map(str, result))}
    return {"result": result}


def serve() -> None:
    """Makes the host and answers until nobody asks any more."""
    host = Inside(*json.loads(sys.stdin.readline()))
    host.start()
    print(json.dumps({"result": host.facts()}), flush=True)
    for line in sys.stdin:
        print(json.dumps(answer(host, json.loads(line))), flush=True)


def main() -> None:
    """Reaps what others leave, as the first process has to; a child does the work."""
    if os.getpid() != 1:
        sys.exit("this is the first process of a container, and nothing else")
    worker = os.fork()
    if worker == 0:
        serve()
        return
    while os.wait()[0] != worker:
        pass


if __name__ == "__main__":
    main()
