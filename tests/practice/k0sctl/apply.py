"""`k0sctl apply`"""

import time
from pathlib import Path
from typing import Any

from tests.practice.k0sctl import facts
from tests.practice.k0sctl.backup import facts_about_existing
from tests.practice.k0sctl.configure import Configuration
from tests.practice.k0sctl.log import Fatal, quoted
from tests.practice.k0sctl.reset import is_running
from tests.practice.k0sctl.restore import restore
from tests.practice.k0sctl.run import Run
from tests.practice.k0sctl.ssh import CommandError, Host

RELEASES = "https://github.com/k0sproject/k0s/releases/download"


def phases(run: Run, hosts: list[Host]) -> None:
    """All phases of the command."""
    facts.set_version(run)
    facts.connect(run, hosts)
    facts.detect(run, hosts)
    facts.prepare(run, hosts)
    facts.gather_host_facts(run, hosts)
    facts.validate_hosts(run, hosts)
    facts.gather_k0s_facts(run, hosts)
    _validate_facts(run, hosts)
    facts_about_existing(run, hosts)
    _binaries(run, hosts)
    controllers = [host for host in hosts if not host.is_worker]
    leader = next(host for host in controllers if host.leader)
    fresh = not leader.running
    configuration = Configuration(run, leader, controllers)
    configuration.validate()
    changed = configuration.write()
    if fresh and run.options.values.get("restore-from") and run.fault("restore-skipped") is None:
        restore(run, leader)
    run.phase("Run Before Apply Hooks")
    facts.run_hooks(run, hosts, "apply", "before")
    if fresh:
        _initialize(run, leader)
    _install(run, leader, [host for host in controllers if host is not leader and not host.running], "controller")
    _install(run, leader, [host for host in hosts if host.is_worker and not host.running], "worker")
    _reinstall(run, [host for host in controllers if host.running], changed=changed)
    run.phase("Run After Apply Hooks")
    facts.run_hooks(run, hosts, "apply", "after")
    _kubeconfig(run, leader)
    facts.disconnect(run, hosts)


def _validate_facts(run: Run, hosts: list[Host]) -> None:
    run.phase("Validate facts")
    wanted = str(run.cluster.k0s.get("version"))
    for host in hosts:
        if host.running and facts.version_key(host.running) > facts.version_key(wanted):
            raise Fatal(f"can't perform a downgrade: {host.running} > {wanted}")


def _binaries(run: Run, hosts: list[Host]) -> None:
    wanted = str(run.cluster.k0s.get("version"))
    missing = [host for host in hosts if not host.use_existing and (not host.existing or host.version != wanted)]
    staged: list[tuple[Host, str]] = []
    if missing:
        run.phase("Stage k0s binaries on hosts")
        run.cleanups.append(("Stage k0s binaries on hosts", lambda: None))
        facts.each(missing, lambda host: staged.append((host, _stage(run, host, wanted))))
        run.cleanups.clear()
    if staged or run.dry:
        run.phase("Install k0s binaries on hosts")
    for host, path in staged:
        text = f"install k0s {wanted} binary from {path} to {host.install_path}"
        run.dry_lines.append((host.label, text))
        host.must(f"mv -f {path} {host.install_path}")
        host.version = host.must(f"{host.install_path} version").text
        host.existing = True


def _stage(run: Run, host: Host, wanted: str) -> str:
    source = host.entry.get("k0sBinaryPath")
    target = f"{host.install_path}.tmp.{time.time_ns()}"
    if host.entry.get("uploadBinary") and source:
        host.info(f"uploading k0s binary from {source} to {target}")
        content = Path(run.cluster.base, source).read_bytes()
        host.must(f"cat >{target} && chmod -- 0755 {target}", stdin=content)
        return target
    host.info(f"downloading k0s {wanted}")
    address = f"{RELEASES}/{wanted.replace('+', '%2B')}/k0s-{wanted}-amd64"
    try:
        host.must(f"curl -sSLf -o {target} {address}")
    except CommandError as error:
        raise Fatal(f"failed to download k0s binary: download {address}: command result: {error}") from None
    return target


def install_flags(host: Host) -> list[str]:
    """The words after `k0s install`."""
    if host.is_worker:
        words = ["worker", f"--data-dir={host.data_dir}", "--token-file=/etc/k0s/k0stoken"]
    else:
        words = ["controller", f"--data-dir={host.data_dir}", "--config=/etc/k0s/k0s.yaml"]
        words += ["--enable-worker=true"] if host.role == "controller+worker" else []
        words += ["--single=true"] if host.role == "single" else []
    return words + [str(flag) for flag in host.entry.get("installFlags") or []]


def _initialize(run: Run, host: Host) -> None:
    run.phase("Initialize the k0s cluster")
    if run.force and host.unit:
        run.out.warning(f"{host.label}: --force given, using k0s install with --force")
    host.info("installing k0s controller")
    forced = ["--force=true"] if run.force and host.unit else []
    command = f"{host.install_path} install {' '.join(install_flags(host) + forced)}"
    if run.dry:
        shown = command.removeprefix(host.install_path.removesuffix("k0s"))
        run.dry_lines += [
            (host.label, f"install first k0s controller using `{shown}`"),
            (host.label, "start k0s service"),
        ]
        return
    installed: list[bool] = []
    run.cleanups.append(("Initialize the k0s cluster", lambda: _clean_up(run, host, reset=bool(installed))))
    host.must(command)
    installed.append(True)
    start_service(run, host)
    host.info("wait for kubernetes to reach ready state")
    _wait_ready(run, host)
    facts.read_uid(host)
    host.running = host.version


def _clean_up(run: Run, host: Host, *, reset: bool) -> None:
    host.info("cleaning up")
    if reset and host.execute(f"{host.install_path} reset --data-dir={host.data_dir}", always=True).status:
        run.out.warning(f"{host.label}: k0s reset failed")


def _clean_up_all(run: Run, hosts: list[Host]) -> None:
    for host in hosts:
        _clean_up(run, host, reset=True)


def start_service(run: Run, host: Host, verb: str = "start") -> None:
    """Starts the service and waits until it runs."""
    prefix = f"failed to start service '{host.service}': failed to start service {host.service}: "
    run.check(f"{prefix}start command: ")
    try:
        host.must(f"systemctl {verb} {host.service}")
    except CommandError as error:
        raise Fatal(f"{prefix}command result: {error}") from None
    host.info("waiting for the k0s service to start")
    host.has_admin_conf = True
    while not is_running(host):
        if not run.wait(0.5):
            raise Fatal(f"service {host.service} not running: {run.over()}")


def _wait_ready(run: Run, host: Host) -> None:
    until = time.monotonic() + run.hurry(120)
    said = ""
    while time.monotonic() < until and not run.over():
        result = facts.kubectl(host, "get --raw='/readyz'")
        said = result.text
        if result.status == 0 and said == "ok":
            return
        if not run.wait(5):
            break
    over = run.over() or "context deadline exceeded"
    raise Fatal(f"kubernetes not ready: {over}\nkubernetes api /readyz responded with {quoted(said)}")


def _install(run: Run, leader: Host, hosts: list[Host], role: str) -> None:
    if not hosts:
        run.skip(f"Install {role}s")
        return
    run.phase(f"Install {role}s")
    done: list[Host] = []
    if not run.dry:
        run.cleanups.append((f"Install {role}s", lambda: _clean_up_all(run, done)))
    for number, host in enumerate(hosts, 1):
        if run.dry:
            run.dry_lines.append((host.label, f"install k0s {role}"))
            continue
        leader.info(f"generating a join token for {role} {number}")
        token = f"{leader.install_path} token create --role={role} --expiry=10m0s --data-dir={leader.data_dir}"
        join = leader.must(token, secret=True).stdout
        host.must("umask 077 && mkdir -p -- /etc/k0s")
        host.info("writing join token to /etc/k0s/k0stoken")
        _write(host, "/etc/k0s/k0stoken", join)
        address = f"https://{leader.address}:6443"
        host.info(f"validating api connection to {address} using join token")
        facts.kubectl(host, "get --raw=/version --kubeconfig=/tmp/kubeconfig")
        host.info(f"installing k0s {role}")
        words = install_flags(host)
        done.append(host)
        host.must(f"{host.install_path} install {' '.join(words)}")
        host.info("starting service")
        _start_joined(run, host)
        invalidate = f"{leader.install_path} token invalidate --data-dir={leader.data_dir} abcdef"
        leader.must(invalidate)
        _write(host, "/etc/k0s/k0stoken", b"# overwritten by k0sctl after join\n")


def _start_joined(run: Run, host: Host) -> None:
    try:
        host.must(f"systemctl start {host.service}")
    except CommandError as error:
        text = f"failed to start service {host.service}: command result: {error}"
        raise Fatal(f"failed on 1 hosts:\n - {host.label}: {text}") from None
    while not is_running(host):
        if not run.wait(0.5):
            raise Fatal(f"service {host.service} not running: {run.over()}")
    if host.is_worker and not run.options.on("no-wait"):
        host.info("waiting for node to become ready")
        facts.kubectl(host, f"get node {host.name} -o json", secret=True)


def _write(host: Host, path: str, content: bytes) -> None:
    host.must(f"umask 0177 && cat >{path} && chmod -- 0600 {path}", stdin=content, secret=True)


def _flags_changed(host: Host) -> bool:
    return bool(host.args) and set(host.args[1:]) != set(install_flags(host))


def _reinstall(run: Run, hosts: list[Host], *, changed: bool) -> None:
    due = [host for host in hosts if _flags_changed(host)]
    if not due:
        return
    run.phase("Reinstall")
    run.out.info(f"Reinstalling {len(due)} controllers sequentially")
    for host in due:
        host.info("reinstalling k0s")
        words = install_flags(host)
        command = f"k0s install {words[0]} --force=true {' '.join(words[1:])}"
        if run.dry:
            lines = [f"reinstall k0s using `{command}", "restart k0s service"]
            run.dry_lines += [(host.label, line) for line in lines]
            continue
        host.must(command.replace("k0s", host.install_path, 1))
        host.execute(f"systemctl stop {host.service}")
        start_service(run, host)
        host.execute(f"{host.install_path} status")


def _kubeconfig(run: Run, leader: Host) -> None:
    target: Any = run.options.values.get("kubeconfig-out")
    if not target or run.dry:
        return
    run.phase("Get admin kubeconfig")
    try:
        found = leader.must(f"{leader.install_path} kubeconfig admin --data-dir={leader.data_dir}", secret=True)
    except CommandError as error:
        raise Fatal(f"read kubeconfig from host: get kubeconfig from host: command result: {error}") from None
    path = Path(target)
    path.touch(mode=0o600)
    path.write_bytes(found.stdout)
