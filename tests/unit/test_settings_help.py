"""Help and README come from the data."""

from __future__ import annotations

import re

from handler.errors import EXIT_CODES
from handler.settings.cli import USAGE
from handler.settings.commands import COMMANDS, command_names, find_command
from handler.settings.help import WIDTH, help_text, readme_problems, readme_tables, updated_readme
from handler.settings.setting import Kind
from handler.settings.table import BY_NAME, SETTINGS, known_names


def test_help_names_everything_within_its_width() -> None:
    text = help_text()
    assert max(map(len, text.splitlines())) <= WIDTH
    assert text.endswith("\n")
    for command in COMMANDS:
        assert all(re.search(rf"\b{name}\b", text) for name in command.names)
    for name in known_names():
        assert re.search(rf"\b{name}\b", text)
    for setting in SETTINGS:
        assert not setting.default or f"[{setting.default}]" in " ".join(text.split())
    for code in EXIT_CODES:
        assert re.search(rf"^  {code} ", text, re.MULTILINE)


def test_rows_are_consistent() -> None:
    assert len(BY_NAME) == len(SETTINGS)
    names = {command.name for command in COMMANDS}
    for setting in SETTINGS:
        assert set(setting.commands) <= names, setting.name
        assert (setting.kind is Kind.CHOICE) == bool(setting.choices)
        assert not (setting.secret and setting.default)
        assert setting.name.isupper()
    assert len(command_names()) == len(set(command_names()))
    assert find_command("install") is find_command("apply")
    assert find_command("decrypt") is find_command("restore")
    assert find_command("uninstall") is find_command("reset")
    assert find_command("prune") is None


def test_tables_are_markdown_of_equal_width() -> None:
    for table in readme_tables().values():
        rows = [line for line in table.splitlines() if line.startswith("|")]
        assert len({len(re.findall(r"(?<!\\)\|", row)) for row in rows}) == 1
    assert readme_tables().keys() == {"commands", "settings", "exit-codes"}


def test_a_readme_is_checked_and_renewed() -> None:
    empty = "".join(f"x\n<!-- table:{name} -->\n<!-- /table -->\ny\n" for name in readme_tables())
    assert readme_problems(empty) == [f"table:{name} is out of date" for name in readme_tables()]
    renewed = updated_readme(empty)
    assert readme_problems(renewed) == []
    assert updated_readme(renewed) == renewed
    assert renewed.count("x\n<!--") == len(readme_tables())
    assert readme_problems(renewed.replace("45m", "46m")) == ["table:settings is out of date"]
    assert "no <!-- table:commands --> … <!-- /table -->" in readme_problems("")
    assert "table:other is not known" in readme_problems("<!-- table:other -->\n<!-- /table -->")


def test_the_table_tells_who_reads_a_variable() -> None:
    rows = [line.strip("| ").split(" | ") for line in readme_tables()["settings"].splitlines() if "`K0SCTL_" in line]
    users = {row[0].strip("`"): row[2] for row in rows if len(row) > 3}
    assert users["K0SCTL_CMD_NAME"] == "all"
    assert users["K0SCTL_QUIET"] == "all"
    assert users["K0SCTL_DIR_LOG"] == "all but version"
    assert users["K0SCTL_MAX_AGE"] == "check, reset, status"
    assert users["K0SCTL_CONFIRM_RESET"] == "reset"
    assert users["K0SCTL_CFG_PATH"] == "check, apply, backup, reset, ping"
    assert users["K0SCTL_GPG_KEY"] == "all but version, ping"
    assert users["K0SCTL_PING_MODE"] == "ping"
    assert users["K0SCTL_EXTRA_ARGS"] == "apply, backup, reset"


def test_the_table_tells_what_may_follow_a_command() -> None:
    table = readme_tables()["commands"]
    for called in ("`verify [NAME] [--all]`", "`check [--deep]`", "`restore, decrypt [NAME] [--to PATH]`"):
        assert f"| {called} |" in table
    assert all(option in USAGE for command in COMMANDS for option in command.options)
