"""Backup branches for tests: good ones, made with the package's own publishing, and what an attacker makes of them."""

from __future__ import annotations

import os
import shutil
import subprocess
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from hashlib import sha1
from pathlib import Path

from handler.archive import Names
from handler.breakglass import readme
from handler.digest import Digest, digest_of
from handler.manifest import Cluster, Datastore, File, Manifest, Versions
from handler.opening import find
from handler.process import Children
from handler.publishing import Change, StagedFile, prepared, publish
from handler.repository import SEALED, Repository
from handler.secret import Secret
from handler.tools.git import Git
from handler.tools.gitlocated import Located
from handler.tools.gitstore import Identity, Store
from handler.tools.gpg import Gpg
from handler.tools.openssl import OpenSSL
from handler.verified import Verified
from tests.support.keys import KeyMaker, KeyPair

NOW = datetime.now(UTC).replace(microsecond=0)
PREFIX = "k0s_backup"
PASSWORD = Secret("c2VjcmV0IHBhc3N3b3JkIG9mIHRoZSB0ZXN0IGJyYW5jaA==")
CIPHER = "chacha20"


class PlainGit:
    """git as a user runs it, with a configuration of its own, never that of whoever runs the tests."""

    def __init__(self, home: Path, maker: KeyMaker) -> None:
        home.mkdir(exist_ok=True)
        config = home / "plain.gitconfig"
        config.write_text(
            "[safe]\n directory = *\n[user]\n name = user\n email = user@example.org\n[init]\n defaultBranch = backup\n"
            '[protocol "file"]\n allow = always\n[gc]\n auto = 0\n[advice]\n detachedHead = false\n'
        )
        self.maker = maker
        self.env = {
            "PATH": os.environ["PATH"], "HOME": str(home), "GNUPGHOME": str(maker.home), "LC_ALL": "C.UTF-8",
            "GIT_CONFIG_NOSYSTEM": "1", "GIT_CONFIG_GLOBAL": str(config),
        }  # fmt: skip

    def __call__(
        self, directory: Path, *args: str, data: bytes = b"", check: bool = True, env: Mapping[str, str] | None = None
    ) -> str:
        done = subprocess.run(
            ["git", *args], cwd=directory, env={**self.env, **(env or {})}, input=data, capture_output=True, check=False
        )
        assert not check or done.returncode == 0, (args, done.stdout, done.stderr)
        return done.stdout.decode("utf-8", "replace").strip()

    def head(self, directory: Path) -> str:
        return self(directory, "rev-parse", "HEAD")

    def raw(self, directory: Path, kind: str, oid: str) -> bytes:
        return subprocess.run(
            ["git", "cat-file", kind, oid], cwd=directory, env=self.env, capture_output=True, check=True
        ).stdout

    def write(self, directory: Path, data: bytes, kind: str = "blob") -> str:
        return self(directory, "hash-object", "-w", "-t", kind, "--literally", "--stdin", data=data)

    def commit(
        self, directory: Path, changes: Mapping[str, bytes | str | None] | None = None, *, signer: str | None = None,
        amend: bool = False,
    ) -> str:  # fmt: skip
        """A commit on top of HEAD: bytes are files, a text is a symlink's target, None removes."""
        index = {"GIT_INDEX_FILE": str(directory / ".git" / "attack-index")}
        self(directory, "read-tree", "HEAD", env=index)
        for path, content in (changes or {}).items():
            if content is None:
                self(directory, "update-index", "--force-remove", path, env=index)
                continue
            data, mode = (content.encode(), "120000") if isinstance(content, str) else (content, "100644")
            oid = self.write(directory, data)
            self(directory, "update-index", "--add", "--cacheinfo", f"{mode},{oid},{path}", env=index)
        tree = self(directory, "write-tree", env=index)
        parent = "HEAD^" if amend else "HEAD"
        oid = self.commit_tree(directory, tree, [self(directory, "rev-parse", parent)], signer=signer)
        self(directory, "update-ref", "HEAD", oid)
        return oid

    def commit_tree(self, directory: Path, tree: str, parents: list[str], *, signer: str | None = None) -> str:
        sign = [f"-S{signer}"] if signer else ["--no-gpg-sign"]
        words = [word for parent in parents for word in ("-p", parent)]
        return self(directory, "commit-tree", *sign, *words, "-m", "attack", tree)


@dataclass
class Desk:
    """The package's tools over one private directory, for one cluster's key."""

    root: Path
    children: Children
    env: dict[str, str]
    gpg: Gpg
    pair: KeyPair
    plain: PlainGit
    prefix: str = PREFIX
    git: Git = field(init=False)
    openssl: OpenSSL = field(init=False)

    def __post_init__(self) -> None:
        private = self.root / "private"
        private.mkdir(mode=0o700, parents=True)
        self.git = Git(self.children, self.env, private)
        self.openssl = OpenSSL(self.children, self.env)
        self.scratch = self.root / "scratch"
        self.scratch.mkdir(mode=0o700)

    @property
    def identity(self) -> Identity:
        return Identity(name=self.pair.name, mail=self.pair.mail, fingerprint=self.pair.fingerprint)

    @property
    def backup(self) -> Path:
        return self.root / "backup"

    @property
    def restore(self) -> Path:
        return self.root / "restore"

    def locate(self, directory: Path) -> Located:
        located = self.git.locate(directory)
        assert located is not None
        return located

    def trust(self, directory: Path, *, accept: str | None = None) -> Repository:
        located = self.locate(directory)
        return Repository.trust(
            located, Store(self.git, located), self.gpg, cluster=self.pair.name, accept_commit=accept
        )

    def verify(self, directory: Path, *, choice: str = "latest", accept: str | None = None) -> Verified:
        repository = self.trust(directory, accept=accept)
        stored = repository.choose(choice, self.prefix)
        assert stored is not None
        return repository.verify(stored, self.scratch, legacy_cipher=CIPHER, now=NOW)

    def prove(self, directory: Path, *, choice: str = "latest", accept: str | None = None) -> bytes:
        """The whole chain, as apply and restore go through it; the archive's bytes."""
        repository = self.trust(directory, accept=accept)
        stored = repository.choose(choice, self.prefix)
        assert stored is not None
        verified = repository.verify(stored, self.scratch, legacy_cipher=CIPHER, now=NOW)
        password = repository.password(stored.directory)
        path = self.scratch / "plaintext"
        with path.open("wb") as file:
            verified.decrypt(self.openssl, password, file)
        return path.read_bytes()

    def write(
        self, change: Change, *, at: datetime = NOW, message: str = "test\n", accept: str | None = None
    ) -> tuple[str, str | None]:
        """One commit in backup/, by the package's own way from finding to publishing."""
        opened = find(self.git, restore=self.restore, backup=self.backup)
        source = opened.source
        parent = self.trust(source.directory, accept=accept) if source and source.head else None
        with prepared(self.git, opened, parent, self.backup) as target:
            staged = dict(change.files)
            for path, content in staged.items():
                if isinstance(content, StagedFile):
                    moved = target.staging / content.path.name
                    shutil.copy(content.path, moved)
                    staged[path] = StagedFile(path=moved, digest=content.digest)
            return publish(
                target, Change(files=staged, links=change.links, moved_to=change.moved_to), git=self.git, gpg=self.gpg,
                children=self.children, identity=self.identity, message=message, at=at,
            )  # fmt: skip

    def sealed(self, password: Secret = PASSWORD) -> bytes:
        return self.gpg.encrypt(password.reveal().encode() + b"\n", ())

    def init(self, *, at: datetime = NOW - timedelta(days=3), moved_to: str | None = None) -> str:
        text = readme(cluster=self.pair.name, signer=self.pair.fingerprint, recovery=0, latest=None)
        files: dict[str, bytes | StagedFile] = {SEALED: self.sealed(), "README.md": text}
        return self.write(Change(files=files, links={}, moved_to=moved_to), at=at)[0]

    def encrypted(self, content: bytes, name: str, password: Secret = PASSWORD) -> StagedFile:
        source, target = self.scratch / f"{name}.plain", self.scratch / name
        source.write_bytes(content)
        with target.open("wb") as file:
            digest = self.openssl.encrypt(source, file, cipher=CIPHER, password=password, progress=lambda _: None)
        return StagedFile(path=target, digest=digest)

    def manifest(
        self, at: datetime, archive: Digest, ciphertext: Digest, *, prefix: str = PREFIX, cluster: str = "",
        branch: str | None = "backup", signer: str = "", accepted: bool = True, uid: str | None = "uid-1",
        config: Digest | None = None,
    ) -> Manifest:  # fmt: skip
        names = Names(prefix=prefix, taken_at=at)
        config = config or digest_of(b"")
        return Manifest(
            branch=branch,
            cluster=Cluster(name=cluster or self.pair.name, uid=uid),
            taken_at=at,
            archive=File(name=names.archive, size=archive.size, sha256=archive.sha256),
            ciphertext=File(name=names.ciphertext, size=ciphertext.size, sha256=ciphertext.sha256),
            config=File(name=names.config, size=config.size, sha256=config.sha256),
            accepted=accepted,
            datastore=Datastore.ETCD,
            cipher=CIPHER,
            versions=Versions(handler="0", k0sctl="0", k0s=None, openssl="3"),
            signer=signer or self.pair.fingerprint,
        )

    def change(
        self, content: bytes, at: datetime, *, prefix: str = PREFIX, cluster: str = "", branch: str | None = "backup",
        signer: str = "", accepted: bool = True, uid: str | None = "uid-1", password: Secret = PASSWORD,
    ) -> Change:  # fmt: skip
        """What a backup adds to its branch."""
        names = Names(prefix=prefix, taken_at=at)
        archive = self.encrypted(content, "archive", password)
        config = self.encrypted(b"kind: Cluster\n", "config", password)
        manifest = self.manifest(
            at, digest_of(content), archive.digest, prefix=prefix, cluster=cluster, branch=branch, signer=signer,
            accepted=accepted, uid=uid, config=config.digest,
        )  # fmt: skip
        document = manifest.to_json()
        return Change(
            files={
                names.ciphertext: archive,
                names.config: config,
                names.manifest: document,
                names.signature: self.gpg.sign(document),
                "README.md": readme(cluster=self.pair.name, signer=self.pair.fingerprint, recovery=0, latest=manifest),
            },
            links={names.latest: names.ciphertext} if accepted else {},
        )

    def take(self, content: bytes, at: datetime = NOW) -> str:
        return self.write(self.change(content, at), at=at)[0]


def copy(source: Path, target: Path) -> Path:
    shutil.copytree(source, target, symlinks=True)
    return target


def state(directory: Path, git: PlainGit) -> dict[str, str]:
    """All that a failed run must leave alone: HEAD, refs, index and work tree, and no temporary files beside."""
    status = git(directory, "status", "--porcelain", "--ignored")
    refs = git(directory, "for-each-ref", check=False)
    dot = Path(git(directory, "rev-parse", "--absolute-git-dir"))
    left = [
        str(path.relative_to(dot)) for path in dot.rglob("*") if path.name.startswith("tmp_") or "lock" in path.name
    ]
    staging = [str(path) for path in dot.glob("k0sctl-handler*")]
    head = (dot / "HEAD").read_text()
    files = sorted(str(path.relative_to(directory)) for path in directory.rglob("*") if dot not in path.parents)
    return {"status": status, "refs": refs, "head": head, "left": str(left + staging), "files": str(files)}


# --- attacks on objects ------------------------------------------------------------------------------------------


def explode(directory: Path, git: PlainGit) -> None:
    """Turn every packed object into a loose one."""
    packs = directory / ".git/objects/pack"
    aside = directory / ".git/aside"
    aside.mkdir()
    for file in packs.iterdir():
        file.rename(aside / file.name)
    for pack in aside.glob("*.pack"):
        git(directory, "unpack-objects", "-q", data=pack.read_bytes())
    shutil.rmtree(aside)


def repack(directory: Path, git: PlainGit) -> None:
    git(directory, "repack", "-a", "-d", "-f", "-q")
    git(directory, "prune-packed")


def loose(directory: Path, oid: str) -> Path:
    return directory / ".git/objects" / oid[:2] / oid[2:]


def _replace(path: Path, data: bytes) -> None:
    path.unlink(missing_ok=True)  # git makes objects read-only
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(data)


def flip_loose(directory: Path, git: PlainGit, oid: str, kind: str) -> None:
    explode(directory, git)
    path = loose(directory, oid)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    _replace(path, bytes(data))


def flip_packed(directory: Path, git: PlainGit, oid: str, kind: str) -> None:
    repack(directory, git)
    index = next((directory / ".git/objects/pack").glob("*.idx"))
    line = next(line for line in git(directory, "verify-pack", "-v", str(index)).splitlines() if line.startswith(oid))
    size, offset = int(line.split()[3]), int(line.split()[4])
    pack = index.with_suffix(".pack")
    data = bytearray(pack.read_bytes())
    data[offset + size - size // 3] ^= 1
    _replace(pack, bytes(data))


def swap_loose(directory: Path, git: PlainGit, oid: str, kind: str) -> None:
    """Another valid object under this one's name."""
    explode(directory, git)
    evil = changed(git.raw(directory, kind, oid), kind)
    _replace(loose(directory, oid), zlib.compress(b"%s %d\0" % (kind.encode(), len(evil)) + evil))


def swap_packed(directory: Path, git: PlainGit, oid: str, kind: str) -> None:
    """Another object in a pack whose index tells this one's name: git itself does not notice."""
    explode(directory, git)
    evil = changed(git.raw(directory, kind, oid), kind)
    loose(directory, oid).unlink()
    number = {"commit": 1, "tree": 2, "blob": 3}[kind]
    head, rest = (number << 4) | (len(evil) & 15), len(evil) >> 4
    header = bytearray()
    while rest:
        header.append(head | 0x80)
        head, rest = rest & 0x7F, rest >> 7
    header.append(head)
    body = b"PACK" + (2).to_bytes(4, "big") + (1).to_bytes(4, "big") + bytes(header) + zlib.compress(evil)
    packs = directory / ".git/objects/pack"
    pack = packs / "pack-1234567890123456789012345678901234567890.pack"
    pack.write_bytes(body + sha1(body).digest())
    git(directory, "index-pack", str(pack))
    index = bytearray(pack.with_suffix(".idx").read_bytes())
    first = bytes.fromhex(oid)[0]
    for byte in range(256):
        index[8 + 4 * byte : 12 + 4 * byte] = (1 if byte >= first else 0).to_bytes(4, "big")
    index[8 + 1024 : 8 + 1024 + 20] = bytes.fromhex(oid)
    index[-20:] = sha1(index[:-20]).digest()
    _replace(pack.with_suffix(".idx"), bytes(index))
    (packs / f"{pack.stem}.rev").unlink(missing_ok=True)
    assert git.raw(directory, kind, oid) == evil  # git itself is content


def drop(directory: Path, git: PlainGit, oid: str, kind: str) -> None:
    explode(directory, git)
    loose(directory, oid).unlink()


def cut(directory: Path, git: PlainGit, oid: str, kind: str) -> None:
    """The object's file, cut short."""
    explode(directory, git)
    path = loose(directory, oid)
    _replace(path, path.read_bytes()[:-20])


def changed(data: bytes, kind: str) -> bytes:
    """The same kind of object with another content."""
    match kind:
        case "commit":
            return data + b"and more\n"
        case "tree":
            return data.replace(b"README.md", b"README.mx")
        case _:
            return bytes([data[0] ^ 1]) + data[1:]
