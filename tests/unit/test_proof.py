"""The proof of an archive: what real k0s archives hold, and every damage that makes one worthless.

Each damaged archive is made from one that a real k0s wrote, see tests/practice/data/README.md.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import tarfile
import tracemalloc
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest

from handler.errors import IntegrityError
from handler.manifest import Datastore
from handler.proof import Content, inspect

DATA = Path(__file__).parents[1] / "practice" / "data"
ETCD, KINE, CONFIG = "etcd-snapshot.db", "kine-state-backup.db", "k0s.yaml"
KIB, MIB = 1024, 1024 * 1024

#: Members by name, content None for a directory, in the archive's order.
Members = dict[str, bytes | None]


@cache
def real(datastore: str) -> bytes:
    return (DATA / f"k0s-backup-{datastore}.tar.gz").read_bytes()


def members_of(datastore: str) -> Members:
    members: Members = {}
    with tarfile.open(fileobj=io.BytesIO(real(datastore))) as tar:
        for member in tar:
            file = tar.extractfile(member)
            members[member.name] = file.read() if file else None
    members.pop("images/bundle.tar", None)  # two random megabytes, which only take time
    return members


def add(tar: tarfile.TarFile, name: str, content: bytes | None) -> None:
    member = tarfile.TarInfo(name)
    if content is None:
        member.type = tarfile.DIRTYPE
    else:
        member.size = len(content)
    tar.addfile(member, io.BytesIO(content or b""))


def pack(members: Members, *more: tuple[str, bytes | None]) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz", compresslevel=1) as tar:
        for name, content in (*members.items(), *more):
            add(tar, name, content)
    return packed.getvalue()


def prove(archive: bytes) -> Content:
    return inspect(io.BytesIO(archive))


def refused(archive: bytes) -> str:
    with pytest.raises(IntegrityError) as caught:
        prove(archive)
    assert caught.value.exit_code == 5
    return caught.value.message


def config(storage: str) -> bytes:
    return f"apiVersion: k0s.k0sproject.io/v1beta1\nkind: ClusterConfig\nspec:\n  storage:\n{storage}\n".encode()


# --- what is good ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("datastore", "members"), [("etcd", 48), ("kine", 36)])
def test_archive_of_a_real_k0s_is_proven(datastore: str, members: int) -> None:
    archive = real(datastore)

    content = prove(archive)

    assert content == Content(
        size=len(archive),
        sha256=hashlib.sha256(archive).hexdigest(),
        datastore=Datastore(datastore),
        members=members,
        unpacked=content.unpacked,
    )
    assert content.restorable
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        assert content.unpacked == sum(member.size for member in tar)


def test_repacked_archive_is_proven() -> None:
    assert prove(pack(members_of("kine"))).datastore is Datastore.KINE


def test_archive_is_read_from_a_pipe_that_gives_little_at_a_time() -> None:
    class Pipe(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            assert size
            return super().read(min(size, 1000))

        def seek(self, *_: int) -> int:
            raise AssertionError("a pipe cannot be sought")

    assert inspect(Pipe(real("kine"))).sha256 == hashlib.sha256(real("kine")).hexdigest()


def test_progress_and_a_further_hash_cover_the_whole_archive() -> None:
    steps: list[int] = []
    md = hashlib.blake2b()

    content = inspect(io.BytesIO(real("etcd")), on_bytes=steps.append, hasher=md)

    assert len(steps) > 1
    assert sum(steps) == content.size
    assert md.digest() == hashlib.blake2b(real("etcd")).digest()


def test_members_of_helmhome_may_be_there_twice() -> None:
    twice = ("helmhome/repositories.yaml", b"repositories: []\n")
    assert prove(pack(members_of("etcd"), ("helmhome", None), twice, twice)).restorable


def test_errors_of_the_stream_are_passed_on() -> None:
    class Broken(io.BytesIO):
        def read(self, _size: int | None = -1, /) -> bytes:
            raise OSError(5, "Input/output error")

    with pytest.raises(OSError, match="Input/output"):
        inspect(Broken())


@pytest.mark.parametrize("shape", ["huge file", "many members"])
def test_memory_does_not_grow_with_the_archive(shape: str) -> None:
    members = members_of("kine")
    if shape == "huge file":
        members["images/bundle.tar"] = bytes(64 * MIB)
    else:
        members.update({f"manifests/{number:040}.yaml": b"{}" for number in range(3000)})
    archive = io.BytesIO(pack(members))
    del members
    inspect(io.BytesIO(real("kine")))  # imports are not counted

    tracemalloc.start()
    try:
        inspect(archive)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()

    assert peak < 3 * MIB


# --- the datastore and k0s.yaml --------------------------------------------------------------------------------


Damage = Callable[[Members], object]


def without(start: str) -> Damage:
    return lambda members: [members.pop(name) for name in list(members) if name.startswith(start)]


def replaced(name: str, change: Callable[[bytes], bytes]) -> Damage:
    return lambda members: members.__setitem__(name, change(members[name] or b""))


def flip(at: int) -> Callable[[bytes], bytes]:
    return lambda content: content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :]


@pytest.mark.parametrize(
    ("datastore", "damage", "told"),
    [
        pytest.param("etcd", without(ETCD), "holds no datastore; its k0s.yaml asks for etcd", id="no-etcd"),
        pytest.param("kine", without(KINE), "holds no datastore; its k0s.yaml asks for kine", id="no-kine"),
        pytest.param("etcd", without(CONFIG), "holds no k0s.yaml", id="no-config"),
        pytest.param("etcd", replaced(ETCD, flip(4096)), "etcd snapshot in the archive is damaged", id="etcd-bit"),
        pytest.param("etcd", replaced(ETCD, flip(69663)), "snapshot in the archive is damaged", id="etcd-sum"),
        pytest.param("etcd", replaced(ETCD, lambda c: c[:-32]), "carries no checksum (69632 bytes)", id="etcd-no-sum"),
        pytest.param("etcd", replaced(ETCD, lambda c: c[:-512]), "is damaged", id="etcd-cut-by-a-block"),
        pytest.param("etcd", replaced(ETCD, lambda c: c[:5000]), "is cut", id="etcd-cut"),
        pytest.param("etcd", replaced(ETCD, lambda _: b""), "is cut", id="etcd-empty"),
        pytest.param("etcd", replaced(ETCD, lambda _: hashlib.sha256().digest()), "is cut", id="etcd-sum-of-nothing"),
        pytest.param("kine", replaced(KINE, flip(3)), "no SQLite 3 database", id="kine-magic"),
        pytest.param("kine", replaced(KINE, lambda c: c[:-4096]), "header counts 22 pages of 4096", id="kine-cut"),
        pytest.param("kine", replaced(KINE, lambda c: c + b"\0"), "90113 bytes", id="kine-longer"),
        pytest.param("kine", replaced(KINE, lambda c: c[:50]), "no SQLite 3 database", id="kine-header-cut"),
        pytest.param("kine", replaced(KINE, lambda _: b""), "no SQLite 3 database", id="kine-empty"),
        pytest.param("kine", replaced(KINE, lambda c: c[:16] + b"\3\0" + c[18:]), "of 768 bytes", id="kine-page-size"),
        pytest.param("etcd", replaced(CONFIG, lambda _: b""), "cannot be a configuration (0 bytes)", id="config-empty"),
        pytest.param("etcd", replaced(CONFIG, lambda _: b"#" * (MIB + 1)), "cannot be a config", id="config-huge"),
        pytest.param("etcd", replaced(CONFIG, lambda _: b"a: [b"), "cannot be read as YAML", id="config-syntax"),
        pytest.param("etcd", replaced(CONFIG, lambda _: b"\xff\xfe\xff"), "cannot be read as YAML", id="config-binary"),
        pytest.param("etcd", replaced(CONFIG, lambda _: b"[" * 9999), "cannot be read as YAML", id="config-deep"),
        pytest.param("etcd", replaced(CONFIG, lambda _: b"- spec"), "is no mapping", id="config-list"),
        pytest.param("etcd", replaced(CONFIG, lambda _: b"spec: 1"), "spec is no mapping", id="spec-number"),
        pytest.param("etcd", replaced(CONFIG, lambda _: config("    type: [etcd]")), "type is no text", id="type-list"),
        pytest.param("etcd", replaced(CONFIG, lambda _: config("    type: mysql")), "'mysql'", id="type-unknown"),
        pytest.param(
            "kine", replaced(CONFIG, lambda _: config("    type: etcd")), "but its k0s.yaml asks for etcd", id="swap"
        ),
    ],
)
def test_archive_that_would_not_restore_is_refused(datastore: str, damage: Damage, told: str) -> None:
    members = members_of(datastore)
    damage(members)
    assert told in refused(pack(members))


@pytest.mark.parametrize("start", ["pki/ca.key", "pki"])
def test_the_ca_may_be_kept_elsewhere(start: str) -> None:
    members = members_of("etcd")
    without(start)(members)
    assert prove(pack(members)).restorable


def test_two_datastores_are_refused() -> None:
    etcd = members_of("etcd")
    assert "two datastores (etcd and kine)" in refused(pack(etcd, (KINE, members_of("kine")[KINE])))
    assert "two datastores (etcd and etcd)" in refused(pack(etcd, (ETCD, etcd[ETCD])))


def test_two_configurations_are_refused() -> None:
    members = members_of("kine")
    assert "k0s.yaml twice" in refused(pack(members, (CONFIG, members[CONFIG])))


@pytest.mark.parametrize(
    ("datastore", "storage"),
    [
        ("etcd", b"spec:\n  storage:\n    etcd: {peerAddress: 10.0.0.1}\n"),
        ("etcd", b"spec:\n  storage: {type: etcd, etcd: {externalCluster: null}}\n"),
        ("etcd", b"spec:\n  storage:\n"),
        ("etcd", b"spec: ~\n"),
        ("etcd", b"# only a comment\n"),
        ("etcd", b"spec: {}\n---\nspec: {storage: {type: kine}}\n"),
        ("kine", config("    type: kine\n    kine:")),
        ("kine", config("    type: kine\n    kine: {dataSource: ''}")),
        ("kine", config("    type: kine\n    kine: {dataSource: 'sqlite:///var/lib/k0s/db/state.db?mode=rwc&_journal=WAL'}")),
        ("kine", config("    type: kine\n    kine: {dataSource: 'sqlite://file:/srv/state.db?mode=rwc'}")),
    ],
)  # fmt: skip
def test_storage_is_understood_as_k0s_does(datastore: str, storage: bytes) -> None:
    members = members_of(datastore)
    members[CONFIG] = storage
    assert prove(pack(members)).datastore == datastore


EXTERNAL = [
    "    type: kine\n    kine: {dataSource: 'mysql://user:pass@tcp(db:3306)/k0s'}",
    "    type: kine\n    kine: {dataSource: 'postgres://db/k0s'}",
    "    type: kine\n    kine: {dataSource: 'sqlite://:memory:'}",
    "    type: kine\n    kine: {dataSource: '/var/lib/state.db'}",
    "    type: etcd\n    etcd: {externalCluster: {endpoints: ['https://10.0.0.9:2379'], etcdPrefix: k0s}}",
    "    etcd: {externalCluster: {endpoints: ['https://10.0.0.9:2379'], etcdPrefix: k0s}}",
]


@pytest.mark.parametrize("storage", EXTERNAL)
def test_external_datastore_is_kept_but_never_restorable(storage: str) -> None:
    members = members_of("etcd")
    members[CONFIG] = config(storage)
    assert "asks for an external datastore" in refused(pack(members))

    del members[ETCD]
    content = prove(pack(members))

    assert content.datastore is Datastore.EXTERNAL
    assert not content.restorable


def test_secrets_of_k0s_yaml_stay_out_of_the_message() -> None:
    members = members_of("etcd")
    members[CONFIG] = b"password: hunter2\nspec: [hunter2\n"
    archive = pack(members)
    with pytest.raises(IntegrityError) as caught:
        prove(archive)
    assert "hunter2" not in f"{caught.value.message}{caught.value.details}{caught.value.resolution}"


# --- which cause is told ---------------------------------------------------------------------------------------


def test_damaged_gzip_outweighs_what_it_did_to_the_tar() -> None:
    members = members_of("etcd")
    members[ETCD] = flip(4096)(members[ETCD] or b"")
    archive = pack(members)
    trailer_broken = archive[:-8] + bytes([archive[-8] ^ 1]) + archive[-7:]
    assert "CRC-32" in refused(trailer_broken)


def test_plain_tar_is_no_gzip() -> None:
    assert refused(gzip.decompress(real("kine"))) == "the archive is not gzip data"
