"""Every job of the pipeline's template, run as Concourse runs it, each task in the image."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest

from tests.image.plant import BRANCH, Plant, ended, steps_of
from tests.pipeline.concourse.build import Status
from tests.pipeline.concourse.interpreter import Refused
from tests.pipeline.template import PIPELINE, load
from tests.practice.container.host import ContainerHost
from tests.support.keys import KeyPair

#: The UID of another cluster.
ANOTHER = "5d0f9a3c-0000-4000-8000-0123456789ab"


@pytest.fixture
def plant(tmp_path: Path, host: ContainerHost, cluster_key: KeyPair, image: str) -> Plant:
    """A pipeline that was just set; nothing has run yet."""
    return Plant(tmp_path, host, cluster_key, image)


@pytest.fixture
def taken(plant: Plant) -> Plant:
    """A cluster with one backup; its network was looked at before."""
    plant.run("init")
    plant.concourse.assume("ping")
    plant.run("install")
    plant.run("backup")
    return plant


@pytest.mark.long
def test_a_life(tmp_path: Path, host: ContainerHost, locked_key: KeyPair, image: str) -> None:
    """Every job, its key with a passphrase: from nothing to a cluster that was twice restored, and a new password."""
    plant = Plant(tmp_path, host, locked_key, image)
    _before_init(plant)
    _begin(plant)
    host.wipe()
    uid = plant.manifest(plant.latest())["cluster"]["uid"]
    assert "restored" in ended(plant.run("install")).last
    assert (host.uid(), host.objects()) == (uid, ["precious"])
    _rebuild(plant)
    assert (host.uid(), host.objects()) == (uid, ["precious"])
    _reinit(plant)
    assert {build.job for build in plant.concourse.builds if build.tasks} == {
        job["name"] for job in load(PIPELINE)["jobs"]
    }


def _before_init(plant: Plant) -> None:
    """Only ping runs; what needs the branch waits, and says nothing."""
    assert plant.schedule() == ["ping"]
    assert plant.concourse.trigger("install").status is Status.PENDING
    assert plant.concourse.errors == {"backup": "No commit returned. Invalid branch?"}
    assert plant.concourse.mailbox.mails == []


def _begin(plant: Plant) -> None:
    """init, once; then the cluster, its backup, its proof; and all but install again in the next night."""
    plant.run("init")
    before = plant.branches()
    assert [*before] == [BRANCH]
    build = plant.run("init", Status.FAILED)
    assert steps_of(build, "put")["backup"] == "failed"
    assert ended(build).code == 0
    assert plant.branches() == before
    plant.concourse.before["task backup"] = lambda: plant.host.add_object("precious")
    assert plant.schedule() == ["install", "backup", "verify"]
    assert plant.schedule() == []
    plant.concourse.clock.tick()
    assert plant.schedule() == ["ping", "backup", "verify"]
    assert plant.report()["command"] == "verify"
    assert len(plant.log()) == 3
    assert len(plant.stems()) == 2
    assert plant.latest() == plant.stems()[-1]


def _rebuild(plant: Plant) -> None:
    """The cluster is removed, once that is unlocked, and comes back from its backup."""
    with pytest.raises(Refused):
        plant.concourse.trigger("uninstall")
    plant.set(uninstall_locked=False, install_restore="require")
    plant.run("uninstall")
    assert plant.host.uid() is None
    plant.host.install_binary()  # the reset has removed it, and this configuration expects it there
    assert "restored" in ended(plant.run("install")).last


def _reinit(plant: Plant) -> None:
    """A new password needs a confirmation; the old backups move, and the next one goes on."""
    old, before, password = plant.stems(), plant.branches(), plant.password()
    ended(plant.run("reinit", Status.FAILED)).failed(2, "K0SCTL_CONFIRM_INIT")
    assert plant.branches() == before
    plant.set(confirm_init=plant.key.name)
    plant.run("reinit")
    moved = [path.split("/")[-1].removesuffix(".json") for path in plant.files() if path.startswith("archive/")]
    assert set(old) <= set(moved)
    assert plant.stems() == []
    assert plant.password() != password
    plant.run("backup")
    assert plant.stems() == [plant.latest()]
    assert len(plant.log()) == 5


def test_refused_pushes(taken: Plant) -> None:
    """Each such backup goes to a branch of its own, never over another one, never by force."""
    first = taken.branches()[BRANCH]
    hook = taken.bare / "hooks/update"
    hook.write_text(f'#!/bin/sh\n[ "$1" != refs/heads/{BRANCH} ]\n')
    hook.chmod(0o755)
    build = taken.run("backup", Status.FAILED)
    assert steps_of(build, "put") == {"backup": "failed", "rescue": "succeeded", "email": "succeeded"}
    assert taken.report()["outcome"] == "ok"  # the task has done its part
    [rescue] = taken.branches().keys() - {BRANCH}
    assert rescue == f"rescue-{taken.branches()[rescue]}"
    assert taken.branches()[BRANCH] == first
    assert len(taken.log(rescue)) == 3
    # the next night reads the same commit
    assert steps_of(taken.run("backup", Status.FAILED), "put")["rescue"] == "succeeded"
    [*both] = taken.branches().keys() - {BRANCH}
    assert len(both) == 2
    assert [taken.log(name)[1:] for name in both] == [taken.log()] * 2
    hook.unlink()
    _pushed_meanwhile(taken)


def _pushed_meanwhile(plant: Plant) -> None:
    """Somebody pushes between the get and the put; then all goes on after that commit."""
    before = plant.branches()
    foreign: list[str] = []
    plant.concourse.before["put backup"] = lambda: foreign.append(plant.push())
    build = plant.run("backup", Status.FAILED)
    assert steps_of(build, "put") == {"backup": "failed", "rescue": "succeeded", "email": "succeeded"}
    [rescue] = plant.branches().keys() - before.keys()
    assert plant.branches() == {**before, BRANCH: foreign[0], rescue: rescue.removeprefix("rescue-")}
    assert plant.log(rescue)[1] == before[BRANCH]
    plant.run("backup")
    assert plant.log()[1:3] == [foreign[0], before[BRANCH]]
    _aborted_at_the_push(plant)


def _aborted_at_the_push(plant: Plant) -> None:
    """What an abort keeps from the branch is kept beside it."""
    before = plant.branches()
    asked: list[bool] = []
    plant.concourse.before["put backup"] = lambda: asked.append(True)
    build = plant.run("backup", Status.ABORTED, lambda: bool(asked))
    assert steps_of(build, "put") == {"backup": "aborted", "rescue": "succeeded", "email": "succeeded"}
    [rescue] = plant.branches().keys() - before.keys()
    assert plant.log(rescue)[1:] == plant.log()
    assert plant.branches() == {**before, rescue: rescue.removeprefix("rescue-")}


def test_another_cluster(taken: Plant) -> None:
    """Its backup is kept, though the job fails, and never counts; a backup that failed pushes nothing."""
    latest = taken.latest()
    taken.host.set_uid(ANOTHER)
    build = taken.run("backup", Status.FAILED)
    ended(build).failed(5, ANOTHER)
    assert steps_of(build, "put") == {"backup": "succeeded", "email": "succeeded"}
    stem = taken.stems()[-1]
    assert (taken.manifest(stem)["accepted"], taken.latest()) == (False, latest)
    taken.host.fault("fail-backup")
    before = taken.branches()
    build = taken.run("backup", Status.FAILED)
    assert (ended(build).code, taken.branches()) == (4, before)
    taken.host.clear_fault("fail-backup")
    taken.set(accept_cluster=ANOTHER)
    taken.run("backup")
    assert taken.latest() not in {latest, stem}
    assert len(taken.log()) == 4


def test_an_abort(plant: Plant) -> None:
    """In the middle of install: it ends by itself before Concourse kills, and the mail brings the log."""
    plant.run("init")
    plant.concourse.assume("ping")
    plant.host.fault("slow-install", "60")
    build = plant.run("install", Status.ABORTED, lambda: any("k0s install" in call for call in plant.host.calls()))
    ended(build).failed(143, "stopped by SIGTERM")
    assert plant.logs() == ["apply.log"]
    assert steps_of(build, "task") == {"install": "aborted"}


def test_what_mails_change(taken: Plant) -> None:
    """Nothing: a job is as green, or as red, as its task."""
    mailbox = taken.concourse.mailbox
    mailbox.down = True
    build = taken.run("backup")
    assert steps_of(build, "put") == {"backup": "succeeded", "email": "failed"}
    taken.host.fault("fail-backup")
    build = taken.run("backup", Status.FAILED)
    assert steps_of(build, "put")["email"] == "failed"
    assert mailbox.mails == []
    mailbox.down = False
    # what ends before its task mails too, though there is nothing to attach
    del taken.credentials["gpg_key"]
    build = taken.run("verify", Status.ERRORED)
    assert (build.tasks, taken.mail.attachments) == ({}, {})
    unsigned = taken.push(sign=False)
    build = taken.run("backup", Status.FAILED)
    assert f"The commit {unsigned} is not signed" in build.log
    assert (build.tasks, taken.mail.attachments) == ({}, {})


def test_migration(tmp_path: Path, host: ContainerHost, cluster_key: KeyPair, image: str) -> None:
    """From the original system: its variables and its branch are taken as they are."""
    plant = Plant(tmp_path, host, cluster_key, image, original=True)
    host.install()
    host.add_object("old")
    uid = host.uid()
    name = _original_backup(plant)
    host.wipe()
    plant.concourse.assume("ping")
    done = ended(plant.run("install"))
    assert done.first == f"apply: restoring {name.removesuffix('.tar.gz.b64')}"
    assert (host.uid(), host.objects()) == (uid, ["old"])
    plant.run("backup")
    assert len(plant.log()) == 2
    assert name in plant.files()
    assert plant.manifest(plant.latest())["cluster"]["uid"] == uid
    plant.run("verify")


def _original_backup(plant: Plant) -> str:
    """A backup as the original made it; see tests/e2e/test_legacy.py."""
    host, password = plant.host, "a password of the original system 0123456789"
    host.run("mkdir /root/taken && k0s backup --save-path /root/taken")
    archive = plant.directory / "archive.tar.gz"
    archive.write_bytes(base64.b64decode(host.run("base64 /root/taken/*")))
    clone = plant.directory / "original"
    plant.git("init", "-q", "-b", BRANCH, str(clone))
    name = "k0s_backup_2024-05-01T01_02_03_000Z.tar.gz.b64"
    plant.plain.seal(clone / "secret.gpg", password, to=plant.key.fingerprint, sign=False)
    plant.plain.openssl("-chacha20", "-a", "-pbkdf2", password=password, source=archive, target=clone / name)
    (clone / "k0s_backup_latest").symlink_to(name)
    plant.plain.commit(clone, "k0s backup")
    plant.git("push", "-q", f"file://{plant.bare}", f"HEAD:refs/heads/{BRANCH}", directory=clone)
    return name
