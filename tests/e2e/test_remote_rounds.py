"""Two writers race on one remote: no backup is lost, every commit is signed, and every backup is proven."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from datetime import datetime
from pathlib import Path

import pytest

from tests.e2e.conftest import Site
from tests.support.keys import KeyMaker, KeyPair
from tests.support.lab import Lab
from tests.support.remotes import Bare

pytestmark = [pytest.mark.e2e, pytest.mark.long]

ROUNDS = 50
#: k0sctl without a cluster, which would hold a lock: what a good backup prints. It is done when the other one's is.
K0SCTL = """\
#!/bin/sh
[ "$1" != version ] || {{ echo "version: v0.32.2"; exit 0; }}
for word; do [ "$previous" = --output ] && output=$word; previous=$word; done
echo 'k0sctl v0.32.2 Copyright 2026, k0sctl authors.'
for phase in "Connect to hosts" "Gather k0s facts" "Take backup" "Disconnect from hosts"; do
  echo "level=info msg=\\"==> Running phase: $phase\\""
done
cp '{archive}' "$output"
echo 'level=info msg="==> Finished in 1s"'
echo > '{mine}'
read -r line < '{other}'
"""


@pytest.fixture
def writers(tmp_path: Path, site: Site, cluster_key: KeyPair) -> tuple[Bare, list[Lab]]:
    """A remote with two backups, and two labs whose k0sctl waits for the other's."""
    bare = Bare(tmp_path / "remote.git")
    bare.fill(site.repository)
    labs = [Lab(tmp_path / name, [site.host], cluster_key) for name in ("one", "two")]
    for lab in labs:
        lab.extra["K0SCTL_GIT_URL"] = bare.url
    archive = tmp_path / "archive.tar.gz"
    labs[0].ok("restore", "--to", str(archive))
    pipes = [tmp_path / "done-one", tmp_path / "done-two"]
    for pipe in pipes:
        subprocess.run(["mkfifo", str(pipe)], check=True)
    for lab, mine, other in zip(labs, pipes, reversed(pipes), strict=True):
        # one writes first and the other reads first: each waits until the other has come
        script = K0SCTL.format(archive=archive, mine=mine, other=other)
        if lab is labs[1]:
            *lines, write, read = script.splitlines()
            script = "\n".join([*lines, read, write]) + "\n"
        lab.k0sctl.write_text(script)
    return bare, labs


#: The handler again and again, whole, without the start of Python each time.
WRITER = """\
import os, sys
from pathlib import Path
import git, gnupg, sh, yaml
from handler.app import main
for _ in range(int(sys.argv[1])):
    if not (child := os.fork()):
        code = main(["backup"], dict(os.environ), Path.cwd())
        sys.stderr.flush()
        os._exit(code)
    if code := os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]):
        sys.exit(code)
"""


def race(labs: list[Lab], rounds: int) -> str:
    """Let both take backups, each time side by side; what they have told."""
    with contextlib.ExitStack() as stack:
        processes = [
            subprocess.Popen(
                [sys.executable, "-c", WRITER, str(rounds)], cwd=lab.work, env=lab.env(), stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL, stderr=stack.enter_context((lab.directory / "told").open("w")),
            )
            for lab in labs
        ]  # fmt: skip
        codes = [process.wait(500) for process in processes]
    told = [(lab.directory / "told").read_text() for lab in labs]
    assert codes == [0, 0], [text[-3000:] for text in told]
    return "".join(told)


def test_fifty_rounds(writers: tuple[Bare, list[Lab]], key_maker: KeyMaker, cluster_key: KeyPair) -> None:
    bare, labs = writers
    before = bare.commits()
    said = race(labs, ROUNDS)
    told = [Lab.load(path)["facts"] for lab in labs for path in lab.auditlog.glob("*-backup.json")]
    assert len(told) == 2 * ROUNDS
    # every commit that was told of is on the branch, and nothing else is
    commits = bare.commits()
    assert commits[2 * ROUNDS :] == before
    assert sorted(facts["commit"] for facts in told) == sorted(commits[: 2 * ROUNDS])
    # each of them is signed by the cluster's key, as git and gpg say
    signed = subprocess.run(
        ["git", "log", "--format=%G? %GP", "backup"], cwd=bare.path, env={**key_maker.env}, capture_output=True,
        text=True, check=True,
    ).stdout.split("\n")[:-1]  # fmt: skip
    assert {line.split()[0] for line in signed} <= {"G", "U"}
    assert {line.split()[1] for line in signed} == {cluster_key.fingerprint}
    assert len(signed) == 2 * ROUNDS + len(before)
    # every backup is there, by a time of its own
    names = bare.names()
    assert {f"{facts['backup']}.tar.gz.enc" for facts in told} < set(names)
    assert len(names) == 2 * ROUNDS + 2
    taken = {name: json.loads(bare.file(name.replace(".tar.gz.enc", ".json")))["taken_at"] for name in names}
    assert len(set(taken.values())) == len(names)
    assert bare.file("k0s_backup_latest") == max(names, key=lambda name: datetime.fromisoformat(taken[name]))
    bare("fsck", "--strict", "--no-progress")
    # and every one of them is decrypted to the end and looked into
    proven = labs[0].ok("verify", "--all")
    assert proven.stdout.count(" good\n") == 2 * ROUNDS + 2
    # it was a race
    assert said.count("somebody else was faster") > ROUNDS // 4
    for lab in labs:
        assert lab.git("status", "--porcelain") == ""
        assert not list((lab.backup / ".git").glob("*k0sctl-handler*"))
