"""The programs: are they there, new enough, and can they do what they are needed for?"""

from __future__ import annotations

import base64
import os
import re
import shutil
from collections.abc import Callable
from typing import Final

from handler.commands.context import Context
from handler.digest import digest_of
from handler.errors import IntegrityError, ToolFailed, ToolMissing, from_os_error
from handler.findings import Area
from handler.process import Command
from handler.secret import Secret

#: Since when each can do what is asked of it: git rev-parse --path-format, gpg's status lines, openssl's ciphers.
_OLDEST: Final = {"git": (2, 31), "gpg": (2, 2), "openssl": (3, 0)}
#: How a backup, and the probe, call k0sctl.
_BACKUP_FLAGS: Final = ("--config", "--output", "--dry-run", "--timeout")
#: All that is known of k0sctl was measured with this version.
_KNOWN_K0SCTL: Final = "v0.32"
_OLD_K0SCTL: Final = (0, 20)
_SAMPLE: Final = b"a few bytes to encrypt and to decrypt again"


def check_tools(ctx: Context, area: Area) -> frozenset[str]:
    """Look at all programs, needed now or not; returns those that cannot be used."""
    checks: dict[str, Callable[[Context, Area], None]] = {
        "k0sctl": _k0sctl,
        "git": _git,
        "gpg": _gpg,
        "openssl": _openssl,
        "ssh": _ssh,
        "ssh-keyscan": _ssh_keyscan,
        "ssh-keygen": _ssh_keygen,
    }
    with ctx.reporter.step("look at the tools") as step:
        for name, check in checks.items():
            with area.trying(name):
                _require(ctx, name)
                check(ctx, area)
        _mtr(ctx, area)
        unusable = frozenset(name for name in checks if area.has_problem(name))
        step.note(f"usable: {len(checks) - len(unusable)} of {len(checks)}")
    return unusable


def _require(ctx: Context, name: str) -> None:
    """
    Raises:
        ToolMissing: there is no such program.
    """
    if shutil.which(name, path=ctx.child_env["PATH"]) is None:
        raise ToolMissing(
            f"{name} was not found in PATH", resolution=f"install {name}, or use the container image, which has it"
        )


def _k0sctl(ctx: Context, area: Area) -> None:
    version = ctx.k0sctl.version()
    helped = ctx.k0sctl.helped("backup")
    lacking = [flag for flag in _BACKUP_FLAGS if not re.search(rf"{flag}\b", helped)]
    if lacking:
        raise ToolMissing(
            f"k0sctl {version} is too old: its backup does not know {', '.join(lacking)}",
            resolution=f"install k0sctl {_KNOWN_K0SCTL}, or use the container image, which has it",
        )
    if _numbers(version) < _OLD_K0SCTL:
        area.warn(
            "k0sctl",
            f"{version} is older than any that was tried; what is known of k0sctl was measured with {_KNOWN_K0SCTL}",
            mend=f"install k0sctl {_KNOWN_K0SCTL}, or use the container image, which has it",
        )
    else:
        area.ok("k0sctl", version)


def _git(ctx: Context, area: Area) -> None:
    _versioned(area, "git", _said(ctx, "git", "version"))


def _gpg(ctx: Context, area: Area) -> None:
    _versioned(area, "gpg", _said(ctx, "gpg", "--version").partition("\n")[0])


def _openssl(ctx: Context, area: Area) -> None:
    cipher = ctx.settings.cipher
    version = _new_enough("openssl", ctx.openssl.version())
    source, target = ctx.workspace.bulk / "sample", ctx.workspace.bulk / "sample.enc"
    password = Secret(base64.b64encode(os.urandom(32)).decode())
    try:
        source.write_bytes(_SAMPLE)
        with target.open("wb") as file:
            ctx.openssl.encrypt(source, file, cipher=cipher, password=password, progress=lambda _: None)
        read_back = ctx.openssl.decrypt(target, None, cipher=cipher, password=password, progress=lambda _: None)
    except OSError as error:
        raise from_os_error(error, "encrypting a few bytes") from error
    if read_back != digest_of(_SAMPLE):
        raise IntegrityError(f"openssl {version} does not decrypt what it has encrypted with {cipher}")
    area.ok("openssl", f"{version}, encrypts and decrypts with {cipher}")


def _ssh(ctx: Context, area: Area) -> None:
    done = ctx.children.run(Command(argv=("ssh", "-V"), env=ctx.child_env, timeout=30))
    done.require_success("telling its version")
    area.ok("ssh", (done.stderr or done.stdout).partition(",")[0].strip())


def _ssh_keyscan(ctx: Context, area: Area) -> None:
    _present(ctx, area, "ssh-keyscan")


def _ssh_keygen(ctx: Context, area: Area) -> None:
    _present(ctx, area, "ssh-keygen")


def _mtr(ctx: Context, area: Area) -> None:
    """Needed by `ping` alone, so that nothing else stops for it."""
    try:
        area.ok("mtr", ctx.mtr.version())
    except (ToolMissing, ToolFailed) as error:
        area.warn("mtr", f"{error.message}; only `ping` needs it", mend=error.resolution)


def _present(ctx: Context, area: Area, name: str) -> None:
    """Those that tell no version."""
    area.ok(name, shutil.which(name, path=ctx.child_env["PATH"]) or "")


def _said(ctx: Context, *argv: str) -> str:
    done = ctx.children.run(Command(argv=argv, env=ctx.child_env, timeout=30))
    return done.require_success("telling its version").stdout


def _versioned(area: Area, name: str, said: str) -> None:
    found = re.search(r"\d+(?:\.\d+)+", said)
    if found is None:
        raise ToolFailed(f"{name} does not tell its version", details=(said[:200],))
    area.ok(name, _new_enough(name, found[0]))


def _new_enough(name: str, version: str) -> str:
    oldest = _OLDEST[name]
    if _numbers(version) < oldest:
        wanted = ".".join(map(str, oldest))
        raise ToolMissing(
            f"{name} {version} is too old: {wanted} is the oldest that will do",
            resolution=f"install {name} {wanted} or newer, or use the container image, which has it",
        )
    return version


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", version)[:2])
