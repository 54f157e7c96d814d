"""The stand-in for k0s: the calls that k0sctl makes, plus a few objects to see what a restore brings back."""

import sys
from importlib import import_module

from tests.practice.k0s.node import Failure, Node

# k0sctl calls k0s often, so each call imports only what it needs; the script in front answers `version`.
MODULES = {
    "status": "basic.status",
    "install": "basic.install",
    "config": "basic.config",
    "etcd": "basic.etcd",
    "token": "basic.token",
    "kubeconfig": "basic.kubeconfig",
    "reset": "basic.reset",
    "controller": "live.controller",
    "worker": "live.controller",
    "backup": "live.backup",
    "restore": "live.restore",
    "kubectl": "live.kubectl",
}


def main() -> int:
    """Runs one k0s command."""
    node = Node.here()
    words = sys.argv[1:]
    node.note_call(["k0s", *words])
    module, _, function = MODULES.get(words[0] if words else "", "").partition(".")
    if not module:
        print(f'Error: unknown command "{" ".join(words[:1])}" for "k0s"', file=sys.stderr)
        return 1
    try:
        getattr(import_module(f"tests.practice.k0s.{module}"), function)(node, words)
    except Failure as failure:
        print(failure, file=sys.stderr)
        return 1
    return 0
