"""Composition root and the one error boundary: one run from settings to report."""

from __future__ import annotations

import contextlib
import errno
import importlib
import os
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final, TypeVar

from handler import __version__
from handler.commands.context import Context
from handler.errors import HandlerError, Interrupted, from_os_error
from handler.process import Children
from handler.report.json_report import Json, build_report, write_report
from handler.report.outcome import Outcome
from handler.report.output import Output
from handler.report.reporter import Reporter
from handler.report.sink import sink_for
from handler.report.stream import SafeStream
from handler.secret import Redactor
from handler.settings.cli import Invocation, asks_for_json, parse_arguments
from handler.settings.commands import find_command
from handler.settings.help import help_text
from handler.settings.model import Settings
from handler.settings.table import SETTINGS
from handler.watch import Watch
from handler.workspace import Workspace, locked, private, write_atomic

#: Where the story of each command is told: module and function.
_STORIES: Final[dict[str, tuple[str, str]]] = {
    "version": ("version", "version"),
    "check": ("check", "check"),
    "init": ("init", "init"),
    "apply": ("apply", "apply"),
    "backup": ("backup", "backup"),
    "reset": ("reset", "reset"),
    "ping": ("ping", "ping"),
    "restore": ("restore", "restore"),
    "verify": ("verify", "verify"),
    "list": ("listing", "list_backups"),
    "status": ("status", "status"),
}
T = TypeVar("T")
#: Stands where a command's name would: an unknown one is never repeated in the name of a file.
NO_COMMAND: Final = "command-line"


@dataclass
class Run:
    """One run's own things, and where its log and report go."""

    variables: Mapping[str, str]
    cwd: Path
    watch: Watch
    children: Children
    reporter: Reporter
    output: Output
    started: datetime
    command: str = NO_COMMAND
    log_dir: Path | None = None
    log_suffix: str = "log"
    context: Context | None = None
    workspaces: list[Workspace] = field(default_factory=list)

    @property
    def stem(self) -> str:
        return f"{self.started:%Y-%m-%dT%H-%M-%SZ}-{self.command}"


def main(argv: Sequence[str], variables: Mapping[str, str], cwd: Path) -> int:
    """Run one command; returns the exit code."""
    workspaces: list[Workspace] = []

    def wipe() -> None:
        for workspace in workspaces:
            workspace.wipe()

    watch = Watch(last_moment=wipe)
    watch.install()
    redactor = Redactor()
    redactor.learn(*(variables.get(setting.name, "") for setting in SETTINGS if setting.secret))
    output = Output(SafeStream(sys.stdout), redactor, json=asks_for_json(argv))
    with Reporter([sink_for(sys.stderr, variables)], redactor) as reporter:
        run = Run(
            variables=variables, cwd=cwd, watch=watch, children=Children(watch), reporter=reporter, output=output,
            started=datetime.now(UTC), workspaces=workspaces,
        )  # fmt: skip
        try:
            invocation = parse_arguments(argv, variables)
        except HandlerError as error:
            return _end(run, Outcome.failed(NO_COMMAND, error))
        if invocation.help:
            sys.stdout.write(help_text())
            return 0
        return _end(run, _bounded(run, invocation))


def _bounded(run: Run, invocation: Invocation) -> Outcome:
    """The error boundary: whatever happens below becomes an outcome."""
    asked = find_command(invocation.command or run.variables.get("K0SCTL_CMD_NAME", "").strip() or "version")
    run.command = asked.name if asked else NO_COMMAND
    try:
        what = _execute(run, invocation)
        return _unless_stopped(run, what)
    except HandlerError as error:
        return Outcome.failed(run.command, _first(run, error))
    except Exception as error:  # noqa: BLE001  # this is the boundary
        known = from_os_error(error, "working") if isinstance(error, OSError) and error.errno is not None else None
        told = _first(run, known)
        return Outcome.failed(run.command, told) if told else _bug(run, error)


def _unless_stopped(run: Run, what: str) -> Outcome:
    """A signal that came too late to stop anything still ends the run its way; what was done is told."""
    try:
        run.children.check()
    except Interrupted as error:
        told = Interrupted(error.signum, details=(f"done before that: {what}",), resolution="nothing: it was done")
        return Outcome.failed(run.command, told)
    return Outcome.succeeded(run.command, what)


def _first(run: Run, error: T) -> HandlerError | T:
    """A signal stops children, whose failures, in whatever form, are then its effect and not the cause."""
    try:
        run.children.check()
    except HandlerError as interrupted:
        return interrupted
    return error


def _bug(run: Run, error: Exception) -> Outcome:
    run.reporter.tail("".join(traceback.format_exception(error)).splitlines())
    return Outcome.crashed(run.command, error)


def _execute(run: Run, invocation: Invocation) -> str:
    settings, warnings = _settings(run, invocation)
    run.command = settings.command.name
    run.reporter.redactor.learn(*settings.secrets)
    run.reporter.quiet = settings.quiet
    with contextlib.ExitStack() as stack:
        if run.command != "version" and _directories_fit(settings.problems):
            stack.enter_context(_log_directory(run, settings))
        workspace = stack.enter_context(private(run.variables.get("TMPDIR") or "/tmp"))  # noqa: S108
        run.workspaces.append(workspace)
        context = Context(
            settings=settings, invocation=invocation, reporter=run.reporter, output=run.output, children=run.children,
            workspace=workspace, variables=run.variables, cwd=run.cwd, unknown=warnings,
        )  # fmt: skip
        stack.callback(run.watch.finish)  # children end before their places go
        if run.command != "version":
            stack.callback(_save_log, run, context)
        for warning in warnings if run.command != "check" else ():  # it tells them as findings
            run.reporter.warn(warning)
        run.reporter.fact("handler", __version__)
        return _story(run.command)(context)


def _story(command: str) -> Callable[[Context], str]:
    """What a command does; it returns the sentence that the last line tells. No other one's modules are loaded."""
    module, function = _STORIES[command]
    story: Callable[[Context], str] = getattr(importlib.import_module(f"handler.commands.{module}"), function)
    return story


def _settings(run: Run, invocation: Invocation) -> tuple[Settings, tuple[str, ...]]:
    """The settings; where they are wrong, the report still goes where it is looked for."""
    try:
        return Settings.from_env(run.variables, invocation.command, backup=invocation.name)
    except HandlerError as error:
        with contextlib.suppress(OSError):
            if _directories_fit((error.message, *error.details)):
                directory = run.cwd / (run.variables.get("K0SCTL_DIR_LOG", "").strip() or "auditlog")
                directory.mkdir(parents=True, exist_ok=True)
                run.log_dir = directory
        raise


def _directories_fit(problems: Iterable[str]) -> bool:
    """Whether a report can go to the log directory; where the directories are wrong, it may be a repository."""
    return not any(line.startswith("K0SCTL_DIR_") for line in problems)


@contextlib.contextmanager
def _log_directory(run: Run, settings: Settings) -> Iterator[None]:
    """Make the log directory and hold it: two runs in one place would mix up their repository and logs."""
    directory = run.cwd / settings.log_dir
    with contextlib.ExitStack() as stack:
        try:
            directory.mkdir(parents=True, exist_ok=True)
            stack.enter_context(locked(directory))
            if not os.access(directory, os.W_OK | os.X_OK):
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(settings.log_dir))
            run.log_suffix = settings.log_suffix
            while (directory / f"{run.stem}.json").exists() or (directory / f"{run.stem}.{run.log_suffix}").exists():
                run.started += timedelta(seconds=1)
        except OSError as error:
            raise from_os_error(error, f"writing {settings.log_dir}") from error
        run.log_dir = directory
        yield


def _save_log(run: Run, context: Context) -> None:
    """Save what the tools logged, masked and fit for a terminal, as on stderr; on every way out."""
    if run.log_dir is None or not context.has_log:
        return
    path = run.log_dir / f"{run.stem}.{run.log_suffix}"
    try:
        # a file's name may hold bytes that are no text
        with path.open("x", encoding="utf-8", errors="backslashreplace") as file:
            file.writelines(run.reporter.mask(line) + "\n" for line in context.log_lines())
    except OSError as error:
        run.reporter.warn(f"the log could not be saved to {path}: {error.strerror}")


def _end(run: Run, outcome: Outcome) -> int:
    """Write the report, the document and the last line; nothing here hides how the run ended."""
    finished = datetime.now(UTC)
    told, report = _saved(run, outcome, finished)
    run.output.document(report)
    if run.output.lost is not None and outcome.ok:
        error = from_os_error(run.output.lost, "writing to stdout")
        outcome = replace(Outcome.failed(run.command, error), details=(f"done before that: {outcome.what}",))
        told, _ = _saved(run, outcome, finished)
    run.reporter.finish(told)
    run.watch.finish()
    return outcome.exit_code


def _saved(run: Run, outcome: Outcome, finished: datetime) -> tuple[Outcome, dict[str, Json]]:
    """Write the report; the outcome then tells where it is."""
    if run.log_dir is not None:
        path = run.log_dir / f"{run.stem}.json"
        told = replace(outcome, report=_shown(run, path))
        report = _report(run, told, finished)
        try:
            write_report(path, report, write_atomic)
        except OSError as error:
            run.reporter.warn(f"the report could not be written to {told.report}: {error.strerror}")
        else:
            return told, report
    return outcome, _report(run, outcome, finished)


def _shown(run: Run, path: Path) -> str:
    return str(path.relative_to(run.cwd) if path.is_relative_to(run.cwd) else path)


def _report(run: Run, outcome: Outcome, finished: datetime) -> dict[str, Json]:
    versions = {"handler": __version__, "python": sys.version.split(maxsplit=1)[0]}
    return build_report(run.reporter, outcome, started=run.started, finished=finished, versions=versions)
