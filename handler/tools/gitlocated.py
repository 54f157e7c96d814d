"""A git repository on disk: where its parts are, and what it is called."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from handler.errors import Conflict

_USER_INFO: Final = re.compile(r"^(?P<scheme>[a-z+]+://)(?P<user>[^/:]*)(?P<password>:[^/]*)?@", re.IGNORECASE)
#: Files that git makes while it changes what we change (gitrepository-layout(5)).
_LOCKS: Final = ("HEAD.lock", "index.lock", "shallow.lock", "packed-refs.lock")


@dataclass(frozen=True, kw_only=True)
class Located:
    """A repository on disk.

    Attributes:
        directory: its working tree.
        git_dir: its git directory.
        objects: its object store.
        head: the commit HEAD names; None on an unborn branch.
        branch: HEAD's branch; else the clone's single refspec; else the only remote ref at HEAD; else None.
        origin: URL of its remote ``origin`` without credentials.
        shallow: ids of commits whose parents are not here.
        shallow_file: where git keeps them.
        object_format: the hash function of its ids.
        label: what it is called in messages, where that is not the directory.
    """

    directory: Path
    git_dir: Path
    objects: Path
    head: str | None
    branch: str | None
    origin: str | None
    shallow: tuple[str, ...]
    shallow_file: Path
    object_format: str
    label: str = ""

    @property
    def shown(self) -> str:
        """The directory as a user would type it, or the URL that it was fetched from."""
        return self.label or shown(self.directory)


def shown(directory: Path) -> str:
    """A path relative to the working directory where it lies in it, as the settings write it."""
    here = Path.cwd()
    return str(directory.relative_to(here) if directory.is_relative_to(here) else directory)


def require_unlocked(located: Located) -> None:
    """Refuse a repository in which git works, or was killed while it did.

    Raises:
        Conflict: there is a lock file.
    """
    for name in (*_LOCKS, f"refs/heads/{located.branch}.lock"):
        if (located.git_dir / name).exists():
            raise Conflict(
                f"{located.git_dir / name} exists: another git works in {located.shown}, or was killed there",
                resolution=f"if no git runs there any more: rm {located.git_dir / name}",
            )


def without_credentials(url: str) -> str:
    """A URL without what opens it: over SSH the name is the account, elsewhere it may be a token."""
    bare = _USER_INFO.sub(
        lambda found: found["scheme"] + (f"{found['user']}@" if "ssh" in found["scheme"].lower() else ""), url
    )
    return bare.partition("?")[0] if bare.lower().startswith("http") else bare
