"""`./dev bench`: a large backup, and a branch of very many, against the bare tools, as ratios in one run; and `ping`
of many nodes beside one.

The time is that from the end of k0sctl to the end of the handler; the bare tools are those whose work the handler
does in that time, each by itself, one after the other, on the same archive in the same directory.
"""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from tests.bench import many, nodes, start
from tests.bench.archive import write_archive
from tests.bench.memory import PeakMemory
from tests.practice.host import PracticeHost
from tests.support.keys import KeyMaker
from tests.support.lab import Lab

MIB: Final = 1 << 20
TIME_GOAL: Final = 1.3
MEMORY_GOAL: Final = 64
PASSWORD: Final = "a password only for this benchmark"

_K0SCTL: Final = """\
#!/bin/sh
# k0sctl without a cluster: what a good backup prints, and the archive that the benchmark made
case "$*" in
  version) echo "version: v0.32.2"; exit 0 ;;
esac
for word; do [ "$previous" = --output ] && output=$word; previous=$word; done
echo 'k0sctl v0.32.2 Copyright 2026, k0sctl authors.'
for phase in "Connect to hosts" "Gather k0s facts" "Take backup" "Disconnect from hosts"; do
  echo "level=info msg=\\"==> Running phase: $phase\\""
done
cp "{archive}" "$output"
echo 'level=info msg="==> Finished in 1s"'
date +%s.%N > "{finished}"
"""


def main() -> int:
    parser = argparse.ArgumentParser(prog="./dev bench", description=__doc__)
    parser.add_argument("--size", type=int, default=1024, help="MiB of the large archive (default 1024)")
    parser.add_argument("--backups", type=int, default=10_000, help="how many the long branch has (default 10000)")
    parser.add_argument("--nodes", type=int, default=500, help="how many nodes are pinged (default 500)")
    parser.add_argument("--runs", type=int, default=3, help="how often each is run; medians are printed (default 3)")
    parser.add_argument("--directory", default=None, help="where to work (default: a temporary directory)")
    parser.add_argument("--image", default=None, help="measure only how long a container of this image takes to start")
    arguments = parser.parse_args()
    if arguments.image:
        print(_machine(Path.cwd()))
        return 0 if start.measure(arguments.image, arguments.runs) else 1
    directory = Path(tempfile.mkdtemp(prefix="bench-", dir=arguments.directory))
    keys = KeyMaker()
    try:
        with PracticeHost(directory / "cluster") as host:
            key = keys.make("bench")
            good = [_measure(Lab(directory / "large", [host], key), arguments.size, arguments.runs)]
            host.install()
            lab = Lab(directory / "many", [host], key)
            lab.ok("init")
            lab.ok("backup")
            good.append(many.measure(lab, keys, arguments.backups, arguments.runs))
            good.append(nodes.measure(directory, arguments.nodes, arguments.runs))
            return 0 if all(good) else 1
    finally:
        keys.close()
        shutil.rmtree(directory, ignore_errors=True)


def _measure(lab: Lab, size: int, runs: int) -> bool:
    print(_machine(lab.directory))
    memory: dict[int, float] = {}
    seconds: list[float] = []
    bare: dict[str, float] = {}
    for mib, times in ((64, 1), (size, runs)):
        archive = write_archive(lab.directory / f"{mib}.tar.gz", mib * MIB)
        seconds = []
        peaks = []
        for _ in range(times):
            took, peak = _backup(lab, archive)
            seconds.append(took)
            peaks.append(peak)
        memory[mib] = max(peaks)
        if mib == size:
            bare = _bare(lab, archive, runs)
        archive.unlink()
    ours, theirs = statistics.median(seconds), sum(bare.values())
    print(f"\n{size} MiB, after k0sctl is done, median of {runs}:")
    for name, value in bare.items():
        print(f"  {name:44} {value:7.2f} s")
    print(f"  {'the bare tools together':44} {theirs:7.2f} s")
    print(f"  {'k0sctl-handler backup':44} {ours:7.2f} s   ratio {ours / theirs:.2f} (goal: at most {TIME_GOAL})")
    print("\npeak memory of handler, gpg, openssl and git together (PSS):")
    for mib, peak in memory.items():
        print(f"  {mib:5} MiB archive {peak:7.1f} MiB   (goal: at most {MEMORY_GOAL})")
    return ours / theirs <= TIME_GOAL and max(memory.values()) <= MEMORY_GOAL


def _machine(directory: Path) -> str:
    cpu = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if "model name" in line
        ),
        platform.machine(),
    )
    tools = [_first_line("openssl", "version"), _first_line("git", "--version"), _first_line("gpg", "--version")]
    kind = subprocess.run(["stat", "-f", "-c", "%T", str(directory)], capture_output=True, text=True, check=True)
    return (
        f"measured on {os.cpu_count()} x {cpu}, {kind.stdout.strip()}, Python {platform.python_version()}, "
        + ", ".join(tools)
    )


def _first_line(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()[0]


def _backup(lab: Lab, archive: Path) -> tuple[float, float]:
    """Seconds from the end of k0sctl to that of the handler, and the peak of memory in MiB."""
    finished = lab.directory / "finished"
    shutil.rmtree(lab.backup, ignore_errors=True)
    lab.ok("init")
    lab.k0sctl.write_text(_K0SCTL.format(archive=archive, finished=finished))
    with PeakMemory(without=("k0sctl",)) as memory:
        process = lab.start("backup")
        memory.watch(process.pid)
        _, stderr = process.communicate()
        ended = time.time()
    if process.returncode != 0:
        sys.exit(stderr)
    return ended - float(finished.read_text()), memory.peak / MIB


def _bare(lab: Lab, archive: Path, runs: int) -> dict[str, float]:
    """Median seconds of each bare tool on the same archive."""
    work = lab.directory / "bare"
    ciphertext, plaintext = work / "archive.enc", work / "archive"
    enc = ["openssl", "enc", "-chacha20", "-pbkdf2", "-pass", f"file:{lab.directory / 'password'}"]
    (lab.directory / "password").write_text(PASSWORD)
    commands: dict[str, Sequence[str]] = {
        "openssl enc -chacha20 -pbkdf2": [*enc, "-in", str(archive), "-out", str(ciphertext)],
        "openssl dgst -sha256": ["openssl", "dgst", "-sha256", str(ciphertext)],
        "gzip -t": ["gzip", "-t", str(archive)],
        "openssl enc -d": [*enc, "-d", "-in", str(ciphertext), "-out", str(plaintext)],
        "git add, core.compression=0": ["git", "-C", str(work), "-c", "core.compression=0", "add", "archive.enc"],
    }
    seconds: dict[str, list[float]] = {name: [] for name in commands}
    for _ in range(runs):
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir()
        subprocess.run(["git", "init", "-q", str(work)], check=True)
        for name, command in commands.items():
            began = time.monotonic()
            subprocess.run(command, check=True, capture_output=True)
            seconds[name].append(time.monotonic() - began)
    shutil.rmtree(work)
    return {name: statistics.median(values) for name, values in seconds.items()}


if __name__ == "__main__":
    sys.exit(main())
