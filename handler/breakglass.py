"""The README of a backup branch: how to get a backup back with nothing but gpg, openssl and tar. Pure."""

from __future__ import annotations

from typing import Final

from handler.manifest import Manifest

_TEXT: Final = """\
# Backups of the k0s cluster {cluster}

Written by k0sctl-handler. Each `*.enc` is a backup archive, encrypted by `openssl enc` with the password in
`secret.gpg`; `secret.gpg` is encrypted to the cluster's GPG key{recovery}. Every commit and every manifest
(`*.json`, signature in `*.json.asc`) is signed by the key

    {signer}

## Break glass

With the key in gpg, in a clone of this branch, this block writes the archive of the latest backup to the current
directory. It needs only gpg, openssl and tar. First `git verify-commit HEAD` tells whether the branch is authentic.

```sh
{block}
```

{after}
Another backup is restored the same way, with its own names; the cipher stands in its manifest. What a second
`init` put aside is below `archive/`, each with the `secret.gpg` of its time.
"""

_BLOCK: Final = """\
umask 077
manifest={manifest}
archive={archive}
[ ! -e "$archive" ] || {{ echo "$archive is here already; move it away" >&2; exit 1; }}
case "$(gpg --batch --status-fd 1 --verify "$manifest.asc" "$manifest" 2>/dev/null || :)" in
  *BADSIG*) echo "$manifest was changed after it was signed" >&2; exit 1 ;;
  *VALIDSIG*{signer}*) ;;
  *) echo "WARNING: the signature of $manifest cannot be checked with the keys in this gpg" >&2 ;;
esac
[ "$(openssl dgst -sha256 -r "$archive.enc")" = "{ciphertext_sha256} *$archive.enc" ] ||
  {{ echo "$archive.enc is damaged" >&2; exit 1; }}
gpg --quiet --decrypt secret.gpg |
  openssl enc -d -{cipher} -pbkdf2 -pass stdin -in "$archive.enc" -out "$archive"
[ "$(openssl dgst -sha256 -r "$archive")" = "{archive_sha256} *$archive" ] ||
  {{ echo "wrong password: $archive is not what was backed up" >&2; exit 1; }}
tar --list --gzip --file "$archive" > /dev/null || echo "WARNING: tar cannot list $archive" >&2
echo "$archive is whole; next: k0sctl apply --restore-from $archive\""""

_NOTHING: Final = """\
echo "there is no backup on this branch yet" >&2
exit 1"""

_AFTER: Final = """\
The archive holds the private keys of the cluster in clear: keep it on an encrypted disk and remove it afterwards.
Restore it on clean hosts with `k0sctl apply --restore-from {archive}`, and the configuration of that time, which
is in `{config}`, encrypted the same way.
"""


def readme(*, cluster: str, signer: str, recovery: int, latest: Manifest | None) -> bytes:
    """The README for a branch whose newest accepted backup is ``latest``, with exactly one sh block."""
    return _TEXT.format(
        cluster=cluster,
        signer=signer,
        recovery=f" and to {recovery} recovery key(s)" if recovery else "",
        block=_block(latest) if latest else _NOTHING,
        after=_AFTER.format(archive=latest.archive.name, config=latest.config.name) if latest else "",
    ).encode()


def _block(latest: Manifest) -> str:
    return _BLOCK.format(
        manifest=latest.file_name,
        signer=latest.signer,
        ciphertext_sha256=latest.ciphertext.sha256,
        cipher=latest.cipher,
        archive=latest.archive.name,
        archive_sha256=latest.archive.sha256,
    )
