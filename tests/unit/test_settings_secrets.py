"""Values from files, and secrets that no message may show."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from handler.errors import ConfigurationError
from handler.secret import Secret
from handler.settings.model import Settings
from handler.settings.parse import LARGEST_FILE
from handler.settings.table import SETTINGS

SSH_KEY = "-----BEGIN OPENSSH PRIVATE KEY-----\nc3NoLWtleS1ib2R5\n-----END OPENSSH PRIVATE KEY-----\n"
GPG_KEY = "-----BEGIN PGP PRIVATE KEY BLOCK-----\n\nbGdwLWtleS1ib2R5\n=abcd\n-----END PGP PRIVATE KEY BLOCK-----\n"


def read(env: Mapping[str, str], command: str = "apply") -> Settings:
    settings, _ = Settings.from_env(env, command)
    return settings


def problems(env: Mapping[str, str], command: str = "apply") -> str:
    with pytest.raises(ConfigurationError) as caught:
        Settings.from_env(env, command)
    assert caught.value.exit_code == 2
    return "\n".join([caught.value.message, *caught.value.details])


class TestFiles:
    def test_every_secret_and_every_block_may_come_from_a_file(self) -> None:
        names = {setting.file_name for setting in SETTINGS if setting.file_name}
        git = ("GIT_SSH_KEY", "GIT_KNOWN_HOSTS", "GIT_TOKEN")
        expected = ("SSH_KEY", "GPG_KEY", "GPG_PASSPHRASE", "GPG_RECOVERY", "KNOWN_HOSTS", *git)
        assert names == {f"K0SCTL_{name}_FILE" for name in expected}

    def test_a_file_is_read(self, tmp_path: Path) -> None:
        key, phrase = tmp_path / "key", tmp_path / "phrase"
        key.write_bytes(b"\xef\xbb\xbf" + SSH_KEY.replace("\n", "\r\n").encode())
        phrase.write_text(" ends with two\n")
        settings = read({"K0SCTL_SSH_KEY_FILE": str(key), "K0SCTL_GPG_PASSPHRASE_FILE": str(phrase)})
        assert settings.ssh_key == Secret(SSH_KEY)
        assert settings.passphrase == Secret(" ends with two")

    def test_a_passphrase_file_loses_one_line_end_only(self, tmp_path: Path) -> None:
        file = tmp_path / "phrase"
        file.write_text("secret-phrase\n\n")
        text = problems({"K0SCTL_GPG_PASSPHRASE_FILE": str(file)})
        assert f"K0SCTL_GPG_PASSPHRASE_FILE='{file}': must be one line" in text
        assert "secret-phrase" not in text

    def test_both_set_is_an_error(self, tmp_path: Path) -> None:
        text = problems({"K0SCTL_SSH_KEY": SSH_KEY, "K0SCTL_SSH_KEY_FILE": str(tmp_path)})
        assert text == "K0SCTL_SSH_KEY: is set and K0SCTL_SSH_KEY_FILE too: keep one of them"

    def test_an_empty_variable_beside_a_file_is_unset(self, tmp_path: Path) -> None:
        (tmp_path / "key").write_text(SSH_KEY)
        assert read({"K0SCTL_SSH_KEY": "", "K0SCTL_SSH_KEY_FILE": str(tmp_path / "key")}).ssh_key

    @pytest.mark.parametrize(
        ("content", "told"),
        [
            (None, "No such file"),
            (b"", "the file is empty"),
            (b" \n", "the file is empty"),
            (b"\xff\xfe", "not UTF-8"),
            (b"x" * (LARGEST_FILE + 1), "larger than 1 MiB"),
        ],
    )
    def test_an_unusable_file_is_named_with_the_reason(self, tmp_path: Path, content: bytes | None, told: str) -> None:
        file = tmp_path / "key"
        if content is not None:
            file.write_bytes(content)
        text = problems({"K0SCTL_GPG_KEY_FILE": str(file)}, "backup")
        assert f"K0SCTL_GPG_KEY_FILE='{file}'" in text
        assert told in text
        assert "needs it" not in text

    def test_a_directory_is_no_file(self, tmp_path: Path) -> None:
        assert "Is a directory" in problems({"K0SCTL_KNOWN_HOSTS_FILE": str(tmp_path)})

    def test_content_instead_of_a_path_is_not_shown(self) -> None:
        text = problems({"K0SCTL_SSH_KEY_FILE": SSH_KEY})
        assert "set K0SCTL_SSH_KEY instead" in text
        assert "c3NoL" not in text

    def test_a_passphrase_instead_of_a_path_is_not_shown(self) -> None:
        assert "hunter2" not in problems({"K0SCTL_GPG_PASSPHRASE_FILE": "hunter2hunter2"})
        assert "'./absent'" in problems({"K0SCTL_GPG_PASSPHRASE_FILE": "./absent"})


class TestSecretsAreNeverShown:
    @pytest.mark.parametrize("name", ["K0SCTL_SSH_KEY", "K0SCTL_GPG_KEY", "K0SCTL_GPG_RECOVERY", "K0SCTL_KNOWN_HOSTS"])
    def test_a_rejected_block(self, name: str) -> None:
        text = problems({name: "not-a-block-but-maybe-a-secret"}, "apply")
        assert f"{name} (its value is not shown): " in text
        assert "maybe-a-secret" not in text

    def test_a_passphrase_of_two_lines(self) -> None:
        assert "hunter" not in problems({"K0SCTL_GPG_PASSPHRASE": "hunter2\nhunter3"})

    def test_a_key_in_the_wrong_variable(self) -> None:
        assert "c3NoL" not in problems({"K0SCTL_SSH_TYPE": SSH_KEY})
        assert "c3NoL" not in problems({"K0SCTL_CMD_NAME": SSH_KEY.replace("\n", " ")}, "")

    def test_a_passphrase_in_a_second_variable(self) -> None:
        text = problems({"K0SCTL_GPG_PASSPHRASE": "hunter2hunter2", "K0SCTL_ACCEPT_COMMIT": "hunter2hunter2"})
        assert "hunter2" not in text
