"""The command line."""

from __future__ import annotations

from pathlib import Path

import pytest

from handler.errors import ConfigurationError
from handler.settings.cli import USAGE, Invocation, asks_for_json, parse_arguments

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
        (["--version", "--json"], {"K0SCTL_CMD_NAME": "rubbish"}, Invocation(command="version", json=True)),
        (["--json"], NONE, Invocation(json=True)),
        (["--json", "list"], NONE, Invocation(command="list", json=True)),
        (["uninstall", "--json", "--json"], NONE, Invocation(command="reset", json=True)),
        (["verify", "--all"], NONE, Invocation(command="verify", all=True)),
        (["--all"], {"K0SCTL_CMD_NAME": "verify"}, Invocation(all=True)),
        (["verify", "k0s_backup_x"], NONE, Invocation(command="verify", name="k0s_backup_x")),
        (["verify", "", "--all", "--json"], NONE, Invocation(command="verify", all=True, json=True)),
        (["check", "--deep"], NONE, Invocation(command="check", deep=True)),
        (["--help", "--json"], NONE, Invocation(help=True)),
        (["rubbish", "--bad", "-h"], NONE, Invocation(help=True)),
    ],
)
def test_understood(argv: list[str], env: dict[str, str], expected: Invocation) -> None:
    assert parse_arguments(argv, env) == expected


@pytest.mark.parametrize(
    ("argv", "env", "told"),
    [
        (["bakcup"], NONE, "did you mean backup?"),
        (
            ["xyz"],
            NONE,
            "init, apply (install), backup, reset (uninstall), ping, restore (decrypt), verify, list, status",
        ),
        (["backup", "name"], NONE, "NAME 'name': `backup` takes none, only `restore` and `verify`"),
        (["list", "name"], NONE, "NAME 'name': `list` takes none, only `restore` and `verify`"),
        (["backup", "--to", "x"], NONE, "--to: `backup` does not take it, only `restore`"),
        (["--to", "x"], NONE, "--to: `version` does not take it"),
        (["--to", "x"], {"K0SCTL_CMD_NAME": "apply"}, "--to: `apply` does not take it"),
        (["verify", "--to", "x"], NONE, "--to: `verify` does not take it, only `restore`"),
        (["verify", "k0s_backup_x", "--to", "x"], NONE, "--to: `verify` does not take it"),
        (["list", "--all"], NONE, "--all: `list` does not take it, only `verify`"),
        (["restore", "--all"], NONE, "--all: `restore` does not take it, only `verify`"),
        (["--all"], {"K0SCTL_CMD_NAME": "status"}, "--all: `status` does not take it"),
        (["status", "--deep"], NONE, "--deep: `status` does not take it, only `check`"),
        (["check", "--deep", "--all"], NONE, "--all: `check` does not take it"),
        (["verify", "k0s_backup_x", "--all"], NONE, "NAME 'k0s_backup_x' and --all: keep one of them"),
        (["verify", "--", "-x"], NONE, "NAME '-x': must be a backup's bare name"),
        (["verify", "--all=true"], NONE, "--all: takes no value"),
        (["list", "--json=1"], NONE, "--json: takes no value"),
        (["list", "--jsn"], NONE, "did you mean --json?"),
        (["--version", "--deep"], NONE, "--version stands alone"),
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


@pytest.mark.parametrize(
    ("argv", "asked"),
    [
        ([], False),
        (["list", "--json"], True),
        (["--bad", "--json", "rubbish"], True),
        (["--json", "--"], True),
        (["restore", "--", "--json"], False),
        (["list", "--json=1"], False),
    ],
)
def test_json_is_asked_for_whatever_else_is_wrong(argv: list[str], asked: bool) -> None:
    assert asks_for_json(argv) is asked
