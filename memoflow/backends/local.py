"""Local: a backend in a directory of this machine."""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from io import FileIO
from pathlib import Path
from typing import BinaryIO

from memoflow.backends.backend import (
    LARGEST_READ_BYTES,
    Backend,
    BlobLocation,
    Data,
    Found,
    check_name,
    chunks,
    chunks_of,
    folder,
)
from memoflow.backends.exclusive import ANSWERS, WAYS, Way, give
from memoflow.backends.failures import reread, translated
from memoflow.errors import NotFoundError

_Paths = list[str]  # Said here: inside the class, `list` is one of its verbs.
_TEMPORARY = ".tmp-"
_BLOCK_BYTES = 4096
_UNBUFFERED_BYTES = 1 << 20
_DIRECT: int = getattr(os, "O_DIRECT", 0)
_FICLONE = 0x40049409  # of linux/fs.h: btrfs and XFS know it
_FAILED = {errno.EIO, errno.ENOSPC, errno.EDQUOT}  # Flushed again, they would say that all is well.
_NO_FILE = {errno.ELOOP, errno.ENXIO}  # a link, a socket
_ABSENT = (FileNotFoundError, NotADirectoryError, IsADirectoryError)


class Local(Backend):
    """Keep each name as a file under `root`, which the first write creates.

    Files are read-only and never written in place; what is no regular file is none. New folders
    are private (0700), or as open as a root that somebody made before: `chmod g+rwxs` on it shares
    the store with a group. Then files can be read by whom the root lets read, whatever the umask.
    """

    # `ways` of giving a name that nothing has, in order: what a file system lacks is passed over.
    def __init__(self, root: Path, *, ways: Sequence[Way] = WAYS) -> None:
        self.root = Path(os.path.abspath(root))
        self._ways = ways
        self._prefix = f"{self.root}/"

    def __repr__(self) -> str:
        return f"Local({str(self.root)!r})"

    def __str__(self) -> str:
        return str(self.root)

    def path(self, name: str) -> Path:
        return Path(self._path(name))

    def folds_case(self, name: str) -> bool:
        return self.has(name.upper())

    def read(self, name: str, *, most_bytes: int = LARGEST_READ_BYTES) -> bytes | None:
        path = self._path(name)

        def read() -> bytes | None:
            try:
                with open(path, "rb", buffering=0, opener=_regular) as file:
                    if os.fstat(file.fileno()).st_size <= most_bytes:
                        return file.readall()
                    # At once, unless it is cut off meanwhile.
                    return file.read(most_bytes + 1) or b""
            except _ABSENT:
                return None

        return reread(path, read)

    def open(self, name: str) -> BinaryIO | None:
        path = self._path(name)

        def opened() -> BinaryIO | None:
            try:
                return open(path, "rb", opener=_regular)
            except _ABSENT:
                return None

        return reread(path, opened)

    def sizes(self, names: Sequence[str]) -> Sequence[int | None]:
        return [self._size(self._path(name)) for name in names]

    def list(self, prefix: str) -> Iterator[Found]:
        start = folder(prefix)
        for name, entry in self._entries(f"{self._prefix}{start}", start):
            if entry.name.startswith("."):
                continue
            try:
                info = entry.stat(follow_symlinks=False)
            except FileNotFoundError:
                continue
            except OSError:
                with translated("list", entry.path):
                    raise
            if stat.S_ISREG(info.st_mode):
                # ctime: an adopted file was written long before it became a blob.
                yield Found(name, info.st_size, info.st_ctime, f"{info.st_ino}-{info.st_mtime_ns}")

    def write(
        self, name: str, data: Data, *, if_absent: bool = False, durable: bool = True
    ) -> bool:
        path = self._path(name)
        if isinstance(data, Path):
            # Opened before anything is made here, and told apart from failures of this backend.
            with translated("read", data), open(data, "rb", buffering=0) as file:
                return self._write(
                    path, chunks(file), like=file, if_absent=if_absent, durable=durable
                )
        content = (data,) if isinstance(data, bytes) else data
        return self._write(path, content, if_absent=if_absent, durable=durable)

    def link_or_copy(self, name: str, source: Path | BlobLocation) -> bool:
        if isinstance(source, BlobLocation):
            there = source.backend.path(source.name)
            if there is None:
                return self.write(name, chunks_of(source), if_absent=True)
            source = there
        path = self._path(name)
        real = os.path.realpath(source)
        if not self._is_readable_alike(real):
            return self.write(name, source, if_absent=True)
        with translated("write", path):
            try:
                self._in_folder(path, lambda: os.link(real, path))
            except FileExistsError:
                return False
            except FileNotFoundError:
                raise NotFoundError(f"{source} went away before it could be adopted") from None
            except OSError as error:
                if error.errno in ANSWERS:
                    raise
                return self.write(name, source, if_absent=True)
        return True

    def delete(self, names: Sequence[str]) -> None:
        folders = set()
        for name in names:
            path = self._path(name)
            with translated("delete", path), suppress(*_ABSENT):
                os.unlink(path)
            folders.add(os.path.dirname(path))
        for left in folders:
            self._drop_empty(left)

    def cleanup(self, *, before: float, dry_run: bool = False) -> int:
        removed = 0
        for _, entry in self._entries(f"{self.root}", ""):
            if not entry.name.startswith(_TEMPORARY):
                continue
            with translated("delete", entry.path), suppress(FileNotFoundError):
                if os.stat(entry.path, follow_symlinks=False).st_ctime < before:
                    if not dry_run:
                        os.unlink(entry.path)
                    removed += 1
        return removed

    def specials(self) -> Iterator[tuple[str, int]]:
        """Yield name and mode of each thing that is neither a file nor a folder."""
        for name, entry in self._entries(f"{self.root}", ""):
            if not entry.is_file(follow_symlinks=False) and entry.name[0] != ".":
                with translated("list", entry.path), suppress(FileNotFoundError):
                    yield name, entry.stat(follow_symlinks=False).st_mode

    def _path(self, name: str) -> str:
        return self._prefix + check_name(name)

    def _size(self, path: str) -> int | None:
        with translated("read", path):
            try:
                info = os.stat(path, follow_symlinks=False)
            except _ABSENT:
                return None
        return info.st_size if stat.S_ISREG(info.st_mode) else None

    def _entries(self, directory: str, prefix: str) -> Iterator[tuple[str, os.DirEntry[str]]]:
        """Yield all but folders in a folder and below, by name; of hidden folders nothing."""
        # A loop, and nothing entered for each: there are three folders to a result.
        ahead = [(directory, prefix)]
        while ahead:
            directory, prefix = ahead.pop()
            try:
                entries = list(os.scandir(directory))
            except _ABSENT:
                continue
            except OSError:
                with translated("list", directory):
                    raise
            for entry in entries:
                if not entry.is_dir(follow_symlinks=False):
                    yield prefix + entry.name, entry
                elif not entry.name.startswith("."):  # Somebody's probe, perhaps theirs alone.
                    ahead.append((entry.path, f"{prefix}{entry.name}/"))

    def _write(
        self,
        path: str,
        source: Iterable[bytes | memoryview],
        *,
        like: FileIO | None = None,
        if_absent: bool,
        durable: bool,
    ) -> bool:
        directory = os.path.dirname(path)
        # In the same directory: a rename is whole only within one file system.
        temporary = f"{directory}/{_TEMPORARY}{uuid.uuid4().hex}"
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        with translated("write", path):
            made: _Paths = []
            try:
                file = self._in_folder(path, lambda: os.open(temporary, flags, 0o444), made)
            except OSError:
                # Each try of a sweep on a full disk would cost an inode.
                self._drop_empty(directory)
                raise
            try:
                try:
                    self._share(file)
                    if like is None or not share_blocks(file, like):
                        write = _Unbuffered(file).write if durable else partial(_write_all, file)
                        for chunk in source:
                            write(chunk)
                    if durable:
                        flush(file)
                finally:
                    os.close(file)
                if not self._give_name(temporary, path, if_absent=if_absent):
                    return False
            finally:
                with suppress(OSError):
                    os.unlink(temporary)
            if durable:
                for changed in (directory, *map(os.path.dirname, made)):
                    _flush_folder(changed)
        return True

    def _read_bits(self) -> int:
        """Return the permission bits of group and others to read here."""
        try:
            return os.stat(self.root).st_mode & 0o044
        except FileNotFoundError:
            return 0

    def _share(self, file: int) -> None:
        """Give a new file the read permissions of the root."""
        bits = self._read_bits()
        if bits and (mode := os.fstat(file).st_mode) & bits != bits:
            with suppress(PermissionError):  # Some file systems have modes, but of their own.
                os.fchmod(file, stat.S_IMODE(mode) | bits)

    def _is_readable_alike(self, source: str) -> bool:
        """Tell whether all readers of the root can read a file."""
        bits = self._read_bits()
        if not bits:
            return True
        try:
            info, root = os.stat(source), os.stat(self.root)
        except OSError:
            return True  # Whoever needs it says what is wrong.
        # Who is in the file's group is denied what others may do.
        needed = 0o040 if info.st_gid == root.st_gid and not bits & 0o004 else 0o044
        return info.st_mode & needed == needed

    def _give_name(self, temporary: str, path: str, *, if_absent: bool) -> bool:
        """Give a name, also in place of an empty folder, which nobody can miss."""

        def act() -> None:
            if if_absent:
                give(temporary, path, str(self.root), self._ways)
            else:
                os.rename(temporary, path)

        try:
            act()
        except (FileExistsError, IsADirectoryError) as error:
            with suppress(OSError):
                os.rmdir(path)
                act()
                return True
            if if_absent and isinstance(error, FileExistsError):
                return False
            raise
        return True

    def _in_folder(
        self, path: str, act: Callable[[], int | None], made: _Paths | None = None
    ) -> int:
        """Call `act`, making the folder of `path` first if it is missing."""
        for _ in range(100):
            try:
                return act() or 0
            except FileNotFoundError:
                # Again and again, because `delete` drops folders that it finds empty.
                self._make_folder(os.path.dirname(path), [] if made is None else made)
        return act() or 0

    def _make_folder(self, directory: str, made: _Paths) -> None:
        root = str(self.root)
        if len(directory) <= len(root):
            os.makedirs(os.path.dirname(root), exist_ok=True)
        try:
            os.mkdir(directory, 0o700)
        except FileExistsError:
            return
        except FileNotFoundError:
            self._make_folder(os.path.dirname(directory), made)
            # Missing again: dropped meanwhile, and whoever needs it tries again.
            with suppress(FileExistsError, FileNotFoundError):
                os.mkdir(directory, 0o700)
        made.append(directory)
        with suppress(FileNotFoundError, PermissionError):
            mode = stat.S_IMODE(os.stat(root).st_mode)
            if mode & 0o7077:
                os.chmod(directory, mode)

    def _drop_empty(self, directory: str) -> None:
        while len(directory) > len(str(self.root)):
            try:
                os.rmdir(directory)
            except OSError:
                return  # Not empty, or somebody else's: an empty folder costs nothing.
            directory = os.path.dirname(directory)


def _regular(path: str, flags: int) -> int:
    """Open a regular file without blocking; anything else counts as absent.

    Not blocking, as a fifo would; and a device may have no end.
    """
    try:
        file = os.open(path, flags | os.O_NONBLOCK | os.O_NOFOLLOW)
    except OSError as error:
        if error.errno in _NO_FILE:
            raise FileNotFoundError(error.errno, error.strerror, path) from None
        raise
    if not stat.S_ISREG(os.fstat(file).st_mode):
        os.close(file)
        raise FileNotFoundError(errno.ENOENT, "no regular file", path)
    return file


def _write_all(file: int, chunk: bytes | memoryview) -> None:
    rest = memoryview(chunk)
    while rest:
        rest = rest[os.write(file, rest) :]


class _Unbuffered:
    """Writes that do not pass the page cache, as far as the file system lets them.

    What must be on the disk anyway gets there sooner, and costs the processor next to nothing:
    with O_DIRECT, see open(2). Length, place and memory are to be multiples of blocks.
    """

    def __init__(self, file: int) -> None:
        self._file = file
        self._at = 0

    def write(self, chunk: bytes | memoryview) -> None:
        rest = memoryview(chunk)
        whole = len(rest) // _BLOCK_BYTES * _BLOCK_BYTES
        if whole >= _UNBUFFERED_BYTES and self._at % _BLOCK_BYTES == 0 and self._set(_DIRECT):
            try:
                while whole:
                    count = os.write(self._file, rest[:whole])
                    rest, whole, self._at = rest[count:], whole - count, self._at + count
            except OSError as error:
                if error.errno != errno.EINVAL:  # Of other blocks, or memory that is elsewhere.
                    raise
            finally:
                self._set(0)
        self._at += len(rest)
        _write_all(self._file, rest)

    def _set(self, flag: int) -> bool:
        if not _DIRECT:
            return False
        try:
            fcntl.fcntl(self._file, fcntl.F_SETFL, flag)
        except OSError:
            return False
        return True


def share_blocks(file: int, source: FileIO) -> bool:
    """Let a new file share a source's blocks until either is written to, where that can be."""
    try:
        fcntl.ioctl(file, _FICLONE, source.fileno())
    except OSError:
        return False
    return True


def flush(file: int) -> None:
    """Wait until an open file, or folder, is on the disk, and not only on its way there.

    On macOS `fsync` leaves it in the disk's own memory; F_FULLFSYNC does not, where it is known.
    """
    full = getattr(fcntl, "F_FULLFSYNC", None)
    if full is not None:
        try:
            fcntl.fcntl(file, full)
            return
        except OSError as error:
            if error.errno in _FAILED:
                raise
            # Network file systems, and some disks, refuse it.
    os.fsync(file)


def _flush_folder(directory: str) -> None:
    """Wait until the names in a folder are on the disk, as far as its file system can tell."""
    try:
        file = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    except (FileNotFoundError, PermissionError):
        return  # Dropped meanwhile, or the parent of a root and not ours to sync.
    try:
        flush(file)
    except OSError as error:
        if error.errno != errno.EINVAL:  # Some file systems cannot sync a folder.
            raise
    finally:
        os.close(file)
