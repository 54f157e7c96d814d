"""A pipeline for one practice cluster: its two repositories, its variables, its secrets, and what every build keeps."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Final

from tests.pipeline.concourse.build import Build, Status
from tests.pipeline.concourse.container import in_container
from tests.pipeline.concourse.gitresource import GitResource
from tests.pipeline.concourse.interpreter import Concourse
from tests.pipeline.concourse.mailbox import Mail
from tests.pipeline.concourse.plan import EXTERNAL_URL
from tests.pipeline.template import PIPELINE, VARIABLES, Node, expand, load, static
from tests.practice.cluster import practice_cluster
from tests.practice.container.host import ContainerHost
from tests.support.keys import KeyPair
from tests.support.lab import Ended
from tests.support.plain import PlainTools

BRANCH: Final = "prod"
#: How the subject of a mail ends.
_SUBJECTS: Final = {
    Status.SUCCEEDED: "succeeded",
    Status.FAILED: "failed",
    Status.ERRORED: "errored: Concourse could not run it",
    Status.ABORTED: "was aborted",
}
#: The logs of k0sctl that a job saves.
_LOGS: Final = {"install": ["apply.log"], "backup": ["backup.log"], "uninstall": ["reset.log"]}


class Plant:
    """The pipeline as its user has set it: the example's variables, edited.

    Args:
        original: whether its variables are those of a user of the original system, and the example is only added.

    Attributes:
        bare: the backup repository.
        credentials: what the credential manager knows as k0s-prod.
    """

    def __init__(
        self, directory: Path, host: ContainerHost, key: KeyPair, image: str, *, original: bool = False
    ) -> None:
        self.host, self.key = host, key
        self.directory = directory / "plant"
        self.git = GitResource(self.directory / "home").git
        self.plain = PlainTools(self.directory / "plain", key.private, key.passphrase)
        self._passwords: dict[str, str] = {}
        self.bare = self._repository("backups.git", BRANCH)
        self.config = self._repository("config.git", "main")
        self._commit_config()
        self.credentials: dict[str, str] = {
            "ssh_key": host.private_key.read_text(),
            "gpg_key": key.private,
            "gpg_passphrase": key.passphrase,
            "config_key": "the key for the repositories",
            "backup_key": "the key for the repositories",
            "smtp_password": "the password of the mail account",
        }
        self._files = [self._original() if original else self._edited(), load(VARIABLES)]
        self.concourse = Concourse(
            self.directory / "concourse", self._expanded(), image=image, credentials={"k0s-prod": self.credentials},
            runner=in_container,
        )  # fmt: skip

    def _repository(self, name: str, branch: str) -> Path:
        self.git("init", "-q", "--bare", "-b", branch, str(self.directory / name))
        return self.directory / name

    def _commit_config(self) -> None:
        clone = self.directory / "config"
        self.git("clone", "-q", f"file://{self.config}", str(clone))
        practice_cluster(clone, [self.host])
        (clone / "known_hosts").write_text(self.host.known_hosts_lines())
        self.plain.commit(clone, "the cluster", sign=False)
        self.git("push", "-q", "origin", "HEAD:refs/heads/main", directory=clone)

    def _edited(self) -> dict[str, Node]:
        """What a user must write into the example, and no more."""
        example = load(VARIABLES)
        k0sctl = example["k0sctl"]
        k0sctl["config"] |= {"uri": f"file://{self.config}"}
        k0sctl["backup"] |= {"uri": f"file://{self.bare}", "branch": BRANCH}
        k0sctl["cluster"] |= {"name": self.key.name, "mail": self.key.mail}
        return {"k0sctl": k0sctl, **self._new()}

    def _new(self) -> dict[str, Node]:
        """What a user of the original system must add, too."""
        passphrase = "((k0s-prod.gpg_passphrase))" if self.key.passphrase else ""
        return {"backup_signers": [self.key.public], "gpg_passphrase": passphrase}

    def _original(self) -> dict[str, Node]:
        """The shape of https://github.com/OmegaSquad82/concourse-k0sctl/blob/main/ci/vars-example.yml."""
        key = "((k0s-prod.backup_key))"
        smtp = {"host": "smtp.example.org", "port": "587", "username": "k0s", "password": "((k0s-prod.smtp_password))"}
        return {
            "email": {"smtp": smtp, "from": "k0s@example.org", "to": ["oncall@example.org"]},
            "k0sctl": {
                "config": {"uri": f"file://{self.config}", "branch": "main", "private_key": key},
                "backup": {"uri": f"file://{self.bare}", "branch": BRANCH, "private_key": key},
                "cluster": {
                    "_key": "((k0s-prod.ssh_key))", "gpg_pair": "((k0s-prod.gpg_key))", "mail": self.key.mail,
                    "name": self.key.name,
                },
                "flags": {"no_telemetry": False},
            },
            "timer": {
                "ping": {"interval": "1h"},
                "backup": {"location": "Europe/London", "weekdays": ["Monday", "Wednesday", "Friday", "Sunday"]},
            },
            **self._new(),
        }  # fmt: skip

    def _expanded(self) -> Node:
        return expand(load(PIPELINE), static(*self._files))

    def set(self, **variables: Node) -> None:
        """Set the pipeline again, with other variables."""
        self._files[0] = {**self._files[0], **variables}
        self.concourse.set_pipeline(self._expanded())

    # --- builds

    def run(self, job: str, status: Status = Status.SUCCEEDED, abort: Callable[[], bool] = lambda: False) -> Build:
        """Start a job by hand, and check how it ends, and what holds for every build."""
        build = self.concourse.trigger(job, abort)
        assert build.status is status, (build.log, [ended.stdout for ended in build.tasks.values()])
        self.check(build)
        return build

    def schedule(self) -> list[str]:
        """The names of the jobs that were due; each of them ends well."""
        builds = self.concourse.schedule()
        for build in builds:
            assert build.status is Status.SUCCEEDED, (build.log, build.tasks)
        for build in builds:
            self.check(build)
        return [build.job for build in builds]

    def check(self, build: Build) -> None:
        """The last line of each task is as promised; each build has its mail; no secret is in either."""
        for one in build.tasks.values():
            one.checked()
        mails = self.concourse.mailbox.mails
        told = [text for mail in mails for text in (mail.body, *map(bytes.decode, mail.attachments.values()))]
        self._check_secrets([*told, *build.log, *(one.stdout for one in build.tasks.values())])
        if self.concourse.mailbox.down or (build.job == "ping" and build.status is Status.SUCCEEDED):
            return
        self._check_mail(build, mails.pop(0))

    def _check_mail(self, build: Build, mail: Mail) -> None:
        assert mail.subject == f"{self.key.name}: {build.job} {_SUBJECTS[build.status]}"
        assert f"{EXTERNAL_URL}/builds/{1000 + build.number}" in mail.body
        assert "${" not in mail.body
        self.mail = mail
        for one in build.tasks.values():
            assert self.report()["exit_code"] == one.code
        if build.status is Status.SUCCEEDED:
            assert self.logs() == _LOGS.get(build.job, [])

    def report(self) -> dict[str, Any]:
        """The report that the last mail brought."""
        (name,) = (name for name in self.mail.attachments if name.endswith(".json"))
        loaded: dict[str, Any] = json.loads(self.mail.attachments[name])
        return loaded

    def logs(self) -> list[str]:
        """The names of the logs that the last mail brought, without their time."""
        return [re.sub(r"^.*Z-", "", name) for name in self.mail.attachments if name.endswith(".log")]

    def _check_secrets(self, texts: Iterable[str]) -> None:
        """No line of a secret is in a text."""
        lines = {line for value in (*self.credentials.values(), self.password()) for line in value.splitlines()}
        secrets = [line for line in lines if len(line) > 7 and not line.startswith("-----")]
        assert [line for text in texts for line in secrets if line in text] == []

    # --- the backup repository

    def branches(self) -> dict[str, str]:
        """Branch → commit."""
        lines = self.git("for-each-ref", "--format=%(refname:lstrip=2) %(objectname)", directory=self.bare)
        return dict(line.split() for line in lines.splitlines())

    def log(self, branch: str = BRANCH) -> list[str]:
        """The commits of a branch, the newest first: one behind the other, and all of them signed by the cluster."""
        lines = self.git("log", "--format=%H %P", branch, directory=self.bare).splitlines()
        commits = [line.split() for line in lines]
        assert [one[1:] for one in commits] == [[after[0]] for after in commits[1:]] + [[]]
        for commit, *_ in commits:
            assert self.plain.verify_commit(self.bare, commit) == self.key.fingerprint
        return [commit for commit, *_ in commits]

    def files(self, branch: str = BRANCH) -> list[str]:
        """The paths of a branch's files."""
        return self.git("ls-tree", "-r", "--name-only", branch, directory=self.bare).splitlines()

    def show(self, path: str, branch: str = BRANCH) -> str:
        return self.git("show", f"{branch}:{path}", directory=self.bare)

    def latest(self, branch: str = BRANCH) -> str:
        """Stem of the latest backup."""
        return re.sub(r"\.tar\.gz\.enc$", "", self.show("k0s_backup_latest", branch))

    def manifest(self, stem: str, branch: str = BRANCH) -> dict[str, Any]:
        loaded: dict[str, Any] = json.loads(self.show(f"{stem}.json", branch))
        return loaded

    def stems(self, branch: str = BRANCH) -> list[str]:
        """The backups of a branch, the oldest first, without archived ones."""
        return [
            path.removesuffix(".json") for path in self.files(branch) if re.fullmatch(r"k0s_backup_\S+Z\.json", path)
        ]

    def password(self) -> str:
        """What the backups are encrypted with; empty where nothing is there yet."""
        if BRANCH not in self.branches():
            return ""
        sealed = self.show("secret.gpg")
        if sealed not in self._passwords:
            path = self.directory / "secret.gpg"
            path.write_text(sealed + "\n")
            self._passwords[sealed] = self.plain.open_password(path)
        return self._passwords[sealed]

    def push(self, *, sign: bool = True) -> str:
        """What somebody else pushes; returns the commit."""
        clone = self.directory / f"clone-{len(list(self.directory.glob('clone-*')))}"
        self.git("clone", "-q", "--branch", BRANCH, f"file://{self.bare}", str(clone))
        (clone / "note").write_text(f"{clone.name}\n")
        commit = self.plain.commit(clone, "by hand", sign=sign)
        self.git("push", "-q", "origin", f"HEAD:refs/heads/{BRANCH}", directory=clone)
        return commit


def ended(build: Build) -> Ended:
    """How the only task of a build ended."""
    (one,) = build.tasks.values()
    return one


def steps_of(build: Build, kind: str) -> Mapping[str, str]:
    """Name → end, of all steps of a kind; hooks included."""
    found = (re.fullmatch(rf"{kind} (\S+): (\w+)", line) for line in build.log)
    return {match[1]: match[2] for match in found if match}
