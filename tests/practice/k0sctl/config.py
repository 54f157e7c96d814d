"""k0sctl's configuration: variables, YAML, and the checks that happen before any connection."""

import copy
import os
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tests.practice.k0sctl.log import Fatal, Log

API = "k0sctl.k0sproject.io/v1beta1"
VARIABLE = re.compile(r"\$(?:\$|(\w+)|\{(\w+)(?::?[-=]([^}]*))?\})")
KNOWN = {
    "cluster.Cluster": {"apiVersion", "kind", "metadata", "spec"},
    "cluster.ClusterMetadata": {"name", "user", "kubeconfig", "entries"},
    "cluster.spec": {"hosts", "k0s", "options"},
    "cluster.K0s": {"version", "versionChannel", "dynamicConfig", "config"},
    "cluster.host": {
        "role", "reset", "privateInterface", "privateAddress", "dataDir", "kubeletRootDir", "environment",
        "uploadBinary", "k0sBinaryPath", "k0sDownloadURL", "k0sInstallPath", "installFlags", "files", "os", "hostname",
        "noTaints", "hooks", "useExistingK0s", "ssh", "localhost", "winRM", "openSSH",
    },
    "ssh.Config": {"address", "user", "port", "keyPath", "bastion", "options", "password"},
}  # fmt: skip
OPTIONS: dict[str, Any] = {
    "wait": {"enabled": True},
    "drain": {
        "enabled": True,
        "gracePeriod": "2m0s",
        "timeout": "5m0s",
        "force": True,
        "ignoreDaemonSets": True,
        "deleteEmptyDirData": True,
        "podSelector": "",
        "skipWaitForDeleteTimeout": "0s",
    },
    "concurrency": {"limit": 30, "workerDisruptionPercent": 10, "uploads": 5},
    "evictTaint": {
        "enabled": False,
        "taint": "k0sctl.k0sproject.io/evict=true",
        "effect": "NoExecute",
        "controllerWorkers": False,
    },
}


@dataclass
class Cluster:
    """The configuration that is in force."""

    document: dict[str, Any]
    base: str

    @property
    def hosts(self) -> list[dict[str, Any]]:
        """The entries of `spec.hosts`."""
        found: list[dict[str, Any]] = self.document["spec"]["hosts"]
        return found

    @property
    def k0s(self) -> dict[str, Any]:
        """The entry `spec.k0s`."""
        found: dict[str, Any] = self.document["spec"].get("k0s") or {}
        return found


def substitute(text: str) -> str:
    """Replaces `$NAME`, `${NAME}`, `${NAME:-default}` and `$$`; what is not set becomes empty."""

    def one(match: re.Match[str]) -> str:
        if match[0] == "$$":
            return "$"
        return os.environ.get(match[1] or match[2], "") or match[3] or ""

    return VARIABLE.sub(one, text)


def _read(names: list[str]) -> list[tuple[str, str, str]]:
    """Name as given, absolute path and text of each configuration file."""
    found: list[tuple[str, str, str]] = []
    for name in names:
        if name == "-":
            found.append(("stdin", "stdin", sys.stdin.read()))
            continue
        there = Path(name)
        paths = sorted(Path().glob(name)) if not there.is_absolute() and not there.exists() else [there]
        if there.is_dir():
            paths = sorted([*there.glob("*.yaml"), *there.glob("*.yml")])
        for path in paths:
            if path.is_file():
                entry = (str(path), str(path.absolute()), path.read_text(encoding="utf-8"))
                found.append(entry)
    return found


def _unknown(node: yaml.Node | None, kind: str) -> list[str]:
    """What the real one's strict decoding complains of."""
    problems = []
    if not isinstance(node, yaml.MappingNode):
        return []
    inner = {"metadata": "cluster.ClusterMetadata", "spec": "cluster.spec", "k0s": "cluster.K0s", "ssh": "ssh.Config"}
    for key, content in node.value:
        if key.value not in KNOWN[kind]:
            problems.append(f"  line {key.start_mark.line + 1}: field {key.value} not found in type {kind}")
        elif key.value == "hosts" and isinstance(content, yaml.SequenceNode):
            for host in content.value:
                problems += _unknown(host, "cluster.host")
        elif key.value in inner:
            problems += _unknown(content, inner[key.value])
    return problems


def load(configs: list[str], out: Log) -> Cluster:
    """Reads, substitutes, parses and checks the configuration."""
    names = configs or ["k0sctl.yaml"]
    files = _read(names)
    if not files:
        raise Fatal("no configuration files found" if configs else "failed to locate configuration")
    out.debug(f"{len(files)} potential configuration files found")
    clusters: list[tuple[str, dict[str, Any], list[str]]] = []
    documents = 0
    for name, path, text in files:
        done = substitute(text)
        out.debug(f"{'no ' if done == text else ''}variable substitutions made in {name}")
        out.debug(f"parsing configuration from {name}")
        try:
            nodes = list(yaml.compose_all(done, Loader=yaml.SafeLoader))
            contents = list(yaml.safe_load_all(done))
        except yaml.YAMLError as error:
            mark = getattr(error, "problem_mark", None)
            where = f"line {mark.line + 1}: " if mark else ""
            problem = getattr(error, "problem", None) or str(error)
            raise Fatal(f"failed to parse config: failed to decode resource {path}: yaml: {where}{problem}") from None
        out.debug(f"parsed {len(contents)} resource definition manifests from {name}")
        documents += sum(content is not None for content in contents)
        for node, content in zip(nodes, contents, strict=True):
            if isinstance(content, dict) and content.get("kind") == "Cluster" and content.get("apiVersion") == API:
                clusters.append((path, content, _unknown(node, "cluster.Cluster")))
    return _only_one(clusters, documents, out)


def _only_one(clusters: list[tuple[str, dict[str, Any], list[str]]], documents: int, out: Log) -> Cluster:
    if not documents:
        raise Fatal("no resource definition manifests found in configuration files")
    if not clusters:
        raise Fatal(f"failed to get cluster resources: no resources found for apiVersion={API}, kind=Cluster")
    if len(clusters) > 1:
        raise Fatal(f"expected exactly one cluster config, got {len(clusters)}")
    path, content, problems = clusters[0]
    if problems:
        listed = "\n".join(problems)
        prefix = f"failed to unmarshal cluster config: failed to unmarshal {path}"
        raise Fatal(f"{prefix}: yaml: unmarshal errors:\n{listed}")
    out.debug("setting defaults")
    cluster = Cluster(_with_defaults(content), str(Path(path).parent))
    hosts = cluster.hosts
    if not hosts:
        raise Fatal("cluster config validation failed: spec: (hosts: at least one host required.).")
    if not any(host.get("role") in ("controller", "controller+worker", "single") for host in hosts):
        raise Fatal("cluster config validation failed: spec: (hosts: no hosts with a controller role defined.).")
    return cluster


def _with_defaults(content: dict[str, Any]) -> dict[str, Any]:
    metadata = content.get("metadata") or {}
    spec = content.get("spec") or {}
    hosts = []
    for host in spec.get("hosts") or []:
        ssh = host.get("ssh") or {}
        filled = {"address": ssh.get("address") or "", "user": ssh.get("user") or "root", "port": ssh.get("port") or 22}
        hosts.append({"ssh": {**filled, **{k: v for k, v in ssh.items() if k not in filled}}, **_without(host, "ssh")})
    done: dict[str, Any] = {"apiVersion": content["apiVersion"], "kind": "Cluster"}
    done["metadata"] = {"name": metadata.get("name", "k0s-cluster"), "user": metadata.get("user", "admin")}
    done["spec"] = {"hosts": hosts}
    if spec.get("k0s"):
        done["spec"]["k0s"] = spec["k0s"]
    options = copy.deepcopy(OPTIONS)
    for name, values in (spec.get("options") or {}).items():
        options.setdefault(name, {}).update(values or {})
    done["spec"]["options"] = options
    return done


def _without(mapping: dict[str, Any], name: str) -> dict[str, Any]:
    return {key: content for key, content in mapping.items() if key != name}


class _Dumper(yaml.SafeDumper):
    """As Go's YAML library writes it: an empty text in double quotes."""


_Dumper.add_representer(
    str,
    lambda dumper, text: dumper.represent_scalar("tag:yaml.org,2002:str", text, style='"' if text == "" else None),
)


def dump(document: object, *, sort: bool = False) -> str:
    """YAML text of a document."""
    return yaml.dump(
        document, Dumper=_Dumper, sort_keys=sort, default_flow_style=False, allow_unicode=True, width=10000
    )
