"""The settings of one run as typed, frozen values."""

from __future__ import annotations

import posixpath
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from enum import StrEnum
from pathlib import Path
from typing import Final

from handler.archive import CIPHERS
from handler.secret import Secret
from handler.settings import blocks, convert
from handler.settings.commands import Command, Need, find_command
from handler.settings.extra_arguments import extra_arguments
from handler.settings.parse import FileReader, Values, read_text_file, without_files
from handler.settings.table import BY_NAME

_SECOND: Final = timedelta(seconds=1)
_LONGEST_RUN: Final = timedelta(hours=24)
_LONGEST_WAIT: Final = timedelta(hours=1)
_LONGEST_AGE: Final = timedelta(hours=87600)
_MOST_CYCLES: Final = 1000
_MOST_AT_ONCE: Final = 1000


class RestoreMode(StrEnum):
    """What `apply` does with a backup."""

    AUTO = "auto"
    REQUIRE = "require"
    NEVER = "never"


class BackupHosts(StrEnum):
    """Through which hosts a backup is taken."""

    CONTROLLERS = "controllers"
    ALL = "all"


class PingMode(StrEnum):
    """Which packets trace a route."""

    ICMP = "icmp"
    TCP = "tcp"


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Everything the environment says; meanings and defaults are in `handler.settings.table`.

    Attributes:
        command: the command to run, by the command line or the environment.
        ssh_key: ends in a newline, ready for a file; so do gpg_key, recovery_keys and known_hosts.
        ssh_key_name: the key's file name under ``~/.ssh``.
        log_path: as given, its ``~`` not expanded.
        backup_choice: ``latest`` or a backup's name.
        ping_max_loss: in percent.
        extra_arguments: for k0sctl, each as ``--name=value``.
        problems: what is wrong with the settings; empty for all commands but `check`, which tells them.
    """

    command: Command
    disable_telemetry: bool
    ssh_key: Secret | None
    ssh_key_name: str
    config_path: Path
    log_dir: Path
    backup_dir: Path
    restore_dir: Path
    gpg_key: Secret | None
    passphrase: Secret | None
    recovery_keys: str | None
    cipher: str
    prefix: str
    suffix: str
    log_suffix: str
    log_path: str
    cluster_name: str | None
    cluster_mail: str | None
    known_hosts: str | None
    backup_choice: str
    restore: RestoreMode
    accept_cluster: str | None
    accept_commit: str | None
    confirm_init: str | None
    confirm_reset: str | None
    max_age: timedelta
    timeout: timedelta
    ssh_wait: timedelta
    backup_hosts: BackupHosts
    git_url: str | None
    git_branch: str
    git_ssh_key: Secret | None
    git_known_hosts: str | None
    git_token: Secret | None
    ping_cycles: int
    ping_max_loss: int
    ping_mode: PingMode
    ping_parallel: int
    quiet: bool
    extra_arguments: tuple[str, ...]
    problems: tuple[str, ...] = ()

    @property
    def secrets(self) -> tuple[Secret, ...]:
        """All secret values, for the redactor."""
        values = (self.ssh_key, self.gpg_key, self.passphrase, self.git_ssh_key, self.git_token)
        return tuple(value for value in values if value is not None)

    @classmethod
    def from_env(
        cls,
        env: Mapping[str, str],
        command: str = "",
        *,
        backup: str = "",
        read: FileReader = read_text_file,
        ciphers: Collection[str] = CIPHERS,
    ) -> tuple[Settings, tuple[str, ...]]:
        """Read the environment.

        Args:
            env: the snapshot; nothing else is read, except files that a ``_FILE`` variable names.
            command: the command line's, which overrides K0SCTL_CMD_NAME.
            backup: the command line's NAME, which overrides K0SCTL_BACKUP.
            read: reads a file that a ``_FILE`` variable names.
            ciphers: the allow-list of openssl ciphers.

        Returns:
            The settings, and warnings about variables that look like settings and are none.

        Raises:
            ConfigurationError: with all problems; never for `version` and `check`.
        """
        # what overrides a variable makes its value meaningless, wrong ones included
        overrides = {"K0SCTL_CMD_NAME": command, "K0SCTL_BACKUP": backup}
        env = {**env, **{name: value for name, value in overrides.items() if value}}
        wanted = find_command(env.get("K0SCTL_CMD_NAME", "").strip() or BY_NAME["K0SCTL_CMD_NAME"].default)
        forgiving = wanted is not None and wanted.name == "version"
        values = Values(without_files(env) if forgiving else env, read)
        settings = cls._from_values(values, ciphers)
        _check_together(settings, values)
        if wanted is not None and wanted.name == "check":
            return replace(settings, problems=tuple(line for _, line in values.problems)), values.unknown()
        if not forgiving:
            values.raise_problems()
        return settings, values.unknown()

    @classmethod
    def _from_values(cls, values: Values, ciphers: Collection[str]) -> Settings:
        def secret(name: str, check: convert.TextCheck) -> Secret | None:
            return values.optional(name, lambda text: Secret(check(text)))

        command = values.take("K0SCTL_CMD_NAME", convert.command)
        return cls(
            command=command,
            disable_telemetry=values.take("DISABLE_TELEMETRY", convert.flag),
            ssh_key=secret("K0SCTL_SSH_KEY", blocks.ssh_key),
            ssh_key_name=values.take("K0SCTL_SSH_TYPE", convert.ssh_key_name),
            config_path=values.take("K0SCTL_CFG_PATH", convert.path),
            log_dir=values.take("K0SCTL_DIR_LOG", convert.path),
            backup_dir=values.take("K0SCTL_DIR_BAK", convert.path),
            restore_dir=values.take("K0SCTL_DIR_RES", convert.path),
            gpg_key=secret("K0SCTL_GPG_KEY", blocks.gpg_key),
            passphrase=secret("K0SCTL_GPG_PASSPHRASE", blocks.passphrase),
            recovery_keys=values.optional("K0SCTL_GPG_RECOVERY", blocks.recovery_keys),
            cipher=values.take("K0SCTL_ENC_CIPHER", convert.cipher(ciphers)),
            prefix=values.take("K0SCTL_PREFIX_BAK", convert.name),
            suffix=values.take("K0SCTL_SUFFIX_BAK", convert.archive_suffix),
            log_suffix=values.take("K0SCTL_SUFFIX_LOG", convert.log_suffix),
            log_path=values.take("K0SCTL_LOG_PATH", convert.log_path),
            cluster_name=values.optional("K0SCTL_CLUSTER_NAME", convert.plain),
            cluster_mail=values.optional("K0SCTL_CLUSTER_MAIL", convert.plain),
            known_hosts=values.optional("K0SCTL_KNOWN_HOSTS", blocks.known_hosts),
            backup_choice=values.take("K0SCTL_BACKUP", convert.backup_name),
            restore=values.take("K0SCTL_RESTORE", convert.choice(RestoreMode)),
            accept_cluster=values.optional("K0SCTL_ACCEPT_CLUSTER", convert.uuid),
            accept_commit=values.optional("K0SCTL_ACCEPT_COMMIT", convert.commit),
            confirm_init=values.optional("K0SCTL_CONFIRM_INIT", convert.plain),
            confirm_reset=values.optional("K0SCTL_CONFIRM_RESET", convert.plain),
            max_age=values.take("K0SCTL_MAX_AGE", convert.duration(_SECOND, _LONGEST_AGE)),
            timeout=values.take("K0SCTL_TIMEOUT", convert.duration(_SECOND, _LONGEST_RUN)),
            ssh_wait=values.take("K0SCTL_SSH_WAIT", convert.duration(_SECOND, _LONGEST_WAIT)),
            backup_hosts=values.take("K0SCTL_BACKUP_HOSTS", convert.choice(BackupHosts)),
            git_url=values.optional("K0SCTL_GIT_URL", convert.git_url),
            git_branch=values.take("K0SCTL_GIT_BRANCH", convert.branch),
            git_ssh_key=secret("K0SCTL_GIT_SSH_KEY", blocks.ssh_key),
            git_known_hosts=values.optional("K0SCTL_GIT_KNOWN_HOSTS", blocks.known_hosts),
            git_token=secret("K0SCTL_GIT_TOKEN", blocks.token),
            ping_cycles=values.take("K0SCTL_PING_CYCLES", convert.number(1, _MOST_CYCLES)),
            ping_max_loss=values.take("K0SCTL_PING_MAX_LOSS", convert.percent(1, 100)),
            ping_mode=values.take("K0SCTL_PING_MODE", convert.choice(PingMode)),
            ping_parallel=values.take("K0SCTL_PING_PARALLEL", convert.number(1, _MOST_AT_ONCE)),
            quiet=values.take("K0SCTL_QUIET", convert.flag),
            extra_arguments=values.optional("K0SCTL_EXTRA_ARGS", extra_arguments(command.name)) or (),
        )


def _check_together(settings: Settings, values: Values) -> None:
    """What no single value can tell."""
    if Need.GPG in settings.command.needs and not values.given("K0SCTL_GPG_KEY"):
        setting = BY_NAME["K0SCTL_GPG_KEY"]
        values.problem(
            setting.name,
            f"`{settings.command.name}` needs it ({setting.meaning}); {setting.file_name} may name a file instead",
        )
    directories = {
        "K0SCTL_DIR_LOG": settings.log_dir,
        "K0SCTL_DIR_BAK": settings.backup_dir,
        "K0SCTL_DIR_RES": settings.restore_dir,
    }
    _check_directories(directories, values)
    _check_remote(settings, values)
    _check_kubeconfig(settings, directories, values)


def _check_directories(directories: Mapping[str, Path], values: Values) -> None:
    seen: dict[str, str] = {}
    for name, path in directories.items():
        normal = posixpath.normpath(path)
        if normal in seen:
            values.problem(name, f"must differ from {seen[normal]}", shown=f"={str(path)!r}")
        seen.setdefault(normal, name)
    for name, path in directories.items():
        for outer in ("K0SCTL_DIR_BAK", "K0SCTL_DIR_RES"):
            if _inside(path, directories[outer]):
                where = f"{outer}={str(directories[outer])!r}"
                values.problem(name, f"must not lie inside the repository {where}", shown=f"={str(path)!r}")


def _check_kubeconfig(settings: Settings, directories: Mapping[str, Path], values: Values) -> None:
    """It opens the whole cluster, so it must not be where logs and backups go."""
    for argument in settings.extra_arguments:
        name, _, path = argument.partition("=")
        inside = [outer for outer, around in directories.items() if _inside(Path(path), around)]
        if name == "--kubeconfig-out" and inside:
            values.problem("K0SCTL_EXTRA_ARGS", f"{name} must not lie inside {inside[0]}, which is kept or published")


def _check_remote(settings: Settings, values: Values) -> None:
    """The settings of the remote repository belong together."""
    url = settings.git_url or ""
    for name in ("K0SCTL_GIT_SSH_KEY", "K0SCTL_GIT_KNOWN_HOSTS", "K0SCTL_GIT_TOKEN"):
        if values.given(name) and not values.given("K0SCTL_GIT_URL"):
            values.problem(name, "is set, but K0SCTL_GIT_URL is not")
    over_https = url.startswith("https://")
    if over_https and "@" in url.split("/")[2] and not values.given("K0SCTL_GIT_TOKEN"):
        values.problem("K0SCTL_GIT_URL", "names a user, which may be a token: set K0SCTL_GIT_TOKEN, or leave it out")
    if url and not over_https and values.given("K0SCTL_GIT_TOKEN"):
        values.problem("K0SCTL_GIT_TOKEN", "is for https only, and K0SCTL_GIT_URL is something else")


def _inside(path: Path, outer: Path) -> bool:
    """By the words alone: what is mounted where is not known here."""
    inner, around = Path(posixpath.normpath(path)), Path(posixpath.normpath(outer))
    return inner != around and inner.is_relative_to(around) and inner.relative_to(around).parts[0] != ".."
