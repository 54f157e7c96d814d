"""Host keys and known_hosts lines."""

from __future__ import annotations

import pytest

from handler.tools.hostkeys import HostKey, PinState, check_pins, known_hosts_name, parse_keys, plain_pins, preferred

ED = HostKey("ssh-ed25519", "AAAAC3NzaC1lZDI1NTE5AAAAIEFB")
ED_NEW = HostKey("ssh-ed25519", "AAAAC3NzaC1lZDI1NTE5AAAAIEFC")
RSA = HostKey("ssh-rsa", "AAAAB3NzaC1yc2E=")
ECDSA = HostKey("ecdsa-sha2-nistp256", "AAAAE2VjZHNh")
ODD = HostKey("sk-ssh-ed25519@openssh.com", "AAAA")


@pytest.mark.parametrize(
    ("address", "port", "name"),
    [("10.0.0.1", 22, "10.0.0.1"), ("10.0.0.1", 2222, "[10.0.0.1]:2222"), ("::1", 22, "::1"), ("::1", 23, "[::1]:23")],
)
def test_names(address: str, port: int, name: str) -> None:
    assert known_hosts_name(address, port) == name


def test_lines() -> None:
    lines = [
        "# host found", "", "garbage", f"h {ED.kind}", ED.line("h"), f"{RSA.line('h')} a comment", ED.line("again"),
        f"@cert-authority {ED_NEW.line('h')}", f"@revoked {ED_NEW.line('h')}", f"\t{ECDSA.line('h')}",
    ]  # fmt: skip
    assert parse_keys(lines) == (ED, RSA, ECDSA)
    assert parse_keys([]) == ()


def test_fingerprints() -> None:
    assert HostKey("x", "QUJD").fingerprint == "SHA256:tdQEXD9Gb6kf4sxqvnkjKhpXzfEE96JucW4KHieJ33g"
    assert "=" not in ED.fingerprint
    assert ED.fingerprint != ED_NEW.fingerprint
    assert HostKey("x", "not base64").fingerprint == "unreadable"


def test_what_the_client_is_shown_first() -> None:
    assert preferred([RSA, ECDSA, ED]) == ED
    assert preferred([ODD, RSA]) == RSA
    assert preferred([ODD]) == ODD
    assert preferred([]) is None


@pytest.mark.parametrize(
    ("shown", "pinned", "state"),
    [
        ([ED, RSA], [ED], PinState.FITS),
        ([ED, RSA], [RSA], PinState.OTHER_KIND),
        ([ED, RSA], [ED_NEW], PinState.CHANGED),
        ([ED, RSA], [ED_NEW, RSA], PinState.CHANGED),
        ([ED], [ED_NEW, ED], PinState.FITS),
        ([ED], [], PinState.NOT_PINNED),
        ([], [ED], PinState.UNCHECKED),
    ],
)
def test_comparing(shown: list[HostKey], pinned: list[HostKey], state: PinState) -> None:
    check = check_pins("h", shown, [key.line("h") for key in pinned])
    assert check.state is state
    assert check.pinned == tuple(pinned)
    assert check.shown == preferred(shown)


def test_keys_of_an_authority_are_left_to_the_client() -> None:
    for pinned in ([ED], [ED_NEW], []):
        lines = [*(key.line("h") for key in pinned), f"@cert-authority {RSA.line('h')}"]
        assert check_pins("h", [ED], lines).state is PinState.UNCHECKED


@pytest.mark.parametrize(
    "lines",
    [
        [f"@revoked {ED.line('*')}"],
        [ED.line("h"), f"@revoked {ED.line('h')}"],
        [f"  @revoked {ED.line('h')}", ED.line("h"), ED_NEW.line("h")],
        [f"@revoked {ED.line('h')}", f"@cert-authority {RSA.line('h')}"],
    ],
)
def test_a_revoked_key_is_wrong_whatever_else_is_said_of_it(lines: list[str]) -> None:
    check = check_pins("h", [ED], lines)
    assert (check.state, check.revoked) == (PinState.CHANGED, True)
    assert ED not in check.pinned


@pytest.mark.parametrize(
    ("pinned", "state"),
    [
        ([ED], PinState.FITS), ([ED_NEW], PinState.CHANGED), ([RSA], PinState.OTHER_KIND), ([], PinState.NOT_PINNED),
        ([ECDSA], PinState.NOT_PINNED),
    ],
)  # fmt: skip
def test_that_another_key_is_revoked_says_nothing(pinned: list[HostKey], state: PinState) -> None:
    lines = [f"@revoked {ECDSA.line('*')}", *(key.line("h") for key in pinned)]
    check = check_pins("h", [ED], lines)
    assert (check.state, check.revoked) == (state, False)


def test_plain_pins_are_found_without_ssh_keygen() -> None:
    lines = [
        "# comment",
        "",
        "Node1,10.0.0.1 ssh-ed25519 AAAA1",
        "[10.0.0.1]:2222 ssh-rsa AAAA2",
        "node1 ssh-rsa AAAA3",
    ]
    assert plain_pins(lines) == {
        "node1": [lines[2], lines[4]],
        "10.0.0.1": [lines[2]],
        "[10.0.0.1]:2222": [lines[3]],
    }


@pytest.mark.parametrize(
    "line",
    [
        "|1|a2V5|aGFzaA== ssh-ed25519 AAAA", "*.example ssh-ed25519 AAAA", "node?,other ssh-ed25519 AAAA",
        "!node1,node* ssh-ed25519 AAAA", "@cert-authority node ssh-ed25519 AAAA", "@revoked node1 ssh-ed25519 AAAA",
    ],
)  # fmt: skip
def test_what_only_ssh_keygen_can_look_up(line: str) -> None:
    assert plain_pins(["node1 ssh-ed25519 AAAA", line]) is None
