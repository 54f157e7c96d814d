"""k0sctl's configuration: does it read, what does it leave open, and what makes a run depend on others?"""

from __future__ import annotations

from typing import Final

from handler.cluster import ClusterConfig, read
from handler.commands.checks.settings import rejected
from handler.commands.context import Context
from handler.commands.hosts import config_text
from handler.errors import ConfigurationError
from handler.findings import Area
from handler.hosts import Host

_FILE: Final = "file"


def check_config(ctx: Context, area: Area) -> ClusterConfig | None:
    """Look at the configuration; returns it where it can be read."""
    path = ctx.settings.config_path
    if wrong := rejected(ctx, "K0SCTL_CFG_PATH"):
        area.unchecked(_FILE, f"{wrong} does not fit, see settings")
        return None
    if not (ctx.cwd / path).exists() and not ctx.variables.get("K0SCTL_CFG_PATH", "").strip():
        area.unchecked(
            _FILE,
            f"there is no {path}: apply, backup and reset need one",
            mend=f"put k0sctl's configuration there ({path}), or set K0SCTL_CFG_PATH",
        )
        return None
    config = None
    with area.trying(_FILE), ctx.reporter.step(f"read {path}"):
        config = read(config_text(ctx), name=str(path), variables=ctx.variables, home=str(ctx.workspace.home))
    if config is None:
        return None
    ctx.reporter.redactor.learn(*config.secrets)
    area.ok(
        _FILE,
        f"{path}: cluster {config.name}, hosts: {len(config.hosts)}, controllers: {len(config.controllers)}",
    )
    _version(area, config)
    _storage(area, config)
    _hosts(ctx, area, config)
    return config


def _version(area: Area, config: ClusterConfig) -> None:
    if config.k0s_version is None:
        area.warn(
            "k0s version",
            "none is pinned: every command, backup and reset too, then needs the internet",
            mend="set spec.k0s.version, such as: version: 1.34.2+k0s.0",
        )
    else:
        area.ok("k0s version", config.k0s_version)


def _storage(area: Area, config: ClusterConfig) -> None:
    if config.external_storage:
        area.warn(
            "storage",
            f"{config.storage or 'etcd'} outside of k0s: no backup holds the datastore, so none alone brings the "
            "cluster back",
            mend="back the datastore up by its own means, at the same time",
        )


def _strict(host: Host) -> str:
    what = "write ssh in the place of openSSH" if host.connection == "openSSH" else "take it out of the configuration"
    return f"{what}, and pin the host's key in known_hosts beside it"


def _hosts(ctx: Context, area: Area, config: ClusterConfig) -> None:
    for host in config.hosts:
        for weakness in host.weakening:
            area.warn(host.label, weakness, mend=_strict(host))
        private = str(ctx.workspace.home)
        if host.key_path and not host.key_path.startswith(private) and not (ctx.cwd / host.key_path).is_file():
            area.problem(
                host.label,
                ConfigurationError(
                    f"there is no SSH key {host.key_path}, which keyPath names",
                    resolution="put it there; or leave keyPath out, and K0SCTL_SSH_KEY counts for this host",
                ),
            )
