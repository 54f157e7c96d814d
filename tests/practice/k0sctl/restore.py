"""The phase `Restore cluster state` of apply. A dry run restores too, as the real one does."""

from pathlib import Path

from tests.practice.k0sctl.log import Fatal
from tests.practice.k0sctl.run import Run
from tests.practice.k0sctl.ssh import CommandError, Host


def restore(run: Run, host: Host) -> None:
    """Uploads the archive and lets k0s restore it."""
    run.phase("Restore cluster state")
    source = Path(run.options.values["restore-from"])
    directory = host.batch("echo ${TMPDIR:-/tmp}", "mktemp -d -- /tmp/XXXXXX")[1].text
    upload = host.must(f"mktemp -- {directory}/.upload-XXXXXX", sudo=False).text
    try:
        content = source.read_bytes()
    except OSError as error:
        reason = (error.strerror or "").lower()
        raise Fatal(f"open file for upload: open {source}: {reason}") from None
    archive = f"{directory}/k0s_backup.tar.gz"
    host.must(f"dd of={upload} bs=4096 seek=0 conv=notrunc", sudo=False, stdin=content)
    host.must(f"sha256sum -b {upload}", sudo=False)
    host.must(f"chmod 0600 {upload} && mv -f {upload} {archive}", sudo=False)
    host.info("restoring cluster state")
    problem = None
    result = host.execute(f"{host.install_path} restore --data-dir={host.data_dir} {archive}")
    if result.status:
        problem = CommandError(result.status, result.stderr)
        run.out.error(f"{host.label}: restore failed: {result.stderr}")
    host.execute(f"rm -f {archive}", always=True)
    removed = host.execute(f"rm -f {directory}", always=True)
    if removed.status:
        why = CommandError(removed.status, removed.stderr)
        text = f"failed to remove backup temp dir {directory}: delete {directory}: command result: {why}"
        run.out.warning(f"{host.label}: {text}")
    if problem is not None:
        raise Fatal(f"restore failed: {problem}")
