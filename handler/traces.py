"""What k0s and k0sctl have left on a host: the shell text that looks for it, and the reading of its answer. Pure.

The text runs on a stranger's shell, so it is plain POSIX: dash, busybox' ash and bash all take it, and it changes
nothing. A host may answer whatever it likes: of that only plain paths, numbers and names are taken over.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

#: Where k0s and k0sctl leave a backup in clear when they are killed. mktemp's directories have six letters.
ARCHIVES: Final = ("/tmp/??????/k0s_backup*", "/tmp/k0s-backup*")  # noqa: S108
LOCK: Final = "/tmp/k0sctl.lock"  # noqa: S108
#: Seconds after which k0sctl takes a lock that nobody has renewed.
LOCK_EXPIRES: Final = 30

_MARK: Final = "k0sctl-handler-look:"
_UNITS: Final = ("/etc/systemd/system/k0s*.service", "/etc/init.d/k0s*")
#: More of a kind is not told: a host must not fill the report.
_MOST: Final = 20
#: Processes that a sentence names; the report has more.
_TOLD: Final = 3
_ANSWER: Final = re.compile(_MARK + r" ([a-z-]+)(?: (.*))?")
_PLAIN_PATH: Final = re.compile(r"(?:/(?!\.\.?(?:/|$))[\w.@-]+)+", re.ASCII)
_PROCESS: Final = re.compile(r"(\d{1,10})(?: ([\w.:/@-]{1,40}))?", re.ASCII)
_HELD: Final = re.compile(r"(-?\d{1,12}) ([\w.-]{1,100})?", re.ASCII)

#: An empty data directory may be a mount point, which k0s cannot remove; a new file system has a lost+found.
_LOOK: Final = """\
LC_ALL=C PATH="$PATH:/usr/local/sbin:/usr/sbin:/sbin"
export LC_ALL PATH
say() {{ printf "%s\\n" "{mark} $*"; }}
data={data}
if [ -d "$data" ]; then
  if names=$(ls -A "$data"); then
    [ -z "$(printf "%s\\n" "$names" | grep -v -x -F lost+found)" ] || say data
  else
    say data
  fi
elif [ -e "$data" ]; then
  say data
fi
for unit in {units}; do
  if [ -e "$unit" ] || [ -L "$unit" ]; then say unit "$unit"; fi
done
pids() {{
  if command -v pgrep >/dev/null; then
    pgrep -x k0s || [ $? = 1 ] || return 2
    pgrep -f {programs} || [ $? = 1 ] || return 2
  elif command -v pidof >/dev/null; then
    pidof k0s || [ $? = 1 ] || return 2
  else
    return 2
  fi
}}
if found=$(pids); then
  for pid in $found; do
    if grep -q "^State:.[^ZX]" "/proc/$pid/status" 2>/dev/null; then
      say process "$pid" "$(cat "/proc/$pid/comm" 2>/dev/null)"
    fi
  done
else
  say no-processes
fi
for archive in {archives}; do
  if [ -e "$archive" ]; then say archive "$archive"; fi
done
# everybody may make this name: a pipe would be waited for, a link would show another file
if [ -f {lock} ] && [ ! -L {lock} ]; then
  say lock "$(($(date +%s) - $(stat -c %Y {lock} || date +%s)))" "$(head -c 100 {lock})"
fi
say end
"""
#: What is looked at belongs to root; without its rights there is no look, and no guess either.
_AS_ROOT: Final = """\
if [ "$(id -u)" = 0 ]; then exec /bin/sh -c {look}; fi
if command -v sudo >/dev/null; then exec sudo -n /bin/sh -c {look}; fi
exec doas -n /bin/sh -c {look}
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Traces:
    """What a look at a host found.

    Attributes:
        problem: why the host was not looked at; empty when it was.
        data: the data directory, where there is something in it.
        units: the paths of k0s' units and init scripts.
        processes: each as ``PID NAME``.
        archives: backups in clear.
        lock: what stands in k0sctl's lock, or empty; ``lock_age`` is its age in seconds.
        processes_seen: whether the host has a tool that shows processes.
    """

    problem: str = ""
    data: tuple[str, ...] = ()
    units: tuple[str, ...] = ()
    processes: tuple[str, ...] = ()
    archives: tuple[str, ...] = ()
    lock: str = ""
    lock_age: int | None = None
    processes_seen: bool = True

    @property
    def looked(self) -> bool:
        return not self.problem

    @property
    def clean(self) -> bool:
        """Whether the host was looked at, and nothing of k0s is there."""
        return self.looked and not (self.data or self.units or self.processes)

    @property
    def locked(self) -> bool:
        """Whether a k0sctl works there, and not one that is dead."""
        return bool(self.lock) and self.lock_age is not None and self.lock_age < LOCK_EXPIRES

    @property
    def left(self) -> tuple[str, ...]:
        """What of k0s is there, for a sentence."""
        return (
            *(f"data in {path}" for path in self.data),
            *(f"the unit {path}" for path in self.units),
            *([f"processes ({', '.join(self.processes[:_TOLD])})"] if self.processes else []),
        )


def look(data_dir: str) -> str:
    """The command that looks at a host."""
    programs = "^" + re.sub(r"([.^$*+?()\[\]{}|\\])", r"\\\1", data_dir) + "/bin/"
    text = _LOOK.format(
        mark=_MARK,
        data=shlex.quote(data_dir),
        units=" ".join(_UNITS),
        programs=shlex.quote(programs),
        archives=" ".join(ARCHIVES),
        lock=LOCK,
    )
    return f"exec /bin/sh -c -- {shlex.quote(_AS_ROOT.format(look=shlex.quote(text)))}"


def read_answer(lines: Iterable[str], *, data_dir: str) -> Traces:
    """What the host answered; without the last line the look did not come to its end, and says nothing."""
    found: dict[str, list[str]] = {}
    for line in lines:
        if match := _ANSWER.fullmatch(line.rstrip()):
            told = found.setdefault(match[1], [])
            if len(told) < _MOST:
                told.append(match[2] or "")
    if "end" not in found:
        return Traces(problem="the look did not come to its end")
    held = _HELD.fullmatch(found.get("lock", ["-"])[0])
    return Traces(
        data=(data_dir,) if "data" in found else (),
        units=_paths(found.get("unit", ()), _UNITS),
        processes=tuple(dict.fromkeys(_process(text) for text in found.get("process", ()))),
        archives=_paths(found.get("archive", ()), ARCHIVES),
        lock=(held[2] if held and held[2] else "unreadable") if "lock" in found else "",
        lock_age=int(held[1]) if held else None,
        processes_seen="no-processes" not in found,
    )


def _paths(told: Iterable[str], patterns: tuple[str, ...]) -> tuple[str, ...]:
    """The plain ones; in the place of another the pattern that found it."""
    return tuple(dict.fromkeys(path if _PLAIN_PATH.fullmatch(path) else _finder(path, patterns) for path in told))


def _finder(path: str, patterns: tuple[str, ...]) -> str:
    begins = [pattern for pattern in patterns if path.startswith(re.split(r"[?*]", pattern)[0])]
    return begins[-1] if begins else patterns[0]


def _process(text: str) -> str:
    match = _PROCESS.fullmatch(text.strip())
    return " ".join(part for part in match.groups() if part) if match else "(unreadable)"
