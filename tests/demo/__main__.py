"""`./dev demo`: a cluster is installed, backed up, lost and brought back; every promise is checked on the way.

`./dev demo --image` tells the same story by `docker run`, with the practice host in a second container.
"""

from __future__ import annotations

import argparse
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from tests.demo.session import Broken, Session
from tests.practice.choice import Host
from tests.practice.container.engine import ENGINE, network
from tests.practice.container.host import ContainerHost
from tests.practice.host import PracticeHost, install_k0sctl, practice_cluster

ROOT = Path(__file__).resolve().parents[2]
IMAGE = "localhost/k0sctl-handler:practice"
#: How the variables begin that tell where the engine is: DOCKER_HOST, CONTAINER_ENGINE, XDG_RUNTIME_DIR, ...
OF_THE_ENGINE = ("CONTAINER", "DOCKER_", "XDG_")
UID = "ssh -F ssh_config node k0s kubectl get namespace kube-system -o 'jsonpath={.metadata.uid}'"
OBJECTS = "ssh -F ssh_config node k0s kubectl get configmaps -o name"


def readme_lines(mark: str) -> list[str]:
    """The lines of the README's shell block that stands behind a mark; continued ones as one."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    found = re.search(rf"<!-- run:{mark} -->\n```sh\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    if found is None:
        raise Broken(f"README.md has no block <!-- run:{mark} -->")
    return [line for line in found[1].replace("\\\n", "").splitlines() if line and not line.startswith("#")]


@contextmanager
def practice(*, image: bool) -> Iterator[tuple[Host, Session]]:
    """A practice host and a user beside it, both in a temporary directory that goes at the end."""
    base = Path(tempfile.mkdtemp(prefix="demo-", dir="/tmp"))  # short: gpg-agent's socket has to fit in
    work, tools = base / "work", base / "bin"
    work.mkdir(mode=0o700)
    host: Host
    if image:
        install_docker(tools)
        host = ContainerHost(base / "practice", name="node")
    else:
        install_k0sctl(tools)
        host = PracticeHost(base / "practice", name="node")
    try:
        host.start()
        give(work, host)
        session = Session(work, environment(base, tools), handler="handler" if image else "k0sctl-handler")
        try:
            yield host, session
        finally:
            session.close()
    finally:
        for home in ("gnupg", "safe"):
            subprocess.run(["gpgconf", "--homedir", work / home, "--kill", "all"], capture_output=True, check=False)
        host.stop()
        shutil.rmtree(base, ignore_errors=True)


def install_docker(tools: Path) -> None:
    """A `docker` that is the engine of this machine, and whose containers reach the practice host."""
    tools.mkdir()
    program = tools / "docker"
    theirs = {"HOME": str(Path.home()), "PATH": os.environ["PATH"]}
    theirs |= {name: value for name, value in os.environ.items() if name.startswith(OF_THE_ENGINE)}
    exports = "\n".join(f"export {name}={shlex.quote(value)}" for name, value in theirs.items())
    program.write_text(
        f"""#!/bin/sh
# the environment of who runs the demo: the engine is looked for there, and not here again
{exports}
[ "$1" != run ] || {{ shift; set -- run --network {network()} "$@"; }}
exec '{ENGINE}' "$@"
""",
        encoding="utf-8",
    )
    program.chmod(0o755)


def give(work: Path, host: Host) -> None:
    """What the user has at the beginning: a configuration, the hosts' keys, and the way to log in."""
    practice_cluster(work / "config", [host])
    (work / "config/known_hosts").write_text(host.known_hosts_lines(), encoding="utf-8")
    shutil.copy(host.private_key, work / "ssh_key")
    options = {
        "HostName": host.address, "Port": host.port, "User": host.user, "IdentityFile": work / "ssh_key",
        "IdentitiesOnly": "yes", "UserKnownHostsFile": work / "config/known_hosts", "StrictHostKeyChecking": "yes",
    }  # fmt: skip
    lines = "".join(f"  {name} {value}\n" for name, value in options.items())
    (work / "ssh_config").write_text(f"Host node\n{lines}", encoding="utf-8")


def environment(base: Path, tools: Path) -> dict[str, str]:
    """The user's environment: nothing of the real one but how to find programs and the terminal."""
    home, tmp = base / "home", base / "tmp"
    home.mkdir(mode=0o700)
    tmp.mkdir(mode=0o700)
    passed_on = ("LANG", "LC_ALL", "TERM", "COLORTERM", "NO_COLOR", "COLUMNS", "LINES", "CI", "ATC_EXTERNAL_URL")
    return {
        **{name: os.environ[name] for name in passed_on if name in os.environ},
        "PATH": f"{tools}:{Path(sys.executable).parent}:{os.environ['PATH']}",
        "HOME": str(home),
        "TMPDIR": str(tmp),
        "GIT_PAGER": "cat",
    }


def prepare(user: Session, *, image: bool) -> None:
    if image:
        user.tell(
            """A practice cluster is ready: one host, in a container, with a stand-in for k0s that behaves as the
            recorded real one; so does the k0sctl of this image. All else in the image is what a release has. What a
            user has is in a temporary directory, which is removed at the end; your own ~/.gnupg and ~/.ssh are not
            touched."""
        )
    else:
        user.tell(
            """A practice cluster is ready: one host, which is an sshd on a loopback port, with stand-ins for k0s and
            k0sctl that behave as the recorded real ones. Handler, gpg, openssl, git and ssh are the real ones. All of
            it is in a temporary directory, which is removed at the end; your own ~/.gnupg and ~/.ssh are not
            touched."""
        )
    user.type("ls", "cat config/k0sctl.yaml")
    user.title("1. A key pair for the cluster, and one for the safe")
    user.tell(
        """The cluster's key signs every commit and opens the backups' password. The recovery key opens the password
        too; its private half belongs offline. These are the lines of README.md."""
    )
    user.type(*readme_lines("cluster-key"), *readme_lines("recovery-key"))
    user.title("2. The backup branch")
    user.tell("Settings are environment variables; secrets can come from files. init makes a random password.")
    if image:
        user.type(*(f"image={IMAGE}" if line.startswith("image=") else line for line in readme_lines("docker")))
    else:
        user.type(
            'export K0SCTL_GPG_KEY_FILE="$PWD/cluster.asc"',
            'export K0SCTL_GPG_RECOVERY_FILE="$PWD/recovery.pub"',
            'export K0SCTL_SSH_KEY_FILE="$PWD/ssh_key"',
        )
    user.type(f"{user.handler} init")


def live(user: Session) -> str:
    """Install and back up twice; returns the cluster's UID."""
    user.title("3. Look before you leap, and install")
    user.tell("check changes nothing; each warning and each problem comes with the line that mends it.")
    user.type(f"{user.handler} check", f"{user.handler} apply")
    uid = user.ask(UID)
    user.promise(f"a new cluster runs; its UID is {uid}", kept=bool(uid))
    user.title("4. Work with it, and back it up")
    user.type(
        "ssh -F ssh_config node k0s kubectl create configmap first",
        f"{user.handler} backup",
        "ssh -F ssh_config node k0s kubectl create configmap second",
        f"{user.handler} backup",
        OBJECTS,
        f"{user.handler} list",
        f"{user.handler} status",
        "cat auditlog/k0sctl_handler.prom",
    )
    return uid


def lose_and_bring_back(user: Session, host: Host, uid: str) -> None:
    user.title("5. The host is lost")
    user.tell("The practice host gets an empty disk (nothing to type here). Its k0s knows no cluster any more:")
    host.wipe()
    user.type("ssh -F ssh_config node k0s status", fails=True)
    user.title("6. Bring it back")
    user.tell(
        """The same command as for the installation. It finds no cluster, restores the latest backup, and calls it
        restored only when the cluster that runs afterwards has the UID of the one that was backed up."""
    )
    user.type(f"{user.handler} apply", OBJECTS)
    objects = user.ask(OBJECTS).splitlines()
    user.promise("both objects are back", kept={"configmap/first", "configmap/second"} <= set(objects))
    user.promise(f"it is the same cluster: {uid}", kept=user.ask(UID) == uid)


def look(user: Session) -> None:
    user.title("7. What is in the repository")
    user.tell(
        """Two backups, each with its configuration and a manifest. Every commit is signed: G is gpg's word for a good
        signature."""
    )
    user.type("ls -l backup", "git -C backup log --format='%h %G? %s'", 'cat "$(ls backup/*.json | tail -n 1)"')
    signatures = user.ask("git -C backup log --format='%G?'").split()
    user.promise("three commits, all signed by the cluster's key", kept=signatures == ["G"] * 3)
    user.title("8. By hand")
    user.tell("A backup as a file: verified, decrypted, mode 0600.")
    user.type(f"{user.handler} restore --to cluster.tar.gz", "tar --list --gzip --file cluster.tar.gz | head")
    user.title("9. Break glass")
    user.tell(
        """No handler, and the cluster's key is lost: a clone of the branch, the recovery key from the safe, and the
        block in the branch's README.md, which needs only gpg, openssl and tar."""
    )
    user.type(
        'mkdir safe && export GNUPGHOME="$PWD/safe"',
        "gpg -q --batch --import recovery.asc cluster.pub",
        "git clone -q backup clone && cd clone",
        *readme_lines("break-glass"),
        "cmp k0s_backup_*.tar.gz ../cluster.tar.gz",
        "cd .. && ls auditlog",
    )
    user.tell("auditlog has a report of every run, and k0sctl's log, secrets masked.")
    user.promise("both ways gave the same bytes", kept=True)
    by_hand = " && ".join(["cd clone", *readme_lines("by-hand")])
    user.ask(f"({by_hand}) 2>&1 && cmp archive.tar.gz cluster.tar.gz && cmp k0sctl.yaml config/k0sctl.yaml")
    user.promise("so do the lines of README.md that open any backup by hand", kept=True)


def put_an_end(user: Session, host: Host) -> None:
    user.title("10. The end of a cluster")
    user.tell(
        """reset runs only because a fresh backup of this very cluster is there, and proven by a full decryption. k0sctl
        says "ok" to a reset that failed, too, so the handler looks at the host itself afterwards."""
    )
    user.type(f"{user.handler} reset")
    user.promise("nothing of k0s is left on the host", kept=not host.running() and host.uid() is None)


def ended_by(number: int, frame: FrameType | None) -> None:
    sys.exit(128 + number)


def main() -> int:
    parser = argparse.ArgumentParser(prog="./dev demo", description=__doc__)
    parser.add_argument("--image", action="store_true", help="by `docker run`, with the image that ./dev has built")
    image = parser.parse_args().image
    began = time.monotonic()
    signal.signal(signal.SIGTERM, ended_by)
    signal.signal(signal.SIGHUP, ended_by)
    try:
        with practice(image=image) as (host, user):
            prepare(user, image=image)
            uid = live(user)
            lose_and_bring_back(user, host, uid)
            look(user)
            put_an_end(user, host)
    except Broken as broken:
        print(f"\nThe demo FAILED: {broken}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nstopped; the practice cluster is removed", file=sys.stderr)
        return 130
    print(f"\nInstalled, backed up, lost and brought back in {time.monotonic() - began:.0f} s. Nothing is left behind.")
    return 0


sys.exit(main())
