"""What `ping` looks at: the hosts and the addresses that the configuration and the YAML files beside it name."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from handler.addresses import Place, normalised, places
from handler.cluster import ClusterConfig, is_cluster, read
from handler.commands.context import Context
from handler.commands.hosts import config_text, read_config, text_of_file
from handler.door import Resolved
from handler.errors import ConfigurationError
from handler.hosts import Host


@dataclass(frozen=True, kw_only=True)
class Named:
    """What one file names."""

    hosts: tuple[Host, ...] = ()
    places: tuple[Place, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Targets:
    """What is looked at.

    Attributes:
        hosts: each once, with the addresses that it may be reached at.
        others: the addresses that no host has.
    """

    hosts: dict[Host, Resolved]
    others: tuple[Place, ...]


def find_targets(ctx: Context) -> Targets:
    """Read all files, and ask for the names of the hosts.

    Raises:
        ConfigurationError: with the problems of all files.
    """
    named = _read_all(ctx)
    hosts = _each_once(host for file in named for host in file.hosts)
    resolved = _resolve(ctx, hosts)
    taken = {normalised(address) for one in resolved.values() for address in one.addresses}
    others: dict[str, Place] = {}
    for place in (place for file in named for place in file.places):
        if place.address not in taken:
            others.setdefault(place.address, place)
    return Targets(hosts=resolved, others=tuple(others.values()))


def _read_all(ctx: Context) -> list[Named]:
    """All files, the configuration first."""
    named, problems = [], []
    try:
        config = read_config(ctx)
        named.append(_named(config, config_text(ctx), ctx.settings.config_path))
    except ConfigurationError as error:
        problems.append(error)
    paths = _beside(ctx)
    if paths:
        with ctx.reporter.step(f"read the YAML files beside {ctx.settings.config_path}") as step:
            for path in paths:
                try:
                    named.append(_other(ctx, path))
                except ConfigurationError as error:
                    problems.append(error)
            step.note(f"files: {len(paths)}")
    if problems:
        raise _together(problems)
    return named


def _beside(ctx: Context) -> list[Path]:
    """The other YAML files; hidden ones are what editors leave."""
    config = ctx.settings.config_path
    found = (ctx.cwd / config).parent.glob("*.yaml")
    return sorted(
        config.parent / path.name
        for path in found
        if path.name != config.name and not path.name.startswith(".") and not path.is_dir()
    )


def _other(ctx: Context, path: Path) -> Named:
    try:
        text = text_of_file(ctx, path)
    except OSError as error:
        raise ConfigurationError(
            f"{path} cannot be read ({error.strerror})", resolution=f"make {path} readable, or remove it"
        ) from None
    if not is_cluster(text):
        return Named(places=places(text, name=str(path)))
    config = read(text, name=str(path), variables=ctx.variables, home=str(ctx.workspace.home))
    ctx.reporter.redactor.learn(*config.secrets)
    return _named(config, text, path)


def _named(config: ClusterConfig, text: str, path: Path) -> Named:
    return Named(hosts=config.hosts, places=places(text, name=str(path), variables=config.environment))


def _together(problems: Sequence[ConfigurationError]) -> ConfigurationError:
    if len(problems) == 1:
        return problems[0]
    details = [line for problem in problems for line in (problem.message, *problem.details)]
    return ConfigurationError(
        f"{len(problems)} files cannot be used: {problems[0].message}",
        details=details,
        resolution="mend the files named above and run again",
    )


def _each_once(hosts: Iterable[Host]) -> list[Host]:
    """Files may name the same host; the configuration is the first of them.

    The same address behind a bastion is another host.
    """
    once: dict[tuple[str, bool, str, int], Host] = {}
    for host in hosts:
        address = normalised(host.address) or host.address.lower()
        once.setdefault((host.connection, host.bastion, address, host.port), host)
    return list(once.values())


def _resolve(ctx: Context, hosts: Sequence[Host]) -> dict[Host, Resolved]:
    """The addresses of each host; of this machine itself none."""
    found: dict[Host, Resolved] = {}
    for host in hosts:
        address = normalised(host.address)
        if host.connection == "localhost":
            found[host] = Resolved()
        elif address:
            found[host] = Resolved(addresses=(address,))
    names = [host.address for host in hosts if host not in found]
    if names:
        with ctx.reporter.step("resolve the names") as step:
            from handler.doors import resolve  # noqa: PLC0415  # half of the library

            wait = ctx.settings.ssh_wait.total_seconds()
            answers = resolve(names, wait=wait, check=ctx.children.check)
            step.note(f"resolved: {sum(not one.problem for one in answers.values())} of {len(answers)}")
        found.update({host: answers[host.address] for host in hosts if host not in found})
    return {host: found[host] for host in hosts}
