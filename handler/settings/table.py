"""The settings as data: the one source of names, defaults and meanings for parsing, help and README."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

PREFIX: Final = "K0SCTL_"
FILE_SUFFIX: Final = "_FILE"


class Kind(StrEnum):
    """What a value looks like, in the words of the help."""

    COMMAND = "command"
    FLAG = "true or false"
    CHOICE = "choice"
    NAME = "name"
    TEXT = "text"
    PATH = "path"
    DURATION = "duration"
    BLOCK = "lines"
    ID = "id"


@dataclass(frozen=True, kw_only=True)
class Setting:
    """One environment variable.

    Attributes:
        shown_default: what the help says where the default is no literal value.
        choices: all values of a `Kind.CHOICE`.
        commands: the commands that read it.
    """

    name: str
    meaning: str
    kind: Kind
    commands: tuple[str, ...]
    default: str = ""
    shown_default: str = ""
    choices: tuple[str, ...] = ()
    secret: bool = False
    multiline: bool = False

    @property
    def file_name(self) -> str:
        """The variable that names a file with the value; empty when there is none."""
        return self.name + FILE_SUFFIX if self.secret or self.multiline else ""

    @property
    def default_text(self) -> str:
        return self.shown_default or self.default


_EVERY: Final = ("version", "init", "apply", "backup", "restore")
_K0SCTL: Final = ("apply", "backup")
_STORED: Final = ("init", "apply", "backup", "restore")

SETTINGS: Final[tuple[Setting, ...]] = (
    Setting(
        name="K0SCTL_CMD_NAME",
        default="version",
        kind=Kind.COMMAND,
        commands=_EVERY,
        meaning="the action; a COMMAND on the command line overrides it",
    ),
    Setting(
        name="DISABLE_TELEMETRY",
        default="false",
        kind=Kind.FLAG,
        commands=("version", *_K0SCTL),
        meaning="becomes `--disable-telemetry`, only for a k0sctl whose help lists that flag",
    ),
    Setting(
        name="K0SCTL_SSH_KEY",
        kind=Kind.BLOCK,
        secret=True,
        multiline=True,
        shown_default="the operator's own",
        commands=_K0SCTL,
        meaning="private SSH key, its content; without it the key files of `~/.ssh` and the SSH agent are used",
    ),
    Setting(
        name="K0SCTL_SSH_TYPE",
        default="id_ed25519",
        kind=Kind.NAME,
        commands=_K0SCTL,
        meaning="the key's file name under `~/.ssh`",
    ),
    Setting(
        name="K0SCTL_CFG_PATH",
        default="config/k0sctl.yaml",
        kind=Kind.PATH,
        commands=_K0SCTL,
        meaning="k0sctl's configuration",
    ),
    Setting(
        name="K0SCTL_DIR_LOG",
        default="auditlog",
        kind=Kind.PATH,
        commands=_STORED,
        meaning="where logs and reports are saved; made when missing",
    ),
    Setting(
        name="K0SCTL_DIR_BAK",
        default="backup",
        kind=Kind.PATH,
        commands=_STORED,
        meaning="the backup repository's working tree that is written",
    ),
    Setting(
        name="K0SCTL_DIR_RES",
        default="restore",
        kind=Kind.PATH,
        commands=_STORED,
        meaning="the backup repository that is read",
    ),
    Setting(
        name="K0SCTL_GPG_KEY",
        kind=Kind.BLOCK,
        secret=True,
        multiline=True,
        commands=_STORED,
        meaning="armored private key of the cluster: opens the password, signs commits",
    ),
    Setting(
        name="K0SCTL_ENC_CIPHER",
        default="chacha20",
        kind=Kind.NAME,
        commands=("apply", "backup", "restore"),
        meaning="openssl cipher for new backups; a stored backup is read with its manifest's, a legacy one with this",
    ),
    Setting(
        name="K0SCTL_PREFIX_BAK",
        default="k0s_backup",
        kind=Kind.NAME,
        commands=_STORED,
        meaning="how the names of archives begin",
    ),
    Setting(
        name="K0SCTL_SUFFIX_BAK",
        default="tar.gz",
        kind=Kind.NAME,
        commands=_STORED,
        meaning="how the names of archives end",
    ),
    Setting(name="K0SCTL_SUFFIX_LOG", default="log", kind=Kind.NAME, commands=_K0SCTL, meaning="suffix of saved logs"),
    Setting(
        name="K0SCTL_LOG_PATH",
        default="~/.cache/k0sctl/k0sctl.log",
        kind=Kind.PATH,
        commands=_K0SCTL,
        meaning="where k0sctl writes its log, `~` being a private HOME; another path must end in `k0sctl/k0sctl.log`",
    ),
    Setting(
        name="K0SCTL_CLUSTER_NAME",
        kind=Kind.TEXT,
        shown_default="the key's uid",
        commands=_STORED,
        meaning="the cluster's name; must equal the name in a valid uid of the key that has no comment",
    ),
    Setting(
        name="K0SCTL_CLUSTER_MAIL",
        kind=Kind.TEXT,
        shown_default="the key's uid",
        commands=_STORED,
        meaning="the cluster's mail address; must equal the one in the same uid",
    ),
    Setting(
        name="K0SCTL_GPG_PASSPHRASE",
        kind=Kind.TEXT,
        secret=True,
        commands=_STORED,
        meaning="passphrase of the GPG key",
    ),
    Setting(
        name="K0SCTL_GPG_RECOVERY",
        kind=Kind.BLOCK,
        multiline=True,
        commands=("init", "backup"),
        meaning="armored public keys that can also open `secret.gpg` (an offline recovery key)",
    ),
    Setting(
        name="K0SCTL_KNOWN_HOSTS",
        kind=Kind.BLOCK,
        multiline=True,
        shown_default="the file known_hosts beside the configuration",
        commands=_K0SCTL,
        meaning="pinned host keys, their content; without any, keys are scanned and printed as UNPINNED",
    ),
    Setting(
        name="K0SCTL_BACKUP",
        default="latest",
        kind=Kind.NAME,
        commands=("apply", "restore"),
        meaning="which backup is used: its stem, the archive's or the `.enc` file's name, `archive/…` included",
    ),
    Setting(
        name="K0SCTL_RESTORE",
        default="auto",
        kind=Kind.CHOICE,
        choices=("auto", "require", "never"),
        commands=("apply",),
        meaning="`auto` restores a new installation; `require` never makes an empty cluster; `never` reads no backup",
    ),
    Setting(
        name="K0SCTL_ACCEPT_CLUSTER",
        kind=Kind.ID,
        commands=_K0SCTL,
        meaning="UID of a cluster that may take over this backup repository",
    ),
    Setting(
        name="K0SCTL_ACCEPT_COMMIT",
        kind=Kind.ID,
        commands=_STORED,
        meaning="full id of an unsigned HEAD that is trusted for this run",
    ),
    Setting(
        name="K0SCTL_CONFIRM_INIT",
        kind=Kind.TEXT,
        commands=("init",),
        meaning="the cluster's name: confirms `init` on a branch that already holds backups",
    ),
    Setting(
        name="K0SCTL_TIMEOUT",
        default="45m",
        kind=Kind.DURATION,
        commands=_K0SCTL,
        meaning="for one k0sctl run, 1s to 24h",
    ),
    Setting(
        name="K0SCTL_SSH_WAIT",
        default="30s",
        kind=Kind.DURATION,
        commands=_K0SCTL,
        meaning="how long the SSH ports are tried before k0sctl is started, 1s to 1h",
    ),
    Setting(
        name="K0SCTL_BACKUP_HOSTS",
        default="controllers",
        kind=Kind.CHOICE,
        choices=("controllers", "all"),
        commands=("backup",),
        meaning="`controllers`: a worker that is down cannot prevent the backup; `all`",
    ),
)

BY_NAME: Final = {setting.name: setting for setting in SETTINGS}


def known_names() -> tuple[str, ...]:
    """Every variable that is read, the ``_FILE`` ones included."""
    return tuple(BY_NAME) + tuple(setting.file_name for setting in SETTINGS if setting.file_name)
