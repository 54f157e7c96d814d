"""`list` and `status` on a branch with very many backups, beside what git itself needs to read the same."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import time
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final

from tests.support.keys import KeyMaker
from tests.support.lab import Lab

GOAL: Final = 1.0
_STEM_TIME: Final = "%Y-%m-%dT%H-%M-%SZ"


def measure(lab: Lab, keys: KeyMaker, count: int, runs: int) -> bool:
    """Print the seconds of each command; whether all are within the goal."""
    grow(lab, keys, count)
    bare = _median(lambda: _read_by_git(lab.backup), runs)
    print(f"\n{count} backups in one branch, whole process, median of {runs}:")
    print(f"  {'git: the tree, and all manifests':44} {bare:7.2f} s")
    good = True
    for words in (["list"], ["list", "--json"], ["status"]):
        seconds = _median(lambda words=words: lab.ok(*words), runs)
        good = good and seconds <= GOAL
        name = f"k0sctl-handler {' '.join(words)}"
        print(f"  {name:44} {seconds:7.2f} s   ratio {seconds / bare:.1f} (goal: at most {GOAL:.0f} s)")
    return good


def grow(lab: Lab, keys: KeyMaker, count: int) -> None:
    """Put older copies of the one real backup beside it, in one more signed commit; only the latest is a real one."""
    stem = lab.latest()
    manifest = lab.manifest(stem)
    listed = lab.git("ls-tree", "HEAD").splitlines()
    entries = {path: meta for meta, _, path in (line.partition("\t") for line in listed)}
    with subprocess.Popen(
        ["git", "fast-import", "--quiet", "--force"], cwd=lab.backup, stdin=subprocess.PIPE
    ) as importer:
        assert importer.stdin is not None
        head, branch = lab.head(), lab.git("symbolic-ref", "HEAD")
        importer.stdin.write(
            f"commit refs/heads/grown\ncommitter x <x@example.org> {int(time.time())} +0000\n".encode()
        )
        importer.stdin.write(f"data 4\ngrow\nfrom {head}\n".encode())
        for line in _copies(stem, manifest, entries, count - 1):
            importer.stdin.write(line)
    assert importer.returncode == 0
    tree = lab.git("rev-parse", "refs/heads/grown^{tree}")
    env = {**os.environ, "GNUPGHOME": str(keys.home)}
    who = ["-c", "user.name=x", "-c", "user.email=x@example.org"]
    commit = subprocess.run(
        ["git", *who, "commit-tree", f"-S{lab.key.fingerprint}", "-p", head, "-m", "grow", tree],
        cwd=lab.backup, env=env, check=True, capture_output=True, text=True,
    ).stdout.strip()  # fmt: skip
    lab.git("update-ref", branch, commit)
    lab.git("update-ref", "-d", "refs/heads/grown")


def _copies(stem: str, manifest: dict[str, Any], entries: dict[str, str], count: int) -> Iterator[bytes]:
    ends = [path.removeprefix(stem) for path in entries if path.startswith(f"{stem}.") and not path.endswith(".json")]
    taken = datetime.strptime(manifest["taken_at"], "%Y-%m-%dT%H:%M:%S%z")
    for number in range(1, count + 1):
        moment = taken - timedelta(hours=number)
        copy = f"k0s_backup_{moment.strftime(_STEM_TIME)}"
        text = json.dumps(manifest, indent=2, sort_keys=True).replace(stem, copy)
        text = text.replace(manifest["taken_at"], moment.strftime("%Y-%m-%dT%H:%M:%SZ"))
        data = text.encode() + b"\n"
        yield f"M 100644 inline {copy}.json\ndata {len(data)}\n".encode() + data + b"\n"
        for end in ends:
            mode, _, oid = entries[stem + end].split()
            yield f"M {mode} {oid} {copy}{end}\n".encode()


def _read_by_git(directory: Path) -> None:
    tree = subprocess.run(["git", "ls-tree", "-r", "HEAD"], cwd=directory, check=True, capture_output=True).stdout
    wanted = b"".join(line.split()[2] + b"\n" for line in tree.splitlines() if line.endswith(b".json"))
    subprocess.run(["git", "cat-file", "--batch"], cwd=directory, input=wanted, check=True, capture_output=True)


def _median(run: Any, runs: int) -> float:  # noqa: ANN401
    seconds = []
    for _ in range(runs):
        began = time.monotonic()
        run()
        seconds.append(time.monotonic() - began)
    return statistics.median(seconds)
