"""The phases at the beginning of every command: connecting, locking, finding out what is on the hosts."""

import json
import re
from collections.abc import Callable

from tests.practice.k0sctl.log import Fatal, quoted
from tests.practice.k0sctl.run import EXPIRED, Cancelled, Run
from tests.practice.k0sctl.ssh import CommandError, Host, Result, Unreachable

ROUTES = (
    "PATH=/usr/local/sbin:/usr/sbin:/sbin:$PATH; "
    "(ip route list scope global | grep -E \"'\\\\'b(172|10|192'\\\\'.168)'\\\\'.\") || "
    "(ip route list | grep -m1 default)"
)
SYSTEM = ("uname | grep -q Linux", "cat /etc/os-release || cat /usr/lib/os-release", "uname -m")
NEEDED = ("command -v curl", "command -v hostname", "test -f /.dockerenv", "test -f /run/.containerenv")
HOST_FACTS = ("hostname", ROUTES, "command -v k0s")
UNITS = tuple(f"systemctl show -p FragmentPath {name}.service | cut -d= -f2" for name in ("k0scontroller", "k0sworker"))
CONFIG = "/etc/k0s/k0s.yaml"
STABLE = "https://docs.k0sproject.io/stable.txt"


def each(hosts: list[Host], action: Callable[[Host], None]) -> None:
    """Does something on every host; the failures are told together."""
    failures = []
    for host in hosts:
        try:
            action(host)
        except (CommandError, Fatal, Cancelled) as error:
            prefix = "command result: " if isinstance(error, CommandError) else ""
            failures.append(f" - {host.label}: {prefix}{error}")
    if failures:
        raise Fatal(f"failed on {len(failures)} hosts:\n" + "\n".join(failures))


def set_version(run: Run) -> None:
    """Without a pinned version the real one asks the internet, which is not there."""
    run.skip("Set k0s version")
    if not run.cluster.k0s.get("version"):
        run.phase("Set k0s version")
        run.out.info("Looking up latest stable k0s version")
        reason = f'Get "{STABLE}": dial tcp: lookup docs.k0sproject.io: no such host'
        hint = "failed to look up k0s version online - try setting spec.k0s.version manually"
        raise Fatal(f"{hint}: http request to {STABLE} failed: {reason}")


def connect(run: Run, hosts: list[Host]) -> None:
    """Connects to every host, trying again until the time is over."""
    run.phase("Connect to hosts")
    failures = []
    for host in hosts:
        try:
            _connect(run, host)
        except Unreachable as error:
            failures.append(f" - {error}")
    if failures:
        raise Fatal(f"failed on {len(failures)} hosts:\n" + "\n".join(failures))


def _connect(run: Run, host: Host) -> None:
    name = "ssh.Config{" + host.label + "}"
    run.out.debug("using connection factory to setup a connection", component="clientoptions", host=name)
    run.out.debug("using connection received from connection factory", component="clientoptions", host=host.label)
    attempts, delay = 0, 2.0
    while True:
        attempts += 1
        try:
            host.connect()
        except Unreachable as error:
            if error.final:
                text = "retrying aborted\nclient connect: retry: abort condition reached after"
                text += f" {attempts} attempts: operation cannot be completed: {error}"
                raise Unreachable(f"{host.label}: {text}") from None
            if not run.wait(delay):
                raise Unreachable(_given_up(run, host, attempts, str(error))) from None
            delay = min(30.0, delay * 2)
        else:
            host.info("connected")
            return


def _given_up(run: Run, host: Host, attempts: int, reason: str) -> str:
    over = run.over() or EXPIRED
    if reason.startswith(("validation failed", "failed to apply")):
        label = "ssh.Config{" + f"{host.address}:{host.port}" + "}"
        created = "create rig client: get connection: create connection: create connection for *ssh.Config"
        return f"{label}: {over}\n{created}: {reason}"
    return f"{host.label}: {over}\nclient connect: retry: context done after {attempts} attempts: {over}: {reason}"


def detect(run: Run, hosts: list[Host]) -> None:
    """Which operating system the hosts run."""
    run.phase("Detect host operating systems")

    def one(host: Host) -> None:
        host.prefetch(*SYSTEM, *NEEDED, *HOST_FACTS, "date -u +%s", f"test -f {host.install_path}")
        found = host.batch(*SYSTEM)
        name = re.search(r'^NAME="?([^"\n]*)', found[1].text, re.MULTILINE)
        host.info(f"is running {name[1] if name else 'linux'}")
        run.out.debug(f"{host.label}: k0s install path is {host.install_path}")

    each(hosts, one)


def prepare(run: Run, hosts: list[Host]) -> None:
    """What the hosts need."""
    run.phase("Prepare hosts")

    def one(host: Host) -> None:
        found = host.batch(*NEEDED, secret=NEEDED[:2])
        if found[2].status == 0 or found[3].status == 0:
            host.info("is a container, applying a fix")
            if not run.dry:
                host.batch("mount --make-rshared / 2> /dev/null", sudo=True)

    each(hosts, one)


def gather_host_facts(run: Run, hosts: list[Host]) -> None:
    """Architecture, name, interface, and whether there is a k0s."""
    run.phase("Gather host facts")

    def one(host: Host) -> None:
        host.info("detected amd64 architecture")
        found = host.batch(*HOST_FACTS, secret=HOST_FACTS[2:])
        host.name = host.entry.get("hostname") or found[0].text
        host.info(f"using {host.name} as hostname")
        device = re.search(r"\bdev (\S+)", found[1].text)
        host.info(f"discovered {device[1] if device else 'eth0'} as private interface")
        if not host.use_existing:
            return
        if found[2].status:
            reason = "no 'k0s' binary found in PATH, set k0sInstallPath to use a custom path"
            raise Fatal(f"{host.label}: useExistingK0s=true but {reason}")
        host.info(f"found existing 'k0s' binary at {found[2].text}")

    each(hosts, one)


def validate_hosts(run: Run, hosts: list[Host]) -> None:
    """Clock skew and leftovers of uploads."""
    run.phase("Validate hosts")
    for host in hosts:
        if host.entry.get("uploadBinary") and host.entry.get("k0sBinaryPath"):
            path, version = quoted(host.entry["k0sBinaryPath"]), run.cluster.k0s.get("version")
            text = f"k0s binary path is set to {path}, version checking for the host is disabled."
            run.out.warning(f"{host.label}: {text} The k0s version for other hosts is {version}.")
    run.out.info("validating clock skew")
    for host in hosts:
        host.batch("date -u +%s")


def version_key(version: str) -> list[int]:
    """For comparing versions."""
    return [int(number) for number in re.findall(r"\d+", version)]


def gather_k0s_facts(run: Run, hosts: list[Host]) -> None:
    """What k0s is and does on the hosts; the phase is left out where no host has a k0s."""
    present = [host for host in hosts if host.batch(f"test -f {host.install_path}")[0].status == 0]
    controllers = [host for host in hosts if not host.is_worker]
    (next((host for host in controllers if host in present), controllers[0])).leader = True
    if not present:
        run.skip("Gather k0s facts")
        return
    run.phase("Gather k0s facts")
    each(sorted(present, key=lambda host: host.is_worker), lambda host: _k0s_facts(run, host))
    leader = next((host for host in controllers if host.running), controllers[0])
    for host in hosts:
        host.leader = host is leader
        if host.is_worker and host.running and leader.running:
            leader.info(f"checking if worker {host.name} has joined")
            kubectl(host, f"get node {host.name} -o json", secret=True)
    each(present, lambda host: _existing(run, host))


def _existing(run: Run, host: Host) -> None:
    if not host.use_existing:
        return
    wanted = run.cluster.k0s.get("version", "")
    host.info(f"useExistingK0s=true, reusing existing k0s {host.version}")
    if wanted != host.version:
        reason = f"spec.k0s.version is {wanted} but host has k0s binary {host.version} because useExistingK0s=true"
        run.out.warning(f"{host.label}: {reason}")


def kubectl(host: Host, words: str, *, secret: bool = False) -> Result:
    """Runs the kubectl of a host's k0s, with the kubeconfig that is there."""
    path = f"{host.data_dir}/pki/admin.conf" if host.has_admin_conf else f"{host.data_dir}/kubelet.conf"
    command = f'env "KUBECONFIG={path}" {host.install_path} kubectl {words}'
    return host.batch(command, sudo=True, secret=(command,) if secret else ())[0]


def read_uid(host: Host) -> None:
    """Reads the cluster's UID into the log; a failure does not matter."""
    kubectl(host, "get -n kube-system namespace kube-system -o template={{.metadata.uid}}")


def _k0s_facts(run: Run, host: Host) -> None:
    host.existing = True
    files = (f"test -f {CONFIG}", f"cat -- {CONFIG}", "stat /run/systemd/system")
    status_and_more = (f"{host.install_path} status -o json", f"test -f {host.data_dir}/pki/admin.conf")
    words = (f"{host.install_path} version", *files, *UNITS, *status_and_more)
    found = host.batch(*words, sudo=True, secret=files[1:2])
    host.has_admin_conf = found[7].status == 0
    if found[0].status:
        raise CommandError(found[0].status, found[0].stderr)
    host.version = found[0].text
    run.out.debug(f"{host.label}: has k0s binary version {host.version}")
    if not host.is_worker and found[1].status == 0:
        host.config = found[2].text
        host.info("found existing configuration")
    host.unit = found[4].text or found[5].text
    status = found[6]
    document = json.loads(status.text) if status.status == 0 else {}
    if document.get("Version") and document.get("Pid"):
        _is_running(run, host, document)
    elif host.unit:
        text = f"installed as a service at {host.unit} - "
        if not run.force:
            reason = f"k0s doesn't appear to be running but has been {text}please remove it or start the service"
            raise Fatal(reason)
        text = f"an existing k0s instance is not running but has been {text}ignoring because --force was given"
        run.out.warning(f"{host.label}: {text}")
    else:
        text = "an existing k0s instance is not running and does not seem to have been installed as a service"
        run.out.debug(f"{host.label}: {text}")
    if host.is_worker:
        return
    if host.leader:
        read_uid(host)
    _members(run, host)


def _is_running(run: Run, host: Host, document: dict[str, object]) -> None:
    host.running, role = str(document["Version"]), str(document.get("Role"))
    host.args = [str(word) for word in document.get("Args") or []]  # type: ignore[attr-defined]
    wanted = "worker" if host.is_worker else "controller"
    if role != wanted or (host.role == "single") != bool(document.get("SingleNode")):
        text = f"is configured as k0s {host.role} but is already running as {role} - role change is not supported"
        raise Fatal(f"{host.label}: {text}")
    host.info(f"is running k0s {role} version {host.running}")
    target = str(run.cluster.k0s.get("version", ""))
    if not host.use_existing and version_key(target) > version_key(host.running):
        run.out.warning(f"{host.label}: k0s will be upgraded")


def _members(run: Run, host: Host) -> None:
    settings = run.cluster.k0s.get("config") or {}
    storage = ((settings.get("spec") or {}).get("storage") or {}).get("type", "etcd")
    if not host.running or storage != "etcd":
        run.out.debug(f"{host.label}: skipping etcd member list")
        return
    run.out.debug(f"{host.label}: checking storage config for etcd")
    run.out.debug(f"{host.label}: storage type is etcd")
    host.info("listing etcd members")
    try:
        run.check("failed to create etcd member-list command: ")
        found = host.must(f"{host.install_path} etcd member-list --data-dir={host.data_dir}")
    except CommandError as error:
        raise Fatal(f"failed to run etcd member-list command: command result: {error}") from None
    for member in json.loads(found.text)["members"].values():
        run.out.debug(f"{host.label}: detected etcd member {member.removeprefix('https://').rpartition(':')[0]}")


def run_hooks(run: Run, hosts: list[Host], action: str, stage: str) -> None:
    """Runs the hooks of an action."""

    def one(host: Host) -> None:
        for hook in ((host.entry.get("hooks") or {}).get(action) or {}).get(stage) or []:
            host.info(f"running {stage} {action} hook: {quoted(hook)}")
            try:
                host.must(hook, sudo=False)
            except CommandError as error:
                what = f'failed to execute hook {quoted(hook)} for action "{action}" stage "{stage}"'
                raise Fatal(f"running hooks failed: {what} on host {host.address}: command result: {error}") from None

    each(hosts, one)


def disconnect(run: Run, hosts: list[Host]) -> None:
    """The last phase."""
    run.phase("Disconnect from hosts")
    for host in hosts:
        host.disconnect()
