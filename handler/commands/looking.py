"""The look at hosts over plain SSH: what of k0s and of interrupted runs is there. It changes nothing on a host."""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Sequence
from functools import partial
from typing import Final

from handler.commands.context import Context
from handler.errors import ConfigurationError, TimedOut, ToolFailed, ToolMissing
from handler.hosts import Host
from handler.process import Child, Children, Result
from handler.tools.login import LIMIT, Login, refusal
from handler.traces import Traces, look, read_answer

_AT_ONCE: Final = 16
#: A host answers with a few lines; one that never stops must not fill the memory.
_LONGEST_ANSWER: Final = 1000


def look_at(ctx: Context, hosts: Collection[Host]) -> dict[Host, Traces]:
    """Look at the hosts, many at once; one that cannot be looked at has a ``problem`` and stops nobody.

    The keys and the host keys are those of the run (`handler.commands.hosts`: ``prepare_ssh``, ``check_host_keys``).
    """
    found = {host: Traces(problem=_out_of_reach(host)) for host in hosts}
    direct = [host for host in hosts if host.reachable_directly]
    with ctx.reporter.step("look at the hosts") as step:
        login = _login(ctx)
        for first in range(0, len(direct), _AT_ONCE):
            found.update(_together(ctx.children, login, direct[first : first + _AT_ONCE]))
        step.note(f"looked at: {sum(traces.looked for traces in found.values())} of {len(found)}")
    ctx.reporter.fact("looks", {host.label: traces for host, traces in found.items()})
    return found


def _out_of_reach(host: Host) -> str:
    way = "a bastion or proxy" if host.connection == "ssh" else host.connection
    return f"plain SSH does not reach it; k0sctl does, by {way}"


def _login(ctx: Context) -> Login:
    agent = ctx.k0sctl_env.get("SSH_AUTH_SOCK")
    return Login(
        {**ctx.child_env, **({"SSH_AUTH_SOCK": agent} if agent else {})},
        ssh_home=ctx.workspace.ssh,
        pins=ctx.ssh.pins,
        place=ctx.workspace.secrets / "login",
        cwd=ctx.cwd,
    )


def _together(children: Children, login: Login, hosts: Sequence[Host]) -> dict[Host, Traces]:
    """All are started before the first one is waited for; each has its own time limit."""
    found: dict[Host, Traces] = {}
    begun: dict[Host, tuple[Child, list[str]]] = {}
    with contextlib.ExitStack() as stack:
        for host in hosts:
            lines: list[str] = []
            try:
                command = login.command(host, look(host.data_dir), partial(_keep, lines))
                begun[host] = stack.enter_context(children.started(command)), lines
            except (ConfigurationError, ToolFailed, ToolMissing) as error:
                found[host] = Traces(problem=error.message)
        for host, (child, lines) in begun.items():
            try:
                found[host] = _told(host, lines, children.wait(child))
            except TimedOut:
                found[host] = Traces(problem=f"it gave no whole answer within {LIMIT:g} s")
    return found


def _keep(lines: list[str], line: str) -> None:
    if len(lines) < _LONGEST_ANSWER:
        lines.append(line)


def _told(host: Host, lines: list[str], ended: Result) -> Traces:
    traces = read_answer(lines, data_dir=host.data_dir)
    if traces.looked or ended.exit_code == 0:
        return traces
    return Traces(problem=refusal(ended.exit_code, ended.stderr))
