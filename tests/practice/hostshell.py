"""The forced command of a practice host: confines what comes in over SSH to the host's root directory.

Absolute paths of the host in the command become paths below the root directory, and the root directory is taken out of
whatever the command prints, so that a client sees `/tmp/x` where the file really is `ROOT/tmp/x`.
Started once for each SSH command, hence few imports.
"""

# ruff: noqa: PTH110, PTH123
import os
import select
import sys
import time

HOST_PATHS = (
    "/etc/systemd/system",
    "/run/systemd/system",
    "/run/.containerenv",
    "/etc/k0s-standin",
    "/usr/local/sbin",
    "/usr/local/bin",
    "/var/lib/k0s",
    "/.dockerenv",
    "/etc/k0s",
    "/run/k0s",
    "/etc/init.d",
    "/var/tmp",
    "/tmp",
)
PART_OF_A_PATH = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.")
SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
FOREIGN_LOCK = "another-4711"


def _match(text: str, at: int) -> str:
    for path in HOST_PATHS:
        if text.startswith(path, at):
            after = text[at + len(path) : at + len(path) + 1]
            if after not in PART_OF_A_PATH and after != "-":
                return path
    return ""


def rewrite(command: str, root: str) -> str:
    """`command` with the host's paths moved below `root`; paths that are there already stay as they are."""
    pieces = []
    for number, piece in enumerate(command.split(root)):
        done = []
        at = 0
        if number and piece.startswith("/"):
            at = 1
            done.append("/")
        while at < len(piece):
            inside = at and (piece[at - 1] in PART_OF_A_PATH or piece[at - 1] == "/")
            path = "" if inside or piece[at] != "/" else _match(piece, at)
            done.append(root + path if path else piece[at])
            at += len(path) or 1
        pieces.append("".join(done))
    return root.join(pieces)


def environment(root: str) -> dict[str, str]:
    """What a command on the host finds in its environment."""
    return {
        "PATH": f"{root}/usr/local/sbin:{root}/usr/local/bin:{SYSTEM_PATH}",
        "HOME": f"{root}/root",
        "USER": "root",
        "LOGNAME": "root",
        "LC_ALL": "C.UTF-8",
        "PRACTICE_ROOT": root,
    }


def _keep_foreign_lock(root: str) -> None:
    if os.path.exists(f"{root}/etc/k0s-standin/locked"):
        with open(f"{root}/tmp/k0sctl.lock", "w", encoding="utf-8") as lock:
            lock.write(FOREIGN_LOCK)
        now = time.time()
        os.utime(f"{root}/tmp/k0sctl.lock", (now, now))


def _held_back(data: bytes, root: bytes) -> int:
    for length in range(min(len(root) - 1, len(data)), 0, -1):
        if data.endswith(root[:length]):
            return length
    return 0


def _write(target: int, data: bytes) -> None:
    """Writes everything; a client that is gone does not stop the command."""
    try:
        while data:
            data = data[os.write(target, data) :]
    except OSError:
        pass


def _relay(sources: dict[int, int], root: bytes) -> None:
    pending = dict.fromkeys(sources, b"")
    while sources:
        for source in select.select(list(sources), [], [])[0]:
            block = os.read(source, 1 << 16)
            data = pending[source] + block
            data = data.replace(root, b"")
            keep = _held_back(data, root) if block else 0
            pending[source] = data[len(data) - keep :]
            _write(sources[source], data[: len(data) - keep])
            if not block:
                del sources[source]


def main() -> int:
    """Runs the client's command and returns its exit status."""
    root = sys.argv[1]
    command = os.environ.get("SSH_ORIGINAL_COMMAND", "exec /bin/sh -s")
    _keep_foreign_lock(root)
    out_read, out_write = os.pipe()
    err_read, err_write = os.pipe()
    child = os.fork()
    if child == 0:
        os.dup2(out_write, 1)
        os.dup2(err_write, 2)
        os.chdir(f"{root}/root")
        os.execve("/bin/sh", ["/bin/sh", "-c", rewrite(command, root)], environment(root))
    os.close(out_write)
    os.close(err_write)
    _relay({out_read: 1, err_read: 2}, root.encode())
    return max(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), -1) & 0xFF


if __name__ == "__main__":
    sys.exit(main())
