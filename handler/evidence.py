"""Lines of k0sctl → `Evidence`: what a run really did. Pure: no I/O, no settings.

Formats are those of k0sctl v0.32.2, as recorded in ``tests/unit/transcripts``: its logs, the final ``level=fatal`` too,
are on stdout, in logrus' text format (https://github.com/sirupsen/logrus, text_formatter.go); stderr has a banner and
the errors of the command line; k0sctl.log has every remote command and its output. What no line says is unknown: None.
"""

from __future__ import annotations

import dataclasses
import enum
import re
from collections import deque
from collections.abc import Iterable
from typing import Final, NamedTuple, Self, TypeVar

from handler.logfmt import PHASE, parse_line, printable

GATHER: Final = "Gather k0s facts"
TAKE_BACKUP: Final = "Take backup"
RESTORE: Final = "Restore cluster state"
INITIALIZE: Final = "Initialize the k0s cluster"
UPGRADE: Final = "Upgrade controllers"
RESET_LEADER: Final = "Reset leader"

_T = TypeVar("_T")
_SESSION = "###### New session ######"
_RAN = "executing command"
_UID_QUERY = "template={{.metadata.uid}}"
_BANNER = "▌"

_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
_COPYRIGHT = re.compile(r"k0sctl (v\S+) Copyright ")
_INSTALLED = re.compile(r"k0s cluster version (\S+) is now installed$")
_HOST_SAYS = re.compile(r"(\S+): (.+)", re.DOTALL)
_RUNS = re.compile(r"is running k0s controller version (\S+)")
_OTHER_BINARY = re.compile(r"spec\.k0s\.version is \S+ but host has k0s binary (\S+) because")
_RESET_FAILED = re.compile(r"k0s (reset )?reported failure:(.*)", re.DOTALL)
#: A shell's words for "there is no such program": dash, busybox, bash, sudo.
_NO_PROGRAM = re.compile(
    r"exited with status 127\b|(?:sh: (?:line )?(?:\d+: )?|sudo: )\S+: (?:command not found|not found|No such file)"
)
_TEMP_DIR = re.compile(r"mktemp -d -- (/[\w/-]+)/X+")
_LEFT_DIR = re.compile(r"failed to (?:clean up backup temp directory|remove backup temp dir) (/[\w/-]+):")
_PATH = re.compile(r"/[\w/-]+")  # such a path is put into a line to type: no "..", nothing for a shell
_SAVED = re.compile(r"\w+ failed - log file saved to .*?: ", re.DOTALL)
_FAILED_ON = re.compile(r"failed on \d+ hosts:\n - (.*)", re.DOTALL)
_NEXT_HOST = re.compile(r"\n - (?=\S+: )")
_CUT_OUTPUT = re.compile(r"\(([^()].*?)\.\.\.\)$", re.DOTALL)


class Cause(enum.Enum):
    """Why a run failed, as far as an operator has to do something different; with the words that tell it.

    The first one that is found decides: k0sctl wraps a reason in the deadline it ran into, so TIMEOUT comes late.
    """

    HOST_KEY = "host_key", r"host key mismatch|knownhosts: |no known_hosts file found|create host key validator"
    LOCKED = "locked", r"another instance of k0sctl is currently operating"
    AUTH = "auth", r"no usable authentication method|unable to authenticate|authentication failed"
    CONFIG = (
        "config",
        (
            r"failed to (?:parse|unmarshal|locate|apply ssh) (?:cluster )?config|field \S+ not found in type|"
            r"no (?:configuration files|resource definition manifests) found|failed to get cluster resources|"
            r"expected exactly one cluster config|validation failed: |marked to be reset|can't perform a|ssh option |"
            r"role change is not supported|requires --force|^flag provided|^could not parse .* as bool|^No help topic"
        ),
    )
    VERSION_LOOKUP = "version_lookup", r"failed to look up k0s version online"
    DOWNLOAD = "download", r"failed to download k0s binary"
    NOT_EMPTY = "not_empty", r"data-dir .{0,300}not empty"
    STOPPED = "stopped", r"doesn't appear to be running but has been installed as a service"
    ABSENT = "absent", r"failed to find a running controller|useExistingK0s=true but no 'k0s' binary found"
    DISK_FULL = "disk_full", r"no space|disk full|quota exceeded|failed to create archive"
    ARCHIVE = "archive", r"restore failed: |open file for upload"
    HOOK = "hook", r"failed to execute hook"
    COLLISION = "collision", r"Init already exists"
    API_NOT_READY = "api_not_ready", r"kubernetes not ready: (?!context canceled)|failed to run etcd member-list"
    UNREACHABLE = (
        "unreachable",
        r"(?:ssh dial|client connect).*(?:refused|i/o timeout|no such host|no route|unreachable)",
    )
    CONNECTION_LOST = "connection_lost", r"without exit status or exit signal|connection reset|broken pipe"
    ABORTED = "aborted", r"^Forced exit|(?:^|: )context canceled$"
    TIMEOUT = "timeout", r"(?:^|: )context deadline exceeded$"
    OTHER = "other", r""

    pattern: re.Pattern[str]

    def __new__(cls, value: str, words: str) -> Self:
        member = object.__new__(cls)
        member._value_ = value
        member.pattern = re.compile(words, re.IGNORECASE | re.MULTILINE)
        return member


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ResetFailure:
    """What k0sctl said about a host whose ``k0s reset`` failed.

    ``missing``: there was no k0s binary to run. ``benign``: just that, at the leader's second reset: every good run
    prints it, because the first one ("Reset controllers") has deleted the binary.
    """

    host: str
    phase: str
    text: str
    missing: bool
    benign: bool


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What one run of k0sctl is known to have done. None and empty mean: not seen."""

    exit_code: int | None = None  # None: killed at its time limit
    phases: tuple[str, ...] = ()
    k0sctl_version: str | None = None
    installed_version: str | None = None  # what k0sctl says; it repeats the configuration
    k0s_version: str | None = None  # what the controller runs
    uid: str | None = None  # the cluster's, at the end of the run
    dry_run: bool = False
    hosts: tuple[str, ...] = ()  # host:port, those that connected
    reset_hosts: tuple[str, ...] = ()  # those that k0sctl calls reset
    host_failures: tuple[tuple[str, str], ...] = ()
    warnings: tuple[str, ...] = ()
    errors: tuple[str, ...] = ()
    fatal: str | None = None
    reset_failures: tuple[ResetFailure, ...] = ()
    temp_dirs: tuple[tuple[str, str], ...] = ()  # (host, path) made by this run
    ignored_host_keys: tuple[str, ...] = ()  # stderr: ssh options made k0sctl accept a wrong key

    @property
    def cause(self) -> Cause | None:
        """Why the run failed; None when it did not."""
        if self.ignored_host_keys:
            return Cause.HOST_KEY
        if self.exit_code is None:
            return Cause.TIMEOUT
        if self.exit_code == 0:
            return None
        text = "\n".join((self.fatal or "", *(said for _, said in self.host_failures), *self.errors))
        cause = next(cause for cause in Cause if cause.pattern.search(text))
        return Cause.ABORTED if cause is Cause.OTHER and self.exit_code < 0 else cause

    @property
    def resetting(self) -> bool:
        """Whether k0sctl had begun to remove k0s from hosts."""
        return not self.dry_run and any(phase.startswith("Reset ") for phase in self.phases)

    def as_report(self) -> dict[str, object]:
        """The same as plain data for the JSON report."""
        return {**dataclasses.asdict(self), "cause": self.cause.value if self.cause else None}


def gather(stdout: Iterable[str], stderr: Iterable[str], log: Iterable[str], exit_code: int | None) -> Evidence:
    """Read the three outputs of one run; the log is streamed, and nothing is kept of it that is not told."""
    version, dry_run, told = _listen(stdout)
    remote = _Remote()
    for line in log:
        remote.feed(line)
    errors = [printable(line) for line in stderr if line.strip() and not line.lstrip().startswith(_BANNER)]
    ignored = [line for line in errors if line.startswith("Ignored an SSH host key")]
    fatal = next((_SAVED.sub("", said.text, count=1) for said in told if said.level == "fatal"), None)
    if fatal is None and exit_code:  # k0sctl gave up before its logging started: only stderr can know
        early = [parsed.message for line in errors if (parsed := parse_line(line))]
        fatal = next(iter(early or [line for line in errors if line not in ignored]), None)
    fatal = remote.completed(fatal) if fatal else None
    phases = tuple(said.text for said in told if said.level == PHASE)
    installed = _last(_INSTALLED, (said.text for said in told if not said.host))
    running = _last(_RUNS, (said.text for said in told if said.host))
    binary = _last(_OTHER_BINARY, (said.text for said in told if said.host))
    failed = [(said.host, said.text) for said in told if said.level == "error" and said.host]
    left = [(said.host, match[1]) for said in told if (match := _LEFT_DIR.match(said.text))]
    return Evidence(
        exit_code=exit_code,
        phases=phases,
        k0sctl_version=version,
        installed_version=installed,
        k0s_version=(UPGRADE in phases and installed) or running or binary or installed,
        # A run that ended early may have opened no session of its own: what is read then is an older run's
        uid=remote.uid if GATHER in phases else None,
        dry_run=dry_run,
        hosts=_unique(said.host for said in told if said.text == "connected"),
        reset_hosts=_unique(said.host for said in told if said.text == "reset"),
        host_failures=_unique((*failed, *_failed_hosts(fatal or ""))),
        warnings=tuple(str(said) for said in told if said.level == "warning"),
        errors=tuple(str(said) for said in told if said.level == "error"),
        fatal=fatal,
        reset_failures=tuple(_reset_failures(told)),
        temp_dirs=_unique((*remote.temp_dirs, *left)),
        ignored_host_keys=tuple(ignored),
    )


class _Said(NamedTuple):
    """A word of k0sctl itself; ``level`` is `PHASE` for the start of a phase."""

    level: str
    host: str
    text: str

    def __str__(self) -> str:
        return f"{self.host}: {self.text}" if self.host else self.text


def _listen(stdout: Iterable[str]) -> tuple[str | None, bool, list[_Said]]:
    """k0sctl's version, whether it was a dry run, and all that it said, without what it passes on from hosts."""
    version: str | None = None
    dry_run = False
    told: list[_Said] = []
    for line in stdout:
        parsed = parse_line(line)
        if parsed is None:
            version = match[1] if (match := _COPYRIGHT.match(line)) else version
            dry_run = dry_run or line.startswith("dry-run:")
        elif parsed.phase:
            told.append(_Said(PHASE, "", parsed.phase))
        elif not parsed.remote and (parsed.level in ("fatal", "error") or parsed.whole):
            text = printable(parsed.message)
            of_host = None if parsed.level == "fatal" else _HOST_SAYS.fullmatch(text)
            told.append(_Said(parsed.level, of_host[1], of_host[2]) if of_host else _Said(parsed.level, "", text))
    return version, dry_run, told


def _unique(items: Iterable[_T]) -> tuple[_T, ...]:
    return tuple(dict.fromkeys(items))


def _last(pattern: re.Pattern[str], texts: Iterable[str]) -> str | None:
    return next((match[1] for text in reversed(tuple(texts)) if (match := pattern.match(text))), None)


def _reset_failures(told: Iterable[_Said]) -> Iterable[ResetFailure]:
    phase = ""
    for level, host, text in told:
        if level == PHASE:
            phase = text
        elif match := _RESET_FAILED.match(text):
            missing = bool(_NO_PROGRAM.search(match[2]))
            benign = missing and phase == RESET_LEADER and not match[1]
            yield ResetFailure(host=host, phase=phase, text=match[2].strip(), missing=missing, benign=benign)


def _failed_hosts(fatal: str) -> Iterable[tuple[str, str]]:
    """The causes host by host in ``failed on 2 hosts:\\n - a:22: …\\n - b:22: …``; some name the host twice."""
    match = _FAILED_ON.search(fatal)
    for part in _NEXT_HOST.split(match[1]) if match else ():
        host, _, text = part.partition(": ")
        yield host.removeprefix("ssh.Config{").removesuffix("}"), text.removeprefix(f"{host}: ")


class _Remote:
    """What the hosts answered, from k0sctl.log; only the last session of the file counts."""

    def __init__(self) -> None:
        self.uid: str | None = None
        self.temp_dirs: list[tuple[str, str]] = []
        self._last_words: deque[str] = deque(maxlen=20)
        self._commands: dict[str, str] = {}

    def feed(self, line: str) -> None:
        parsed = parse_line(line)
        if parsed is None or not parsed.whole:
            return
        host = parsed.fields.get("host", "")
        if parsed.fields.get("stream") == "stdout":
            self._answer(host, parsed.message.strip())
        elif parsed.remote:
            self._last_words.append(printable(parsed.message))
        elif parsed.message == _RAN:
            self._commands[host] = parsed.fields.get("command", "")
        elif parsed.message == _SESSION:
            self.uid = None
            for kept in (self.temp_dirs, self._last_words, self._commands):
                kept.clear()
        elif parsed.phase in (RESTORE, INITIALIZE):
            self.uid = None  # k0sctl asks again afterwards: what was read before is no proof of what is there now

    def _answer(self, host: str, text: str) -> None:
        command = self._commands.get(host, "")
        if _UID_QUERY in command and _UUID.fullmatch(text):
            self.uid = text.lower()
        elif (match := _TEMP_DIR.search(command)) and text.startswith(f"{match[1]}/") and _PATH.fullmatch(text):
            self.temp_dirs.append((host, text))

    def completed(self, fatal: str) -> str:
        """The fatal with the end of the host's words that k0sctl cuts off with "..."."""
        cut = _CUT_OUTPUT.search(fatal)
        full = next((text for text in reversed(self._last_words) if cut and text.startswith(cut[1])), None)
        return f"{fatal[: cut.start()]}({full})" if cut and full else fatal
