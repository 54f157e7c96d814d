"""Storing a proven archive: encrypted, read back, told in a signed manifest, committed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from handler import __version__
from handler.archive import Names, at_least_one_after, check_not_future, next_free
from handler.breakglass import readme
from handler.commands.context import Context
from handler.commands.delivering import Delivery
from handler.commands.init import seal
from handler.commands.trust import Keys
from handler.digest import Digest, digest_of
from handler.errors import Conflict, IntegrityError, TimedOut, ToolFailed, from_os_error
from handler.evidence import Evidence
from handler.manifest import Cluster, File, Manifest, Versions
from handler.proof import Content
from handler.publishing import Blob, Change, StagedFile, Target, publish
from handler.repository import SEALED, Repository
from handler.secret import Secret
from handler.tools.gitremote import Remote
from handler.workspace import write_private


@dataclass(frozen=True, kw_only=True)
class Taken:
    """An archive that k0sctl wrote and our own look has proven; and the configuration that it was taken with."""

    archive: Path
    content: Content
    evidence: Evidence
    config: str


@dataclass(frozen=True, kw_only=True)
class Job:
    """Where a backup goes, and by whose keys.

    Attributes:
        remote: None where nobody pushes.
        current: whether all that the backup goes on top of is there already; else it must not be left behind.
    """

    ctx: Context
    target: Target
    parent: Repository
    keys: Keys
    password: Secret
    remote: Remote | None = None
    current: bool = True


@dataclass(frozen=True, kw_only=True)
class Sealed:
    """The encrypted files, each compared with what it was made of, and what is told of them."""

    proven: Digest
    archive: StagedFile
    config: StagedFile
    evidence: Evidence
    content: Content


@dataclass(frozen=True, kw_only=True)
class Written:
    """A backup in a commit."""

    manifest: Manifest
    commit: str


def store(job: Job, taken: Taken, known_uid: str | None) -> str:
    """Store a proven archive; raises IntegrityError after storing the backup of another cluster."""
    sealed = _seal(job, taken)
    written = _write(job, sealed, known_uid, sealed.archive, sealed.config)
    pushed = ""
    if job.remote is not None:
        try:
            written = _push(job, job.remote, sealed, written)
        except (ToolFailed, TimedOut) as error:
            if written.manifest.accepted:
                raise
            first = _another_cluster(written.manifest, known_uid)
            first.details = (*first.details, error.message, *error.details, error.resolution)
            raise first from error
        pushed = f", pushed to {job.remote.shown}"
    manifest = written.manifest
    if not manifest.accepted:
        raise _another_cluster(manifest, known_uid)
    return f"{manifest.stem}, {manifest.archive.size} bytes, proven and committed as {written.commit[:12]}{pushed}"


def _seal(job: Job, taken: Taken) -> Sealed:
    ctx, staging = job.ctx, job.target.staging
    proven = Digest(size=taken.content.size, sha256=taken.content.sha256)
    archive = _encrypted(ctx, taken.archive, staging / "archive", job.password, proven)
    taken.archive.unlink()
    config = taken.config.encode()
    plain = write_private(ctx.workspace.secrets / "k0sctl.yaml", config)
    encrypted = _encrypted(ctx, plain, staging / "config", job.password, digest_of(config))
    return Sealed(proven=proven, archive=archive, config=encrypted, evidence=taken.evidence, content=taken.content)


def _write(
    job: Job, sealed: Sealed, known_uid: str | None, archive: StagedFile | Blob, config: StagedFile | Blob
) -> Written:
    """Commit on the job's parent: free names, a manifest of now, the symlink."""
    ctx, parent = job.ctx, job.parent
    at = next_free(at_least_one_after(ctx.now(), parent.commit.committed_at), [entry.name for entry in parent.entries])
    check_not_future(at, ctx.now())
    names = Names(prefix=ctx.settings.prefix, suffix=ctx.settings.suffix, taken_at=at)
    manifest = Manifest(
        branch=job.target.located.branch,
        cluster=Cluster(name=job.keys.cluster, uid=sealed.evidence.uid),
        taken_at=at,
        archive=_file(names.archive, sealed.proven),
        ciphertext=_file(names.ciphertext, sealed.archive.digest),
        config=_file(names.config, sealed.config.digest),
        accepted=_accepted(ctx, sealed.evidence.uid, known_uid),
        datastore=sealed.content.datastore,
        cipher=ctx.settings.cipher,
        versions=_versions(ctx, sealed.evidence),
        signer=job.keys.identity.fingerprint,
    )
    commit = _commit(job, names, manifest, {names.ciphertext: archive, names.config: config})
    ctx.reporter.fact("backup", manifest.stem)
    ctx.reporter.fact("commit", commit)
    return Written(manifest=manifest, commit=commit)


def _push(job: Job, remote: Remote, sealed: Sealed, written: Written) -> Written:
    """Push; where others were faster, the same files go into another commit, under new names, on top of theirs."""
    last = [written]

    def again(target: Target, commit: str) -> str:
        parent = target.parent or job.parent
        if parent.password() != job.password:
            raise Conflict(
                f"{remote.shown} has a new password since this run began: somebody has begun the branch anew",
                resolution="run the backup again",
            )
        tree = {entry.path: entry.oid for entry in target.store.tree(target.store.commit(commit).tree)}
        manifest = last[-1].manifest
        archive, config = Blob(tree[manifest.ciphertext.name]), Blob(tree[manifest.config.name])
        known_uid = parent.known_uid(job.ctx.settings.prefix, now=job.ctx.now())
        last.append(_write(replace(job, target=target, parent=parent), sealed, known_uid, archive, config))
        return last[-1].commit

    delivery = Delivery(ctx=job.ctx, remote=remote, keys=job.keys, again=again if job.current else None)
    delivery.push(job.target, written.commit)
    return last[-1]


def _accepted(ctx: Context, uid: str | None, known_uid: str | None) -> bool:
    if uid is None:
        ctx.reporter.warn(
            "the UID of the cluster could not be read, so nobody can tell WHOSE backup this is; "
            "it is stored all the same, since it may be the last chance"
        )
        return True
    return known_uid is None or uid in {known_uid, ctx.settings.accept_cluster}


def _another_cluster(manifest: Manifest, known_uid: str | None) -> IntegrityError:
    return IntegrityError(
        f"this is another cluster: its UID is {manifest.cluster.uid}, the backups here are of {known_uid}",
        details=(f"the backup is stored as {manifest.stem}, but never counts as latest",),
        resolution="check K0SCTL_CFG_PATH; if this cluster is to take over the branch, run once with "
        f"K0SCTL_ACCEPT_CLUSTER={manifest.cluster.uid}",
    )


def _encrypted(ctx: Context, source: Path, target: Path, password: Secret, proven: Digest) -> StagedFile:
    """Encrypt a file, then decrypt what reached the disk and compare it with what was proven."""
    with ctx.reporter.step(f"encrypt the {target.name}") as step:
        try:
            with target.open("xb") as file:
                ciphertext = ctx.openssl.encrypt(
                    source,
                    file,
                    cipher=ctx.settings.cipher,
                    password=password,
                    progress=lambda done: ctx.progress(done, proven.size),
                )
        except OSError as error:
            raise from_os_error(error, f"writing the encrypted {target.name}") from error
        step.note(f"{ctx.settings.cipher}, {ciphertext.size} bytes")
    with ctx.reporter.step(f"read the {target.name} back"):
        plaintext = ctx.openssl.decrypt(
            target,
            None,
            cipher=ctx.settings.cipher,
            password=password,
            progress=lambda done: ctx.progress(done, proven.size),
        )
        if plaintext != proven:
            raise IntegrityError(
                f"the encrypted {target.name} does not decrypt to what was proven",
                resolution="check disk and memory of this machine, then take the backup again; nothing was committed",
            )
    return StagedFile(path=target, digest=ciphertext)


def _versions(ctx: Context, evidence: Evidence) -> Versions:
    return Versions(
        handler=__version__,
        k0sctl=evidence.k0sctl_version or ctx.k0sctl.version(),
        k0s=evidence.k0s_version,
        openssl=ctx.openssl.version(),
    )


def _file(name: str, digest: Digest) -> File:
    return File(name=name, size=digest.size, sha256=digest.sha256)


def _commit(job: Job, names: Names, manifest: Manifest, staged: Mapping[str, StagedFile | Blob]) -> str:
    ctx, keys = job.ctx, job.keys
    document = manifest.to_json()
    signature = ctx.gpg.sign(document)
    ctx.gpg.require_signed(document, signature, "the new manifest")
    files: dict[str, bytes | StagedFile | Blob] = {**staged, names.manifest: document, names.signature: signature}
    links = {}
    if manifest.accepted:
        links[names.latest] = names.ciphertext
        files["README.md"] = readme(
            cluster=keys.cluster, signer=keys.identity.fingerprint, recovery=len(keys.recovery), latest=manifest
        )
    if _recipients_differ(ctx, job.parent, keys):
        files[SEALED] = seal(ctx, job.password, keys)
    with ctx.reporter.step("commit") as step:
        commit, problem = publish(
            job.target, Change(files=files, links=links), git=ctx.git, gpg=ctx.gpg, children=ctx.children,
            identity=keys.identity, message=_message(manifest), at=manifest.taken_at,
        )  # fmt: skip
        step.note(commit[:12])
    if problem:
        ctx.reporter.warn(f"the backup is committed, but the working tree does not show it: {problem}")
    return commit


def _recipients_differ(ctx: Context, parent: Repository, keys: Keys) -> bool:
    """Whether other keys than the settings' open the password, or nobody signed it; said, since it is a change."""
    entry = parent.entry(SEALED)
    sealed = parent.store.blob(entry.oid) if entry else b""
    wanted = {keys.identity.fingerprint, *(key.fingerprint for key in keys.recovery)}
    present = ctx.gpg.recipients(sealed, SEALED)
    if present != wanted:
        ctx.reporter.warn(
            f"{SEALED} is encrypted anew: it was for {', '.join(sorted(present))}, now for {', '.join(sorted(wanted))}"
        )
        return True
    if not ctx.gpg.decrypt(sealed, SEALED)[1]:
        ctx.reporter.note(f"{SEALED} was not signed; it is now")
        return True
    return False


def _message(manifest: Manifest) -> str:
    versions = manifest.versions
    return (
        f"backup: {manifest.cluster.name} {manifest.stem}\n\n"
        f"cluster    {manifest.cluster.name}\n"
        f"uid        {manifest.cluster.uid or 'unknown'}\n"
        f"accepted   {'yes' if manifest.accepted else 'NO: another cluster'}\n"
        f"archive    {manifest.archive.size} bytes, sha256 {manifest.archive.sha256}\n"
        f"ciphertext {manifest.ciphertext.size} bytes, {manifest.cipher}\n"
        f"datastore  {manifest.datastore.value}\n"
        f"versions   handler {versions.handler}, k0sctl {versions.k0sctl}, k0s {versions.k0s or 'unknown'}, "
        f"openssl {versions.openssl}\n"
    )
