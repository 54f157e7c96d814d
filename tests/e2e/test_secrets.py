"""No secret is seen: not by other users of the machine while it works, and in nothing that is left behind."""

from __future__ import annotations

import contextlib
import json
import os
import resource
from collections.abc import Iterable
from pathlib import Path

import pytest

from tests.e2e.conftest import Site
from tests.support.keys import KeyPair
from tests.support.lab import Ended, Lab
from tests.support.plain import PlainTools
from tests.support.watcher import Watcher, descendants, read, wait_for

pytestmark = pytest.mark.e2e

DB_PASSWORD = "correct-horse-battery-staple"


def lines_of(key: str) -> list[str]:
    """The lines of a key, without the one that all keys of OpenSSH begin with."""
    lines = [line for line in key.splitlines() if len(line) > 30 and "-----" not in line]
    return [line for line in lines if not line.startswith("b3BlbnNzaC1rZXktdjE")]


@pytest.fixture
def secretive(tmp_path: Path, site: Site, locked_key: KeyPair) -> Lab:
    """A repository of a key with a passphrase."""
    lab = Lab(tmp_path / "secretive", [site.host], locked_key)
    lab.config.write_text(
        lab.config.read_text().replace(
            "          type: etcd\n", "          type: etcd\n        extensions:\n          password: $DB_PASSWORD\n"
        )
    )
    lab.extra["DB_PASSWORD"] = DB_PASSWORD
    return lab


def secrets_of(lab: Lab) -> list[str]:
    """Everything that must not be seen, without the password of the backups."""
    return [
        *lines_of(lab.key.private), *lines_of(lab.host.private_key.read_text()), lab.key.passphrase,
    ]  # fmt: skip


def watched(lab: Lab, texts: Iterable[str], *arguments: str, **env: str | None) -> tuple[Ended, Watcher]:
    process = lab.start(*arguments, **env)
    # The first start has what the user gave it; what it becomes has not.
    wait_for(lambda: b"ENVIRONMENT_FD" in read(process.pid, "environ") or process.poll() is not None)
    with Watcher(process.pid, texts) as watcher:
        done = lab.end(process, 120)
    return done, watcher


def nowhere(places: Iterable[Path], texts: Iterable[str]) -> None:
    wanted = [form for text in texts for form in (text.encode(), json.dumps(text)[1:-1].encode())]
    for place in places:
        for path in place.rglob("*"):
            if path.is_file() and not path.is_symlink():
                content = path.read_bytes()
                for text in wanted:
                    assert text not in content, (path, text)


def test_nothing_is_seen(secretive: Lab, site: Site) -> None:
    lab = secretive
    texts = secrets_of(lab)
    told: list[str] = []
    # Looking from outside may miss a program that lives for a millisecond; so each also writes down what it is given.
    seen = lab.directory / "seen"
    tools = ("gpg", "git", "openssl", "ssh-keyscan", "ssh-keygen", "k0sctl")
    for tool in tools:
        lab.tool(tool, f"{{ echo TOOL {tool}; cat /proc/$$/cmdline /proc/$$/environ; }} >> {seen}")

    def run(*arguments: str, **env: str | None) -> Ended:
        # the configuration's own variable is k0sctl's business: it gets it in its environment
        done, watcher = watched(lab, texts, *arguments, **env)
        assert done.code == 0, done.stderr
        assert not watcher.found
        assert watcher.looks > 5
        told.extend((done.stdout, done.stderr))
        return done

    run("init")
    plain = PlainTools(lab.directory / "plain", lab.key.private, lab.key.passphrase)
    password = plain.open_password(lab.backup / "secret.gpg")
    plain.close()
    texts.append(password)
    run("backup", K0SCTL_BACKUP_HOSTS="all")
    run("apply")
    run("restore", "--to", "../out")
    for text in [*texts, DB_PASSWORD]:
        assert text not in "".join(told)
    given = seen.read_bytes()
    for tool in tools:
        assert f"TOOL {tool}\n".encode() in given
    for text in texts:
        assert text.encode() not in given
    # files: everything below the work and temporary directories; the archive holds keys of its own, not these
    nowhere([lab.work, lab.tmp, Path("/dev/shm")], [*texts, DB_PASSWORD])
    # k0sctl's log tells the final configuration; there it is masked, and the rest is there
    log = next(lab.auditlog.glob("*-backup.log")).read_text()
    assert "final configuration" in log
    assert "password: ****" in log
    assert "executing command" in log


@pytest.mark.k0sctl_faults
def test_the_own_environment_is_taken_out(secretive: Lab) -> None:
    """Not even the handler itself shows its variables, and no core file could."""
    secretive.faults.set("k0sctl-hang")
    process = secretive.start("apply")
    wait_for(lambda: any(b"practice.k0sctl" in read(pid, "cmdline") for pid in descendants(process.pid)))
    names = {entry.partition(b"=")[0].decode() for entry in read(process.pid, "environ").split(b"\0")} - {""}
    assert not [name for name in names if name.startswith("K0SCTL_") and name != "K0SCTL_HANDLER_ENVIRONMENT_FD"]
    assert "DB_PASSWORD" not in names
    assert resource.prlimit(process.pid, resource.RLIMIT_CORE)[0] <= 1
    for pid in descendants(process.pid):
        assert resource.prlimit(pid, resource.RLIMIT_CORE)[0] <= 1
        environment = dict(
            entry.split(b"=", 1) for entry in read(pid, "environ").split(b"\0") if b"=" in entry
        )  # fmt: skip
        assert not [name for name in environment if name.startswith((b"K0SCTL_", b"DRY_RUN", b"DEBUG"))]
        assert environment.get(b"HOME", b"").startswith((b"/dev/shm/k0sctl-handler-", os.fsencode(secretive.tmp)))
    # children have no terminal and nothing of the user's to read from
    for pid in descendants(process.pid):
        with contextlib.suppress(FileNotFoundError):
            assert str(Path(f"/proc/{pid}/fd/0").readlink()).startswith(("pipe:", "/dev/null"))
    process.terminate()
    secretive.end(process)


def test_variables_that_the_operator_has_set_for_other_things(running: Lab) -> None:
    """They would make k0sctl lie: none of them reaches it."""
    running.ok("backup", DRY_RUN="true", DEBUG="release", TRACE="1", SSH_KNOWN_HOSTS="", XDG_CACHE_HOME="/nowhere",
               GIT_DIR="/nowhere", GIT_INDEX_FILE="/nowhere", GNUPGHOME="/nowhere", OPENSSL_CONF="/nowhere",
               LD_PRELOAD="", GIT_CONFIG_COUNT="1", GIT_CONFIG_KEY_0="gpg.program", GIT_CONFIG_VALUE_0="/nowhere",
               GIT_AUTHOR_NAME="nobody", EMAIL="nobody@example.org", TAR_OPTIONS="--nonsense")  # fmt: skip
    assert running.git("log", "-1", "--format=%an %cn") == "prod prod"


def test_wrong_values_are_not_repeated(secretive: Lab) -> None:
    lab = secretive
    lab.ok("init")
    half = "\n".join(lab.key.private.splitlines()[: len(lab.key.private.splitlines()) // 2])
    wrong = "a wrong passphrase that is long"
    cases: list[dict[str, str | None]] = [
        {"K0SCTL_GPG_PASSPHRASE": wrong},
        {"K0SCTL_GPG_KEY": half},
        {"K0SCTL_SSH_KEY": half},
        {"K0SCTL_GPG_PASSPHRASE_FILE": lab.key.passphrase, "K0SCTL_GPG_PASSPHRASE": None},
        {"K0SCTL_GPG_KEY_FILE": lab.key.private, "K0SCTL_GPG_KEY": None},
        {"K0SCTL_TIMEOUT": lab.key.passphrase},
        {"K0SCTL_CLUSTER_NAME": lab.key.passphrase},
        {"K0SCTL_CMD_NAME": lab.key.passphrase},
        {"K0SCTL_ACCEPT_CLUSTER": lines_of(lab.key.private)[1]},
        {"K0SCTL_KNOWN_HOSTS": lab.host.private_key.read_text()},
        {"DB_PASSWORD": None},
    ]
    texts = [*secrets_of(lab), wrong, DB_PASSWORD]
    for case in cases:
        done = lab.run(*([] if "K0SCTL_CMD_NAME" in case else ["backup"]), **case)
        assert done.code == 2, done.stderr
        for text in texts:
            assert text not in done.stderr, case
    nowhere([lab.work, lab.tmp], texts)


def test_a_bug_is_told_without_secrets(secretive: Lab) -> None:
    """Something that nobody expected, with a secret in its text, and one in base64."""
    lab = secretive
    lab.ok("init")
    lab.ok("backup")
    secret = lab.directory / "secret"
    secret.write_text(lab.key.private)
    place = lab.directory / "site"
    place.mkdir()
    (place / "sitecustomize.py").write_text(
        "import base64, sys\n"
        "if any('handler' in word for word in sys.orig_argv):\n"
        f"    text = open({str(secret)!r}).read()\n"
        "    import handler.proof\n"
        "    def broken(*args, **kwargs):\n"
        "        raise RuntimeError('it broke: ' + text + base64.b64encode(text.encode()).decode())\n"
        "    handler.proof.inspect = broken\n"
    )
    path = lab.env()["PYTHONPATH"]
    done = lab.run("restore", "--to", "../out", PYTHONPATH=f"{place}:{path}").failed(1, "Traceback", "it broke")
    assert done.last.startswith("k0sctl-handler: restore FAILED (1 bug): RuntimeError: it broke")
    for line in lines_of(lab.key.private):
        assert line not in done.stderr
    nowhere([lab.work, lab.tmp], secrets_of(lab))
    assert not (lab.directory / "out").exists()
    assert not lab.leftovers()
