"""Spool: checkpoints on this machine that await their upload and outlive their process.

    <user cache dir>/memoflow/spool/<store id>/<series>/<process>/owner
    <user cache dir>/memoflow/spool/<store id>/<series>/<process>/<number>-<token>/tree, about.json

Each process has folders of its own, and holds a lock on `owner` while it lives: once that is free
any other process may upload what is left. An entry's description is written last: one without is
what a killed process had not finished copying. A power cut could leave less than that of what was
copied, so what was committed before this machine started is not believed.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import re
import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import field
from datetime import timedelta
from errno import ENOSPC
from pathlib import Path

from memoflow.backends.local import flush
from memoflow.dataclass import dataclass
from memoflow.errors import BackendError, MemoflowError
from memoflow.fields import Fields, loaded
from memoflow.flow.spool.entry import Entry
from memoflow.kinds import checkpoint
from memoflow.kinds.about import About
from memoflow.kinds.checkpoint import SavedCheckpoint
from memoflow.log import WARNING, Say, log
from memoflow.names import Key
from memoflow.objects import Source, Tree, is_copy, settle
from memoflow.objects.paths import check_path
from memoflow.process import boot_id
from memoflow.store import Payload, Store
from memoflow.threads import stop_check

_OWNER, _RESCUE, _ABOUT, _FAILED = "owner", "rescue", "about.json", "failed"
_FORMAT = 1
_LARGEST_ABOUT_BYTES = 32 << 20
_HIGHEST_NUMBER = 99_999_999
_TOKEN = re.compile(r"[0-9a-f]+")
# What is left of the disk for whoever else writes to it.
_SPARE_BYTES = 1 << 30
_LEFT_BEHIND = timedelta(days=1)
_GIVEN_UP = timedelta(days=7)


@dataclass(frozen=True)
class SpoolEntry(Entry):
    """One entry on this machine's disk: a file or folder, by its path in `folder`."""

    folder: Path
    path: str
    boot: str = field(default_factory=boot_id)

    @property
    def place(self) -> str:
        return str(self.folder)

    @property
    def has_failed(self) -> bool:
        """True if its process failed to upload it and has not tried again."""
        return (self.folder / _FAILED).exists()

    def upload(self, store: Store) -> SavedCheckpoint:
        with contextlib.suppress(OSError):
            (self.folder / _FAILED).unlink()
        try:
            one = self.store(store, Payload(tree=self.folder / self.path))
        except BaseException:
            with contextlib.suppress(OSError):
                (self.folder / _FAILED).touch()
            raise
        self.remove()
        return one

    def remove(self) -> None:
        # The description first: without it nobody takes what is half removed for an entry.
        with contextlib.suppress(OSError):
            (self.folder / _ABOUT).unlink()
        shutil.rmtree(self.folder, ignore_errors=True)

    def write(self) -> None:
        """Write the description, which commits the entry."""
        fields = {
            "format": _FORMAT,
            "series": str(self.series),
            "number": self.number,
            "token": self.token,
            "path": self.path,
            "size_bytes": self.size_bytes,
            "created": self.created,
            "ttl_s": None if self.ttl is None else self.ttl.total_seconds(),
            "about": self.about.to_json(),
            "boot": self.boot,
        }
        temporary = self.folder / f".{_ABOUT}"
        temporary.write_text(json.dumps(fields))
        temporary.replace(self.folder / _ABOUT)

    @classmethod
    def read(cls, folder: Path) -> SpoolEntry | None:
        """Return the entry of a folder; None without one, or with a newer format."""
        try:
            with open(folder / _ABOUT, "rb") as file:
                fields = Fields(loaded(file.read(_LARGEST_ABOUT_BYTES)))
            if fields.whole("format") != _FORMAT:
                return None
            ttl_s = fields.number("ttl_s") if fields.has("ttl_s") else None
            token, path = fields.text("token"), fields.text("path", is_free=True)
            if not _TOKEN.fullmatch(token):
                raise ValueError("its token is none")
            check_path(path)
            return cls(
                folder=folder,
                series=Key.parse(fields.text("series")),
                number=fields.whole("number", most=_HIGHEST_NUMBER),
                token=token,
                path=path,
                size_bytes=fields.whole("size_bytes"),
                created=fields.number("created"),
                ttl=None if ttl_s is None else timedelta(seconds=ttl_s),
                about=About.from_json(checkpoint.KIND, fields.mapping("about")),
                boot=fields.text("boot"),
            )
        except (OSError, ValueError, MemoflowError):
            return None


class Own:
    """This process's folder for a series; OSError if it cannot be made."""

    def __init__(self, store: Store, series: Key) -> None:
        root = _folder_of(store)
        if root is None:
            raise OSError(ENOSPC, "no directory of this machine can be written to")
        parent = root / _name_of(series)
        parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        # Hidden until it is locked, or it would be taken for that of a dead process.
        hidden = Path(tempfile.mkdtemp(prefix=".", dir=parent))
        self._lock = os.open(hidden / _OWNER, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        self.folder = hidden.rename(parent / hidden.name[1:])

    def let_go(self) -> None:
        """Close the inherited lock in a forked child."""
        os.close(self._lock)

    def reserve(self, name: str) -> Path:
        """Return an empty folder by which other processes count a save that is in memory."""
        folder = self.folder / name
        folder.mkdir()
        return folder

    def copy(self, tree: Tree, name: str, *, is_file: bool) -> tuple[Path, str, int]:
        """Copy files into a new entry; return its folder, the path in it and the size.

        Never links: the caller goes on writing to his files. UsageError if they change
        meanwhile, OSError if there is no room.
        """
        size_bytes = sum(source.size_bytes for source in tree.sources)
        free = shutil.disk_usage(self.folder).free
        if free < size_bytes + _SPARE_BYTES:
            raise OSError(ENOSPC, f"{free >> 20} MiB are free")
        folder = self.folder / name
        root = folder / "tree"
        try:
            root.mkdir(parents=True)
            tree = _copy_all(tree, root)
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        size_bytes = sum(source.size_bytes for source in tree.sources)
        return folder, f"tree/{tree.sources[0].path}" if is_file else "tree", size_bytes


def last_number(store: Store, series: Key) -> int:
    """Return the highest number in use on this machine; 0 if none is."""
    processes = _folders(_series_folder(store, series))
    names = (path.name for process in processes for path in _entry_folders(process))
    return max((int(name.partition("-")[0]) for name in names), default=0)


def pending(store: Store, series: Key | None = None) -> Iterator[tuple[SpoolEntry, bool]]:
    """Yield entries that await upload, of any process here; True for those of live ones."""
    root = _folder_of(store)
    if series is None:
        folders = _folders(root) if root is not None else []
    else:
        folders = [_series_folder(store, series)]
    for folder in folders:
        for process in _folders(folder):
            entries = list(_entries(process))
            alive = bool(entries) and not _is_dead(process)
            for entry in entries:
                yield entry, alive


def rescue(store: Store, series: Key) -> list[SavedCheckpoint]:
    """Upload the entries of dead processes in a series, oldest first, and return them.

    Raises what goes wrong, and keeps what was not uploaded. One process at a time does so, and
    others wait for it.
    """
    try:
        return _rescue(store, _series_folder(store, series), older_than=timedelta())
    except OSError as error:
        raise BackendError(f"{error.filename} cannot be used: {error.strerror}") from error


def collect(store: Store, say: Say) -> None:
    """Upload entries abandoned for a day; drop, with a line, those that failed for a week.

    What is younger belongs to tasks that may run again.
    """
    mine = _folder_of(store)
    for folder in _folders(mine) if mine is not None else []:
        try:
            count = len(_rescue(store, folder, older_than=_LEFT_BEHIND))
        except (MemoflowError, OSError) as error:
            say(f"what tasks left in {folder} was not uploaded: {error}", WARNING)
        else:
            if count:
                say(f"uploaded {count} of the checkpoints that tasks left in {folder}")
    # Of other stores as well, which perhaps nobody ever opens again.
    for other in _folders(mine.parent) if mine is not None else []:
        for folder in _folders(other):
            for process in _folders(folder):
                age_s = time.time() - process.stat().st_mtime
                if age_s > _GIVEN_UP.total_seconds() and _is_dead(process):
                    shutil.rmtree(process, ignore_errors=True)
                    say(f"gave up on {process}, which nobody could upload for a week", WARNING)
            _remove_if_empty(folder)


def _rescue(store: Store, folder: Path, *, older_than: timedelta) -> list[SavedCheckpoint]:
    if not any(_is_dead(process) for process in _folders(folder)):
        return []
    found: list[SavedCheckpoint] = []
    failures: list[MemoflowError] = []
    with open(folder / _RESCUE, "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        dead = [process for process in _folders(folder) if _is_dead(process)]
        entries = [entry for process in dead for entry in _entries(process)]
        for entry in sorted(entries, key=lambda entry: str(entry.key)):
            if entry.created > time.time() - older_than.total_seconds():
                continue
            if entry.boot != boot_id():
                log.warning("%s was lost: this machine was restarted before its upload", entry.key)
                entry.remove()
                continue
            try:
                found.append(entry.upload(store))
            except MemoflowError as error:
                failures.append(error)  # It does not keep others from being uploaded.
        for process in dead:
            if not any((each / _ABOUT).exists() for each in _entry_folders(process)):
                shutil.rmtree(process, ignore_errors=True)
        _remove_if_empty(folder)
    if failures:
        raise failures[0]
    return found


def _remove_if_empty(folder: Path) -> None:
    with contextlib.suppress(OSError):
        if not _folders(folder):
            (folder / _RESCUE).unlink(missing_ok=True)
            folder.rmdir()


def _is_dead(process: Path) -> bool:
    """Tell whether the process of a folder has ended: nobody holds its lock."""
    try:
        with open(process / _OWNER) as lock:
            # Shared, so that two who ask at once do not take each other for the owner.
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return True  # Somebody emptied the cache, and a live process went on in there.
    except OSError:
        return False
    return True


def _entries(process: Path) -> Iterator[SpoolEntry]:
    for folder in _entry_folders(process):
        entry = SpoolEntry.read(folder)
        if entry is not None:
            yield entry


def _entry_folders(process: Path) -> list[Path]:
    return sorted(path for path in _folders(process) if path.name[:8].isdigit())


def _folders(folder: Path) -> list[Path]:
    try:
        with os.scandir(folder) as found:
            return [Path(one.path) for one in found if one.is_dir() and one.name[0] != "."]
    except OSError:
        return []


def _series_folder(store: Store, series: Key) -> Path:
    return (_folder_of(store) or Path(os.devnull)) / _name_of(series)


def _folder_of(store: Store) -> Path | None:
    # Beside the index, which lies on a disk of this machine or nowhere.
    index = store.index.path
    return None if index is None else index.parent / "spool" / store.id


def _name_of(series: Key) -> str:
    return hashlib.sha256(str(series).encode()).hexdigest()[:16]


def _copy_all(tree: Tree, root: Path) -> Tree:
    """Copy a tree into a folder and return the tree as copied."""
    copied: set[str] = set()

    def store(sources: Sequence[Source]) -> None:
        for source in sources:
            target = root / source.path
            target.parent.mkdir(parents=True, exist_ok=True)
            _copy(source, target)
            copied.add(source.path)

    check = stop_check()
    tree = settle(tree, store, lambda source: is_copy(source, root / source.path, check))
    for path in copied.difference(source.path for source in tree.sources):
        (root / path).unlink(missing_ok=True)
        for parent in Path(path).parents[:-1]:
            with contextlib.suppress(OSError):
                (root / parent).rmdir()
    for empty in tree.folders:
        (root / empty).mkdir(parents=True, exist_ok=True)
    for path, leads_to in tree.links.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).symlink_to(leads_to)
    for folder, _, _ in os.walk(root):
        os.chmod(folder, 0o755)
    for path, mode in tree.modes.items():
        with contextlib.suppress(FileNotFoundError):  # It went while all was copied.
            os.chmod(root / path, mode | 0o600)
    return tree


def _copy(source: Source, target: Path) -> None:
    """Copy a file up to its surveyed size, sharing blocks where the file system can."""
    assert isinstance(source.content, str)
    try:
        _copy_bytes(source.content, target, source.size_bytes)
    except FileNotFoundError:
        source.gone.append(True)
        return
    if target.stat().st_size < source.size_bytes:
        source.gone.append(True)
    # As if everybody could read it, which is for those that are private to say.
    target.chmod(0o755 if source.executable else 0o644)
    if not boot_id():
        with open(target, "rb") as file:
            flush(file.fileno())  # Since nobody could tell whether it outlived a power cut.


def _copy_bytes(source: str, target: Path, size_bytes: int) -> None:
    with open(source, "rb") as read, open(target, "wb") as write:
        try:
            left = size_bytes
            while left and hasattr(os, "copy_file_range"):
                count = os.copy_file_range(read.fileno(), write.fileno(), left)
                if not count:
                    break  # Some file systems answer that there is nothing to copy.
                left -= count
        except OSError as error:
            if error.errno == ENOSPC:
                raise
        if os.fstat(write.fileno()).st_size == size_bytes:
            return
    shutil.copyfile(source, target)  # Between file systems that cannot do so by themselves.
    if os.path.getsize(target) > size_bytes:
        os.truncate(target, size_bytes)
