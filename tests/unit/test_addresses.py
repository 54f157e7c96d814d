"""Which values of YAML files are addresses that a route can be traced to, and where they stand."""

from __future__ import annotations

import pytest

from handler.addresses import normalised, places, same_address
from handler.cluster import is_cluster
from handler.errors import ConfigurationError


def found(text: str) -> list[str]:
    return [place.address for place in places(text, name="x.yaml")]


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("10.0.0.1", "10.0.0.1"),
        (" 10.0.0.1\n", "10.0.0.1"),
        ("2001:DB8:0:0::5", "2001:db8::5"),
        ("::ffff:10.0.0.1", "10.0.0.1"),
        ("fe80::1%eth0", "fe80::1%eth0"),
        ("fe80::1%br-1.20_x", "fe80::1%br-1.20_x"),
        ("fe80::1%3", "fe80::1%3"),
        ("fe80::1%", ""),
        ("fe80::1%x\0y", ""),
        ("fe80::1%x\n10.9.9.9: reached", ""),
        ("fe80::1%x\x1b[2J", ""),
        ("fe80::1%a b", ""),
        ("fe80::1%\u202e", ""),
        ("fe80::1%sixteen-is-much-", ""),
        ("10.0.0.0/24", ""),
        ("10.0.0.1:22", ""),
        ("[::1]", ""),
        ("010.0.0.1", ""),
        ("10.0.0", ""),
        ("167772161", ""),
        ("node1.example.org", ""),
        ("", ""),
    ],
)
def test_one_way_to_write_an_address(text: str, address: str) -> None:
    assert normalised(text) == address


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("2001:db8::1", "2001:0DB8:0::1", True),
        ("10.0.0.1", "::ffff:10.0.0.1", True),
        ("fe80::1", "fe80::1%eth0", True),
        ("10.0.0.1", "10.0.0.2", False),
        ("???", "10.0.0.1", False),
        ("???", "???", False),
    ],
)
def test_same(one: str, other: str, same: bool) -> None:
    assert same_address(one, other) is same


def test_whole_values_only_each_once() -> None:
    text = """\
10.9.9.9: a key is no value
lb: 10.0.0.1
list: [10.0.0.2, "10.0.0.1", 'fd00::0001', {deep: 10.0.0.3}]
words: see 10.0.0.4
net: 10.0.0.0/8
port: 10.0.0.5:80
block: |
  10.0.0.6
---
fd00::1
---
second: 10.0.0.7
"""
    assert found(text) == ["10.0.0.1", "10.0.0.2", "fd00::1", "10.0.0.3", "10.0.0.6", "10.0.0.7"]


@pytest.mark.parametrize(
    "address",
    ["127.0.0.1", "127.8.9.1", "::1", "::ffff:127.0.0.1", "0.0.0.0", "::", "224.0.0.1", "ff02::1", "255.255.255.255"],
)
def test_nobody_else_has_it(address: str) -> None:
    assert found(f"a: '{address}'") == []


@pytest.mark.parametrize(
    "field",
    ["description", "comment", "comments", "note", "notes", "annotations", "label", "labels", "doc", "docs", "Docs"],
)
def test_what_only_documents_is_left_out(field: str) -> None:
    assert found(f"{field}: 10.0.0.1\na:\n  {field}: {{deep: [10.0.0.1, 10.0.0.2]}}\nb: 10.0.0.3") == ["10.0.0.3"]


def test_an_anchor_below_a_description_counts_where_it_is_used() -> None:
    assert found("description: &a 10.0.0.1\nb: 10.0.0.2") == ["10.0.0.2"]
    assert found("description: &a 10.0.0.1\nb: *a") == ["10.0.0.1"]
    assert found("base: &b {ip: 10.0.0.1}\nx:\n  <<: *b\n  y: 1") == ["10.0.0.1"]


def test_many_aliases_take_no_time() -> None:
    lines = ["a0: &a0 [10.0.0.1]"] + [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 40)]
    assert found("\n".join(lines)) == ["10.0.0.1"]


def test_the_place_is_the_first_one_in_the_file() -> None:
    text = "\ufeffa: 1\nb:\n  - x\n  - 'fd00::1'\nc: fd00:0::1\n"
    assert [place.where for place in places(text, name="config/x.yaml")] == ["config/x.yaml:4:5"]


def test_places_of_a_configuration_are_those_before_substitution() -> None:
    text = "# $NOTE\na: ${LONG:-x}\nb: [$LB, 10.0.0.2]\n"
    variables = {"LB": "10.0.0.1", "LONG": "y" * 99}
    assert [(one.address, one.where) for one in places(text, name="k.yaml", variables=variables)] == [
        ("10.0.0.1", "k.yaml:3:5"),
        ("10.0.0.2", "k.yaml:3:10"),
    ]


def test_elsewhere_nothing_is_substituted() -> None:
    assert found("a: $LB\nb: ${C\nc: 10.0.0.1") == ["10.0.0.1"]


@pytest.mark.parametrize(
    ("text", "place"), [("a: [", "x.yaml:1:"), ("a: 1\nb: }\n", "x.yaml:2:4"), ("a: *b", "x.yaml:1:4")]
)
def test_no_yaml_is_told_with_its_place(text: str, place: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        found(text)
    assert caught.value.message.startswith(place)


@pytest.mark.parametrize(
    ("text", "is_one"),
    [
        ("apiVersion: k0sctl.k0sproject.io/v1beta1\nkind: Cluster\n", True),
        ("kind: cluster\napiVersion: 'k0sctl.k0sproject.io/v1beta2'\n", True),
        ('{"kind": "Cluster", "apiVersion": "k0sctl.k0sproject.io/v1beta1"}', True),
        ("a: 1\n---\napiVersion: k0sctl.k0sproject.io/v1beta1\nkind: Cluster\n", True),
        ("apiVersion: k0sctl.k0sproject.io/v1beta1\nkind: Cluster\nx: {port: ${PORT:-22}}\n", True),
        ("apiVersion: k0s.k0sproject.io/v1beta1\nkind: ClusterConfig\n", False),
        ("apiVersion: cluster.x-k8s.io/v1beta1\nkind: Cluster\n", False),
        ("data: |\n  apiVersion: k0sctl.k0sproject.io/v1beta1\n  kind: Cluster\n", False),
        ("a: &a {apiVersion: k0sctl.k0sproject.io/v1beta1}\n<<: *a\nkind: Cluster\n", False),
        ("? [apiVersion]\n: k0sctl.k0sproject.io/v1beta1\n", False),
        ("- 1\n", False),
        ("x: {port: ${PORT:-22}}\n", False),
        ("", False),
    ],
)
def test_which_files_are_k0sctls(text: str, is_one: bool) -> None:
    assert is_cluster(text) is is_one


@pytest.mark.parametrize("link", ["{{<<: [*a{0}, *a{0}]}}", "{{<<: *a{0}}}", "{{? [*a{0}, *a{0}] : 1}}"])
def test_what_a_file_merges_does_not_make_it_a_configuration(link: str) -> None:
    """Nobody asks for its fields, however many they would be."""
    lines = ["- &a0 {k: 10.0.0.1}", *(f"- &a{n} {link.format(n - 1)}" for n in range(1, 1500))]
    text = "\n".join(lines)
    assert not is_cluster(text)
    assert found(text) == ["10.0.0.1"]
    rooted = "x:\n" + text.replace("- &", "  - &") + "\n<<: *a1499\n"
    assert not is_cluster(rooted)
    assert found(rooted) == ["10.0.0.1"]
