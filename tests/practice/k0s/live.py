"""The calls of the stand-in k0s that touch the datastore of a cluster: running it, and kubectl."""

import os
import signal
import time
from pathlib import Path
from types import FrameType

from tests.practice.k0s import archive
from tests.practice.k0s.node import Failure, Node, option
from tests.practice.k0s.store import State, Store, open_store, storage_type

REFUSED = "The connection to the server localhost:6443 was refused - did you specify the right host or port?"
NO_API = "The connection to the server localhost:8080 was refused - did you specify the right host or port?"


def controller(node: Node, words: list[str]) -> None:
    """`k0s controller|worker`: runs until it is stopped; says on its stdout when it is up."""
    node.sleep_if("slow-start")
    node.fail_if("fail-controller", "cannot start")
    if words[0] == "controller":
        storage = storage_type(Path(option(words, "config", str(node.config))))
        archive.lay_out(node, storage)
        store = open_store(storage, node.data_dir)
        if not store.exists():
            store.write(State())
        node.config.chmod(0o600)
    else:
        (node.data_dir / "kubelet").mkdir(parents=True, exist_ok=True)
    node.pid_file.parent.mkdir(parents=True, exist_ok=True)
    found = (node.root / "etc/k0s-version").read_text(encoding="utf-8").strip()
    node.args_file.write_text("\n".join([found, str(node.binary), *words]), encoding="utf-8")
    Path("/proc/self/comm").write_text("k0s", encoding="ascii")
    node.pid_file.write_text(str(os.getpid()), encoding="ascii")

    def stop(number: int, frame: FrameType | None) -> None:
        node.pid_file.unlink(missing_ok=True)
        os._exit(0)

    signal.signal(signal.SIGTERM, stop)
    print("up", flush=True)
    quiet = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(quiet, stream)
    while True:
        time.sleep(3600)


def backup(node: Node, words: list[str]) -> None:
    """`k0s backup --save-path DIR`"""
    archive.backup(node, Path(option(words, "save-path", ".")))


def restore(node: Node, words: list[str]) -> None:
    """`k0s restore ARCHIVE`"""
    archive.restore(node, Path(words[-1]))


def live_store(node: Node) -> Store:
    """The datastore of the running controller."""
    if node.pid() is None:
        raise Failure(REFUSED if (node.data_dir / "pki/admin.conf").exists() else NO_API)
    return open_store(storage_type(node.config), node.data_dir)


def kubectl(node: Node, words: list[str]) -> None:
    """`k0s kubectl get|create|delete`"""
    verb, rest = words[1], [word for word in words[2:] if not word.startswith("-")]
    raw = option(words, "raw")
    if raw == "/version" or rest[:1] == ["node"]:
        worker_answer(raw)
        return
    store = live_store(node)
    if raw == "/readyz":
        if node.fault("fail-readyz") is not None:
            raise Failure("Error from server (InternalError): an error on the server has prevented the request")
        print("ok", end="")
    elif "namespace" in rest:
        if node.fault("no-uid") is not None:
            raise Failure(REFUSED)
        print(store.read().uid, end="")
    else:
        objects(store, verb, rest)


def worker_answer(raw: str) -> None:
    """What a worker hears from an API server that is not asked: all is well."""
    print('{"major":"1"}' if raw else '{"status":{"conditions":[{"type":"Ready","status":"True"}]}}')


def objects(store: Store, verb: str, rest: list[str]) -> None:
    """The objects: configmaps by their name."""
    state = store.read()
    if verb == "get":
        print("".join(f"configmap/{name}\n" for name in sorted(state.objects)), end="")
        return
    name = rest[1]
    if (name in state.objects) == (verb == "create"):
        kind = "AlreadyExists" if verb == "create" else "NotFound"
        raise Failure(f'Error from server ({kind}): configmaps "{name}"')
    if verb == "create":
        state.objects.append(name)
        print(f"configmap/{name} created")
    else:
        state.objects.remove(name)
        print(f'configmap "{name}" deleted')
    store.write(state)
