"""The datastore of the stand-in k0s: an etcd snapshot or a kine database that really holds the cluster's state.

Both start from the datastore of a real archive (see `../data/`), in which the UID of the namespace kube-system is
replaced by the cluster's own. etcd: the state follows the real pages as JSON, padded to a multiple of 512 bytes.
kine: the state is a row of the table `kine`, as are the objects.
"""

import json
import re
import shutil
import sqlite3
import tarfile
import uuid
from dataclasses import asdict, dataclass, field
from pathlib import Path

DATA = Path(__file__).resolve().parent.parent / "data"
ARCHIVES = {"etcd": DATA / "k0s-backup-etcd.tar.gz", "kine": DATA / "k0s-backup-kine.tar.gz"}
MEMBERS = {"etcd": "etcd-snapshot.db", "kine": "kine-state-backup.db"}
MARK = b"\nk0s-standin-state:"
STATE_KEY = "/registry/k0s-standin/state"
OBJECT_KEY = "/registry/configmaps/default/"
UID = re.compile(
    rb"/registry/namespaces/kube-system.{0,80}?\*\$([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})", re.DOTALL
)
ANY_UID = re.compile(rb"\*\$([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})")
NAMESPACE_KEY = "/registry/namespaces/kube-system"


@dataclass
class State:
    """What the cluster is and holds."""

    uid: str = field(default_factory=lambda: str(uuid.uuid4()))
    objects: list[str] = field(default_factory=list)


def template(storage: str) -> bytes:
    """The datastore of a real archive; etcd without its trailing checksum."""
    with tarfile.open(ARCHIVES[storage], "r|gz") as archive:
        for member in archive:
            if member.name == MEMBERS[storage]:
                content = archive.extractfile(member)
                assert content is not None
                data = content.read()
                return data[:-32] if storage == "etcd" else data
    raise AssertionError(f"no {MEMBERS[storage]} in {ARCHIVES[storage]}")


class EtcdStore:
    """An etcd member's directory; its database is a snapshot without the trailing checksum."""

    def __init__(self, data_dir: Path) -> None:
        self.directory = data_dir / "etcd"
        self.database = self.directory / "member/snap/db"

    def exists(self) -> bool:
        """Whether there is a datastore."""
        return self.database.exists()

    def read(self) -> State:
        """The state, also of a snapshot that a real etcd wrote."""
        return decode_snapshot(self.database.read_bytes())

    def write(self, state: State) -> None:
        """Keeps the state."""
        pages = self.database.read_bytes() if self.exists() else template("etcd")
        self.put(encode_snapshot(pages, state))

    def put(self, snapshot: bytes) -> None:
        """Makes a snapshot (without its checksum) the member's database."""
        self.database.parent.mkdir(parents=True, exist_ok=True)
        self.directory.chmod(0o700)
        new = self.database.with_suffix(".new")
        new.write_bytes(snapshot)
        new.replace(self.database)


def decode_snapshot(snapshot: bytes) -> State:
    """The state in an etcd snapshot."""
    _, mark, text = snapshot.rpartition(MARK)
    if mark:
        return State(**json.loads(text.rstrip(b"\0")))
    found = UID.search(snapshot)
    return State(found[1].decode()) if found else State()


def encode_snapshot(pages: bytes, state: State) -> bytes:
    """An etcd snapshot with this state, without the trailing checksum."""
    pages = pages.rpartition(MARK)[0] or pages
    found = UID.search(pages)
    if found:
        pages = pages[: found.start(1)] + state.uid.encode() + pages[found.end(1) :]
    snapshot = pages + MARK + json.dumps(asdict(state)).encode()
    return snapshot + bytes(-len(snapshot) % 512)


class KineStore:
    """kine's SQLite database. It stays in WAL mode, and as with a k0s that was stopped the WAL stays behind."""

    def __init__(self, data_dir: Path) -> None:
        self.directory = data_dir / "db"
        self.database = self.directory / "state.db"

    def exists(self) -> bool:
        """Whether there is a datastore."""
        return self.database.exists()

    def read(self) -> State:
        """The state, with whatever WAL lies beside the database replayed."""
        copy = self.directory / "reading.db"
        for end in ("", "-wal"):
            source = self.directory / f"state.db{end}"
            if source.exists():
                shutil.copyfile(source, f"{copy}{end}")
        try:
            return read_kine(copy)
        finally:
            for end in ("", "-wal", "-shm"):
                Path(f"{copy}{end}").unlink(missing_ok=True)

    def write(self, state: State) -> None:
        """Keeps the state in the database and in a WAL that holds every page."""
        self.directory.mkdir(parents=True, exist_ok=True)
        if not self.exists():
            self.database.write_bytes(template("kine"))
        wal = self.directory / "state.db-wal"
        kept = self.directory / "kept-wal"
        connection = sqlite3.connect(self.database, isolation_level=None)
        try:
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute("PRAGMA wal_autocheckpoint=0")
            write_kine(connection, state)
            connection.execute("VACUUM")
            shutil.copyfile(wal, kept)
        finally:
            connection.close()
        kept.replace(wal)

    def dump(self, target: Path) -> None:
        """Writes a consistent copy, as k0s backup does."""
        connection = sqlite3.connect(self.database)
        try:
            connection.execute("VACUUM INTO ?", (str(target),))
        finally:
            connection.close()


def read_kine(database: Path) -> State:
    """The state in a kine database, also in one that a real kine wrote."""
    connection = sqlite3.connect(database)
    try:
        query = "SELECT value FROM kine WHERE name = ? ORDER BY id DESC LIMIT 1"
        row = connection.execute(query, (STATE_KEY,)).fetchone()
        if row:
            return State(**json.loads(row[0]))
        row = connection.execute(query, (NAMESPACE_KEY,)).fetchone()
        found = ANY_UID.search(row[0]) if row else None
        return State(found[1].decode()) if found else State()
    finally:
        connection.close()


def write_kine(connection: sqlite3.Connection, state: State) -> None:
    """Puts the state into an open kine database."""
    row = connection.execute("SELECT id, value FROM kine WHERE name = ?", (NAMESPACE_KEY,)).fetchone()
    if row:
        value = ANY_UID.sub(b"*$" + state.uid.encode(), row[1], count=1)
        connection.execute("UPDATE kine SET value = ? WHERE id = ?", (value, row[0]))
    connection.execute("DELETE FROM kine WHERE name = ? OR name LIKE ?", (STATE_KEY, OBJECT_KEY + "%"))
    rows = [(STATE_KEY, json.dumps(asdict(state)).encode())]
    rows += [(OBJECT_KEY + name, f'{{"kind":"ConfigMap","name":"{name}"}}'.encode()) for name in state.objects]
    insert = (
        "INSERT INTO kine (name, created, deleted, create_revision, prev_revision, lease, value) VALUES (?,1,0,0,0,0,?)"
    )
    connection.executemany(insert, rows)


Store = EtcdStore | KineStore


def open_store(storage: str, data_dir: Path) -> Store:
    """The datastore of that type below a data directory."""
    return KineStore(data_dir) if storage == "kine" else EtcdStore(data_dir)


def storage_type(config: Path) -> str:
    """`spec.storage.type` of a k0s.yaml; etcd when it says nothing."""
    try:
        text = config.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return "etcd"
    found = re.search(r"""storage["']?:\s*(?:\{|\n)(?:[^\n}]*\n)*?[^\n}]*?\btype["']?:\s*["']?(\w+)""", text)
    return found[1] if found else "etcd"
