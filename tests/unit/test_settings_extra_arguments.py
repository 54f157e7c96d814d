"""Further arguments for k0sctl: which are passed on, in which form, and that the allow-list fits the real k0sctl."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import pytest

from handler.errors import ConfigurationError
from handler.settings.extra_arguments import EXTRA_ARGUMENTS
from handler.settings.model import Settings

HELP = Path(__file__).resolve().parents[1] / "practice" / "k0sctl" / "help"
GPG_KEY = "-----BEGIN PGP PRIVATE KEY BLOCK-----\n\nbGdwLWtleS1ib2R5\n=abcd\n-----END PGP PRIVATE KEY BLOCK-----\n"
#: Flags of the real k0sctl that are not passed on, and why.
NOT_PASSED_ON = {
    "config": "the handler names the configuration that it has read and checked",
    "debug": "fills the log, and shows what is sent to the hosts",
    "dry-run": "nothing would be done, and it would be told as done",
    "help": "nothing would be done",
    "no-redact": "shows secrets",
    "output": "the handler says where the archive goes, and proves that one",
    "restore-from": "only a proven backup is restored",
    "timeout": "K0SCTL_TIMEOUT",
    "trace": "fills the log, and shows what is sent to the hosts",
}
#: Those that one command passes on and another one does not, and why.
NOT_FOR = {("reset", "force"): "the handler gives it always"}


def extra(text: str, command: str = "apply", **env: str) -> tuple[str, ...]:
    settings, _ = Settings.from_env({"K0SCTL_GPG_KEY": GPG_KEY, "K0SCTL_EXTRA_ARGS": text, **env}, command)
    return settings.extra_arguments


def problem(text: str, command: str = "apply", **env: str) -> str:
    with pytest.raises(ConfigurationError) as caught:
        extra(text, command, **env)
    assert caught.value.details == ()
    return caught.value.message


def real_flags(command: str) -> Mapping[str, bool]:
    """The flags that k0sctl's own help lists: name → whether it takes a value."""
    lines = (HELP / f"{command}.txt").read_text(encoding="utf-8").splitlines()
    found = (re.match(r"   --([a-z-]+)( value)?", line) for line in lines)
    return {match[1]: bool(match[2]) for match in found if match}


@pytest.mark.parametrize("command", EXTRA_ARGUMENTS)
def test_the_list_fits_the_real_k0sctl(command: str) -> None:
    flags, allowed = real_flags(command), EXTRA_ARGUMENTS[command]
    left_out = set(NOT_PASSED_ON) | {flag for of, flag in NOT_FOR if of == command}
    assert len(flags) > 6
    assert set(allowed) <= set(flags)
    assert set(flags) - set(allowed) <= left_out
    assert not set(allowed) & left_out
    for flag, form in allowed.items():
        assert flags[flag] == (form != "true|false"), flag


def test_every_reason_is_about_a_flag_that_exists() -> None:
    assert set(NOT_PASSED_ON) <= {flag for command in EXTRA_ARGUMENTS for flag in real_flags(command)}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("--concurrency=5", ("--concurrency=5",)),
        ("-concurrency 5", ("--concurrency=5",)),
        ("-concurrency=5", ("--concurrency=5",)),
        ("--concurrency '5'", ("--concurrency=5",)),
        ("--concurrency=0", ("--concurrency=0",)),
        ("--no-wait", ("--no-wait=true",)),
        ("--no-wait=false --no-drain", ("--no-wait=false", "--no-drain=true")),
        ("--force", ("--force=true",)),
        ("--evict-taint 'a=b:NoExecute'", ("--evict-taint=a=b:NoExecute",)),
        ('--kubeconfig-cluster "prod cluster"', ("--kubeconfig-cluster=prod cluster",)),
        ("--kubeconfig-user=a\\ b", ("--kubeconfig-user=a b",)),
        ("--kubeconfig-user='$HOME; rm -rf *'", ("--kubeconfig-user=$HOME; rm -rf *",)),
        ("--kubeconfig-user=-x", ("--kubeconfig-user=-x",)),
        ("  --no-wait\t", ("--no-wait=true",)),
        ("  ", ()),
    ],
)
def test_what_apply_passes_on(text: str, expected: tuple[str, ...]) -> None:
    assert extra(text) == expected
    assert extra(text, "install") == expected


def test_each_command_has_its_own() -> None:
    assert extra("--concurrency 5 --force", "backup") == ("--concurrency=5", "--force=true")
    assert extra("--concurrency 5", "reset") == ("--concurrency=5",)
    assert "'--no-wait' is not passed on for `backup`; allowed: concurrency, force" in problem("--no-wait", "backup")
    assert "'--force' is not passed on for `reset`; allowed: concurrency" in problem("--force", "uninstall")


@pytest.mark.parametrize("command", ["version", "init", "restore", "verify", "list", "status", "check"])
def test_commands_that_do_not_run_k0sctl_so_ignore_them(command: str) -> None:
    assert extra("--dry-run 'unclosed", command) == ()


@pytest.mark.parametrize("command", EXTRA_ARGUMENTS)
@pytest.mark.parametrize(
    "text",
    ["--dry-run", "-dry-run=true", "--config=x", "--config x", "-c x", "--output=x", "-o x", "--restore-from=x",
     "--restore-from x", "--timeout=1s", "--timeout 1s", "--no-redact", "--debug", "-d", "--trace", "--help", "-h",
     "--disable-telemetry", "--", "-", "-=x", "x", "concurrency=1", "--concurrency=1 x", "--Concurrency=1"],
)  # fmt: skip
def test_forbidden_ones_are_one_error_that_lists_what_is_allowed(text: str, command: str) -> None:
    told = problem(text, command)
    assert told.startswith("K0SCTL_EXTRA_ARGS='")
    assert told.endswith(f"is not passed on for `{command}`; allowed: {', '.join(EXTRA_ARGUMENTS[command])}")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("--concurrency", "--concurrency needs a number"),
        ("--concurrency=", "--concurrency needs a number"),
        ("--concurrency=-1", "--concurrency needs a number"),
        ("--concurrency=5x", "--concurrency needs a number"),
        ("--concurrency=٥", "--concurrency needs a number"),
        ("--concurrency --no-wait", "--concurrency needs a number"),
        ("--kubeconfig-out --force", "--kubeconfig-out needs a value"),
        ("--kubeconfig-out ''", "--kubeconfig-out needs a value"),
        ("--kubeconfig-out", "--kubeconfig-out needs a value"),
        ("--no-wait=yes", "--no-wait needs true or false"),
        ("--no-wait false", "'false' is not passed on"),
        ("--no-wait --no-wait", "--no-wait is given twice"),
        ("-concurrency 5 --concurrency=5", "--concurrency is given twice"),
        ("--kubeconfig-user='a", "has a quote that is not closed"),
        ("--no-wait\n--no-drain", "control characters"),
    ],
)
def test_what_does_not_fit_is_named(text: str, told: str) -> None:
    assert told in problem(text)


@pytest.mark.parametrize(
    "path", ["auditlog/k", "./auditlog/x/k", "backup/k", "restore/../restore/k", "x/../backup/k"],
)  # fmt: skip
def test_a_kubeconfig_is_not_kept_where_logs_and_backups_go(path: str) -> None:
    told = problem(f"--kubeconfig-out={path}")
    assert re.fullmatch(r"K0SCTL_EXTRA_ARGS: --kubeconfig-out must not lie inside K0SCTL_DIR_\w{3}, which is .*", told)


def test_the_directories_of_the_settings_count() -> None:
    assert "K0SCTL_DIR_LOG" in problem("--kubeconfig-out /logs/k", K0SCTL_DIR_LOG="/logs")
    assert "K0SCTL_DIR_LOG" in problem("--kubeconfig-out k", K0SCTL_DIR_LOG=".")
    assert extra("--kubeconfig-out ../k", K0SCTL_DIR_LOG=".") == ("--kubeconfig-out=../k",)
    assert extra("--kubeconfig-out logs2/k", K0SCTL_DIR_LOG="logs") == ("--kubeconfig-out=logs2/k",)
    assert extra("--kubeconfig-out=kubeconfig") == ("--kubeconfig-out=kubeconfig",)
    assert extra("--kubeconfig-user=backup/k") == ("--kubeconfig-user=backup/k",)
