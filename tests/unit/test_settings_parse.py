"""The environment becomes typed settings, or one error that tells every problem and no secret."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path

import pytest

from handler.errors import ConfigurationError
from handler.secret import Secret
from handler.settings.model import BackupHosts, PingMode, RestoreMode, Settings
from handler.settings.parse import Values
from handler.settings.table import BY_NAME, SETTINGS

SSH_KEY = "-----BEGIN OPENSSH PRIVATE KEY-----\nc3NoLWtleS1ib2R5\n-----END OPENSSH PRIVATE KEY-----\n"
GPG_KEY = "-----BEGIN PGP PRIVATE KEY BLOCK-----\n\nbGdwLWtleS1ib2R5\n=abcd\n-----END PGP PRIVATE KEY BLOCK-----\n"
PUBLIC_KEY = GPG_KEY.replace("PRIVATE", "PUBLIC")
UID = "0f6c2a4e-8d1b-4c3f-9a5e-7b2d1c0e9f84"


def read(env: Mapping[str, str], command: str = "apply") -> Settings:
    settings, _ = Settings.from_env(env, command)
    return settings


def problems(env: Mapping[str, str], command: str = "apply") -> str:
    with pytest.raises(ConfigurationError) as caught:
        Settings.from_env(env, command)
    assert caught.value.exit_code == 2
    return "\n".join([caught.value.message, *caught.value.details])


def test_defaults_are_the_documented_ones() -> None:
    settings, warnings = Settings.from_env({})
    assert warnings == ()
    assert settings.command.name == "version"
    assert settings.disable_telemetry is False
    assert settings.ssh_key is None
    assert settings.ssh_key_name == "id_ed25519"
    assert settings.config_path == Path("config/k0sctl.yaml")
    assert (settings.log_dir, settings.backup_dir, settings.restore_dir) == (
        Path("auditlog"),
        Path("backup"),
        Path("restore"),
    )
    assert settings.gpg_key is None
    assert settings.passphrase is None
    assert settings.recovery_keys is None
    assert settings.cipher == "chacha20"
    assert (settings.prefix, settings.suffix, settings.log_suffix) == ("k0s_backup", "tar.gz", "log")
    assert settings.log_path == "~/.cache/k0sctl/k0sctl.log"
    assert settings.cluster_name is None
    assert settings.cluster_mail is None
    assert settings.known_hosts is None
    assert settings.backup_choice == "latest"
    assert settings.restore is RestoreMode.AUTO
    assert settings.accept_cluster is None
    assert settings.accept_commit is None
    assert settings.confirm_init is None
    assert settings.confirm_reset is None
    assert settings.max_age == timedelta(hours=50)
    assert (settings.git_url, settings.git_branch) == (None, "backup")
    assert settings.git_ssh_key is None
    assert settings.git_known_hosts is None
    assert settings.git_token is None
    assert (settings.ping_cycles, settings.ping_max_loss, settings.ping_parallel) == (10, 50, 64)
    assert settings.ping_mode is PingMode.ICMP
    assert settings.quiet is False
    assert settings.extra_arguments == ()
    assert settings.problems == ()
    assert settings.timeout == timedelta(minutes=45)
    assert settings.ssh_wait == timedelta(seconds=30)
    assert settings.backup_hosts is BackupHosts.CONTROLLERS
    assert settings.secrets == ()


def test_every_row_of_the_table_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Values] = []
    monkeypatch.setattr(Values, "raise_problems", lambda self: made.append(self))  # noqa: PLW0108 -- binds self
    Settings.from_env({}, "apply")
    assert made[0].taken == set(BY_NAME)


def test_values_become_types() -> None:
    settings = read(
        {
            "K0SCTL_SSH_KEY": SSH_KEY,
            "K0SCTL_GPG_KEY": GPG_KEY,
            "K0SCTL_GPG_PASSPHRASE": " with spaces ",
            "K0SCTL_GPG_RECOVERY": PUBLIC_KEY,
            "K0SCTL_ENC_CIPHER": "AES-256-CTR",
            "K0SCTL_RESTORE": "Never",
            "K0SCTL_BACKUP_HOSTS": "all",
            "K0SCTL_ACCEPT_CLUSTER": UID.upper(),
            "K0SCTL_ACCEPT_COMMIT": "A" * 40,
            "K0SCTL_CLUSTER_NAME": "Prod Köln",
            "K0SCTL_TIMEOUT": "1h30m",
            "K0SCTL_BACKUP": "archive/2026-11-20T01-02-03Z/k0s_backup_2026-01-01T00-00-00Z",
            "DISABLE_TELEMETRY": "YES",
        }
    )
    assert settings.ssh_key == Secret(SSH_KEY)
    assert settings.gpg_key == Secret(GPG_KEY)
    assert settings.passphrase == Secret(" with spaces ")
    assert settings.secrets == (Secret(SSH_KEY), Secret(GPG_KEY), Secret(" with spaces "))
    assert settings.recovery_keys == PUBLIC_KEY
    assert settings.cipher == "aes-256-ctr"
    assert settings.restore is RestoreMode.NEVER
    assert settings.backup_hosts is BackupHosts.ALL
    assert settings.accept_cluster == UID
    assert settings.accept_commit == "a" * 40
    assert settings.cluster_name == "Prod Köln"
    assert settings.timeout == timedelta(minutes=90)
    assert settings.disable_telemetry is True
    assert "with spaces" not in repr(settings)
    assert "c3NoL" not in repr(settings)


@pytest.mark.parametrize("name", [setting.name for setting in SETTINGS])
def test_an_empty_value_is_an_unset_value(name: str) -> None:
    command = "" if name == "K0SCTL_CMD_NAME" else "apply"
    assert Settings.from_env({name: ""}, command) == Settings.from_env({}, command)


def test_surrounding_spaces_do_not_count() -> None:
    assert read({"K0SCTL_SSH_TYPE": " id_rsa\r\n", "K0SCTL_RESTORE": "  "}).ssh_key_name == "id_rsa"


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("DISABLE_TELEMETRY", "on", "true or false"),
        ("K0SCTL_RESTORE", "requir", "did you mean require?"),
        ("K0SCTL_RESTORE", "x", "auto, require, never"),
        ("K0SCTL_BACKUP_HOSTS", "workers", "controllers, all"),
        ("K0SCTL_TIMEOUT", "90", "did you mean 90s or 90m?"),
        ("K0SCTL_TIMEOUT", "0s", "from 1s to 24h"),
        ("K0SCTL_TIMEOUT", "25h", "from 1s to 24h"),
        ("K0SCTL_TIMEOUT", "-5m", "45m, 30s or 1h30m"),
        ("K0SCTL_TIMEOUT", "1.5h", "45m, 30s or 1h30m"),
        ("K0SCTL_SSH_WAIT", "2h", "from 1s to 1h"),
        ("K0SCTL_MAX_AGE", "0h", "from 1s to 87600h"),
        ("K0SCTL_MAX_AGE", "87600h1s", "from 1s to 87600h"),
        ("K0SCTL_MAX_AGE", "2d", "45m, 30s or 1h30m"),
        ("K0SCTL_MAX_AGE", "50", "did you mean 50s or 50m?"),
        ("K0SCTL_QUIET", "quiet", "true or false"),
        ("K0SCTL_PING_CYCLES", "0", "a whole number from 1 to 1000"),
        ("K0SCTL_PING_CYCLES", "1001", "a whole number from 1 to 1000"),
        ("K0SCTL_PING_CYCLES", "-1", "a whole number from 1 to 1000"),
        ("K0SCTL_PING_CYCLES", "1.5", "a whole number from 1 to 1000"),
        ("K0SCTL_PING_CYCLES", "٣", "a whole number from 1 to 1000"),
        ("K0SCTL_PING_PARALLEL", "all", "a whole number from 1 to 1000"),
        ("K0SCTL_PING_MAX_LOSS", "0%", "from 1% to 100%"),
        ("K0SCTL_PING_MAX_LOSS", "101", "from 1% to 100%"),
        ("K0SCTL_PING_MAX_LOSS", "0.5", "in whole percent"),
        ("K0SCTL_PING_MAX_LOSS", "50%%", "from 1% to 100%"),
        ("K0SCTL_PING_MODE", "udp", "icmp, tcp"),
        ("K0SCTL_CONFIRM_RESET", "prod <x>", "plain text"),
        ("K0SCTL_SSH_TYPE", "/root/.ssh/id_rsa", "without a slash"),
        ("K0SCTL_SSH_TYPE", "config", "another use"),
        ("K0SCTL_SSH_TYPE", "id_rsa.pub", "without .pub"),
        ("K0SCTL_SSH_TYPE", "..", "dot or a dash"),
        ("K0SCTL_PREFIX_BAK", "a/b", "bare name"),
        ("K0SCTL_PREFIX_BAK", "-rf", "dot or a dash"),
        ("K0SCTL_PREFIX_BAK", "a" * 65, "64 characters"),
        ("K0SCTL_SUFFIX_BAK", ".tar.gz", "dot or a dash"),
        ("K0SCTL_SUFFIX_BAK", "json", "must not end in json"),
        ("K0SCTL_SUFFIX_LOG", "JSON", "must not end in json"),
        ("K0SCTL_ENC_CIPHER", "-chacha20", "without the dash: chacha20"),
        ("K0SCTL_ENC_CIPHER", "aes-256-gcm", "did you mean aes-256-"),
        ("K0SCTL_LOG_PATH", "k0sctl/k0sctl.log", "start with ~/ or /"),
        ("K0SCTL_LOG_PATH", "/var/log/k0sctl.log", "end in k0sctl/k0sctl.log"),
        ("K0SCTL_LOG_PATH", "/var/myk0sctl/k0sctl.log", "end in k0sctl/k0sctl.log"),
        ("K0SCTL_LOG_PATH", "~/../k0sctl/k0sctl.log", "without .."),
        ("K0SCTL_ACCEPT_COMMIT", "abc1234", "40 or 64"),
        ("K0SCTL_ACCEPT_CLUSTER", "mine", "UID"),
        ("K0SCTL_BACKUP", "../secret.gpg", "bare name"),
        ("K0SCTL_BACKUP", "restore/k0s_backup_x", "bare name"),
        ("K0SCTL_BACKUP", "archive/../x", "bare name"),
        ("K0SCTL_CLUSTER_NAME", "prod (old)", "plain text"),
        ("K0SCTL_CLUSTER_MAIL", "<a@b>", "plain text"),
        ("K0SCTL_CONFIRM_INIT", "a\nb", "control characters"),
        ("K0SCTL_CFG_PATH", "~/k0sctl.yaml", "not expanded"),
        ("K0SCTL_DIR_LOG", "backup", "K0SCTL_DIR_BAK='backup': must differ from K0SCTL_DIR_LOG"),
        ("K0SCTL_DIR_RES", "./backup/", "must differ from K0SCTL_DIR_BAK"),
        ("K0SCTL_DIR_LOG", "backup/logs", "must not lie inside the repository K0SCTL_DIR_BAK='backup'"),
    ],
)
def test_a_wrong_value_is_named_with_what_is_allowed(name: str, value: str, told: str) -> None:
    text = problems({name: value})
    assert told in text
    assert name in text or "K0SCTL_DIR" in text


def test_the_log_directory_may_hold_the_repositories() -> None:
    assert read({"K0SCTL_DIR_LOG": "."}).log_dir == Path()


def test_all_problems_are_told_together() -> None:
    with pytest.raises(ConfigurationError) as caught:
        Settings.from_env({"K0SCTL_TIMEOUT": "90", "K0SCTL_RESTORE": "x", "K0SCTL_SSH_TYPE": "a/b"}, "backup")
    assert caught.value.message.startswith("4 problems with the settings: K0SCTL_SSH_TYPE, K0SCTL_RESTORE, ")
    assert "K0SCTL_TIMEOUT='90': needs a unit: did you mean 90s or 90m?" in caught.value.details
    assert any(line.startswith("K0SCTL_GPG_KEY: `backup` needs it") for line in caught.value.details)
    assert len(caught.value.details) == 4


def test_one_problem_is_the_message_itself() -> None:
    with pytest.raises(ConfigurationError) as caught:
        Settings.from_env({"K0SCTL_TIMEOUT": "90"}, "apply")
    assert caught.value.message.startswith("K0SCTL_TIMEOUT='90': needs a unit")
    assert caught.value.details == ()


def test_a_long_value_is_shortened() -> None:
    assert "x" * 81 not in problems({"K0SCTL_ACCEPT_COMMIT": "x" * 5000})


@pytest.mark.parametrize("command", ["init", "backup", "restore", "decrypt"])
def test_the_gpg_key_is_demanded_where_it_is_needed(command: str) -> None:
    assert "K0SCTL_GPG_KEY_FILE" in problems({}, command)
    assert "needs it" not in problems({"K0SCTL_GPG_KEY": "rubbish"}, command)
    Settings.from_env({"K0SCTL_GPG_KEY": GPG_KEY}, command)


def test_apply_decides_later_about_the_key() -> None:
    assert read({}, "install").command.name == "apply"


@pytest.mark.parametrize("command", ["", "version"])
def test_version_never_fails_on_other_settings(command: str) -> None:
    env = {
        "K0SCTL_TIMEOUT": "x",
        "K0SCTL_GPG_KEY": "x",
        "K0SCTL_SSH_KEY": "x",
        "K0SCTL_SSH_KEY_FILE": "/absent",
        "K0SCTL_DIR_LOG": "backup",
    }

    def never(path: Path) -> str:
        raise AssertionError(f"{path} must not be opened")

    settings, _ = Settings.from_env(env, command, read=never)
    assert settings.command.name == "version"
    assert settings.timeout == timedelta(minutes=45)


def test_the_command_line_overrides_even_a_wrong_variable() -> None:
    env = {"K0SCTL_CMD_NAME": "rubbish", "K0SCTL_BACKUP": "../x"}
    settings, _ = Settings.from_env(env, "apply", backup="some_name")
    assert (settings.command.name, settings.backup_choice) == ("apply", "some_name")


def test_an_unknown_command_is_answered_with_the_list_and_the_nearest() -> None:
    text = problems({"K0SCTL_CMD_NAME": "bakcup"}, "")
    assert "K0SCTL_CMD_NAME='bakcup': must be one of version, check, init, apply (install), backup, reset (" in text
    assert text.endswith("did you mean backup?")


def test_unknown_names_are_warnings_with_the_nearest() -> None:
    env = {
        "K0SCTL_TIMOUT": "5m",
        "K0SCTL_VERSION": "v0.32.2",
        "K0SCTL_GPG_PASPHRASE": "hunter2hunter2",
        "K0SCTL_TIMEOUT_FILE": "x",
        "K0SCTL_EMPTY": "",
        "PRACTICE_K0SCTL": "x",
    }
    _, warnings = Settings.from_env(env, "apply")
    text = "\n".join(warnings)
    assert len(warnings) == 4
    assert "K0SCTL_TIMOUT is no setting of this release and is ignored; did you mean K0SCTL_TIMEOUT?" in warnings
    assert "K0SCTL_VERSION is no setting of this release and is ignored" in text
    assert "did you mean K0SCTL_GPG_PASSPHRASE" in text
    assert "hunter2" not in text


@pytest.mark.parametrize(("text", "age"), [("1s", timedelta(seconds=1)), ("87600h", timedelta(hours=87600))])
def test_the_bounds_of_an_age_belong_to_it(text: str, age: timedelta) -> None:
    assert read({"K0SCTL_MAX_AGE": text, "K0SCTL_GPG_KEY": GPG_KEY}, "status").max_age == age


@pytest.mark.parametrize(("text", "loss"), [("1%", 1), ("50", 50), ("100%", 100), ("7 %", 7)])
def test_the_sign_of_a_percentage_may_be_left_out(text: str, loss: int) -> None:
    assert read({"K0SCTL_PING_MAX_LOSS": text}, "ping").ping_max_loss == loss


def test_ping_needs_no_key() -> None:
    settings = read({"K0SCTL_PING_CYCLES": "1000", "K0SCTL_PING_PARALLEL": "1", "K0SCTL_PING_MODE": "TCP"}, "ping")
    assert (settings.ping_cycles, settings.ping_parallel, settings.ping_mode) == (1000, 1, PingMode.TCP)


class TestCheck:
    """`check` tells what is wrong; so it must get to know it, and not end by it."""

    def test_it_gets_all_problems_instead_of_an_error(self) -> None:
        env = {"K0SCTL_TIMEOUT": "90", "K0SCTL_RESTORE": "x", "K0SCTL_GIT_TOKEN": "token-without-url", "K0SCTL_X": "y"}
        settings, warnings = Settings.from_env(env, "check")
        assert [line.partition(":")[0] for line in settings.problems] == [
            "K0SCTL_RESTORE='x'",
            "K0SCTL_TIMEOUT='90'",
            "K0SCTL_GIT_TOKEN",
        ]
        assert settings.timeout == timedelta(minutes=45)
        assert any("K0SCTL_X is no setting" in warning for warning in warnings)

    def test_also_where_the_environment_names_it(self) -> None:
        settings, _ = Settings.from_env({"K0SCTL_CMD_NAME": "check", "K0SCTL_DIR_LOG": "backup"})
        assert settings.problems == ("K0SCTL_DIR_BAK='backup': must differ from K0SCTL_DIR_LOG",)

    def test_files_are_read_as_for_every_other_command(self, tmp_path: Path) -> None:
        settings, _ = Settings.from_env({"K0SCTL_GPG_KEY_FILE": str(tmp_path / "absent")}, "check")
        assert len(settings.problems) == 1
        assert "No such file" in settings.problems[0]

    def test_no_secret_is_told(self) -> None:
        secret = "hunter2hunter2"
        env = {"K0SCTL_GPG_PASSPHRASE": secret, "K0SCTL_TIMEOUT": secret, "K0SCTL_SSH_KEY": f"{secret} key"}
        settings, _ = Settings.from_env(env, "check")
        assert len(settings.problems) == 2
        assert secret not in "".join(settings.problems)

    @pytest.mark.parametrize("command", ["version", "apply", "list"])
    def test_other_commands_have_no_problems(self, command: str) -> None:
        assert read({"K0SCTL_GPG_KEY": GPG_KEY}, command).problems == ()


def test_an_unknown_command_is_an_error_beside_others() -> None:
    text = problems({"K0SCTL_CMD_NAME": "chekc", "K0SCTL_TIMEOUT": "x"}, "")
    assert "did you mean check?" in text
    assert "K0SCTL_TIMEOUT" in text
