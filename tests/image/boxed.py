"""A working directory whose handler is the image."""

from __future__ import annotations

import os
import secrets
from pathlib import Path, PurePath

from handler.settings.table import SETTINGS
from tests.practice.container.engine import ENGINE, call, network, succeeds
from tests.practice.container.host import ContainerHost
from tests.support.keys import KeyPair
from tests.support.lab import Ended, Lab

#: Values travel by the engine's own environment, so that they are not in its arguments.
PASSED_ON = [
    f"--env={name}"
    for setting in SETTINGS
    for name in (setting.name, f"{setting.name}_FILE")
] + ["--env=ATC_EXTERNAL_URL", "--env=CI"]  # fmt: skip


def is_podman() -> bool:
    """Some options differ."""
    return "podman" in call("--version")


def as_user(number: int) -> tuple[str, ...]:
    """A user without an entry in passwd; podman would make one."""
    return (f"--user={number}:{number}", *(("--passwd=false",) if is_podman() else ()))


def read_only() -> tuple[str, ...]:
    """A read-only container whose only writable place is /tmp; podman has more of them."""
    return ("--read-only", "--tmpfs=/tmp", *(("--read-only-tmpfs=false",) if is_podman() else ()))


def is_host_key(path: PurePath) -> bool:
    """What only the stand-in k0sctl writes into /tmp; killed in the middle, it leaves that behind."""
    return path.match("k0sctl-*/known-*")


class Boxed(Lab):
    """Runs the handler by `docker run`, the working directory mounted.

    Args:
        options: further options of `docker run`.
        owner: whom the working directory belongs to.
    """

    def __init__(
        self, directory: Path, host: ContainerHost, key: KeyPair, image: str, *options: str, owner: int = 0
    ) -> None:
        super().__init__(directory, [host], key)
        self.image = image
        self.options = [*options]
        self.name = ""
        os.chown(self.work, owner, owner)

    def env(self, **changes: str | None) -> dict[str, str]:
        ours = super().env(**changes)
        settings = {name: value for name, value in ours.items() if name.startswith("K0SCTL_") or name in changes}
        return {**{name: value for name, value in os.environ.items() if not name.startswith("K0SCTL_")}, **settings}

    def command(self, *arguments: str) -> list[str]:
        self.name = f"k0sctl-handler-test-{os.getpid()}-{secrets.token_hex(4)}"
        return [
            ENGINE, "run", f"--name={self.name}", f"--network={network()}", f"--volume={self.work}:/work",
            *PASSED_ON, *self.options, self.image, *arguments,
        ]  # fmt: skip

    def run(self, *arguments: str, **env: str | None) -> Ended:
        try:
            return super().run(*arguments, **env)
        finally:
            self.remove()

    def remove(self) -> None:
        """Removes the container, running or not."""
        succeeds("rm", "--force", "--volumes", self.name)
