"""Host keys as k0sctl checks them: trust on first use, or strict where the SSH configuration says so."""

import base64
import hashlib
import hmac
import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

HANDSHAKE = "ssh dial: ssh: handshake failed: host key mismatch: "
PREFERRED = ("ssh-ed25519", "ecdsa-sha2-nistp256", "ecdsa-sha2-nistp384", "ecdsa-sha2-nistp521", "ssh-rsa")
SCAN_TYPES = {"ssh-ed25519": "ed25519", "ssh-rsa": "rsa", "rsa-sha2-512": "rsa", "rsa-sha2-256": "rsa"}
KNOWN_HOSTS_MISSING = "create config: operation cannot be completed: no known_hosts file found"


class HostKeyError(Exception):
    """The host's key is not accepted; trying again is useless."""


def algorithms(settings: Mapping[str, str]) -> list[str]:
    """The key types to ask for, best first."""
    wanted = [word for word in settings.get("hostkeyalgorithms", "").split(",") if word and word[0] not in "+-^"]
    return wanted or list(PREFERRED)


def offered(address: str, port: int, kinds: list[str], wait: float) -> tuple[str, str] | None:
    """Type and key that the host presents."""
    for kind in dict.fromkeys(SCAN_TYPES.get(name, "ecdsa") for name in kinds):
        command = ["ssh-keyscan", "-T", str(max(1, int(wait))), "-t", kind, "-p", str(port), address]
        done = subprocess.run(command, capture_output=True, text=True, check=False, start_new_session=True)
        for entry in done.stdout.splitlines():
            words = entry.split()
            if len(words) == 3 and not entry.startswith("#"):
                return words[1], words[2]
    return None


def _matches(pattern: str, name: str) -> bool:
    if pattern.startswith("|1|"):
        salt, _, expected = pattern[3:].partition("|")
        found = hmac.new(base64.b64decode(salt), name.encode(), hashlib.sha1).digest()
        return base64.b64encode(found).decode() == expected
    return name in pattern.split(",")


def look_up(file: Path, name: str, key: tuple[str, str]) -> str:
    """`known`, `mismatch` or `unknown`."""
    answer = "unknown"
    lines = file.read_text(encoding="utf-8", errors="replace").splitlines()
    for number, entry in enumerate(lines, 1):
        words = entry.split()
        if not words or words[0].startswith("#"):
            continue
        if len(words) < 3:
            problem = f"knownhosts: {file}:{number}: knownhosts: missing host pattern"
            prefix = "create config: operation cannot be completed: create host key validator: check hostkey"
            raise HostKeyError(f"{prefix}: knownhosts callback: {problem}")
        if _matches(words[0], name):
            if (words[1], words[2]) == key:
                return "known"
            answer = "mismatch"
    return answer


def _remember(file: Path, name: str, key: tuple[str, str]) -> None:
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        system = Path("/etc/ssh/ssh_config").read_text(encoding="utf-8")
    except OSError:
        system = ""
    if any(entry.split()[:2] == ["HashKnownHosts", "yes"] for entry in system.splitlines()):
        salt = os.urandom(20)
        digest = hmac.new(salt, name.encode(), hashlib.sha1).digest()
        name = f"|1|{base64.b64encode(salt).decode()}|{base64.b64encode(digest).decode()}"
    handle = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    with os.fdopen(handle, "a", encoding="utf-8") as target:
        target.write(f"{name} {key[0]} {key[1]}\n")


def _files(settings: Mapping[str, str]) -> tuple[list[Path], bool]:
    """The files that count, and whether unknown keys are refused; no file at all means no check."""
    if "SSH_KNOWN_HOSTS" in os.environ:
        name = os.environ["SSH_KNOWN_HOSTS"]
        return ([], False) if name in ("", "/dev/null") else ([Path(name)], False)
    home = os.environ.get("HOME", "")
    user = settings.get("userknownhostsfile", "")
    if user.lower() == "none":
        names = [Path(name.replace("~", home, 1)) for name in settings.get("globalknownhostsfile", "").split()]
        present = [name for name in names if name.is_file()]
        if not present:
            raise HostKeyError(KNOWN_HOSTS_MISSING)
        return present, True
    names = [Path(name.replace("~", home, 1)) for name in user.split()]
    return names[:1] or [Path(home) / ".ssh/known_hosts"], False


def check(address: str, port: int, key: tuple[str, str], settings: Mapping[str, str]) -> str:
    """Accepts the key or raises; returns a remark for stderr."""
    name = address if port == 22 else f"[{address}]:{port}"
    files, strict = _files(settings)
    if not files or str(files[0]) == "/dev/null":
        return ""
    answers = [look_up(file, name, key) for file in files if file.is_file()]
    if "known" in answers:
        return ""
    if "mismatch" in answers:
        if settings.get("stricthostkeychecking", "").lower() in ("no", "off", "false"):
            why = "because StrictHostKeyChecking is set to 'no' in ssh config"
            return f"Ignored an SSH host key mismatch for {address}:{port} {why}\n"
        raise HostKeyError(f"{HANDSHAKE}knownhosts: key mismatch")
    if strict:
        raise HostKeyError(f"{HANDSHAKE}unknown host: knownhosts: key is unknown")
    _remember(files[0], name, key)
    return ""
