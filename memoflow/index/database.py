"""Database: one SQLite file that may be lost, locked, damaged or forked, and never raises.

It lies on a local disk, since SQLite needs one.
"""

from __future__ import annotations

import errno
import os
import random
import sqlite3
import stat
import tempfile
import threading
import time
import weakref
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

from memoflow.log import log

T = TypeVar("T")

SQLITE_VERSION = sqlite3.sqlite_version
_APPLICATION = 0x6D656D6F  # "memo"
_VERSION = 3
_TABLES = {"entries", "pieces", "facts", "outcomes"}
_NEWEST = "details"  # what was added last to the schema of this version
_ROWS_A_TRANSACTION = 200
_REST = timedelta(seconds=30)
_LEAST_FREE_BYTES = 256 << 10
_SHARED_BYTES = 32 << 10  # of what processes share beside the log, as long as that is short
_SHARED_PAGE_BYTES = 4 << 10
_NOT_OURS = "not an index that this memoflow wrote"
# By its words: the codes are there only from Python 3.11 on.
_MISSING = ("no such table", "no such column")
_DAMAGE = ("malformed", "not a database", "Could not decode to UTF-8", *_MISSING, _NOT_OURS)
_NETWORK = {
    "9p", "afs", "afpfs", "beegfs", "ceph", "cifs", "davfs", "fuse.ceph", "fuse.gcsfuse",
    "fuse.glusterfs", "fuse.goofys", "fuse.juicefs", "fuse.rclone", "fuse.s3fs", "fuse.sshfs",
    "glusterfs", "gpfs", "lustre", "ncpfs", "nfs", "nfs4", "smb3", "smbfs", "virtiofs",
}  # fmt: skip
_open: weakref.WeakSet[Database] = weakref.WeakSet()
# A connection must not be used, nor even closed, in a process forked from the one that opened it.
_inherited: list[sqlite3.Connection] = []


def mounts_of_this_machine() -> str:
    """Return the kernel's table of mounts; "" where there is none."""
    try:
        return Path("/proc/self/mounts").read_text(errors="surrogateescape")
    except OSError:
        return ""


class Database:
    """SQL on the index file; an unusable file is treated as an empty one.

    `patience` bounds how long one call waits for other processes. After that the index rests:
    for half a minute every call gives up at once.
    """

    def __init__(
        self,
        path: Path,
        *,
        patience: timedelta = timedelta(seconds=5),
        mounts: Callable[[], str] = mounts_of_this_machine,
    ) -> None:
        self.path: Path | None = path
        self.warnings: list[str] = []
        self._wanted = path
        self._mounts = mounts
        self._patience = patience
        self._rests_until = 0.0
        self._lock = threading.RLock()
        self._db: sqlite3.Connection | None = None
        self._inode: tuple[int, int] | None = None
        _open.add(self)

    def query(self, sql: str, values: Iterable[object] = ()) -> list[tuple[Any, ...]]:
        """Return all rows; none if the index cannot be read now."""
        rows: list[tuple[Any, ...]] = self._run(
            lambda db: db.execute(sql, tuple(values)).fetchall(), default=[]
        )
        return rows

    def first(self, sql: str, values: tuple[object, ...]) -> tuple[Any, ...] | None:
        """Return the first row or None: the hot path, without a retry unless it is needed."""
        if self._lock.acquire(blocking=False):  # Or the query waits for it.
            try:
                if self._db is not None:
                    row: tuple[Any, ...] | None = self._db.execute(sql, values).fetchone()
                    if row is not None or not self._was_replaced():
                        return row
            except sqlite3.Error:
                pass
            finally:
                self._lock.release()
        rows = self.query(sql, values)
        return rows[0] if rows else None

    def change(self, sql: str, rows: Iterable[tuple[object, ...]]) -> None:
        """Run the statement once per row, in short transactions; forget it if that fails."""
        remaining = iter(rows)
        while batch := list(islice(remaining, _ROWS_A_TRANSACTION)):
            self._run(partial(_commit, sql=sql, rows=batch), default=None)

    def batches(self, values: Iterable[T], size: int = 500) -> Iterator[tuple[str, list[T]]]:
        """Split values into the sizes of one `IN (...)`, and yield each with its marks."""
        remaining = iter(values)
        while batch := list(islice(remaining, size)):
            yield ",".join("?" * len(batch)), batch

    def inspect(self) -> dict[str, int]:
        """Return the number of rows of each table."""
        # Here, because importing it takes longer than everything else that a run asks of us.
        import sqlite_utils

        def count(db: sqlite3.Connection) -> dict[str, int]:
            return {table.name: table.count for table in sqlite_utils.Database(db).tables}

        return self._run(count, default={})

    def damage(self, read: Callable[[], object], *, repair: bool) -> list[str]:
        """Return the findings of damage in the file by SQLite and by a read of its rows.

        `repair` then moves it away.
        """
        known = len(self.warnings)
        read()
        rows = self.query("PRAGMA integrity_check(5)")
        # A file that cannot even be opened is quarantined by then, with a warning.
        found = [text for text in self.warnings[known:] if "unusable" in text]
        found = [f"is{text.partition(' is')[2]}" for text in found]
        found += [f"is damaged: {text}" for (text,) in rows if text != "ok"]
        if repair and rows not in ([], [("ok",)]):
            self.quarantine("it is damaged")
        return found

    def close(self) -> None:
        with self._lock:
            if self._db is not None:
                with suppress(sqlite3.Error):
                    self._db.close()
            self._db = None

    def after_fork(self) -> None:
        """Start afresh in a child: lock and connection belong to the parent."""
        self._lock = threading.RLock()
        if self._db is not None:
            _inherited.append(self._db)
        self._db = None

    def _run(self, act: Callable[[sqlite3.Connection], T], *, default: T) -> T:
        if time.monotonic() < self._rests_until:
            return default
        deadline = time.monotonic() + self._patience.total_seconds()
        pause, rebuilt = 0.001, False
        while True:
            try:
                with self._in_hand():
                    if self._db is not None and self._was_replaced():
                        self.close()
                    if self._db is None:
                        self._db = self._connect()
                    return act(self._db)
            except sqlite3.Error as error:
                is_damaged = any(words in str(error) for words in _DAMAGE)
                if is_damaged and not rebuilt and self.quarantine(str(error)):
                    rebuilt = True
                    continue
                is_busy = "locked" in str(error) or "busy" in str(error)
                if not is_busy or time.monotonic() + pause > deadline:
                    return self._give_up(error, default)
                # Our own loop: SQLite's timeout alone still fails when many open a new file.
                time.sleep(pause * random.uniform(0.5, 1.5))
                pause = min(pause * 2, 0.1)
            except OSError as error:
                return self._give_up(error, default)
            except ValueError as error:
                # Text or numbers that SQLite cannot hold: it is the row that is odd, not the index.
                self._warn(f"the index cannot hold a row ({error})")
                return default

    @contextmanager
    def _in_hand(self) -> Iterator[None]:
        """Hold the connection; OperationalError, as if another process did, if that cannot be.

        A signal's handler may wait for a thread that asks something of the index, which the code
        that the signal interrupted has in hand.
        """
        if not self._lock.acquire(timeout=self._patience.total_seconds()):
            raise sqlite3.OperationalError("index is locked by another thread")
        try:
            yield
        finally:
            self._lock.release()

    def _connect(self) -> sqlite3.Connection:
        self.path, warning = locate(self._wanted, mounts=self._mounts)
        if warning:
            self._warn(warning)
        if self.path is not None:
            _check_room(self.path.parent)
            # Made by us, to be private from the start: it tells what a user computes.
            os.close(os.open(self.path, os.O_RDWR | os.O_CREAT, 0o600))
        db = sqlite3.connect(
            ":memory:" if self.path is None else self.path,
            timeout=0.05,
            isolation_level=None,
            check_same_thread=False,
            cached_statements=64,
        )
        try:
            db.execute("PRAGMA journal_mode = WAL")
            db.execute("PRAGMA synchronous = NORMAL")
            _ensure_schema(db)
            if self.path is not None:
                _allocate(Path(f"{self.path}-shm"))
        except BaseException:
            db.close()
            raise
        self._inode = self._inode_now()
        return db

    def _inode_now(self) -> tuple[int, int] | None:
        if self.path is None:
            return None
        try:
            info = os.stat(self.path)
        except OSError:
            return (0, 0)
        return (info.st_dev, info.st_ino)

    def _was_replaced(self) -> bool:
        return self._inode != self._inode_now()

    def quarantine(self, reason: str) -> bool:
        """Move a file that is no index of ours out of the way; False if that cannot be."""
        with self._lock:
            self.close()
            if self.path is None:
                return False
            moved = self.path.with_name(f"{self.path.name}.damaged")
            try:
                os.replace(self.path, moved)
            except FileNotFoundError:
                return True  # Another process was faster.
            except OSError:
                return False
            for suffix in ("-wal", "-shm"):
                with suppress(OSError):
                    os.unlink(f"{self.path}{suffix}")
            self._warn(
                f"the index {self.path} is unusable ({reason}); moved to {moved.name}, rebuilding"
            )
            return True

    def _give_up(self, error: Exception, default: T) -> T:
        self._rests_until = time.monotonic() + _REST.total_seconds()
        self._warn(f"cannot use the index {self._wanted} now ({error}); going on without it")
        return default

    def _warn(self, text: str) -> None:
        if text not in self.warnings:
            self.warnings.append(text)
            log.warning("%s", text)


def network_file_system(path: Path) -> str:
    """Return the type of network file system that a path is on; "" for a disk of this machine."""
    kind = _file_system(path, mounts_of_this_machine())
    return kind if kind in _NETWORK else ""


def locate(path: Path, *, mounts: Callable[[], str]) -> tuple[Path | None, str | None]:
    """Return a usable path for the index at `path`, and a warning if it is another.

    None for the path means that no directory will do: keep it in memory.
    """
    kind = _file_system(path, mounts())
    if kind in _NETWORK:
        reason = f"it is on {kind}, where SQLite loses data"
    elif not _usable(path):
        reason = "it cannot be written there"
    else:
        return path, None
    private = private_directory()
    if private is None:
        return None, f"the index cannot be at {path} ({reason}); using memory"
    return private / path.name, f"the index cannot be at {path} ({reason}); using {private}"


def private_directory() -> Path | None:
    """Return a directory for temporary files that nobody else can write to, or None."""
    directory = Path(tempfile.gettempdir()) / f"memoflow-{os.getuid()}"
    try:
        directory.mkdir(mode=0o700, exist_ok=True)
        info = directory.lstat()
    except OSError:
        return None
    # Anyone may have made that name first, to have us write where they like.
    ours = stat.S_ISDIR(info.st_mode) and info.st_uid == os.getuid() and not info.st_mode & 0o022
    return directory if ours and os.access(directory, os.W_OK | os.X_OK) else None


def _usable(path: Path) -> bool:
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError:
        return False
    # Beside itself SQLite makes files of its own.
    in_folder = os.access(path.parent, os.W_OK | os.X_OK)
    return in_folder and (not path.exists() or os.access(path, os.R_OK | os.W_OK))


def _file_system(path: Path, mounts: str) -> str:
    """Return the type of the file system at `path`, "" if unknown."""
    where = os.path.realpath(path)
    best, kind = "", ""
    for line in mounts.splitlines():
        fields = line.split(" ")
        if len(fields) < 3:
            continue
        point = fields[1].replace("\\040", " ").rstrip("/")
        # The last of equals wins: a later mount covers an earlier one.
        if len(point) >= len(best) and (where == point or where.startswith(f"{point}/")):
            best, kind = point, fields[2]
    return kind


def _check_room(folder: Path) -> None:
    """Raise OSError where the next few pages may find no room.

    SQLite maps a file into memory, and a page of it without a block on the disk ends the process.
    """
    info = os.statvfs(folder)
    if info.f_bavail * info.f_frsize < _LEAST_FREE_BYTES or (info.f_files and not info.f_favail):
        raise OSError(errno.ENOSPC, "no room is left on its disk")


def _allocate(shared: Path) -> None:
    """Take room for all of the file that is mapped into memory; OSError if there is none.

    SQLite takes the last block of each page, which is all of it unless blocks are smaller.
    """
    if not hasattr(os, "posix_fallocate") or not shared.exists():
        return
    if os.statvfs(shared).f_bsize < _SHARED_PAGE_BYTES:
        file = os.open(shared, os.O_RDWR)
        try:
            os.posix_fallocate(file, 0, max(os.fstat(file).st_size, _SHARED_BYTES))
        finally:
            os.close(file)


def _commit(db: sqlite3.Connection, sql: str, rows: list[tuple[object, ...]]) -> None:
    with db:
        db.execute("BEGIN IMMEDIATE")
        db.executemany(sql, rows)


def _ensure_schema(db: sqlite3.Connection) -> None:
    # All of one moment: another process may be making the same file into an index.
    db.execute("BEGIN")
    try:
        if _is_complete(db):
            return
    finally:
        db.execute("ROLLBACK")
    with db:
        db.execute("BEGIN IMMEDIATE")
        # Asked again: another process may have been faster.
        if not _is_complete(db):
            schema = Path(__file__).with_name("schema.sql").read_text()
            if sqlite3.sqlite_version_info < (3, 37):
                # That had no STRICT yet; without it the same tables work, only less checked.
                schema = schema.replace("STRICT, ", "").replace(" STRICT;", ";")
            for statement in schema.split(";\n"):
                db.execute(statement)
            db.execute(f"PRAGMA application_id = {_APPLICATION}")
            db.execute(f"PRAGMA user_version = {_VERSION}")


def _is_complete(db: sqlite3.Connection) -> bool:
    """Tell a finished index from an empty or older file; DatabaseError for anything else."""
    version = db.execute("PRAGMA user_version").fetchone()[0]
    application = db.execute("PRAGMA application_id").fetchone()[0]
    names = {name for (name,) in db.execute("SELECT name FROM sqlite_master")}
    if (version, application, names) == (0, 0, set()):
        return False
    if (version, application) != (_VERSION, _APPLICATION):
        raise sqlite3.DatabaseError(f"{_NOT_OURS}: version {version} of {application:#x}")
    if not names.issuperset(_TABLES):
        raise sqlite3.DatabaseError(f"no such table: {', '.join(_TABLES - names)}")
    return _NEWEST in names


def _after_fork() -> None:
    for database in list(_open):
        database.after_fork()


os.register_at_fork(after_in_child=_after_fork)
