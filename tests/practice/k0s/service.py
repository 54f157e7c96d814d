"""Stand-ins for systemctl and for the tools that look at processes, limited to one practice host."""

import os
import re
import signal
import subprocess
import sys
import time

from tests.practice.k0s.node import Node, die, is_alive


def unit_name(word: str) -> str:
    """`k0scontroller` and `k0scontroller.service` are the same unit."""
    return word.removesuffix(".service")


def start(node: Node, name: str) -> None:
    """Starts the unit's process and waits until it is up or dead."""
    unit = node.units / f"{name}.service"
    if not unit.exists():
        die(f"Failed to start {name}.service: Unit {name}.service not found.", 5)
    if node.pid() is not None:
        return
    words = unit.read_text(encoding="utf-8").rpartition("ExecStart=")[2].split()
    process = subprocess.Popen(
        words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, start_new_session=True
    )
    with (node.root / "var/log/pids").open("a", encoding="ascii") as pids:
        pids.write(f"{process.pid}\n")
    assert process.stdout is not None
    if process.stdout.readline() != b"up\n":
        die(f"Job for {name}.service failed because the control process exited with error code.")


def stop(node: Node) -> None:
    """Stops the host's k0s process."""
    pid = node.pid()
    if pid is None:
        return
    os.kill(pid, signal.SIGTERM)
    deadline = time.monotonic() + 5
    while is_alive(pid):
        if time.monotonic() > deadline:
            os.kill(pid, signal.SIGKILL)
        time.sleep(0.01)
    node.pid_file.unlink(missing_ok=True)


def runs(node: Node, name: str) -> bool:
    """Whether the unit's process runs."""
    if node.pid() is None:
        return False
    return node.args_file.read_text(encoding="utf-8").split("\n")[2] == name.removeprefix("k0s")


def systemctl() -> None:
    """`systemctl start|stop|restart|enable|status|is-active|daemon-reload`"""
    node = Node.here()
    words = [word for word in sys.argv[1:] if word not in ("-q", "--quiet", "--no-pager")]
    verb = words[0] if words else ""
    name = unit_name(words[-1])
    unit = node.units / f"{name}.service"
    if verb in ("start", "restart"):
        if verb == "restart":
            stop(node)
        start(node, name)
    elif verb == "stop":
        if not unit.exists():
            die(f"Failed to stop {name}.service: Unit {name}.service not loaded.", 5)
        stop(node)
    elif verb == "status":
        if not unit.exists():
            die(f"Unit {name}.service could not be found.", 4)
        state = "active (running)" if runs(node, name) else "inactive (dead)"
        print(f"* {name}.service\n     Loaded: loaded ({unit}; enabled)\n     Active: {state}")
        sys.exit(0 if runs(node, name) else 3)
    elif verb in ("is-active", "is-enabled", "cat"):
        good = runs(node, name) if verb == "is-active" else unit.exists()
        print("active" if good and verb == "is-active" else "enabled" if good else "inactive")
        sys.exit(0 if good else 3)


def processes() -> None:
    """`pgrep`, `pidof` and `ps`: nothing but the host's k0s is there to be seen."""
    node = Node.here()
    tool, words = sys.argv[1], sys.argv[2:]
    pid = node.pid()
    line = node.args_file.read_text(encoding="utf-8").split("\n", 1)[1].replace("\n", " ") if pid else ""
    pattern = words[-1] if words else ""
    if tool == "ps":
        print("    PID TTY          TIME CMD")
        print(f"{pid:>7} ?        00:00:01 {line}" if pid else "", end="\n" if pid else "")
        return
    exact = tool == "pidof" or any(word.startswith("-") and "x" in word for word in words[:-1])
    full = any(word.startswith("-") and "f" in word for word in words[:-1])
    wanted = pattern.rpartition("/")[2] if tool == "pidof" else pattern
    shown = line if full else "k0s"
    found = re.fullmatch(wanted, shown) if exact else re.search(wanted, shown)
    if pid is None or not found:
        sys.exit(1)
    print(f"{pid} {line}" if any(word.startswith("-") and "a" in word for word in words[:-1]) else pid)
