"""The command line."""

from __future__ import annotations

from pathlib import Path

import pytest

from handler.errors import ConfigurationError
from handler.settings.cli import USAGE, Invocation, parse_arguments

NONE: dict[str, str] = {}
RESTORE = {"K0SCTL_CMD_NAME": "decrypt"}


@pytest.mark.parametrize(
    ("argv", "env", "expected"),
    [
        ([], NONE, Invocation()),
        (["backup"], NONE, Invocation(command="backup")),
        (["install"], NONE, Invocation(command="apply")),
        ([""], RESTORE, Invocation()),
        (["--version"], {"K0SCTL_CMD_NAME": "rubbish"}, Invocation(command="version")),
        (["-V"], NONE, Invocation(command="version")),
        (["restore", "k0s_backup_x"], NONE, Invocation(command="restore", name="k0s_backup_x")),
        (["restore", ""], NONE, Invocation(command="restore")),
        (["--to", "out", "decrypt", "a"], NONE, Invocation(command="restore", name="a", to=Path("out"))),
        (["restore", "--to=-"], NONE, Invocation(command="restore", to=Path("-"))),
        (["restore", "--", "a"], NONE, Invocation(command="restore", name="a")),
        (["--to", "out"], RESTORE, Invocation(to=Path("out"))),
        (["--help"], NONE, Invocation(help=True)),
        (["rubbish", "--bad", "-h"], NONE, Invocation(help=True)),
    ],
)
def test_understood(argv: list[str], env: dict[str, str], expected: Invocation) -> None:
    assert parse_arguments(argv, env) == expected


@pytest.mark.parametrize(
    ("argv", "env", "told"),
    [
        (["bakcup"], NONE, "did you mean backup?"),
        (["xyz"], NONE, "must be one of version, init, apply (install), backup, restore (decrypt)"),
        (["backup", "name"], NONE, "`backup` takes none, only `restore` does"),
        (["backup", "--to", "x"], NONE, "--to: `backup` takes none"),
        (["--to", "x"], NONE, "--to: `version` takes none"),
        (["--to", "x"], {"K0SCTL_CMD_NAME": "apply"}, "--to: `apply` takes none"),
        (["restore", "../x"], NONE, "NAME '../x': must be a backup's bare name"),
        (["restore", "a", "b"], NONE, "'b': no more than"),
        (["restore", "--to"], NONE, "--to: needs a PATH"),
        (["restore", "--to="], NONE, "--to: needs a PATH"),
        (["restore", "--to", "--help2"], NONE, "--to: needs a PATH"),
        (["restore", "--to", "a", "--to", "b"], NONE, "given twice"),
        (["--too", "x"], NONE, "did you mean --to?"),
        (["--secret=hunter2"], NONE, "option '--secret' is not known"),
        (["backup", "--version"], NONE, "stands alone"),
        (["restore", "--", "--help"], NONE, "NAME '--help'"),
    ],
)
def test_refused_with_the_usage(argv: list[str], env: dict[str, str], told: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        parse_arguments(argv, env)
    assert told in caught.value.message
    assert caught.value.details == (f"usage: {USAGE}",)
    assert "hunter2" not in caught.value.message


def test_a_wrong_variable_is_left_to_the_settings() -> None:
    assert parse_arguments(["--to", "x"], {"K0SCTL_CMD_NAME": "rubbish"}) == Invocation(to=Path("x"))
