"""Metrics in Prometheus' text format, for the textfile collector of its node exporter. Pure.

https://prometheus.io/docs/instrumenting/exposition_formats/#text-based-format
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

#: name → what it means; the order in which they are told. All are gauges.
METRICS: Final = {
    "k0sctl_handler_backup_taken_timestamp_seconds": "When the newest backup was taken, by its manifest.",
    "k0sctl_handler_backup_proven_timestamp_seconds": "When the newest proven backup was taken.",
    "k0sctl_handler_backup_size_bytes": "Size of the newest proven backup's archive.",
    "k0sctl_handler_backups": "Number of backups in the repository.",
    "k0sctl_handler_status_exit_code": "How the last `status` ended: 0 is good.",
    "k0sctl_handler_status_timestamp_seconds": "When the last `status` ended.",
}


def metrics_text(values: Mapping[str, float | None], *, cluster: str | None) -> str:
    """The file's text; a value that is not known is left out, since 0 would be a lie.

    Args:
        values: by the names of `METRICS`.
        cluster: the cluster's name as a label; None where it is not known.
    """
    label = f'{{cluster="{_escaped(cluster)}"}}' if cluster is not None else ""
    lines = []
    for name, meaning in METRICS.items():
        value = values.get(name)
        if value is not None:
            lines += [f"# HELP {name} {meaning}", f"# TYPE {name} gauge", f"{name}{label} {value:.0f}"]
    return "".join(f"{line}\n" for line in lines)


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
