"""git-resource as far as the pipelines use it, by git itself.

It answers as https://github.com/concourse/git-resource/tree/master/assets does; what it could do more is refused.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from tests.pipeline.concourse.resources import Fields, StepErrored, StepFailed, Version, known

_SOURCE: Final = {
    "uri", "branch", "private_key", "private_key_user", "private_key_passphrase", "forward_agent", "username",
    "password", "paths", "sparse_paths", "ignore_paths", "skip_ssl_verification", "tag_filter", "tag_regex",
    "tag_behaviour", "fetch_tags", "submodule_credentials", "git_config", "disable_ci_skip",
    "commit_verification_keys", "commit_verification_key_ids", "gpg_keyserver", "git_crypt_key", "https_tunnel",
    "commit_filter", "version_depth", "search_remote_refs", "debug",
}  # fmt: skip
_GET: Final = {
    "depth", "fetch", "fetch_tags", "submodules", "submodule_recursive", "submodule_remote", "disable_git_lfs",
    "clean_tags", "short_ref_format", "timestamp_format", "describe_ref_options", "all_branches", "debug",
}  # fmt: skip
_PUT: Final = {
    "repository", "rebase", "rebase_strategy", "rebase_strategy_option", "merge", "returning", "tag", "only_tag",
    "tag_prefix", "force", "annotate", "notes", "branch", "refs_prefix", "debug", "push_options",
}  # fmt: skip
#: What of these is made here. Keys and passwords are those of a remote; a repository of this machine asks for none.
_MADE: Final = {
    "uri", "branch", "private_key", "username", "password", "disable_ci_skip", "commit_verification_keys",
    "depth", "fetch_tags", "submodules", "repository",
}  # fmt: skip
_SKIPPED: Final = ("[ci skip]", "[skip ci]")


class GitResource:
    """Remotes are bare repositories of this machine, given as file:// addresses.

    Args:
        home: a directory of its own, for a home without any configuration.
    """

    def __init__(self, home: Path) -> None:
        home.mkdir(parents=True)
        self._env = {
            "PATH": os.environ["PATH"], "HOME": str(home), "LC_ALL": "C.UTF-8", "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_TERMINAL_PROMPT": "0",
        }  # fmt: skip

    def git(self, *words: str, directory: Path | None = None, env: Mapping[str, str] | None = None) -> str:
        """What git prints; fails like the scripts, which stop at the first command that does."""
        limits = {"GIT_CEILING_DIRECTORIES": str(directory.parent)} if directory else {}
        done = subprocess.run(
            ["git", *words], cwd=directory, env={**self._env, **limits, **(env or {})}, capture_output=True, text=True,
            stdin=subprocess.DEVNULL, check=False,
        )  # fmt: skip
        if done.returncode:
            raise StepFailed(f"git {words[0]}: {done.stderr.strip()}")
        return done.stdout.strip()

    def check(self, source: Fields) -> list[Version]:
        """The branch's tip; a branch that is absent is a failed check, as is a tip that wants to be skipped."""
        _made(source, _SOURCE, "source")
        listed = self.git("ls-remote", source["uri"], f"refs/heads/{source['branch']}")
        if not listed:
            raise StepFailed("No commit returned. Invalid branch?")
        commit = listed.split()[0]
        if not source.get("disable_ci_skip") and any(words in self._message(source, commit) for words in _SKIPPED):
            return []
        return [{"ref": commit}]

    def _message(self, source: Fields, commit: str) -> str:
        bare = Path(source["uri"].removeprefix("file://"))
        return self.git("-c", "safe.directory=*", "log", "-1", "--format=%B", commit, directory=bare)

    def get(self, source: Fields, version: Version, params: Fields, directory: Path) -> dict[str, str]:
        """A clone with a detached HEAD, whose signature is verified where keys for it are given."""
        _made(source, _SOURCE, "source")
        _made(params, _GET, "get params")
        depth = ["--depth", str(params["depth"])] if params.get("depth") else []
        tags = ["--no-tags"] if params.get("fetch_tags") is False else []
        self.git("clone", "-q", "--single-branch", *depth, "--branch", source["branch"], *tags, source["uri"],
                 str(directory))  # fmt: skip
        self.git("fetch", "-q", "origin", "refs/notes/*:refs/notes/*", *tags, directory=directory)
        ref = version["ref"]
        if depth and self.git("rev-parse", "HEAD", directory=directory) != ref:
            self.git("fetch", "-q", "--unshallow", *tags, directory=directory)
        self.git("checkout", "-f", "-q", ref, directory=directory)
        if source.get("commit_verification_keys"):
            self._verify(source["commit_verification_keys"], ref, directory)
        return self._leave_metadata(ref, directory)

    def _verify(self, keys: list[str], ref: str, directory: Path) -> None:
        home = Path(tempfile.mkdtemp(prefix="verify-", dir="/tmp"))  # gpg's sockets need a short path
        env = {**self._env, "GNUPGHOME": str(home)}
        try:
            imported = subprocess.run(
                ["gpg", "--batch", "--import"],
                env=env,
                input="\n".join(keys),
                text=True,
                capture_output=True,
                check=False,
            )
            if imported.returncode:
                raise StepFailed(f"Invalid GPG key in: {keys}")
            try:
                self.git("verify-commit", ref, directory=directory, env=env)
            except StepFailed as error:
                raise StepFailed(f"The commit {ref} is not signed") from error
        finally:
            subprocess.run(["gpgconf", "--kill", "all"], env=env, capture_output=True, check=False)
            shutil.rmtree(home, ignore_errors=True)  # the agent removes its sockets at the same time

    def _leave_metadata(self, ref: str, directory: Path) -> dict[str, str]:
        """Files in .git, too: whoever opens the clone must live with them."""
        fields = {"commit": "%H", "author": "%an", "author_date": "%ai", "committer": "%cn", "message": "%B"}
        told = {
            name: self.git("log", "-1", f"--format=format:{form}", directory=directory) for name, form in fields.items()
        }
        for name, text in {"ref": ref, "short_ref": ref[:7], "commit_message": told["message"], **told}.items():
            (directory / ".git" / name).write_text(text + "\n", encoding="utf-8")
        return told

    def put(self, source: Fields, params: Fields, directory: Path, build: Mapping[str, str]) -> Version:
        """A plain push: git refuses what is no fast-forward."""
        _made(source, _SOURCE, "source")
        _made(params, _PUT, "put params", but="branch")
        repository = directory / params["repository"]
        if not repository.is_dir():
            raise StepFailed(f"cd: {params['repository']}: No such file or directory")
        branch = params.get("branch") or source["branch"]
        self.git("remote", "add", "push-target", source["uri"], directory=repository)
        self.git("push", "--tags", "push-target", f"HEAD:refs/heads/{branch}", directory=repository)
        version = {"ref": self.git("rev-parse", "HEAD", directory=repository)}
        return {"branch": branch, **version} if params.get("branch") else version


def _made(fields: Fields, keys: set[str], where: str, but: str = "") -> None:
    """Refuse what the real one refuses, and stop where this one could do less than it."""
    known(fields, keys, where)
    unmade = fields.keys() - _MADE - {but}
    if unmade:
        raise StepErrored(f"not made here, in {where}: {', '.join(sorted(unmade))}")
    if fields.get("submodules", "none") != "none":
        raise StepErrored("submodules are not made here")
