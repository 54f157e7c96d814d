"""k0sctl's configuration: reading it, its faults, and the configuration derived from it."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

import pytest
import yaml

from handler import cluster
from handler.cluster import ClusterConfig
from handler.derive import derived
from handler.envsubst import substitute
from handler.errors import ConfigurationError
from handler.hosts import Host
from handler.secret import Secret

HEAD = "apiVersion: k0sctl.k0sproject.io/v1beta1\nkind: Cluster\nmetadata: {name: lab}\nspec:\n"
ONE = HEAD + "  hosts:\n  - role: controller\n    ssh: {address: h}\n"

FULL = """\
# the lab, see $WIKI
apiVersion: k0sctl.k0sproject.io/v1beta1
kind: Cluster
metadata:
  name: lab
spec:
  hosts:
  - &first
    role: controller
    ssh: &ssh {address: 10.0.0.1, user: admin, port: ${PORT:-22}, keyPath: keys/id_ed25519}
    k0sBinaryPath: bin/k0s
    installFlags: ["--labels=a=b", '--x="y z"']
    environment: {HTTP_PROXY: "${PROXY}"}
    hooks:
      connect: {after: ["echo $$HOME"]}
      apply: {before: [date]}
      backup: {before: ["sync; echo '$$(date)'"], after: [sync]}
    files:
    - {src: files/a, dst: /etc/a, perm: 0644}
  - <<: *first
    ssh: {<<: *ssh, address: "::1", keyPath: ~/.ssh/other, bastion: {address: jump, keyPath: keys/jump}}
  - role: worker
    ssh: {address: 10.0.0.3, keyPath: /abs}
    files: [{name: data, data: $SSHD_CONFIG, dst: /b, perm: 0600}]
  k0s:
    version: v1.34.2+k0s.0
    dynamicConfig: on
    config:
      spec:
        api: {sans: [10.0.0.1, 1.10], port: 06443, when: 2026-11-20, at: 12:30:45, none: ~, nothing: }
        storage: {type: etcd}
        extensions:
          helm: "{{ .x }} ${PASSWORD}"
          script: |
            # not a comment: $TOKEN
            echo 'pa$$w0rd'

              indented
          folded: >-
            one
            two
          single: 'it''s'
---
apiVersion: v1
kind: Secret
metadata: {name: s}
data: {mode: 0644, "on": on, text: 'a: b # c'}
"""
FULL_VARIABLES = {
    "PROXY": "http://proxy:3128",
    "PASSWORD": "hunter22: # $x",
    "TOKEN": "tok$en",
    "SSHD_CONFIG": "inline",
    "WIKI": "elsewhere",
    "UNUSED": "x",
}


def read(text: str, variables: Mapping[str, str] | None = None) -> ClusterConfig:
    return cluster.read(text, name="config/k0sctl.yaml", variables=variables or {}, home="/home/private")


def full() -> ClusterConfig:
    return read(FULL.replace("$SSHD_CONFIG", "$DATA"), {**FULL_VARIABLES, "DATA": "inline"})


def host(text: str, variables: Mapping[str, str] | None = None) -> Host:
    """The first host of a configuration that has ``text`` as its fields, and another controller."""
    return read(f"{HEAD}  hosts: [{{{text}}}, {{role: controller, ssh: {{address: other}}}}]\n", variables).hosts[0]


def fault(text: str, variables: Mapping[str, str] | None = None) -> str:
    with pytest.raises(ConfigurationError) as caught:
        read(text, variables)
    assert caught.value.exit_code == 2
    return "\n".join([caught.value.message, *caught.value.details])


def texts(document: yaml.Node) -> object:
    """The values of a document as they are written, with their types; merges and aliases resolved by no one."""
    if isinstance(document, yaml.MappingNode):
        return [(texts(key), texts(value)) for key, value in document.value]
    if isinstance(document, yaml.SequenceNode):
        return [texts(item) for item in document.value]
    assert isinstance(document, yaml.ScalarNode)
    return document.tag, document.value


def composed(text: str) -> list[yaml.Node]:
    return list(yaml.compose_all(text, Loader=yaml.SafeLoader))


def at(document: yaml.Node, *path: str | int) -> yaml.Node:
    for step in path:
        if isinstance(document, yaml.MappingNode):
            document = next(value for key, value in document.value if key.value == step)
        else:
            document = document.value[step]
    return document


# reading


def test_reads_a_full_configuration() -> None:
    config = full()
    assert (config.name, config.k0s_version, config.storage) == ("lab", "v1.34.2+k0s.0", "etcd")
    assert config.hosts == (
        Host(
            index=0, role="controller", connection="ssh", address="10.0.0.1", port=22, user="admin",
            key_path="keys/id_ed25519", bastion=False, reachable_directly=True, weakening=(),
        ),
        Host(
            index=1, role="controller", connection="ssh", address="::1", port=22, user="admin",
            key_path="/home/private/.ssh/other", bastion=True, reachable_directly=False, weakening=(),
        ),
        Host(
            index=2, role="worker", connection="ssh", address="10.0.0.3", port=22, user="root",
            key_path="/abs", bastion=False, reachable_directly=True, weakening=(),
        ),
    )  # fmt: skip
    assert [one.label for one in config.hosts] == ["10.0.0.1:22", "[::1]:22", "10.0.0.3:22"]
    assert config.controllers == config.hosts[:2]


def test_the_environment_is_what_the_file_names_outside_comments() -> None:
    config = full()
    assert set(config.environment) == {"PROXY", "PASSWORD", "TOKEN", "DATA"}
    assert config.environment["PASSWORD"] == "hunter22: # $x"
    assert config.secrets == (Secret("hunter22: # $x"), Secret("tok$en"))
    assert "hunter22" not in repr(config)


@pytest.mark.parametrize(
    "name", ["DB_PASS", "db_passwd", "API_TOKEN", "Secret", "SIGNING_KEY", "MY_CREDS", "Passphrase"]
)
def test_names_that_sound_secret(name: str) -> None:
    assert read(f"{ONE}    hostname: ${name}\n", {name: "value"}).secrets == (Secret("value"),)


def test_names_that_do_not_sound_secret() -> None:
    assert read(f"{ONE}    hostname: $NODE\n", {"NODE": "value"}).secrets == ()


def test_a_comment_gets_nothing_even_where_the_variable_is_set() -> None:
    assert read(f"# $WIKI\n{ONE}", {"WIKI": "a\nb: ["}).text.startswith("# \n")


def test_an_empty_value_counts_as_unset() -> None:
    config = read(f"{ONE}    hostname: ${{NODE-fallback}}\n", {"NODE": ""})
    assert config.environment == {}
    assert "hostname: fallback" in config.text


@pytest.mark.parametrize(
    ("k0s", "expected"),
    [("{}", None), ("{version: }", None), ("{version: ~}", None), ("{version: ''}", None), ("{version: 1.30}", "1.30")],
)
def test_the_version_of_k0s(k0s: str, expected: str | None) -> None:
    assert read(f"{ONE}  k0s: {k0s}\n").k0s_version == expected


@pytest.mark.parametrize(
    ("storage", "external"),
    [
        ("{}", False),
        ("{type: etcd, etcd: {peerAddress: 10.0.0.1}}", False),
        ("{type: etcd, etcd: {externalCluster: null}}", False),
        ("{type: etcd, etcd: {externalCluster: {endpoints: [a]}}}", True),
        ("{etcd: {externalCluster: {endpoints: [a]}}}", True),
        ("{type: kine}", False),
        ("{type: kine, etcd: {externalCluster: {endpoints: [a]}}}", False),
        ("{type: kine, kine: {dataSource: 'sqlite:///var/lib/k0s/db/state.db'}}", False),
        ("{type: kine, kine: {dataSource: 'mysql://user@db/kine'}}", True),
    ],
)
def test_storage_outside_of_k0s_is_in_no_backup(storage: str, external: bool) -> None:
    text = f"{ONE}  k0s: {{config: {{spec: {{storage: {storage}}}}}}}\n"
    assert read(text).external_storage is external


def test_storage_of_a_separate_document_counts_most() -> None:
    extra = "---\napiVersion: k0s.k0sproject.io/v1beta1\nkind: ClusterConfig\nspec: {storage: {type: kine}}\n"
    stated = f"{ONE}  k0s: {{config: {{spec: {{storage: {{type: etcd}}}}}}}}\n"
    assert read(ONE).storage is None
    assert read(stated).storage == "etcd"
    assert read(stated + extra).storage == "kine"
    assert read(stated + extra.replace("{type: kine}", "{}")).storage == "etcd"


def test_a_missing_name_is_what_k0sctl_calls_it() -> None:
    assert read(ONE.replace("metadata: {name: lab}\n", "")).name == "k0s-cluster"


@pytest.mark.parametrize(
    "text",
    [
        ONE.replace("\n", "\r\n"),
        "\ufeff" + ONE,
        "---\n" + ONE + "---\n---\n# end\n",
        ONE.replace("kind: Cluster", "kind: cluster"),
        ONE.replace("role: ", "role:\t").replace("address: h}", "address:\th,\tport: 22}\t# tab"),
        ONE + "---\napiVersion: cluster.x-k8s.io/v1beta1\nkind: Cluster\n",
    ],
    ids=["CRLF", "BOM", "documents", "lower case", "tabs", "another kind of Cluster"],
)
def test_accepts_what_k0sctl_accepts(text: str) -> None:
    assert [one.label for one in read(text).hosts] == ["h:22"]


def test_substitution_comes_before_yaml() -> None:
    assert host("role: controller, ssh: {address: $A, port: ${PORT:-22}}", {"A": "fe80::1"}).label == "[fe80::1]:22"
    lines = "\n  - role: controller\n    ssh: {address: h}"
    assert len(read(f"{HEAD}  hosts:$HOSTS\n", {"HOSTS": lines}).hosts) == 1


# hosts


@pytest.mark.parametrize("role", ["controller", "controller+worker", "single"])
def test_roles_of_controllers(role: str) -> None:
    assert host(f"role: {role}, ssh: {{address: h}}").is_controller
    assert not host("role: worker, ssh: {address: h}").is_controller


@pytest.mark.parametrize(
    ("text", "label", "user", "direct"),
    [
        ("ssh: {address: h}", "h:22", "root", True),
        ("ssh: {address: h, port: }", "h:22", "root", True),
        ("ssh: {address: h, port: 2222, user: u}", "h:2222", "u", True),
        ("ssh: {address: 'fe80::1%eth0', port: 65535}", "[fe80::1%eth0]:65535", "root", True),
        ("ssh: {address: h, options: {Port: 2200, HostName: real}}", "real:2200", "root", True),
        ("ssh: {address: h, options: {Port: '2201'}}", "h:2201", "root", True),
        ("ssh: {address: h, port: 23, options: {port: 2200}}", "h:23", "root", True),
        ("ssh: {address: h, bastion: {address: b}}", "h:22", "root", False),
        ("ssh: {address: h, bastion: ~}", "h:22", "root", True),
        ("ssh: {address: h, options: {ProxyJump: b}}", "h:22", "root", False),
        ("ssh: {address: h, options: {ProxyCommand: none}}", "h:22", "root", True),
        ("openSSH: {address: alias}", "alias:22", None, False),
        ("openSSH: {address: alias, port: 24, user: u}", "alias:24", "u", False),
        ("winRM: {address: w}", "w:5985", "Administrator", False),
        ("winRM: {address: w, useHTTPS: true}", "w:5986", "Administrator", False),
        ("localhost: true", "localhost", None, False),
        ("localhost: {enabled: yes}", "localhost", None, False),
        ("ssh: ~, openSSH: {address: alias}, localhost: {enabled: false}", "alias:22", None, False),
    ],
)
def test_connections(text: str, label: str, user: str | None, direct: bool) -> None:
    found = host(f"role: worker, {text}")
    assert (found.label, found.user, found.reachable_directly) == (label, user, direct)
    assert found.connection in text


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("~/k", "/home/private/k"),
        ("'~'", "/home/private"),
        ("~other/k", "~other/k"),
        ("/k", "/k"),
        ("k", "k"),
        ("", None),
    ],
)
def test_key_paths(path: str, expected: str | None) -> None:
    assert host(f"role: worker, ssh: {{address: h, keyPath: {path}}}").key_path == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("ssh: {address: h, options: {ServerAliveInterval: 30, CheckHostIP: no, StrictHostKeyChecking: yes}}", []),
        ("ssh: {address: h, options: {UserKnownHostsFile: none, GlobalKnownHostsFile: ~}}", []),
        ("ssh: {address: h, options: {StrictHostKeyChecking: no}}", ["ssh.options: StrictHostKeyChecking no "]),
        ("ssh: {address: h, options: {stricthostkeychecking: False}}", ["ssh.options: StrictHostKeyChecking false "]),
        ("ssh: {address: h, options: {StrictHostKeyChecking: accept-new}}", ["ssh.options: StrictHostKeyChecking acc"]),
        ("ssh: {address: h, options: {UserKnownHostsFile: /dev/null}}", ["ssh.options: UserKnownHostsFile /dev/null "]),
        ("ssh: {address: h, options: {UserKnownHostsFile: [a, b]}}", ["ssh.options: UserKnownHostsFile a b "]),
        ("ssh: {address: h, options: {GlobalKnownHostsFile: f}}", ["ssh.options: GlobalKnownHostsFile f "]),
        ("ssh: {address: h, options: {HostKeyAlias: x}}", ["ssh.options: HostKeyAlias x "]),
        (
            "ssh: {address: h, bastion: {address: b, bastion: {address: c, options: {UserKnownHostsFile: f}}}}",
            ["ssh.bastion.bastion.options: UserKnownHostsFile f "],
        ),
        (
            "winRM: {address: h, bastion: {address: b, options: {StrictHostKeyChecking: no}}}",
            ["winRM.bastion.options: "],
        ),
        ("openSSH: {address: h}", ["openSSH: the ssh program", "openSSH: k0sctl switches"]),
        ("openSSH: {address: h, options: {StrictHostKeyChecking: yes}}", ["openSSH: the ssh program"]),
        (
            "openSSH: {address: h, options: {StrictHostKeyChecking: no}}",
            ["openSSH: the ssh program", "openSSH.options: StrictHostKeyChecking no"],
        ),
        ("localhost: true", []),
    ],
)
def test_what_weakens_host_keys_is_told(text: str, expected: list[str]) -> None:
    found = host(f"role: worker, {text}").weakening
    assert len(found) == len(expected)
    assert all(one.startswith(start) for one, start in zip(found, expected, strict=True))


def test_merges_count_as_in_k0sctl() -> None:
    """Recorded of the configuration reader of k0sctl: ``<<`` counts where it stands, and structs are filled up."""
    hosts = read(
        HEAD + "  hosts:\n"
        "  - &a {role: controller, ssh: &s {address: 10.0.0.1, user: u, port: 2222, keyPath: k}}\n"
        "  - {<<: *a, ssh: {address: 10.0.0.2}}\n"
        "  - {role: worker, ssh: {address: 10.0.0.3, <<: *s}}\n"
        "  - {role: worker, <<: [{ssh: {address: b, port: 1}}, {role: single, ssh: {address: c, user: x}}]}\n"
    ).hosts
    assert [(one.role, one.label, one.user) for one in hosts] == [
        ("controller", "10.0.0.1:2222", "u"),
        ("controller", "10.0.0.2:2222", "u"),
        ("worker", "10.0.0.1:2222", "u"),
        ("single", "b:1", "x"),
    ]


# faults


def bomb(link: str) -> str:
    """A configuration in which 1500 mappings stand for one another, each in the same way for the one before."""
    lines = ["x:", "- &a0 {role: worker}", *(f"- &a{n} {link.format(n - 1)}" for n in range(1, 1500))]
    return "\n".join([*lines, ONE.replace("- role", "- <<: *a1499\n    role")])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a: b\n c: d\n", r"yaml:2:\d+: no valid YAML: "),
        ("a: [\n", "no valid YAML: "),
        ("a: b\n\tc: d\n", "yaml:2:1: no valid YAML: .*tab"),
        ("a: *b\n", "yaml:1:4: no valid YAML: "),
        ("a: \x01\n", "yaml:1:4: no valid YAML: it holds a character"),
        ("a: \udcff\n", "yaml:1:4: no valid YAML: it holds a character"),
        ("[" * 100_000, "nested more than 200 levels"),
        (HEAD + "  hosts: &a [*a]\n", "yaml:5:10: an anchor holds an alias to itself"),
        (bomb("{{<<: [*a{0}, *a{0}]}}"), "yaml:15:3: this brings in more than 10000 mappings by <<"),
        (bomb("{{<<: *a{0}}}"), "yaml:202:3: this is nested more than 200 levels deep, its aliases included"),
        (bomb("{{role: controller, ssh: {{address: h, bastion: *a{0}}}}}"), "this is nested more than 200 levels deep"),
        (HEAD + "  hosts:\n  - &a {<<: *a}\n", "an anchor holds an alias to itself"),
        ("", "no document of kind Cluster"),
        ("# only a comment\n", "no document of kind Cluster"),
        ("just text\n", "yaml:1:1: a document needs apiVersion and kind"),
        ("apiVersion: v1\nkind: Secret\n", "no document of kind Cluster; .*k0sctl.k0sproject.io/v1beta1"),
        (ONE + "---\na: b\n", r"yaml:\d+:1: a document needs apiVersion and kind"),
        (ONE + "---\n" + ONE, r"yaml:9:1: a second document of kind Cluster"),
        (ONE.replace("v1beta1", "v1"), "yaml:1:1: .*k0sctl.k0sproject.io/v1; allowed is kind Cluster, .*v1beta1"),
        (ONE.replace("Cluster", "CLUSTER"), "yaml:1:1: this is kind CLUSTER"),
        (HEAD, "spec.hosts names no host"),
        (HEAD + "  hosts: []\n", "yaml:5:10: spec.hosts names no host"),
        (HEAD + "  hosts: {a: b}\n", "yaml:5:10: spec.hosts names no host"),
        (HEAD.replace("spec:", "spec: ~"), "spec.hosts names no host"),
        (HEAD + "  hosts:\n  - role: worker\n    ssh: {address: h}\n", "yaml: no host is a controller; .*single"),
        (HEAD + "  hosts: [h]\n", "host 1 has role ''"),
    ],
)
def test_documents_that_do_not_fit(text: str, expected: str) -> None:
    assert re.search(expected, fault(text))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("role: boss, ssh: {address: h}", "yaml:5:18: host 1 has role 'boss'; allowed: controller, controller.worker"),
        ("ssh: {address: h}", "yaml:5:11: host 1 has role ''"),
        ("role: worker", "host 1 has no connection; allowed is exactly one of ssh, openSSH, winRM, localhost"),
        ("role: worker, openssh: {address: h}", "host 1 has no connection"),
        ("role: worker, ssh: {address: h}, localhost: true", "host 1 has several connections"),
        ("role: worker, ssh: {}", "host 1 has no address"),
        ("role: worker, ssh: {address: }", "host 1 has no address"),
        ("role: worker, ssh: {address: ''}", "yaml:5:41: host 1 has no address"),
        ("role: worker, ssh: {address: '[::1]'}", r"host 1 has the address '\[::1\]'; .*without port or brackets"),
        ("role: worker, ssh: {address: '10.0.0.1:22'}", "host 1 has the address '10.0.0.1:22'"),
        ("role: worker, ssh: {address: root@h}", "host 1 has the address 'root@h'"),
        ("role: worker, ssh: {address: 'a b'}", "host 1 has the address 'a b'"),
        (r'role: worker, ssh: {address: "a\0b"}', r"host 1 has the address 'a\\x00b'"),
        (r'role: worker, ssh: {address: "a\e[2Jb"}', r"host 1 has the address 'a\\x1b"),
        (r'role: worker, ssh: {address: "fe80::1%lo\n10.9.9.9  ok"}', r"host 1 has the address 'fe80::1%lo\\n10"),
        (r'role: worker, ssh: {address: h, options: {HostName: "a\nb"}}', r"host 1 has the address 'a\\nb'"),
        *(
            (f"role: worker, ssh: {{address: h, port: {port}}}", "yaml:5:50: host 1 has the port .*from 1 to 65535")
            for port in ("0", "-1", "65536", "ssh", "'22'", '"22"', "022", "2_2", "22.0", "0x16", "٣")
        ),
        *(
            (
                f"role: worker, ssh: {{address: h, port: 23, options: {{Port: {port}}}}}",
                "yaml:5:31: host 1 has the Port .* in its options; allowed: a number from 1 to 65535",
            )
            for port in ("0", "-5", "99999", "ssh", "[22, 23]", "02202")
        ),
    ],
)
def test_hosts_that_do_not_fit(text: str, expected: str) -> None:
    assert re.search(expected, fault(f"{HEAD}  hosts: [{{{text}}}, {{role: controller, ssh: {{address: o}}}}]\n"))


def test_all_problems_of_hosts_come_together() -> None:
    told = fault(f"{HEAD}  hosts:\n  - role: x\n    ssh: {{address: h, port: 0}}\n  - role: worker\n    ssh: {{}}\n")
    assert told.splitlines()[0] == "config/k0sctl.yaml: 3 problems"
    assert [line.split(": ")[0].rpartition("yaml:")[2] for line in told.splitlines()[1:]] == ["6:11", "7:29", "9:10"]


def test_places_are_those_of_the_file_before_substitution() -> None:
    text = f'{HEAD}  hosts:\n  - hostname: "$M"\n    role: controller\n    ssh: {{address: h, port: $PORT}}\n'
    assert "yaml:8:29: host 1 has the port 'x'" in fault(text, {"M": "a\n\n\nb", "PORT": "x"})


def test_a_fault_does_not_tell_a_secret() -> None:
    text = f"{HEAD}  hosts: [{{role: controller, ssh: {{address: $DB_PASSWORD}}}}]\n"
    assert "hunter" not in fault(text, {"DB_PASSWORD": "hunter 22"})


def test_all_variables_without_a_value_come_together() -> None:
    told = fault(
        f"# $IGNORED\n{ONE}    hostname: $NODE\n    os: ${{OS:-debian}}${{E}}$$X\n    dataDir: $NODE\n", {"E": ""}
    )
    assert told.splitlines() == [
        "config/k0sctl.yaml: 3 problems",
        "config/k0sctl.yaml:9:15: the variable NODE is not set, or empty, and has no default",
        "config/k0sctl.yaml:10:22: the variable E is not set, or empty, and has no default",
        "config/k0sctl.yaml:11:14: the variable NODE is not set, or empty, and has no default",
    ]


def test_the_way_out_of_a_dollar_is_told() -> None:
    with pytest.raises(ConfigurationError, match=r"k0sctl\.yaml:8:17: the variable w0rd is not set") as caught:
        read(f"{ONE}    hostname: pa$w0rd\n")
    assert "$$" in caught.value.resolution


@pytest.mark.parametrize("text", ["${A:-}", "${A-}", "${A:+x}", "${A-x}", "${A:-$B}", "${B:+x}"])
def test_a_default_may_be_empty(text: str) -> None:
    assert "A" not in read(f"{ONE}    hostname: '{text}'\n", {"B": "b"}).environment


def test_a_default_that_is_an_unset_variable_is_no_default() -> None:
    assert "8:20: the variable B is not set" in fault(f"{ONE}    hostname: ${{A:-$B}}\n")
    assert read(f"{ONE}    hostname: ${{A:-$B}}\n", {"A": "a"}).environment == {"A": "a"}


@pytest.mark.parametrize("name", ["K0SCTL_SSH_KEY", "DEBUG", "TRACE", "DRY_RUN", "SSH_AUTH_SOCK", "HOME", "LD_PRELOAD"])
@pytest.mark.parametrize("form", ["${}", "${{{}:-x}}", "${{OTHER:-${}}}"])
def test_some_variables_are_refused(name: str, form: str) -> None:
    text = f"{ONE}    hostname: {form.format(name)}\n"
    assert re.search(f"yaml:8:\\d+: the variable {name} would steer", fault(text, {name: "x", "OTHER": "y"}))
    assert read(f"# {form.format(name)}\n{ONE}").environment == {}


@pytest.mark.parametrize("name", ["HOMER", "MY_HOME", "SSH", "debug", "BUILD_K0SCTL_X", "LDX"])
def test_names_near_the_refused_ones_are_fine(name: str) -> None:
    assert read(f"{ONE}    hostname: ${name}\n", {name: "x"}).environment == {name: "x"}


@pytest.mark.parametrize(
    "text", ["${A:-${B}}", "${ A }", "${#A}", "${A:-$B/x}", "${A:-x$B}", "${A%x}", "${A:x}", "${A:-$}"]
)
def test_what_k0sctl_would_read_differently_is_refused(text: str) -> None:
    assert "8:15: k0sctl does not read this as written" in fault(f"{ONE}    hostname: {text}\n", {"A": "a", "B": "b"})
    assert read(f"# {text}\n{ONE}", {"A": "a", "B": "b"}).environment == {}


def test_an_open_brace_is_refused_even_in_a_comment() -> None:
    assert "yaml:1:3: " in fault(f"# ${{A\n{ONE}")


# the derived configuration

Keep = Callable[[Host], bool]


def everyone(_: Host) -> bool:
    return True


def derive(config: ClusterConfig, *, keep: Keep = everyone, hooks: str | None = "backup", base: str = "/work") -> str:
    return derived(config.text, keep=keep, hooks=hooks, base_dir=base)


def test_the_rest_of_the_derived_configuration_has_the_same_texts() -> None:
    config = full()
    before = composed(config.text)
    after = composed(substitute(derive(config), {"HOME": "no", "x": "no", "en": "no"}))
    assert len(after) == len(before) == 2
    assert texts(after[1]) == texts(before[1])
    for path in (["apiVersion"], ["kind"], ["metadata"], ["spec", "k0s"]):
        assert texts(at(after[0], *path)) == texts(at(before[0], *path))
    for name in ("role", "installFlags", "environment"):
        assert texts(at(after[0], "spec", "hosts", 0, name)) == texts(at(before[0], "spec", "hosts", 0, name))
    backup = ("spec", "hosts", 0, "hooks", "backup")
    assert texts(at(after[0], *backup)) == texts(at(before[0], *backup))


def test_the_derived_configuration_has_less() -> None:
    text = substitute(derive(full()), {})
    hosts = yaml.safe_load_all(text).__next__()["spec"]["hosts"]
    assert [one["ssh"]["address"] for one in hosts] == ["10.0.0.1", "::1"]
    assert [set(one["hooks"]) for one in hosts] == [{"backup"}, {"backup"}]
    assert all("files" not in one for one in hosts)
    assert hosts[0]["hooks"]["backup"]["before"] == ["sync; echo '$(date)'"]


def test_the_derived_configuration_without_hooks() -> None:
    assert "hooks" not in derive(full(), hooks=None)


def test_relative_paths_become_absolute() -> None:
    hosts = yaml.safe_load_all(derive(full(), base="/work/")).__next__()["spec"]["hosts"]
    assert [one["k0sBinaryPath"] for one in hosts] == ["/work/bin/k0s", "/work/bin/k0s"]
    assert [one["ssh"]["keyPath"] for one in hosts] == ["/work/keys/id_ed25519", "~/.ssh/other"]
    assert hosts[1]["ssh"]["bastion"]["keyPath"] == "/work/keys/jump"
    text = f"{HEAD}  hosts: [{{role: single, openSSH: {{address: h, keyPath: k, configPath: ssh/config}}}}]\n"
    found = yaml.safe_load(derive(read(text)))["spec"]["hosts"][0]["openSSH"]
    assert (found["keyPath"], found["configPath"]) == ("/work/k", "/work/ssh/config")


def test_hosts_can_be_left_out() -> None:
    config = full()
    hosts = yaml.safe_load_all(derive(config, keep=lambda one: one.index == 1)).__next__()["spec"]["hosts"]
    assert len(hosts) == 1
    assert hosts[0]["role"] == "controller", "what the first host gave by its anchor is still there"
    assert hosts[0]["ssh"]["user"] == "admin"
    with pytest.raises(ConfigurationError, match="no controller is left"):
        derive(config, keep=lambda one: one.role == "worker")


def test_the_derived_configuration_reads_the_same() -> None:
    config = full()
    again = read(derive(config))
    assert [(one.label, one.user, one.bastion) for one in again.hosts] == [
        (one.label, one.user, one.bastion) for one in config.controllers
    ]
    assert (again.name, again.k0s_version, again.storage) == (config.name, config.k0s_version, config.storage)
    assert again.environment == {}
    assert derive(again) == derive(config)


def test_an_anchor_used_elsewhere_keeps_its_fields() -> None:
    config = read(
        HEAD + "  hosts:\n"
        "  - {role: controller, ssh: {address: h}, hooks: &map {apply: {b: [a]}, files: x}, <<: &more {files: []}}\n"
        "  k0s: {config: {one: *map, two: *more}}\n"
    )
    found = yaml.safe_load(derive(config))["spec"]
    assert found["k0s"]["config"] == {"one": {"apply": {"b": ["a"]}, "files": "x"}, "two": {"files": []}}
    assert found["hosts"] == [{"role": "controller", "ssh": {"address": "h"}, "hooks": {}}]


def test_what_is_merged_often_is_read_once() -> None:
    """Less than what is refused, and in every section again: that would take a lifetime."""
    names = ("bastion", "bastion", "bastion", "bastion")
    lines, below = ["x:", "- &b0 {address: h, user: u}"], "b0"
    for level, name in enumerate(names, 1):
        lines.append(f"- &a{level}x0 {{{name}: *{below}, address: h}}")
        lines += [f"- &a{level}x{n} {{<<: [*a{level}x{n - 1}, *a{level}x{n - 1}]}}" for n in range(1, 12)]
        below = f"a{level}x11"
    hosts = f"  hosts:\n  - {{role: controller, ssh: *{below}}}\n"
    assert read("\n".join([*lines, HEAD + hosts])).hosts[0].bastion


def test_aliases_stay_aliases() -> None:
    text = derive(full())
    assert "<<: *" in text
    assert text.count("/work/keys/id_ed25519") == 1


VALUES = [
    "0644", "1.10", "on", "~", "", "null", "12:30:45", "2026-11-20", "1_000", "0x1F", ".5", "=", "'0644'", '"on"',
    "!!str 1", "!!int '7'", "!own x", "$x", "$$", "${A:-b}", "'a # b'", "\"a\\nb\\t\\x24\"", "'  blank  '", "é 😀",
    '"\\u2028"', "[a, 1.10, 12:30:45, fe80::1]", "{a: 0644, b: [on, {c: ~}]}", "[]", "{}", "\n- 1\n- - 2\n  - 3",
    "|\n  a\n   b\n\n", "|+\n  a\n\n", "|2-\n    lead\n  b", ">\n  fold\n  ed\n\n  x\n", "plain\n  over\n\n  lines",
    "'single\n\n  lines'", "x" * 300, "word " * 60 + "end", "&a [1]", "\n? complex\n: value", "\n? [a, b]\n: c",
    "# comment\n1",
]  # fmt: skip


@pytest.mark.parametrize("value", VALUES)
def test_a_value_stays_what_it_is(value: str) -> None:
    body = value.replace("\n", "\n        ")
    text = f"{ONE}  k0s:\n    config:\n      key: {body}\n"
    before = composed(text)
    after = composed(substitute(derived(text, keep=everyone, hooks=None, base_dir="/w"), {}))
    assert texts(at(after[0], "spec", "k0s")) == texts(at(before[0], "spec", "k0s"))


def test_the_derived_configuration_of_crlf_and_tabs() -> None:
    config = read(ONE.replace("h}", "h,\tport: 22}").replace("\n", "\r\n"))
    assert "\r" not in derive(config)
    assert read(derive(config)).hosts == config.hosts


def test_a_key_that_is_no_text_is_left_to_k0sctl() -> None:
    assert "? - a" in derive(read(f"{ONE}    ? [a]\n    : b\n"))
