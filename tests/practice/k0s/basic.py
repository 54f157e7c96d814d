"""The calls of the stand-in k0s that do not touch the datastore."""

import base64
import json
import shutil
import sys
import time
import zlib

from tests.practice.k0s.node import Failure, Node

SOCKET_MISSING = (
    'Error: status: can\'t get "status" via "/run/k0s/status.sock": Get "http://localhost/status": '
    "dial unix /run/k0s/status.sock: connect: no such file or directory"
)


def status(node: Node, words: list[str]) -> None:
    """`k0s status [-o json]`"""
    node.sleep_if("slow-status")
    pid = node.pid()
    if pid is None:
        raise Failure(SOCKET_MISSING)
    args = node.args_file.read_text(encoding="utf-8").split("\n")
    if "json" not in words:
        print(f"Version: {args[0]}\nProcess ID: {pid}\nRole: {args[2]}\nWorkloads: false\nSingleNode: false")
        return
    document = {
        "Version": args[0],
        "Pid": pid,
        "Role": args[2],
        "Workloads": args[2] == "worker" or "--enable-worker" in args,
        "SingleNode": "--single" in args,
        "Args": [node.shown(word) for word in args[1:]],
        "ClusterConfig": None,
        "K0sVars": None,
    }
    print(json.dumps(document, separators=(",", ":")))


def install(node: Node, words: list[str]) -> None:
    """`k0s install controller|worker`"""
    role = words[1]
    unit = node.units / f"k0s{role}.service"
    node.sleep_if("slow-install")
    node.fail_if("fail-install", "disk full")
    if unit.exists() and not any(word.startswith("--force") and not word.endswith("=false") for word in words):
        raise Failure(f"Error: failed to install controller service: Init already exists: {node.shown(unit)}")
    unit.parent.mkdir(parents=True, exist_ok=True)
    flags = [word for word in words[1:] if not word.startswith("--force")]
    unit.write_text(f"[Service]\nExecStart={node.binary} {' '.join(flags)}\n", encoding="utf-8")


def config(node: Node, words: list[str]) -> None:
    """`k0s config validate|create`"""
    if words[1] == "validate":
        node.fail_if("fail-validate", "spec.network: invalid")
        return
    print("apiVersion: k0s.k0sproject.io/v1beta1\nkind: ClusterConfig\nmetadata:\n  name: k0s\nspec:")
    print("  api:\n    k0sApiPort: 9443\n    port: 6443\n  storage:\n    type: etcd")


def etcd(node: Node, words: list[str]) -> None:
    """`k0s etcd member-list`"""
    node.sleep_if("slow-etcd")
    node.fail_if("fail-etcd", "can't list etcd cluster members: context deadline exceeded")
    print(json.dumps({"members": {node.hostname: "https://127.0.0.1:2380"}}, separators=(",", ":")))


def token(node: Node, words: list[str]) -> None:
    """`k0s token create|invalidate`"""
    if words[1] == "create":
        cluster = "clusters:\n- name: k0s\n  cluster:\n    server: https://127.0.0.1:6443\n"
        user = "users:\n- name: kubelet-bootstrap\n  user:\n    token: abcdef.0123456789abcdef\n"
        packer = zlib.compressobj(wbits=31)
        packed = packer.compress(f"apiVersion: v1\nkind: Config\n{cluster}{user}".encode()) + packer.flush()
        print(base64.b64encode(packed).decode())


def kubeconfig(node: Node, words: list[str]) -> None:
    """`k0s kubeconfig admin`"""
    print((node.data_dir / "pki/admin.conf").read_text(encoding="utf-8"), end="")


def reset(node: Node, words: list[str]) -> None:
    """`k0s reset`"""
    node.sleep_if("slow-reset")
    if node.pid() is not None:
        raise Failure("Error: k0s seems to be running! please stop k0s before reset.")
    node.fail_if("fail-reset", "failed to unmount /var/lib/k0s/kubelet: device busy")
    for unit in node.units.glob("k0s*.service"):
        unit.unlink()
    for directory in (node.data_dir, node.pid_file.parent):
        shutil.rmtree(directory, ignore_errors=True)
    stamp = time.strftime("%Y-%m-%d %H:%M:%S")
    advice = "To ensure a full reset, a node reboot is recommended."
    print(f'time="{stamp}" level=warning msg="{advice}"', file=sys.stderr)
