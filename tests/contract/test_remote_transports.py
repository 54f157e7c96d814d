"""Fetching and pushing over real ssh and https: who gets in, who is not believed, and what is told of it."""

from __future__ import annotations

import base64
import json
import os
import re
import shutil
import stat
import subprocess
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from handler.errors import HandlerError, IntegrityError, TimedOut, ToolFailed
from handler.process import Children
from handler.secret import Secret
from handler.tools.git import Git
from handler.tools.gitaccess import Access, keyscan, over_file, over_https, over_ssh
from handler.tools.gitremote import Remote
from handler.tools.gitstore import Store
from tests.practice.host import PracticeHost
from tests.practice.sshd import make_key
from tests.support.branch import Desk
from tests.support.keys import KeyPair
from tests.support.lab import Ended, Lab
from tests.support.remotes import Bare, HttpsGit, SshGit, closed_port, silent

pytestmark = pytest.mark.contract

TOKEN = "ghp-0123456789.abcdef~x"
SHORT = timedelta(seconds=1.5)
#: A pushed commit has to come in several pieces: git's buffer for one request holds 1 MiB (http.postBuffer).
LARGE = 4_000_000


@pytest.fixture
def bare(tmp_path: Path, branch: Path) -> Bare:
    """What the servers serve: the good branch."""
    bare = Bare(tmp_path / "served.git")
    bare.fill(branch)
    return bare


@pytest.fixture
def sshd(tmp_path: Path, bare: Bare) -> Iterator[SshGit]:
    with SshGit(tmp_path / "sshd", bare) as server:
        yield server


@pytest.fixture
def https(tmp_path: Path, bare: Bare) -> Iterator[HttpsGit]:
    with HttpsGit(tmp_path / "https", bare, TOKEN) as server:
        bare("config", "http.receivepack", "true")
        yield server


@pytest.fixture
def private(tmp_path: Path) -> Callable[[], Path]:
    """A new private directory with each call; its name needs quoting wherever it is used."""
    places = iter(range(99))

    def new() -> Path:
        path = tmp_path / f"a 'private' 100% place{next(places)}"
        path.mkdir(mode=0o700)
        return path

    return new


@pytest.fixture
def by_ssh(desk: Desk, sshd: SshGit, private: Callable[[], Path]) -> Callable[..., Remote]:
    def remote(
        url: str = "", known_hosts: str | None = None, key: Path | None = None, limit: timedelta = timedelta(minutes=1)
    ) -> Remote:
        pins = sshd.known_hosts_lines() if known_hosts is None else known_hosts
        access = over_ssh(url or sshd.url, [key or sshd.private_key], pins, private())
        return Remote(desk.git, access, "backup", limit)

    return remote


@pytest.fixture
def by_https(desk: Desk, https: HttpsGit, private: Callable[[], Path]) -> Callable[..., Remote]:
    def remote(
        url: str = "", token: str | None = TOKEN, certificates: str | None = None,
        limit: timedelta = timedelta(minutes=1),
    ) -> Remote:  # fmt: skip
        trusted = str(https.certificate) if certificates is None else certificates
        access = over_https(url or https.url, Secret(token) if token else None, private(), trusted)
        return Remote(desk.git, access, "backup", limit)

    return remote


def push(desk: Desk, remote: Remote, size: int = 100) -> str:
    """One more backup in backup/, pushed."""
    commit = desk.take(os.urandom(size))
    assert Store(desk.git, desk.locate(desk.backup)).push(remote, commit)
    return commit


def refused(remote: Remote, kind: type[HandlerError], *said: str) -> HandlerError:
    """The error of a fetch: one sentence that names the place, what to do, and the other side's own words."""
    with pytest.raises(HandlerError) as caught:
        remote.located()
    error = caught.value
    assert type(error) is kind, (error.message, error.details)
    assert remote.url in error.message
    assert "\n" not in error.message
    assert not error.message.endswith(".")
    assert error.resolution != kind.default_resolution
    for words in said:
        assert words in "\n".join((*error.details, error.resolution)), (error.details, error.resolution)
    return error


# --- file --------------------------------------------------------------------------------------------------------


def test_a_repository_of_somebody_else(desk: Desk, bare: Bare) -> None:
    """Its hooks would run as this user, beside the keys."""
    remote = Remote(desk.git, over_file(bare.url), "backup", timedelta(minutes=1))
    assert remote.located().head == bare.tip()
    if os.geteuid() != 0:
        pytest.skip("only root can give a directory away")
    subprocess.run(["chown", "-R", "1234:1234", bare.path], check=True)
    refused(remote, ToolFailed, "dubious ownership", "run as its owner")


# --- ssh ---------------------------------------------------------------------------------------------------------


def test_ssh(by_ssh: Callable[..., Remote], desk: Desk, bare: Bare) -> None:
    remote = by_ssh()
    located = remote.located()
    assert located.head == bare.tip()
    assert desk.git.text("cat-file", "-t", "HEAD^{commit}", env={"GIT_DIR": str(desk.backup / ".git")})
    assert remote.branches() == ("backup",)
    assert push(desk, remote, LARGE) == bare.tip()
    bare("fsck", "--strict", "--no-dangling")


@pytest.mark.parametrize(
    ("url", "line"),
    [
        ("ssh://git@git.example.org/k0s.git", "ssh-keyscan git.example.org"),
        ("ssh://git.example.org:2222/k0s.git", "ssh-keyscan -p 2222 git.example.org"),
        ("ssh://git@[2001:db8::1]:2222/k0s.git", "ssh-keyscan -p 2222 2001:db8::1"),
        ("git@git.example.org:k0s.git", "ssh-keyscan git.example.org"),
        ("git@git.example.org:2222/k0s.git", "ssh-keyscan git.example.org"),  # there it is a directory
    ],
)
def test_how_to_ask_for_host_keys(url: str, line: str) -> None:
    assert keyscan(url) == line


def test_ssh_with_a_wrong_host_key(by_ssh: Callable[..., Remote], sshd: SshGit, desk: Desk, bare: Bare) -> None:
    """Somebody else answers in its place: nothing is sent, not even the name of the key."""
    pins = sshd.known_hosts_lines()
    sshd.make_keys(new=True)
    sshd.start()
    assert sshd.known_hosts_lines() != pins
    before = bare.tip()
    error = refused(by_ssh(known_hosts=pins), IntegrityError, f"ssh-keyscan -p {sshd.port} 127.0.0.1")
    assert "host key" in error.message
    # the key that was shown can be compared, and nothing advises to forget the pinned one
    assert any("SHA256:" in line for line in error.details)
    assert "git-known-hosts" not in "".join(error.details)
    with pytest.raises(IntegrityError, match="host key"):
        push(desk, by_ssh(known_hosts=pins))
    assert bare.tip() == before
    assert "publickey" not in (sshd.directory / "log").read_text()


def test_what_a_server_says_of_itself(by_ssh: Callable[..., Remote], desk: Desk, bare: Bare) -> None:
    """A hook that pushes further on may say anything: that is none of our host keys, disks or limits."""
    hook = bare.hook("pre-receive", "echo 'Host key verification failed.' >&2; echo 'timed out' >&2; exit 1")
    with pytest.raises(ToolFailed) as caught:
        push(desk, by_ssh())
    assert "remote: Host key verification failed." in caught.value.details
    hook.write_text("#!/bin/sh\necho 'write error: No space left on device' >&2; exit 1\n")
    with pytest.raises(ToolFailed) as caught:
        push(desk, by_ssh())
    assert "there" in caught.value.resolution
    assert "TMPDIR" not in caught.value.resolution


@pytest.mark.parametrize("pins", ["", "git.example.org ssh-ed25519 AAAA\n", "other"])
def test_ssh_with_an_unknown_host(by_ssh: Callable[..., Remote], sshd: SshGit, pins: str) -> None:
    lines = sshd.known_hosts_lines().replace("127.0.0.1", "127.0.0.2") if pins == "other" else pins
    refused(by_ssh(known_hosts=lines), IntegrityError, "ssh-keyscan")
    assert "publickey" not in (sshd.directory / "log").read_text()


def test_ssh_with_a_key_that_may_not_log_in(by_ssh: Callable[..., Remote], tmp_path: Path) -> None:
    make_key(tmp_path / "stranger", "ed25519")
    error = refused(by_ssh(key=tmp_path / "stranger"), ToolFailed, "Permission denied", "K0SCTL_GIT_SSH_KEY")
    assert "K0SCTL_GIT_TOKEN" not in error.resolution


def test_ssh_that_is_not_there(by_ssh: Callable[..., Remote], bare: Bare) -> None:
    refused(by_ssh(url=f"ssh://git@127.0.0.1:{closed_port()}{bare.path}"), ToolFailed, "Connection refused")


def test_ssh_without_a_repository(by_ssh: Callable[..., Remote], sshd: SshGit) -> None:
    refused(by_ssh(url=f"{sshd.url}.not"), ToolFailed, "does not appear to be a git repository", "K0SCTL_GIT_URL")


def test_ssh_without_the_branch(by_ssh: Callable[..., Remote], bare: Bare) -> None:
    bare("branch", "-m", "backup", "other")
    remote = by_ssh()
    assert remote.located().head is None
    assert remote.branches() == ("other",)


def test_ssh_that_is_silent(by_ssh: Callable[..., Remote], bare: Bare) -> None:
    with silent() as port:
        error = refused(by_ssh(url=f"ssh://git@127.0.0.1:{port}{bare.path}", limit=SHORT), TimedOut)
    assert "K0SCTL_TIMEOUT" in error.message


def test_ssh_that_says_something_to_a_push(by_ssh: Callable[..., Remote], desk: Desk, bare: Bare) -> None:
    bare.hook("pre-receive", "echo 'ask the operators' >&2; exit 1")
    before = bare.tip()
    with pytest.raises(ToolFailed) as caught:
        push(desk, by_ssh())
    assert any("remote: ask the operators" in line for line in caught.value.details)
    assert "Done" not in caught.value.details
    assert "protected branch" in caught.value.resolution
    assert bare.tip() == before


def test_nobodys_own_ssh_configuration(
    by_ssh: Callable[..., Remote], desk: Desk, tmp_path: Path, children: Children, tool_env: dict[str, str]
) -> None:
    """ssh asks the list of users where the home is: that it reads nothing there is seen by what it tells of itself."""
    log, tools, real = tmp_path / "told", tmp_path / "tools", shutil.which("ssh")
    tools.mkdir()
    (tools / "ssh").write_text(f'#!/bin/sh\n{real} -G "$@" >> {log}\nexec {real} "$@"\n')
    (tools / "ssh").chmod(0o755)
    desk.git = Git(children, {**tool_env, "PATH": f"{tools}:{tool_env['PATH']}"}, desk.root / "private")
    by_ssh().located()
    used = log.read_text().lower()
    for line in ("batchmode yes", "stricthostkeychecking true", "globalknownhostsfile none", "identitiesonly yes",
                 "passwordauthentication no", "forwardagent no", "updatehostkeys false"):  # fmt: skip
        assert line in used.splitlines()
    assert not re.search(r"^(proxycommand|localcommand|permitlocalcommand yes)", used, re.MULTILINE)
    assert len(re.findall("^identityfile ", used, re.MULTILINE)) == 1
    assert "/.ssh" not in used


# --- https -------------------------------------------------------------------------------------------------------


def test_https(by_https: Callable[..., Remote], desk: Desk, https: HttpsGit, bare: Bare) -> None:
    remote = by_https()
    assert remote.located().head == bare.tip()
    assert remote.branches() == ("backup",)
    assert push(desk, remote, LARGE) == bare.tip()
    bare("fsck", "--strict", "--no-dangling")
    assert https.users == {"x-access-token"}


def test_https_with_the_user_of_the_url(by_https: Callable[..., Remote], https: HttpsGit, bare: Bare) -> None:
    remote = by_https(url=https.url.replace("https://", "https://oauth2@"))
    assert remote.located().head == bare.tip()
    assert https.users == {"oauth2"}
    assert remote.url == https.url


@pytest.mark.parametrize("token", [None, "wrong"])
def test_https_without_the_right_token(by_https: Callable[..., Remote], token: str | None) -> None:
    error = refused(by_https(token=token), ToolFailed, "K0SCTL_GIT_TOKEN")
    assert "K0SCTL_GIT_SSH_KEY" not in error.resolution


def test_https_with_a_certificate_that_nobody_trusts(by_https: Callable[..., Remote], https: HttpsGit) -> None:
    refused(by_https(certificates=""), ToolFailed, "certificate", "SSL_CERT_FILE")
    assert not https.requests


def test_https_that_redirects(
    by_https: Callable[..., Remote], desk: Desk, https: HttpsGit, tmp_path: Path, bare: Bare
) -> None:
    """The token goes to the host of the URL only."""
    both = tmp_path / "both.pem"
    with HttpsGit(tmp_path / "elsewhere", bare, TOKEN) as other:
        both.write_text(https.certificate.read_text() + other.certificate.read_text())
        https.redirect = https.elsewhere = f"https://{other.place}"
        for status in (0, 302, 307):
            https.answer = status
            error = refused(by_https(certificates=str(both)), ToolFailed, "K0SCTL_GIT_URL")
            assert "redirect" in error.resolution
            https.redirect = ""
        with pytest.raises(ToolFailed):
            push(desk, by_https(certificates=str(both)))
        assert not other.requests
        assert by_https(url=other.url, certificates=str(both)).located().head  # it would have answered


@pytest.mark.parametrize(
    ("status", "resolution"),
    [(500, "run again"), (503, "run again"), (403, "K0SCTL_GIT_TOKEN"), (404, "K0SCTL_GIT_URL"), (413, "size")],
)
def test_https_with_a_bad_answer(
    by_https: Callable[..., Remote], https: HttpsGit, status: int, resolution: str
) -> None:
    https.answer = status
    error = refused(by_https(), ToolFailed, resolution)
    assert status == 404 or str(status) in "".join(error.details)


def test_https_that_is_not_there(by_https: Callable[..., Remote]) -> None:
    refused(by_https(url=f"https://127.0.0.1:{closed_port()}/x.git"), ToolFailed, "127.0.0.1")


def test_https_that_is_silent(by_https: Callable[..., Remote], https: HttpsGit) -> None:
    with silent() as port:
        refused(by_https(url=f"https://127.0.0.1:{port}/x.git", limit=SHORT), TimedOut)
    https.hang = True
    refused(by_https(limit=SHORT), TimedOut)
    assert https.users == {"x-access-token"}


def test_https_that_says_something_to_a_push(by_https: Callable[..., Remote], desk: Desk, bare: Bare) -> None:
    bare.hook("pre-receive", "echo 'ask the operators' >&2; exit 1")
    with pytest.raises(ToolFailed) as caught:
        push(desk, by_https())
    assert any("remote: ask the operators" in line for line in caught.value.details)


def test_https_where_somebody_was_faster(by_https: Callable[..., Remote], desk: Desk, bare: Bare) -> None:
    remote = by_https()
    bare("update-ref", "refs/heads/backup", bare.tip() + "~1")
    other = bare("commit-tree", "-p", "backup", "-m", "x", "backup^{tree}",
                 GIT_AUTHOR_NAME="x", GIT_AUTHOR_EMAIL="x@example.org",
                 GIT_COMMITTER_NAME="x", GIT_COMMITTER_EMAIL="x@example.org")  # fmt: skip
    bare("update-ref", "refs/heads/backup", other)
    commit = desk.take(b"x")
    assert not Store(desk.git, desk.locate(desk.backup)).push(remote, commit)
    assert bare.tip() == other


def test_the_private_files(by_ssh: Callable[..., Remote], by_https: Callable[..., Remote], tmp_path: Path) -> None:
    for remote in (by_ssh(), by_https()):
        access: Access = remote._access
        assert TOKEN not in str(access)
        assert TOKEN not in repr(remote.__dict__)
    files = [path for place in tmp_path.glob("a 'private'*") for path in place.iterdir()]
    assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o600}
    assert [path.name for path in files if TOKEN in path.read_text()] == ["git-credentials"]


# --- whole runs --------------------------------------------------------------------------------------------------


@pytest.fixture
def lab(tmp_path: Path, locked_key: KeyPair) -> Iterator[Lab]:
    """A working directory of a key with a passphrase; no host is asked anything."""
    with PracticeHost(tmp_path / "cluster") as host:
        yield Lab(tmp_path / "lab", [host], locked_key)


def test_no_secret_is_seen(lab: Lab, https: HttpsGit, sshd: SshGit, bare: Bare, tmp_path: Path) -> None:
    """Neither in what any program is given, nor in what is left, when it works and when it fails."""
    seen, trace = lab.directory / "seen", lab.directory / "trace"
    for tool in ("git", "ssh", "cat", "gpg"):
        lab.tool(
            tool, f"export GIT_TRACE2_EVENT={trace}\n"
            f"{{ echo TOOL {tool}; /bin/cat /proc/$$/cmdline /proc/$$/environ; }} >> {seen}",
        )  # fmt: skip
    ssh_key = sshd.private_key.read_text()
    over_https = {"K0SCTL_GIT_URL": https.url, "K0SCTL_GIT_TOKEN": TOKEN, "SSL_CERT_FILE": str(https.certificate)}
    over_ssh = {
        "K0SCTL_GIT_URL": sshd.url, "K0SCTL_GIT_SSH_KEY": ssh_key, "K0SCTL_GIT_KNOWN_HOSTS": sshd.known_hosts_lines(),
    }  # fmt: skip
    bare("update-ref", "-d", "refs/heads/backup")
    told = []

    def run(code: int, *arguments: str, **env: str | None) -> Ended:
        done = lab.run(*arguments, **env)
        assert done.code == code, done.stderr
        told.append(done.stdout + done.stderr)
        return done

    run(0, "init", **over_https)
    assert bare.has()
    run(0, "list", **over_ssh)
    shutil.rmtree(lab.backup)
    # a server that repeats what it was told, with colours
    hook = bare.hook("pre-receive", f"printf '\\033[31mno: {TOKEN}\\007\\033[0m\\n' >&2; exit 1")
    done = run(4, "init", K0SCTL_GIT_BRANCH="other", **over_https)
    assert "no: ***" in done.stderr
    assert not set(done.stderr) & set("\033\007")
    assert f"git -C backup push {https.url} HEAD:refs/heads/other" in done.last
    config = (lab.backup / ".git" / "config").read_text()
    assert "@" not in config
    assert "credential" not in config
    shutil.rmtree(lab.backup)
    hook.write_text("#!/bin/sh\nexit 1\n")
    run(4, "init", K0SCTL_GIT_BRANCH="other", **over_ssh)
    shutil.rmtree(lab.backup)
    with_user = https.url.replace("https://", "https://token-as-a-name@")  # as some hosts want it
    done = run(4, "init", K0SCTL_GIT_BRANCH="other", **{**over_https, "K0SCTL_GIT_URL": with_user})
    assert f"git -C backup push {https.url} HEAD:refs/heads/other" in done.last
    assert "token-as-a-name" not in done.stderr + json.dumps(lab.report())
    https.answer = 500
    run(4, "status", **over_https)
    run(2, "list", **{**over_ssh, "K0SCTL_GIT_KNOWN_HOSTS": None})
    names = ("TOOL git\n", "TOOL ssh\n", "TOOL cat\n", "TOOL gpg\n", "git-credentials")
    given = seen.read_text(errors="replace") + trace.read_text()
    for name in names:
        assert name in given
    left = [path for place in (lab.work, lab.tmp) for path in place.rglob("*") if path.is_file()]
    texts = [TOKEN, base64.b64encode(f"x-access-token:{TOKEN}".encode()).decode(), lab.key.passphrase]
    for text in [*texts, *ssh_key.splitlines()[2:-1]]:
        assert text not in given
        assert text not in "".join(told)
        for path in left:
            assert text.encode() not in path.read_bytes(), path
    assert not lab.leftovers()


def test_a_host_that_nobody_has_pinned(lab: Lab, sshd: SshGit) -> None:
    env = {"K0SCTL_GIT_URL": sshd.url, "K0SCTL_GIT_SSH_KEY": sshd.private_key.read_text()}
    done = lab.run("list", **env).failed(2, f"ssh-keyscan -p {sshd.port} 127.0.0.1", "K0SCTL_GIT_KNOWN_HOSTS")
    assert sshd.url in done.last
    assert "publickey" not in (sshd.directory / "log").read_text()


def test_the_operators_own_keys_and_pins(lab: Lab, sshd: SshGit, tmp_path: Path) -> None:
    """Without settings of our own those of ~/.ssh are used, but never its configuration."""
    home = tmp_path / "operator" / ".ssh"
    home.mkdir(parents=True)
    shutil.copy(sshd.private_key, home / "id_ed25519")
    (home / "known_hosts").write_text(sshd.known_hosts_lines())
    (home / "config").write_text(f"Host *\n  ProxyCommand touch {tmp_path}/ran\n")
    done = lab.run("list", K0SCTL_GIT_URL=sshd.url, HOME=str(home.parent))
    assert "id_ed25519" in done.stderr
    assert "publickey" in (sshd.directory / "log").read_text()
    assert not (tmp_path / "ran").exists()
