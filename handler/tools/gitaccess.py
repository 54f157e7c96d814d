"""How git gets into another machine: with credentials that are in no argument, no environment and no configuration."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from handler.secret import Secret
from handler.tools.gitlocated import without_credentials
from handler.workspace import write_private

#: An HTTP transfer below this rate for this long has stalled (git-config(1), http.lowSpeedLimit). A server that packs
#: or checks what it got sends a few bytes every five seconds, so a higher rate would end what only takes its time.
_STALLED: Final = {"GIT_HTTP_LOW_SPEED_LIMIT": "1", "GIT_HTTP_LOW_SPEED_TIME": "300"}
_ANY_USER: Final = "x-access-token"
_SSH_CONFIG: Final = """\
Host *
  BatchMode yes
  StrictHostKeyChecking yes
  UserKnownHostsFile "{pins}"
  GlobalKnownHostsFile none
  UpdateHostKeys no
  IdentitiesOnly {only}
  PasswordAuthentication no
  ForwardAgent no
  ConnectTimeout 20
  ServerAliveInterval 15
  ServerAliveCountMax 3
{keys}"""


@dataclass(frozen=True, kw_only=True)
class Access:
    """What a transfer needs besides the URL.

    Attributes:
        url: without any credentials.
        env: further environment; no secret.
        options: further configuration, ``name=value``; no secret.
    """

    url: str
    env: Mapping[str, str] = field(default_factory=dict)
    options: tuple[str, ...] = ()


def anonymous(url: str) -> Access:
    """For what anybody may read."""
    return Access(url=url, env={**_STALLED, "GIT_ALLOW_PROTOCOL": "file:https"})


def over_file(url: str) -> Access:
    """A repository on this machine.

    Its hooks and its configuration run as this user, beside the keys of this run. So git must not take one of another
    owner, which it does by itself when no ``safe.directory`` says otherwise (git-config(1)).
    """
    return Access(url=url, env={"GIT_ALLOW_PROTOCOL": "file", "GIT_CONFIG_GLOBAL": os.devnull})


def over_https(url: str, token: Secret | None, private: Path, certificates: str = "") -> Access:
    """With a token, which a credential helper reads from a private file, for this host only.

    Args:
        private: a private directory.
        certificates: a file with the authorities to trust; empty for the system's own.
    """
    env = {**_STALLED, "GIT_ALLOW_PROTOCOL": "https", **({"GIT_SSL_CAINFO": certificates} if certificates else {})}
    # a server must not send the token on to another one
    options: tuple[str, ...] = ("http.followRedirects=false", "credential.helper=")
    bare = without_credentials(url)
    if token is not None:
        user = re.match(r"https://([^/@]*)@", url)
        name = user[1] if user and user[1] else _ANY_USER
        file = write_private(private / "git-credentials", f"username={name}\npassword={token.reveal()}\n")
        host = "/".join(bare.split("/")[:3])
        # the private directory may be mounted noexec, so it is no script that is run
        options += (f"credential.{host}.helper=!cat {shlex.quote(str(file))} && :",)
    return Access(url=bare, env=env, options=options)


def over_ssh(url: str, keys: list[Path], known_hosts: str, private: Path, agent: str = "") -> Access:
    """With private keys and pinned host keys; nobody's own configuration is read.

    Args:
        keys: files of private keys, mode 0600.
        known_hosts: the pinned lines.
        private: a private directory.
        agent: the socket of an SSH agent; empty for none.
    """
    pins = write_private(private / "git-known-hosts", known_hosts)
    lines = "".join(f'  IdentityFile "{_in_ssh_config(path)}"\n' for path in keys)
    only = "no" if agent else "yes"
    config = write_private(
        private / "git-ssh-config", _SSH_CONFIG.format(pins=_in_ssh_config(pins), keys=lines, only=only)
    )
    env = {
        "GIT_ALLOW_PROTOCOL": "ssh",
        "GIT_SSH_COMMAND": f"ssh -F {shlex.quote(str(config))}",
        "GIT_SSH_VARIANT": "ssh",
        **({"SSH_AUTH_SOCK": agent} if agent else {}),
    }
    return Access(url=url, env=env)


def keyscan(url: str) -> str:
    """The line that asks an SSH host for its keys."""
    found = re.match(r"(?:ssh://)?(?:[^@/]*@)?(?P<host>\[[^\]]+\]|[^/:]+)(?::(?P<port>\d+)(?=/))?", url)
    if found is None:
        raise AssertionError("the settings check the URL")
    port = f"-p {found['port']} " if found["port"] and url.startswith("ssh://") else ""
    return f"ssh-keyscan {port}{found['host'].strip('[]')}"


def _in_ssh_config(path: Path) -> str:
    """ssh_config(5): a percent sign begins a token."""
    return str(path).replace("%", "%%")
