"""The command line of the stand-in k0sctl."""

import os
import signal
import sys
import time
from pathlib import Path

from tests.practice.k0sctl import apply, backup, config, reset
from tests.practice.k0sctl.flags import HELP, Options, parse
from tests.practice.k0sctl.log import VERSION, Fatal, Log
from tests.practice.k0sctl.run import Cancelled, Run
from tests.practice.k0sctl.ssh import CommandError, Host

COMMANDS = {"apply": apply.phases, "backup": backup.phases, "reset": reset.phases}


def _sleep_if_told(faults: Path) -> None:
    for name in ("k0sctl-hang", "k0sctl-stuck"):
        file = faults / name
        if file.exists():
            if name == "k0sctl-stuck":
                signal.signal(signal.SIGTERM, signal.SIG_IGN)
                signal.signal(signal.SIGINT, signal.SIG_IGN)
            time.sleep(float(file.read_text(encoding="utf-8").strip() or 3600))


def _greet(options: Options, out: Log) -> None:
    if options.command != "reset":
        out.print((HELP / "logo.txt").read_text(encoding="utf-8"))
    out.print(f"k0sctl {VERSION} Copyright 2026, k0sctl authors.\n")
    sys.stderr.write((HELP / "banner.txt").read_text(encoding="utf-8"))
    sys.stderr.flush()


def _finish(run: Run) -> None:
    if run.dry:
        run.out.print(_report(run))
    run.out.info(f"==> Finished in {duration(time.monotonic() - run.started)}")
    if run.options.command != "apply":
        return
    if not run.dry and run.fault("no-finish") is None:
        run.out.info(f"k0s cluster version {run.cluster.k0s.get('version')} is now installed")
    run.out.info("Tip: To access the cluster you can now fetch the admin kubeconfig using:")
    run.out.info("     k0sctl kubeconfig")


def duration(seconds: float) -> str:
    """Whole seconds as Go writes a duration."""
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes}m{rest}s" if minutes else f"{rest}s"


def _report(run: Run) -> str:
    if not run.dry_lines:
        return "dry-run: no cluster state altering actions would be performed\n"
    text = "dry-run: cluster state altering actions would be performed:\n"
    for label in dict.fromkeys(label for label, _ in run.dry_lines):
        text += f"dry-run: * {label} :\n"
        for owner, line in run.dry_lines:
            if owner == label:
                text += line if line.endswith("\n") else f"dry-run:  - {line}\n"
    return text


def _work(options: Options, out: Log, cluster: config.Cluster, faults: Path) -> str:
    """Runs the command; returns why it failed."""
    if options.command == "reset" and not options.on("force"):
        return "reset requires --force"
    run = Run(out, options, cluster, faults)
    hosts = [Host(run, entry, number) for number, entry in enumerate(cluster.hosts)]
    problem = ""
    try:
        COMMANDS[options.command](run, hosts)
        if run.over() and options.command == "backup":
            problem = run.over()
        _finish(run)
    except CommandError as error:
        problem = f"command result: {error}"
    except (Fatal, Cancelled) as error:
        problem = str(error)
    if problem:
        run.clean_up()
    for host in hosts:
        host.disconnect()
    run.forget()
    return problem


def run_command(options: Options, faults: Path) -> int:
    """Runs apply, backup or reset."""
    out = Log(debug=options.on("debug") or options.on("trace"))
    if (faults / "dry-run-lie").exists():
        options.switches["dry-run"] = True
    try:
        cluster = config.load(options.configs, out)
        _greet(options, out)
        out.debug("final configuration:")
        out.debug(config.dump(cluster.document))
        output = backup.open_output(options) if options.command == "backup" else None
    except Fatal as error:
        out.write("fatal", str(error))
        return 1
    problem = _work(options, out, cluster, faults)
    if problem:
        if output is not None:
            output.unlink(missing_ok=True)
        if options.command == "apply":
            out.info("==> Apply failed")
        out.write("fatal", f"{options.command} failed - log file saved to {out.path}: {problem}")
        return 1
    return 0


def main(faults: str) -> int:
    """Runs the stand-in."""
    sys.stdout.reconfigure(encoding="utf-8")  # type: ignore[union-attr]
    sys.stderr.reconfigure(encoding="utf-8")  # type: ignore[union-attr]
    os.umask(0o022)
    parsed = parse(sys.argv[1:])
    if isinstance(parsed, int):
        return parsed
    _sleep_if_told(Path(faults))
    return run_command(parsed, Path(faults))
