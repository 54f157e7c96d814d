"""docker or podman, for practice hosts: their image, and the network of this process."""

import atexit
import functools
import os
import secrets
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
#: docker or podman, configured where the machine needs that.
ENGINE = str(ROOT / "image/engine.sh")
CONTEXT = ROOT / "tests/practice"
IMAGE = "localhost/k0sctl-handler/practice-host:dev"
LABEL = "k0sctl-handler.practice"


def succeeds(*words: str) -> bool:
    """Whether the engine does this."""
    return subprocess.run([ENGINE, *words], stdin=subprocess.DEVNULL, capture_output=True, check=False).returncode == 0


def call(*words: str) -> str:
    """What the engine prints."""
    done = subprocess.run(
        [ENGINE, *words], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )  # fmt: skip
    if done.returncode:
        raise RuntimeError(f"{ENGINE} {words[0]}: exit status {done.returncode}: {done.stderr}")
    return done.stdout.strip()


def base() -> str:
    """The image that hosts are made from, as the handler's; without a registry it is bootstrapped."""
    done = subprocess.run(
        [ROOT / "image/base.sh"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, check=True
    )
    return done.stdout.strip()


@functools.cache
def image() -> str:
    """Builds the image of practice hosts, or finds that nothing has changed since."""
    call("build", f"--build-arg=BASE={base()}", f"--tag={IMAGE}", f"--label={LABEL}=", "--network=host",
         f"--file={CONTEXT / 'container/Containerfile'}", str(CONTEXT))  # fmt: skip
    succeeds("image", "prune", "--force", f"--filter=label={LABEL}")  # what had this name before
    return IMAGE


@functools.cache
def network() -> str:
    """The network of this process; it goes with it, and those of processes that were killed go now."""
    for name in call("network", "ls", f"--filter=label={LABEL}", "--format={{.Name}}").split():
        if not Path(f"/proc/{name.split('-')[-2]}").exists():
            succeeds("network", "rm", name)
    name = f"k0sctl-practice-{os.getpid()}-{secrets.token_hex(3)}"
    call("network", "create", f"--label={LABEL}=", name)
    atexit.register(succeeds, "network", "rm", name)
    return name
