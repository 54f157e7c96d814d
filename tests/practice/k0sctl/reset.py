"""`k0sctl reset`"""

import time

from tests.practice.k0sctl import facts, lock
from tests.practice.k0sctl.backup import facts_about_existing
from tests.practice.k0sctl.run import Run
from tests.practice.k0sctl.ssh import CommandError, Host


def phases(run: Run, hosts: list[Host]) -> None:
    """All phases of the command."""
    facts.set_version(run)
    facts.connect(run, hosts)
    facts.detect(run, hosts)
    lock.take(run, hosts)
    facts.prepare(run, hosts)
    facts.gather_host_facts(run, hosts)
    facts.gather_k0s_facts(run, hosts)
    facts_about_existing(run, hosts)
    facts.run_hooks(run, hosts, "reset", "before")
    workers = [host for host in hosts if host.is_worker]
    controllers = [host for host in hosts if not host.is_worker]
    leader = next(host for host in controllers if host.leader)
    if workers:
        run.phase("Reset workers")
        for host in workers:
            _reset(run, host)
    run.phase("Reset controllers")
    for host in controllers:
        _reset(run, host)
    run.phase("Reset leader")
    _reset(run, leader, again=True)
    facts.run_hooks(run, hosts, "reset", "after")
    run.phase("Reload service manager")
    for host in hosts:
        host.info("reloading service manager")
        if not run.dry:
            host.must("systemctl daemon-reload")
    lock.release(run)
    facts.disconnect(run, hosts)


def is_running(host: Host) -> bool:
    """Whether the service manager says so."""
    command = f"systemctl status {host.service} | grep -q '(running)'"
    return host.execute(command, always=True).status == 0


def _reset(run: Run, host: Host, *, again: bool = False) -> None:
    if run.dry:
        run.dry_lines.append((host.label, "reset node"))
        return
    if is_running(host):
        run.out.debug(f"{host.label}: stopping k0s...")
        host.execute(f"systemctl stop {host.service}", always=True)
        run.out.debug(f"{host.label}: waiting for k0s to stop")
        for _ in range(50):
            if not is_running(host):
                break
            time.sleep(0.1)
        run.out.debug(f"{host.label}: stopping k0s completed")
    run.out.debug(f"{host.label}: resetting k0s...")
    result = host.execute(f"{host.install_path} reset --data-dir={host.data_dir}", always=True)
    _report(run, host, result.status, result.stderr, again=again)
    run.out.debug(f"{host.label}: resetting k0s completed")
    for what, path in (("config", "/etc/k0s/k0s.yaml"), ("k0s binary", host.install_path)):
        run.out.debug(f"{host.label}: removing {what}...")
        host.execute(f"rm -f {path}", always=True)
        run.out.debug(f"{host.label}: removing {what.removeprefix('k0s ')} completed")
    host.info("reset")


def _report(run: Run, host: Host, status: int, stderr: str, *, again: bool) -> None:
    """Only a warning, whatever happened. An aborted run reports a failure without a text."""
    if again and status:
        run.out.debug(f"{host.label}: k0s reset failed: ")
        run.out.warning(f"{host.label}: k0s reported failure: command result: {CommandError(status, stderr)}")
    elif run.over():
        run.out.warning(f"{host.label}: k0s reset reported failure:  ")
    elif status:
        run.out.warning(f"{host.label}: k0s reset reported failure: {stderr} ")
