"""The text for Prometheus."""

from __future__ import annotations

import re

from handler.metrics import METRICS, metrics_text


def test_what_is_known_is_told_with_its_meaning() -> None:
    text = metrics_text({"k0sctl_handler_backups": 3, "k0sctl_handler_backup_size_bytes": 1.5e12}, cluster="prod")
    assert text == (
        "# HELP k0sctl_handler_backup_size_bytes Size of the newest proven backup's archive.\n"
        "# TYPE k0sctl_handler_backup_size_bytes gauge\n"
        'k0sctl_handler_backup_size_bytes{cluster="prod"} 1500000000000\n'
        "# HELP k0sctl_handler_backups Number of backups in the repository.\n"
        "# TYPE k0sctl_handler_backups gauge\n"
        'k0sctl_handler_backups{cluster="prod"} 3\n'
    )


def test_what_is_unknown_is_left_out() -> None:
    assert metrics_text(dict.fromkeys(METRICS), cluster="prod") == ""
    assert metrics_text({"k0sctl_handler_status_exit_code": 0}, cluster=None).endswith(
        "\nk0sctl_handler_status_exit_code 0\n"
    )


def test_a_name_is_escaped() -> None:
    text = metrics_text({"k0sctl_handler_backups": 1}, cluster='a"b\\c\nd')
    assert text.splitlines()[-1] == r'k0sctl_handler_backups{cluster="a\"b\\c\nd"} 1'


def test_names_are_those_of_gauges() -> None:
    assert all(re.fullmatch(r"k0sctl_handler_[a-z_]+", name) and not name.endswith("_total") for name in METRICS)
