"""`k0sctl backup`"""

import os
import time
from pathlib import Path

from tests.practice.k0sctl import facts, lock
from tests.practice.k0sctl.flags import Options
from tests.practice.k0sctl.log import Fatal
from tests.practice.k0sctl.run import Run
from tests.practice.k0sctl.ssh import CommandError, Host

BLOCKS = 2048  # of 4096 bytes: the real one takes 8 at a time


def open_output(options: Options) -> Path:
    """Opens the output before anything else; a file that is there is not truncated."""
    name = options.values.get("output") or time.strftime("k0s_backup_%s.tar.gz")
    options.values["output"] = name
    try:
        os.close(os.open(name, os.O_RDWR | os.O_CREAT, 0o600))
    except OSError as error:
        reason = (error.strerror or "").lower()
        raise Fatal(f"open local file for writing: open {name}: {reason}") from None
    return Path(name)


def phases(run: Run, hosts: list[Host]) -> None:
    """All phases of the command."""
    facts.set_version(run)
    facts.connect(run, hosts)
    facts.detect(run, hosts)
    lock.take(run, hosts)
    facts.prepare(run, hosts)
    facts.gather_host_facts(run, hosts)
    facts.gather_k0s_facts(run, hosts)
    leader = next((host for host in hosts if not host.is_worker and host.running), None)
    if leader is None:
        raise Fatal("failed to find a running controller")
    facts_about_existing(run, hosts)
    if run.fault("backup-skipped") is None:
        take(run, hosts, leader)
    lock.release(run)
    facts.disconnect(run, hosts)


def facts_about_existing(run: Run, hosts: list[Host]) -> None:
    """What a dry run says about each host's k0s."""
    for host in hosts:
        if run.dry and host.use_existing and host.existing:
            text = f"reuse existing k0s {host.version}; skip downloads/uploads/upgrades"
            run.dry_lines.append((host.label, text))


def take(run: Run, hosts: list[Host], leader: Host) -> None:
    """The phase that takes the backup. Once begun it goes on to its end, whatever happens to the run."""
    over = run.over()
    if over:
        raise Fatal(f'context canceled before entering phase "Take backup": {over}')
    hooks(run, hosts, "before")
    run.phase("Take backup")
    leader.info("backing up")
    if run.dry:
        command = f"{leader.install_path} backup --save-path /tmp/k0s_backup.dryrun --data-dir {leader.data_dir}"
        for text in ("create a tempdir using `mktemp -d`", f"create backup using `{command}`", "delete the tempdir"):
            run.dry_lines.append((leader.label, text))
        run.dry_lines.append(("local", "download the backup file to local host"))
    else:
        _take(run, leader)
    hooks(run, hosts, "after")


def hooks(run: Run, hosts: list[Host], stage: str) -> None:
    """The hooks of the backup."""
    try:
        facts.run_hooks(run, hosts, "backup", stage)
    except Fatal as error:
        raise Fatal(f"running hooks failed: {error}") from None


def _take(run: Run, host: Host) -> None:
    directory = host.batch("echo ${TMPDIR:-/tmp}", "mktemp -d -- /tmp/XXXXXX")[1].text
    backup = f"{host.install_path} backup --save-path {directory} --data-dir {host.data_dir}"
    host.must(backup, always=True)
    listing = host.must(f"find {directory} -maxdepth 1 -print0", always=True).stdout.split(b"\0")
    entries = [entry.decode() for entry in listing if entry and entry.decode() != directory]
    if not entries:
        raise Fatal(f"no backup file found in {directory}")
    archive = entries[0]
    try:
        size = int(host.must(lock.STAT.format(archive), always=True).text.split()[1])
        _download(host, archive, size, Path(run.options.values["output"]))
    finally:
        run.out.debug(f"{host.label}: cleaning up {archive}")
        host.execute(f"rm -f {archive}", always=True)
        result = host.execute(f"rm -f {directory}", always=True)
        if result.status:
            error = CommandError(result.status, result.stderr)
            text = f"failed to clean up backup temp directory {directory}: delete {directory}: command result: {error}"
            run.out.warning(f"{host.label}: {text}")


def _download(host: Host, archive: str, size: int, output: Path) -> None:
    with output.open("r+b", buffering=0) as target:
        done = 0
        while done < size:
            command = f"dd if={archive} bs=4096 skip={done // 4096} count={BLOCKS}"
            try:
                block = host.must(command, always=True, secret=True).stdout
            except CommandError as error:
                raise Fatal(f"download backup: failed to execute dd: command result: {error}") from None
            try:
                rest = memoryview(block)
                while rest:  # a disk that is almost full takes a part
                    rest = rest[target.write(rest) :]
            except OSError as error:
                raise Fatal(f"download backup: write {output}: {(error.strerror or '').lower()}") from None
            done += len(block)
            if not block:
                break
