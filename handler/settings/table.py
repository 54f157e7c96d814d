"""The settings as data: the one source of names, defaults and meanings for parsing, help and README."""

from __future__ import annotations

from typing import Final

from handler.settings.commands import COMMANDS
from handler.settings.extra_arguments import EXTRA_ARGUMENTS
from handler.settings.setting import Kind, Setting

_EVERY: Final = tuple(command.name for command in COMMANDS)
_LOGGED: Final = tuple(name for name in _EVERY if name != "version")
#: Those that go to the hosts.
_HOSTS: Final = ("check", "apply", "backup", "reset")
#: Those that read the configuration.
_CONFIG: Final = (*_HOSTS, "ping")
#: Those that read the backup repository; all of them may need its key.
_STORED: Final = tuple(name for name in _LOGGED if name != "ping")
_WRITE: Final = ("check", "init", "backup")


def _of_ping(name: str, default: str, meaning: str, kind: Kind = Kind.CHOICE, choices: tuple[str, ...] = ()) -> Setting:
    name = f"K0SCTL_PING_{name}"
    return Setting(name=name, default=default, kind=kind, choices=choices, commands=("ping",), meaning=meaning)


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
        commands=("version", *_HOSTS),
        meaning="becomes `--disable-telemetry`, only for a k0sctl whose help lists that flag",
    ),
    Setting(
        name="K0SCTL_SSH_KEY",
        kind=Kind.BLOCK,
        secret=True,
        multiline=True,
        shown_default="the operator's own",
        commands=_HOSTS,
        meaning="private SSH key, its content; without it the key files of `~/.ssh` and the SSH agent are used",
    ),
    Setting(
        name="K0SCTL_SSH_TYPE",
        default="id_ed25519",
        kind=Kind.NAME,
        commands=_HOSTS,
        meaning="the key's file name under `~/.ssh`",
    ),
    Setting(
        name="K0SCTL_CFG_PATH",
        default="config/k0sctl.yaml",
        kind=Kind.PATH,
        commands=_CONFIG,
        meaning="k0sctl's configuration; `ping` also reads the other `*.yaml` beside it",
    ),
    Setting(
        name="K0SCTL_DIR_LOG",
        default="auditlog",
        kind=Kind.PATH,
        commands=_LOGGED,
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
        commands=("check", "apply", "backup", "reset", "restore", "verify", "status"),
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
    Setting(name="K0SCTL_SUFFIX_LOG", default="log", kind=Kind.NAME, commands=_CONFIG, meaning="suffix of saved logs"),
    Setting(
        name="K0SCTL_LOG_PATH",
        default="~/.cache/k0sctl/k0sctl.log",
        kind=Kind.PATH,
        commands=_HOSTS,
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
        commands=_WRITE,
        meaning="armored public keys that can also open `secret.gpg` (an offline recovery key)",
    ),
    Setting(
        name="K0SCTL_KNOWN_HOSTS",
        kind=Kind.BLOCK,
        multiline=True,
        shown_default="the file known_hosts beside the configuration",
        commands=_CONFIG,
        meaning="pinned host keys, their content; without any, keys are scanned and printed as UNPINNED",
    ),
    Setting(
        name="K0SCTL_BACKUP",
        default="latest",
        kind=Kind.NAME,
        commands=("apply", "restore", "verify"),
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
        commands=("check", "apply", "backup"),
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
        name="K0SCTL_CONFIRM_RESET",
        kind=Kind.TEXT,
        commands=("reset",),
        meaning="the cluster's name: confirms `reset` where no fresh, proven backup of this cluster does",
    ),
    Setting(
        name="K0SCTL_MAX_AGE",
        default="50h",
        kind=Kind.DURATION,
        commands=("check", "reset", "status"),
        meaning="how old the newest proven backup may be, 1s to 87600h",
    ),
    Setting(
        name="K0SCTL_TIMEOUT",
        default="45m",
        kind=Kind.DURATION,
        commands=_STORED,
        meaning="for one k0sctl run, and for one transfer from or to `K0SCTL_GIT_URL`, 1s to 24h",
    ),
    Setting(
        name="K0SCTL_SSH_WAIT",
        default="30s",
        kind=Kind.DURATION,
        commands=_CONFIG,
        meaning="how long the SSH ports are tried before k0sctl is started, 1s to 1h",
    ),
    Setting(
        name="K0SCTL_BACKUP_HOSTS",
        default="controllers",
        kind=Kind.CHOICE,
        choices=("controllers", "all"),
        commands=("check", "apply", "backup", "reset"),
        meaning="`controllers`: a worker that is down cannot prevent the backup; `all`",
    ),
    Setting(
        name="K0SCTL_GIT_URL",
        kind=Kind.URL,
        commands=_STORED,
        meaning="the backup repository's URL (ssh, https or file), which the handler then clones and pushes to by "
        "itself; `K0SCTL_DIR_RES` is not read",
    ),
    Setting(
        name="K0SCTL_GIT_BRANCH",
        default="backup",
        kind=Kind.NAME,
        commands=_STORED,
        meaning="the branch of this cluster there",
    ),
    Setting(
        name="K0SCTL_GIT_SSH_KEY",
        kind=Kind.BLOCK,
        secret=True,
        multiline=True,
        shown_default="the operator's own",
        commands=_STORED,
        meaning="private SSH key for that repository, its content",
    ),
    Setting(
        name="K0SCTL_GIT_KNOWN_HOSTS",
        kind=Kind.BLOCK,
        multiline=True,
        shown_default="the operator's own",
        commands=_STORED,
        meaning="pinned host keys of the host of that repository; without any, ssh is refused",
    ),
    Setting(
        name="K0SCTL_GIT_TOKEN",
        kind=Kind.TEXT,
        secret=True,
        commands=_STORED,
        meaning="token for that repository over https; the user is the one in the URL, else `x-access-token`",
    ),
    _of_ping("CYCLES", "10", "packets that are sent to every hop, 1 to 1000: one a second, for root five", Kind.NUMBER),
    _of_ping("MAX_LOSS", "50%", "from this loss on, 1% to 100%, an address does not count as reached", Kind.PERCENT),
    _of_ping(
        "MODE", "icmp", "`icmp`; `tcp` goes to the SSH port, for networks that drop ICMP", choices=("icmp", "tcp")
    ),
    _of_ping("PARALLEL", "64", "how many routes are traced at once, 1 to 1000", Kind.NUMBER),
    Setting(
        name="K0SCTL_QUIET",
        default="false",
        kind=Kind.FLAG,
        commands=_EVERY,
        meaning="only warnings, errors and the last line on stderr",
    ),
    Setting(
        name="K0SCTL_EXTRA_ARGS",
        kind=Kind.TEXT,
        commands=tuple(EXTRA_ARGUMENTS),
        meaning="further arguments for k0sctl; "
        + "; ".join(f"`{command}`: {', '.join(sorted(names))}" for command, names in EXTRA_ARGUMENTS.items()),
    ),
)

BY_NAME: Final = {setting.name: setting for setting in SETTINGS}


def known_names() -> tuple[str, ...]:
    """Every variable that is read, the ``_FILE`` ones included."""
    return tuple(BY_NAME) + tuple(setting.file_name for setting in SETTINGS if setting.file_name)
