"""What every command has at hand: settings, reporter, private places, and the tools, each made when first used."""

from __future__ import annotations

import contextlib
import urllib.parse
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Final

from handler.process import Children
from handler.report.output import Output
from handler.report.reporter import Reporter
from handler.settings.cli import Invocation
from handler.settings.model import Settings
from handler.tools.git import Git
from handler.tools.gpg import Gpg
from handler.tools.openssl import OpenSSL
from handler.tools.ssh import Ssh
from handler.workspace import Workspace

if TYPE_CHECKING:
    from handler.tools.k0sctl import K0sctl
    from handler.tools.mtr import Mtr

#: What children get of the operator's environment, and nothing else.
_PASSED_ON: Final = ("PATH", "TZ", "SSL_CERT_FILE", "SSL_CERT_DIR")
#: What those get that go out to the internet: k0sctl and git. It may hold a password.
_WAY_OUT: Final = ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy")
_DEFAULT_PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@dataclass(frozen=True, kw_only=True)
class Context:
    """One run.

    Attributes:
        variables: the snapshot of the environment; the configuration may name any of it.
        cwd: the working directory.
        unknown: what is told of variables that look like settings and are none.
        log: what goes into the saved log besides k0sctl's own.
    """

    settings: Settings
    invocation: Invocation
    reporter: Reporter
    output: Output
    children: Children
    workspace: Workspace
    variables: Mapping[str, str]
    cwd: Path
    unknown: tuple[str, ...] = ()
    log: list[str] = field(default_factory=list)

    def now(self) -> datetime:
        return datetime.now(UTC)

    def progress(self, done: int, total: int | None = None) -> None:
        """Told by whoever moves bytes: shows how far it is, and ends the run when a signal has come."""
        self.children.check()
        self.reporter.progress(done, total)

    def kept_directory(self, path: Path) -> str | None:
        """The one of our directories that a path leads into, with its setting: what is there is kept or published."""
        resolved = path.parent.resolve() / path.name
        for setting, directory in (
            ("K0SCTL_DIR_LOG", self.settings.log_dir),
            ("K0SCTL_DIR_BAK", self.settings.backup_dir),
            ("K0SCTL_DIR_RES", self.settings.restore_dir),
        ):
            if resolved.is_relative_to((self.cwd / directory).resolve()):
                return f"{directory} ({setting})"
        return None

    @cached_property
    def child_env(self) -> dict[str, str]:
        """The whole environment of a child; composed, never a copy."""
        return {
            "PATH": _DEFAULT_PATH,
            **self._given(_PASSED_ON),
            "HOME": str(self.workspace.home),
            "TMPDIR": str(self.workspace.bulk),
            "LC_ALL": "C.UTF-8",
            "TERM": "dumb",
            "NO_COLOR": "1",
        }

    @cached_property
    def outgoing_env(self) -> dict[str, str]:
        """The same with the way out; a password in it becomes known to the redactor."""
        way_out = self._given(_WAY_OUT)
        for value in way_out.values():
            with contextlib.suppress(ValueError):
                self.reporter.redactor.learn(urllib.parse.urlsplit(value).password or "")
        return {**self.child_env, **way_out}

    def _given(self, names: Iterable[str]) -> dict[str, str]:
        return {name: self.variables[name] for name in names if self.variables.get(name)}

    @cached_property
    def openssl(self) -> OpenSSL:
        return OpenSSL(self.children, self.child_env)

    @cached_property
    def git(self) -> Git:
        private = self.workspace.bulk / "git"
        private.mkdir(mode=0o700)
        return Git(self.children, self.outgoing_env, private)

    @cached_property
    def gpg(self) -> Gpg:
        return Gpg(self.children, self.child_env, self.workspace.gnupg, self.settings.passphrase)

    @cached_property
    def ssh(self) -> Ssh:
        return Ssh(self.children, self.child_env, self.workspace.ssh)

    @cached_property
    def k0sctl(self) -> K0sctl:
        from handler.tools.k0sctl import K0sctl  # noqa: PLC0415  # start-up time of commands without hosts

        return K0sctl(
            self.children,
            self.k0sctl_env,
            self.k0sctl_log,
            self.cwd,
            disable_telemetry=self.settings.disable_telemetry,
        )

    @property
    def k0sctl_env(self) -> dict[str, str]:
        agent = self.variables.get("SSH_AUTH_SOCK", "") if self.settings.ssh_key is None else ""
        return {**self.outgoing_env, **({"SSH_AUTH_SOCK": agent} if agent else {})}

    @cached_property
    def mtr(self) -> Mtr:
        from handler.tools.mtr import Mtr  # noqa: PLC0415  # start-up time of commands without routes

        return Mtr(self.children, self.child_env, cycles=self.settings.ping_cycles)

    @property
    def has_log(self) -> bool:
        """Whether there is anything to save."""
        return bool(self.log) or self.k0sctl_log.exists()

    def log_lines(self) -> Iterator[str]:
        """All that was logged in this run, a line each."""
        if self.k0sctl_log.exists():
            yield from self.k0sctl.log()
        yield from self.log

    @property
    def k0sctl_log(self) -> Path:
        path = self.settings.log_path
        return self.workspace.home / path.removeprefix("~/") if path.startswith("~/") else self.cwd / path
