"""The phase `Configure k0s` of apply."""

import copy
import difflib
import time
from typing import Any

from tests.practice.k0sctl import config
from tests.practice.k0sctl.log import Fatal
from tests.practice.k0sctl.reset import is_running
from tests.practice.k0sctl.run import Run
from tests.practice.k0sctl.ssh import CommandError, Host

GREEN, RED, PLAIN = "\x1b[32m", "\x1b[31m", "\x1b[0m"


class Configuration:
    """The k0s.yaml that the leader is to have."""

    def __init__(self, run: Run, leader: Host, controllers: list[Host]) -> None:
        self.run, self.leader = run, leader
        given: dict[str, Any] | None = copy.deepcopy(run.cluster.k0s.get("config"))
        self.wanted = ""
        if given is not None:
            spec = given.setdefault("spec", {})
            sans = spec.setdefault("api", {}).setdefault("sans", [])
            sans += [host.address for host in controllers if host.address not in sans]
            stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
            self.wanted = f"# generated-by-k0sctl {stamp}\n" + config.dump(given, sort=True)

    def changed(self) -> bool:
        """Whether the leader has another one."""
        return _body(self.wanted) != _body(self.leader.config)

    def validate(self) -> None:
        """Lets the host's k0s look at it."""
        self.run.check()
        if not self.wanted:
            if not self.leader.config:
                created = self.leader.must(
                    f"{self.leader.install_path} config create --data-dir={self.leader.data_dir}"
                )
                self.wanted = created.stdout.decode()
            else:
                self.wanted = self.leader.config
        path = self._temporary()
        self.leader.info("validating configuration")
        try:
            self.leader.must(f'{self.leader.install_path} config validate --config="{path}"')
        except CommandError as error:
            said = error.stderr.replace("\n", "\\n")
            raise Fatal(f"spec.k0s.config validation failed: {error} ({said})".replace("\\n", "\n")) from None
        finally:
            self.leader.execute(f"rm -f {path}", always=True)

    def _temporary(self) -> str:
        host = self.leader
        path = host.batch("echo ${TMPDIR:-/tmp}", "mktemp -- /tmp/XXXXXX")[1].text
        command = f"mkdir -p -- /tmp && umask 0177 && cat >{path} && chmod -- 0600 {path}"
        host.must(command, stdin=self.wanted.encode())
        return path

    def write(self) -> bool:
        """Writes it where it changed; restarts a k0s that runs."""
        run, host = self.run, self.leader
        if not self.changed():
            run.skip("Configure k0s")
            return False
        run.phase("Configure k0s")
        if run.dry:
            self._tell()
            return True
        path = self._temporary()
        host.info("installing new configuration")
        moving = (f"mv -f {path} /etc/k0s/k0s.yaml", "chmod 0600 /etc/k0s/k0s.yaml")
        host.batch("umask 027 && mkdir -p -- /etc/k0s", *moving, sudo=True)
        if host.running:
            host.info("restarting k0s service")
            host.must(f"systemctl restart {host.service}")
            host.info("waiting for k0s service to start")
            while not is_running(host):
                if not run.wait(0.5):
                    raise Fatal(f"service {host.service} not running: {run.over()}")
        return True

    def _tell(self) -> None:
        label = self.leader.label
        lines = ["write k0s configuration to /etc/k0s/k0s.yaml"]
        lines += ["k0s configuration is based on spec.k0s.config in k0sctl config", "configuration changes:"]
        self.run.dry_lines += [(label, line) for line in lines]
        old, new = self.leader.config.splitlines(), self.wanted.splitlines()
        text, colour = "", ""
        for line in difflib.ndiff(old, new):
            if line[0] != "?":
                colour = {"+": GREEN, "-": RED}.get(line[0], "")
                text += f"{colour}{line[2:]}{PLAIN if colour else ''}\n"
        text += f"{colour}{PLAIN}\n" if colour else ""
        self.run.dry_lines.append((label, text))
        if self.leader.running:
            self.run.dry_lines.append((label, "restart the k0s service"))


def _body(text: str) -> str:
    """The text without the line that tells when it was written."""
    return "\n".join(line for line in text.splitlines() if not line.startswith("# generated-by")).strip()
