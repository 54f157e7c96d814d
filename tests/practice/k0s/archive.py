"""`k0s backup` and `k0s restore`: archives in the layout of the real ones, and the real one's ways to fail."""

import gzip
import hashlib
import io
import random
import shutil
import struct
import tarfile
import time
import uuid
import zlib
from dataclasses import replace
from pathlib import Path

from tests.practice.k0s.node import Failure, Node
from tests.practice.k0s.store import (
    ARCHIVES,
    MEMBERS,
    EtcdStore,
    KineStore,
    decode_snapshot,
    encode_snapshot,
    open_store,
    storage_type,
    template,
)

OWNERS = {"root": 0, "kube-apiserver": 996, "etcd": 997, "kube-scheduler": 997}


def lay_out(node: Node, storage: str) -> None:
    """Fills a new data directory with the PKI and the manifests of a real archive."""
    node.data_dir.mkdir(parents=True, exist_ok=True)
    (node.data_dir / "bin").mkdir(exist_ok=True)
    if (node.data_dir / "pki").exists():
        return
    with tarfile.open(ARCHIVES[storage], "r|gz") as archive:
        for member in archive:
            if member.name.startswith("images"):
                break
            if member.name.startswith(("pki", "manifests")):
                _extract(archive, member, node.data_dir)


def _owner(name: str) -> str:
    if name in ("pki/ca.crt", "pki/ca.key"):
        return "root"
    if name == "pki/etcd" or name.startswith(("pki/etcd/peer", "pki/etcd/server")):
        return "etcd"
    if name.startswith("pki/scheduler"):
        return "kube-scheduler"
    served = ("pki/apiserver", "pki/ccm", "pki/front-proxy-client", "pki/k0s-api", "pki/server")
    return "kube-apiserver" if name.startswith(served) else "root"


def _add(archive: tarfile.TarFile, name: str, mode: int, content: bytes | None, mtime: int) -> None:
    member = tarfile.TarInfo(name)
    member.mode, member.mtime = mode, mtime
    member.uname, member.gname = _owner(name), "root"
    member.uid = OWNERS[member.uname]
    if content is None:
        member.type = tarfile.DIRTYPE
        archive.addfile(member)
    else:
        member.size = len(content)
        archive.addfile(member, io.BytesIO(content))


def _flip(data: bytes) -> bytes:
    at = len(data) // 3
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


def _snapshot(node: Node, storage: str, scratch: Path) -> bytes:
    store = open_store(storage, node.data_dir)
    if isinstance(store, KineStore):
        store.dump(scratch)
        data = scratch.read_bytes()
        scratch.unlink()
    else:
        pages = store.database.read_bytes()
        data = pages + hashlib.sha256(pages).digest()
    return _flip(data) if node.fault("bad-snapshot-sha") is not None else data


def _datastores(node: Node, storage: str, scratch: Path) -> list[tuple[str, int, bytes]]:
    own = (MEMBERS[storage], 0o644 if storage == "kine" else 0o600, _snapshot(node, storage, scratch))
    other = "kine" if storage == "etcd" else "etcd"
    foreign = template(other)
    foreign += hashlib.sha256(foreign).digest() if other == "etcd" else b""
    if node.fault("no-datastore") is not None:
        return []
    if node.fault("wrong-datastore") is not None:
        return [(MEMBERS[other], 0o600, foreign)]
    return [own, (MEMBERS[other], 0o600, foreign)] if node.fault("two-datastores") is not None else [own]


def _tar(node: Node, save_path: Path) -> bytes:
    storage = storage_type(node.config)
    now = int(time.time())
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name, mode, content in _datastores(node, storage, save_path / ".snapshot"):
            _add(archive, name, mode, content, now)
        for top in ("pki", "manifests", "images"):
            for path in [node.data_dir / top, *sorted((node.data_dir / top).rglob("*"))]:
                if path.exists():
                    entry = path.stat()
                    data = None if path.is_dir() else path.read_bytes()
                    member = str(path.relative_to(node.data_dir))
                    _add(archive, member, entry.st_mode & 0o777, data, int(entry.st_mtime))
        extra = node.fault("big-backup")
        if extra is not None:
            if not (node.data_dir / "images").exists():
                _add(archive, "images", 0o755, None, now)
            _add(archive, "images/bundle.tar", 0o644, random.randbytes(int(float(extra or 8) * 1e6)), now)
        _add(archive, "k0s.yaml", 0o600, node.config.read_bytes(), now)
    whole = target.getvalue()
    if node.fault("no-tar-end") is not None:
        whole = whole.rstrip(b"\0")
        whole += bytes(-len(whole) % 512)
    return whole


def _pack(node: Node, data: bytes) -> bytes:
    header = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"
    packer = zlib.compressobj(1 if len(data) > 4_000_000 else 6, zlib.DEFLATED, -15)
    body = packer.compress(data) + packer.flush()
    checksum = zlib.crc32(data) ^ (1 if node.fault("wrong-crc") is not None else 0)
    packed = header + body + struct.pack("<II", checksum, len(data) & 0xFFFFFFFF)
    if node.fault("cut-trailer") is not None:
        packed = packed[:-8]
    if node.fault("cut-backup") is not None:
        packed = packed[: len(packed) // 2]
    return packed + (random.randbytes(5000) if node.fault("tail") is not None else b"")


def backup(node: Node, save_path: Path) -> None:
    """Writes an archive of the running cluster into the directory."""
    if node.pid() is None:
        raise Failure("Error: failed to create backup on step `etcd`: context deadline exceeded")
    node.sleep_if("slow-backup")
    if node.sleep_if("hang-backup", 3600):
        raise Failure("Error: failed to create backup on step `etcd`: context deadline exceeded")
    node.fail_if("fail-backup", "failed to create backup on step `etcd`: context deadline exceeded")
    if node.fault("no-backup-file") is not None:
        return
    archive = save_path / time.strftime("k0s_backup_%Y-%m-%dT%H_%M_%S_000Z.tar.gz", time.gmtime())
    content = b"" if node.fault("empty-backup") is not None else _pack(node, _tar(node, save_path))
    archive.write_bytes(content)
    archive.chmod(0o644)


def _unpack(path: Path, target: Path) -> None:
    """As the real one: stops at the end of the tar, so gzip's trailer and what follows are never looked at."""
    raw = path.read_bytes()
    if not raw:
        raise EOFError("EOF")
    if not raw.startswith(b"\x1f\x8b\x08"):
        raise EOFError("unexpected EOF" if len(raw) < 10 and raw.startswith(b"\x1f") else "gzip: invalid header")
    stream = zlib.decompressobj(31)
    try:
        data = stream.decompress(raw) + stream.flush()
    except zlib.error:
        data = _without_checksum(raw)
    with tarfile.open(fileobj=io.BytesIO(data), mode="r:") as archive:
        try:
            for member in archive:
                _extract(archive, member, target)
        except tarfile.TarError:
            raise EOFError("unexpected EOF") from None
        complete = data.endswith(bytes(512)) or stream.eof
    if not complete:
        raise EOFError("unexpected EOF")


def _without_checksum(raw: bytes) -> bytes:
    with gzip.open(io.BytesIO(raw)) as stream:
        read = bytearray()
        try:
            while block := stream.read1(1 << 16):
                read += block
        except (OSError, EOFError, zlib.error):
            pass
        return bytes(read)


def _extract(archive: tarfile.TarFile, member: tarfile.TarInfo, target: Path) -> None:
    path = target / member.name
    if target not in path.resolve().parents:
        raise OSError(f"{member.name} is outside of the archive")
    if member.isdir():
        path.mkdir()
        path.chmod(member.mode | 0o700)
    elif member.isreg():
        content = archive.extractfile(member)
        assert content is not None
        try:
            data = content.read()
        except tarfile.ReadError:
            raise EOFError(f"failed to decompress {member.name} from archive: unexpected EOF") from None
        path.write_bytes(data)
        path.chmod(member.mode | 0o600)


def restore(node: Node, archive: Path) -> None:
    """Brings a backup back into the data directory; what a failure leaves behind stays, as with the real one."""
    if node.pid() is not None:
        raise Failure("Error: k0s seems to be running! k0s must be down during the restore operation.")
    node.sleep_if("slow-restore")
    node.fail_if("fail-restore", "failed to restore on step `etcd`: boom")
    node.data_dir.mkdir(parents=True, exist_ok=True)
    scratch = node.root / f"tmp/k0s-backup{random.randrange(10**9)}"
    scratch.mkdir(mode=0o700)
    try:
        _unpack(archive, scratch)
    except (EOFError, tarfile.TarError, OSError) as error:
        raise Failure(f"Error: failed to unpack backup archive `{node.shown(archive)}`: {error}") from None
    try:
        _put_back(node, scratch)
    finally:
        shutil.rmtree(scratch)


def _put_back(node: Node, scratch: Path) -> None:
    if not (scratch / "k0s.yaml").exists():
        missing = f"open {node.shown(scratch)}/k0s.yaml: no such file or directory"
        raise Failure(f"Error: failed to parse backed-up configuration file, check the backup archive: {missing}")
    storage = storage_type(scratch / "k0s.yaml")
    if storage == "kine":
        store = KineStore(node.data_dir)
        copy = scratch / MEMBERS["kine"]
        if not copy.exists():
            raise Failure(f"Error: failed to restore on step `sqlite`: sqlite snapshot not found at {node.shown(copy)}")
        store.directory.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(copy, store.database)
    else:
        _restore_etcd(node, scratch / MEMBERS["etcd"])
    for top in ("pki", "manifests", "images"):
        if (scratch / top).exists():
            shutil.copytree(scratch / top, node.data_dir / top, dirs_exist_ok=True)
    if node.fault("new-uid") is not None:
        restored = open_store(storage, node.data_dir)
        restored.write(replace(restored.read(), uid=str(uuid.uuid4())))


def _restore_etcd(node: Node, snapshot: Path) -> None:
    step = "Error: failed to restore on step `etcd`: "
    if not snapshot.exists():
        raise Failure(f"{step}etcd snapshot not found at {node.shown(snapshot)}")
    store = EtcdStore(node.data_dir)
    occupied = store.directory.exists() and any(store.directory.iterdir())
    if occupied or node.fault("not-empty") is not None:
        raise Failure(f'{step}data-dir "{node.shown(store.directory)}" not empty or could not be read')
    data = snapshot.read_bytes()
    pages, expected = data[:-32], data[-32:]
    if len(data) % 512 != 32:
        store.put(data)
        raise Failure(f"{step}snapshot missing hash but --skip-hash-check=false")
    store.put(pages)
    actual = hashlib.sha256(pages).digest()
    if actual != expected:
        raise Failure(f"{step}expected sha256 {_go_bytes(expected)}, got {_go_bytes(actual)}")
    store.put(encode_snapshot(pages, decode_snapshot(pages)))


def _go_bytes(data: bytes) -> str:
    return "[" + " ".join(str(byte) for byte in data) + "]"
