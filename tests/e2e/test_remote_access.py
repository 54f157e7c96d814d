"""The remote over https and ssh: who is let in, whom it believes, and that no credential is seen on the way."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

from tests.e2e.conftest import Site
from tests.practice.sshd import make_key
from tests.support.keys import KeyPair
from tests.support.lab import Ended, Lab
from tests.support.remotes import Bare, HttpsGit, SshGit, silent

pytestmark = pytest.mark.e2e

TOKEN = "glpat-S3cretT0kenOfTheTests"


@pytest.fixture
def lab(tmp_path: Path, site: Site, cluster_key: KeyPair) -> Iterator[Lab]:
    """The site's running cluster, an empty working directory, and a home without anything."""
    lab = Lab(tmp_path / "lab", [site.host], cluster_key)
    (lab.directory / "nobody").mkdir()
    yield lab
    assert site.host.running()


@pytest.fixture
def https(tmp_path: Path, remote: Bare, lab: Lab) -> Iterator[HttpsGit]:
    with HttpsGit(tmp_path / "https", remote, TOKEN) as server:
        lab.extra |= {
            "K0SCTL_GIT_URL": server.url, "K0SCTL_GIT_TOKEN": TOKEN, "SSL_CERT_FILE": str(server.certificate),
        }  # fmt: skip
        yield server


@pytest.fixture
def ssh(tmp_path: Path, remote: Bare, lab: Lab) -> Iterator[SshGit]:
    with SshGit(tmp_path / "ssh", remote) as server:
        lab.extra |= {
            "K0SCTL_GIT_URL": server.url, "K0SCTL_GIT_SSH_KEY": server.private_key.read_text(),
            "K0SCTL_GIT_KNOWN_HOSTS": server.known_hosts_lines(),
        }  # fmt: skip
        yield server


def recorded(lab: Lab, *names: str) -> Path:
    """Each of these tools writes down what it is given: words and environment."""
    seen = lab.directory / "seen"
    for name in names:
        lab.tool(name, f"{{ echo TOOL {name}; cat /proc/$$/cmdline /proc/$$/environ; }} >> {seen}")
    return seen


def require_unseen(lab: Lab, secrets: Iterable[str], told: Iterable[Ended], seen: Path) -> None:
    """Not in any word or environment, not in what was said, not in any file that is left."""
    texts = list(secrets)
    places = [seen, *(path for root in (lab.work, lab.tmp) for path in root.rglob("*"))]
    for path in places:
        if path.is_file() and not path.is_symlink():
            content = path.read_bytes()
            for text in texts:
                assert text.encode() not in content, (path, text)
    for done in told:
        for text in texts:
            assert text not in done.stdout + done.stderr
    assert not lab.leftovers()


# --- https --------------------------------------------------------------------------------------------------------


def test_https(lab: Lab, https: HttpsGit, remote: Bare, site: Site) -> None:
    seen = recorded(lab, "git", "gpg", "openssl")
    told = [lab.ok("init", K0SCTL_GIT_BRANCH="prod"), lab.ok("backup", K0SCTL_GIT_BRANCH="prod"), lab.ok("list")]
    assert site.latest in told[-1].stdout
    assert remote.tip("prod") == lab.head()
    assert len(remote.names("prod")) == 1
    assert https.users == {"x-access-token"}
    assert f"pushed to {https.url}" in told[1].last
    # nobody is told the token who did not ask for it
    assert https.requests[0][1] == ""
    require_unseen(lab, [TOKEN], told, seen)
    assert b"TOOL git\n" in seen.read_bytes()
    assert lab.git("config", "--get", "remote.origin.url") == https.url


@pytest.mark.parametrize("token", ["wrong-token-of-the-tests", None])
def test_a_wrong_token(lab: Lab, https: HttpsGit, token: str | None) -> None:
    for command in ("list", "backup", "init", "apply"):
        done = lab.run(command, K0SCTL_GIT_TOKEN=token).failed(4, https.url, "K0SCTL_GIT_TOKEN")
        assert not token or token not in done.stderr
        assert "new cluster" not in done.stderr
    assert not https.users


def test_the_operators_own_configuration_is_not_read(lab: Lab, https: HttpsGit) -> None:
    """Neither his git's nor his curl's: they could send the token anywhere, or bring another one."""
    home = lab.directory / "nobody"
    (home / ".gitconfig").write_text(f'[url "https://evil.example.org/"]\n insteadOf = {https.url}\n')
    (home / ".netrc").write_text("machine 127.0.0.1 login netrc password netrc\n")
    (home / ".git-credentials").write_text("https://stored:stored@127.0.0.1\n")
    lab.ok("list", GIT_SSL_NO_VERIFY="1", GIT_ASKPASS="/bin/false", GIT_TRACE_CURL="1", GIT_CURL_VERBOSE="1")
    assert https.users == {"x-access-token"}


@pytest.mark.parametrize("scheme", ["https", "ssh"])
def test_a_server_that_stays_silent(lab: Lab, site: Site, ssh: SshGit, scheme: str) -> None:
    with silent() as port:
        url = f"{scheme}://127.0.0.1:{port}/remote.git"
        known = ssh.known_hosts_lines().replace(f":{ssh.port}", f":{port}")
        changes: dict[str, str | None] = {"K0SCTL_GIT_SSH_KEY": None, "K0SCTL_GIT_KNOWN_HOSTS": known}
        done = lab.run("apply", K0SCTL_GIT_URL=url, K0SCTL_TIMEOUT="2s", **changes).failed(6, url)
        assert "new cluster" not in done.stderr


# --- ssh ----------------------------------------------------------------------------------------------------------


def test_ssh(lab: Lab, ssh: SshGit, remote: Bare, site: Site) -> None:
    seen = recorded(lab, "git", "ssh", "gpg", "openssl")
    told = [lab.ok("init", K0SCTL_GIT_BRANCH="prod"), lab.ok("backup", K0SCTL_GIT_BRANCH="prod"), lab.ok("list")]
    assert site.latest in told[-1].stdout
    assert remote.tip("prod") == lab.head()
    assert f"pushed to {ssh.url}" in told[1].last
    lines = [line for line in ssh.private_key.read_text().splitlines() if "-----" not in line][1:]
    require_unseen(lab, lines, told, seen)
    assert b"TOOL ssh\n" in seen.read_bytes()
    assert "accept-new" not in seen.read_text(errors="replace")


def test_a_wrong_host_key(lab: Lab, ssh: SshGit, remote: Bare) -> None:
    pinned = ssh.known_hosts_lines()
    ssh.stop()
    ssh.make_keys(new=True)
    ssh.start()
    before = remote.commits()
    for command in ("list", "apply", "backup", "init"):
        done = lab.run(command, K0SCTL_GIT_KNOWN_HOSTS=pinned).failed(5, ssh.url, "host key", "K0SCTL_GIT_KNOWN_HOSTS")
        assert "new cluster" not in done.stderr
    # one of another machine only
    elsewhere = ssh.known_hosts_lines().replace("127.0.0.1", "127.0.0.2")
    lab.run("list", K0SCTL_GIT_KNOWN_HOSTS=elsewhere).failed(5, "ssh-keyscan")
    lab.ok("list", K0SCTL_GIT_KNOWN_HOSTS=ssh.known_hosts_lines())
    assert remote.commits() == before


def test_no_known_hosts(lab: Lab, ssh: SshGit) -> None:
    lab.run("list", K0SCTL_GIT_KNOWN_HOSTS=None).failed(2, "K0SCTL_GIT_KNOWN_HOSTS", "ssh-keyscan")
    assert "127.0.0.1" in lab.run("list", K0SCTL_GIT_KNOWN_HOSTS=None).last


def test_a_key_that_is_not_let_in(tmp_path: Path, lab: Lab, ssh: SshGit) -> None:
    make_key(tmp_path / "other", "ed25519")
    key = (tmp_path / "other").read_text()
    lab.run("list", K0SCTL_GIT_SSH_KEY=key).failed(4, "Permission denied", "K0SCTL_GIT_SSH_KEY")


def test_the_operators_own_keys(lab: Lab, ssh: SshGit) -> None:
    """Without settings: key files, known hosts and agent of whoever runs it, but not his configuration."""
    home = lab.directory / "nobody"
    own = home / ".ssh"
    own.mkdir(mode=0o700)
    shutil.copy(ssh.private_key, own / "id_ed25519")
    (own / "known_hosts").write_text(ssh.known_hosts_lines())
    (own / "config").write_text("Host *\n  ProxyCommand false\n")
    unset: dict[str, str | None] = {"K0SCTL_GIT_SSH_KEY": None, "K0SCTL_GIT_KNOWN_HOSTS": None}
    before = {path: path.stat().st_mtime_ns for path in own.iterdir()}
    lab.ok("list", **unset)
    assert {path: path.stat().st_mtime_ns for path in own.iterdir()} == before
    # by an agent
    (own / "id_ed25519").unlink()
    lab.run("list", **unset).failed(4, "Permission denied")
    socket = lab.directory / "agent"
    agent = subprocess.Popen(["ssh-agent", "-D", "-a", str(socket)], stdout=subprocess.DEVNULL)
    try:
        while not socket.exists():
            assert agent.poll() is None
        env = {**os.environ, "SSH_AUTH_SOCK": str(socket)}
        subprocess.run(["ssh-add", "-q", str(ssh.private_key)], env=env, check=True, capture_output=True)
        lab.ok("list", SSH_AUTH_SOCK=str(socket), **unset)
    finally:
        agent.terminate()
        agent.wait()


def test_the_report_knows_no_credential(lab: Lab, https: HttpsGit) -> None:
    lab.ok("verify")
    report = json.dumps(lab.report())
    assert TOKEN not in report
    assert https.url in report
