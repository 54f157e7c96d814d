"""The cluster's key and the recovery keys: can they do, now, what the next backup and the next restore ask of them?"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

from handler.commands.checks.settings import rejected
from handler.commands.context import Context
from handler.commands.trust import Keys, identify
from handler.errors import ConfigurationError
from handler.findings import Area
from handler.publishing import require_writing_key
from handler.secret import Secret
from handler.tools.keyring import Key

#: The subject under which it is told whether the key opens what is encrypted to it.
OPENS: Final = "passphrase"
_KEY: Final = "cluster key"
_UID: Final = "uid"
_RECOVERY: Final = "recovery keys"
_SAMPLE: Final = b"a few bytes to sign, to encrypt and to open again\n"
_SOON: Final = timedelta(days=30)


def check_keys(ctx: Context, area: Area, unusable: frozenset[str]) -> Keys | None:
    """Look at the keys; returns them where they can be used to read the repository."""
    armor = _given(ctx, area, unusable)
    if armor is None:
        return None
    key: Key | None = None
    identity = None
    recovery: tuple[Key, ...] | None = None
    with ctx.reporter.step("try the GPG keys"):
        with area.trying(_KEY):
            key = ctx.gpg.import_cluster_key(armor)
        if key is None:
            return None
        _writing(ctx, area, key)
        with area.trying(_UID):
            identity = identify(key, ctx.settings)
            area.ok(_UID, f"{identity.name} <{identity.mail}>")
        _passphrase(ctx, area, key)
        with area.trying(_RECOVERY):
            recovery = _recovery(ctx, area)
    return Keys(identity=identity, recovery=recovery or ()) if identity else None


def _given(ctx: Context, area: Area, unusable: frozenset[str]) -> Secret | None:
    """The key to look at; None, and why, where there is none."""
    wrong = rejected(ctx, "K0SCTL_GPG_KEY", "K0SCTL_GPG_PASSPHRASE", "K0SCTL_CLUSTER_NAME", "K0SCTL_CLUSTER_MAIL")
    if wrong:
        area.unchecked(_KEY, f"{wrong} does not fit, see settings")
    elif ctx.settings.gpg_key is None:
        area.unchecked(
            _KEY,
            "K0SCTL_GPG_KEY is not set: no backup can be made, read or proven, and apply refuses where there is a "
            "backup repository",
            mend="set K0SCTL_GPG_KEY or K0SCTL_GPG_KEY_FILE: gpg --armor --export-secret-keys FINGERPRINT",
        )
    elif "gpg" in unusable:
        area.unchecked(_KEY, "gpg cannot be used, see tools")
    else:
        return ctx.settings.gpg_key
    return None


def _writing(ctx: Context, area: Area, key: Key) -> None:
    """Whether it can sign and encrypt, its secret parts included, and for how long."""
    with area.trying(_KEY):
        if warning := require_writing_key(ctx.gpg, ctx.now()):
            what, _, extend = warning.partition("; ")
            area.warn(_KEY, f"{key.fingerprint}: {what}", mend=extend)
        else:
            until = f"until {key.expires:%Y-%m-%d}" if key.expires else "without an expiry date"
            area.ok(_KEY, f"{key.fingerprint}, signs and encrypts, {until}")


def _passphrase(ctx: Context, area: Area, key: Key) -> None:
    """Really sign, encrypt and open something: nothing else shows that the passphrase is the right one."""
    if key.expired or not (key.can_sign and key.can_encrypt):
        area.unchecked(OPENS, "this key cannot sign and encrypt, so nothing could be tried with it")
        return
    with area.trying(OPENS):
        ctx.gpg.require_signed(_SAMPLE, ctx.gpg.sign(_SAMPLE), "a sample")
        opened, _ = ctx.gpg.decrypt(ctx.gpg.encrypt(_SAMPLE, ()), "a sample")
        if opened != _SAMPLE:
            raise ConfigurationError("the GPG key does not open what was encrypted to it")
        how = "opens the key" if ctx.settings.passphrase else "none is needed"
        area.ok(OPENS, f"{how}: signed, encrypted and opened a few bytes")


def _recovery(ctx: Context, area: Area) -> tuple[Key, ...]:
    if wrong := rejected(ctx, "K0SCTL_GPG_RECOVERY"):
        area.unchecked(_RECOVERY, f"{wrong} does not fit, see settings")
        return ()
    if not ctx.settings.recovery_keys:
        area.warn(
            _RECOVERY,
            "none: with the cluster's key all its backups would be lost",
            mend="make a key that stays offline (gpg --quick-generate-key 'NAME <MAIL>'), and set K0SCTL_GPG_RECOVERY "
            "to its public part: gpg --armor --export MAIL",
        )
        return ()
    keys = ctx.gpg.import_recovery_keys(ctx.settings.recovery_keys)
    for key in keys:
        end = _end(key)
        if end and end - ctx.now() < _SOON:
            area.warn(
                _RECOVERY,
                f"{key.fingerprint} ({key.display_name}) expires on {end:%Y-%m-%d}; from then on it is refused",
                mend=f"extend it and set the new K0SCTL_GPG_RECOVERY: gpg --quick-set-expire {key.fingerprint} 5y && "
                f"gpg --quick-set-expire {key.fingerprint} 5y '*' && gpg --armor --export {key.fingerprint}",
            )
        else:
            area.ok(_RECOVERY, f"{key.fingerprint} ({key.display_name})")
    return keys


def _end(key: Key) -> datetime | None:
    """When the key, or the last of what encrypts in it, expires."""
    encrypting = [subkey.expires for subkey in key.subkeys if subkey.can("e")]
    last = None if None in encrypting else max(date for date in encrypting if date)
    return min((date for date in (key.expires, last) if date), default=None)
