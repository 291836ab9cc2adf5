"""Tree: a survey of the files, folders and links to save, at one time."""

from __future__ import annotations

import mmap
import os
import stat
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import field
from fnmatch import fnmatchcase
from pathlib import Path
from pickle import PickleBuffer

from memoflow.dataclass import dataclass
from memoflow.errors import MemoflowError, NotFoundError, UsageError
from memoflow.objects.paths import MOST_FILES, check_path, check_tree

# The finest step in which file systems note the time of a change, with room to spare.
TICK_S = 0.012

# What lets everybody read; of a file that lacks it the permission bits are kept.
_FILE_READ, _FOLDER_READ = 0o044, 0o055

_KINDS = {
    stat.S_IFREG: "file",
    stat.S_IFLNK: "symbolic link",
    stat.S_IFDIR: "directory",
    stat.S_IFIFO: "fifo",
    stat.S_IFSOCK: "socket",
    stat.S_IFBLK: "block device",
    stat.S_IFCHR: "character device",
}

_OWN = (bytes, mmap.mmap)
State = tuple[int, int, int]  # inode, size, time of the last change of the content
# A file on disk; or one in memory, which is not copied, with several buffers one after the other.
Content = Path | bytes | memoryview | Sequence[bytes | memoryview]


@dataclass(frozen=True)
class Source:
    """A file to save: its bytes in memory, or where it lies and the state it was found in.

    `gone` has an item once it could not be read to its end: what was read instead is zeros.
    """

    path: str
    content: tuple[memoryview, ...] | str
    size_bytes: int
    executable: bool = False
    state: State | None = None
    gone: list[bool] = field(default_factory=list)

    @property
    def is_memory(self) -> bool:
        """True for bytes in memory that others may write to."""
        views = () if isinstance(self.content, str) else self.content
        # A read-only view of anything else tells nothing of other views of the same memory.
        return not all(view.readonly and isinstance(_owner(view), _OWN) for view in views)


@dataclass(frozen=True)
class _Folder:
    """A folder still to be listed: its directory, its path in the tree, and its parents."""

    real: str
    prefix: str
    number: tuple[int, int]  # device and inode
    above: _Folder | None = None

    def place_of(self, path: str) -> str | None:
        """Return the path in the tree of an absolute path; None if it is outside."""
        for folder in self.lineage():
            if path == folder.real:
                return folder.prefix[:-1]
            if path.startswith(f"{folder.real.rstrip('/')}/"):
                return folder.prefix + os.path.relpath(path, folder.real)
        return None

    def lineage(self) -> Iterator[_Folder]:
        """Yield this folder and those above it."""
        folder: _Folder | None = self
        while folder is not None:
            yield folder
            folder = folder.above


@dataclass
class Tree:
    """Everything that one save takes in.

    `passed_over` are sockets, pipes and devices, and links to nowhere, by the reason. `modes` are
    the permission bits of files and folders that not everybody may read.
    """

    sources: list[Source] = field(default_factory=list)
    links: dict[str, str] = field(default_factory=dict)
    folders: list[str] = field(default_factory=list)  # the empty ones
    passed_over: dict[str, str] = field(default_factory=dict)
    modes: dict[str, int] = field(default_factory=dict)
    visited: dict[str, State] = field(default_factory=dict)
    _asked: tuple[Path | None, Mapping[str, Content], Sequence[str]] = (None, {}, ())

    @classmethod
    def survey(
        cls,
        root: Path | None,
        files: Mapping[str, Content],
        ignore: Sequence[str] = (),
    ) -> Tree:
        """List a file or directory, and `files` beside it by their relative paths.

        Of the directory nothing is taken whose relative path or name matches a shell pattern of
        `ignore`. A link within it stays one, and others are followed. UsageError for what is
        missing or cannot be read.
        """
        tree = cls(_asked=(root, files, ignore))
        if root is not None:
            where = os.path.abspath(root)
            try:
                info = os.stat(where)
                if stat.S_ISDIR(info.st_mode):
                    real = os.path.realpath(where)
                    tree._walk(where, _Folder(real, "", (info.st_dev, info.st_ino)))
                else:
                    tree._add(os.path.basename(where), where, info)
            except OSError as error:
                raise _unreadable(where, error) from error
        for path, content in sorted(files.items()):
            if isinstance(content, Path):
                try:
                    tree._add(path, os.fspath(content), content.stat())
                except OSError as error:
                    raise _unreadable(os.fspath(content), error) from error
            else:
                views = _views(path, content)
                tree.sources.append(Source(path, views, sum(map(len, views))))
        try:
            check_tree([source.path for source in tree.sources], tree.folders, tree.links)
        except ValueError as error:
            raise UsageError(f"cannot save {root or 'this'}: {error}") from None
        return tree

    @property
    def root(self) -> Path | None:
        """The file or directory that was asked for, if any."""
        return self._asked[0]

    def again(self) -> Tree:
        """Return the same as it is now."""
        return Tree.survey(*self._asked)

    def has_names_of(self, other: Tree) -> bool:
        """Tell whether both have the same folders and links, and nothing was renamed between."""
        names, others = ((each.links, each.folders, each.visited) for each in (self, other))
        return names == others

    def _walk(self, directory: str, folder: _Folder) -> None:
        prefix = folder.prefix
        if prefix:
            try:
                check_path(prefix[:-1])  # Now, because it also bounds how deep we go.
            except ValueError as error:
                raise UsageError(f"cannot save {directory}: {error}") from None
        info = os.stat(directory)
        self.visited[directory] = state_of_file(info)
        if prefix and info.st_mode & _FOLDER_READ != _FOLDER_READ:
            self.modes[prefix[:-1]] = stat.S_IMODE(info.st_mode) & 0o777
        with os.scandir(directory) as found:
            entries = sorted(found, key=lambda entry: entry.name)
        entries = [entry for entry in entries if not self._is_ignored(prefix, entry.name)]
        before = self._count()
        for entry in entries:
            try:
                self._take(entry, folder)
            except (FileNotFoundError, NotADirectoryError):
                continue  # It went just now, by which the folder has changed.
        if prefix and self._count() == before:  # Of what may be in it, nothing was taken.
            self.folders.append(prefix[:-1])

    def _count(self) -> int:
        return len(self.sources) + len(self.links) + len(self.folders)

    def _take(self, entry: os.DirEntry[str], folder: _Folder) -> None:
        path = folder.prefix + entry.name
        info = entry.stat(follow_symlinks=False)
        if stat.S_ISLNK(info.st_mode):
            target = _target_within(entry.path, path, folder)
            if target is not None:
                self.links[path] = target
                return
            try:
                info = os.stat(entry.path)
            except FileNotFoundError:
                self.passed_over[path] = f"a link to {os.readlink(entry.path)}, which is not there"
                return
        if stat.S_ISDIR(info.st_mode):
            number = (info.st_dev, info.st_ino)
            if any(each.number == number for each in folder.lineage()):
                raise UsageError(
                    f"cannot save {entry.path}: it leads back to a folder that it is in; remove "
                    "that link, or pass it over with ignore_patterns"
                )
            self._check_count()
            real = os.path.realpath(entry.path)
            self._walk(entry.path, _Folder(real, f"{path}/", number, folder))
        elif stat.S_ISREG(info.st_mode):
            self._add(path, entry.path, info)
        else:
            self.passed_over[path] = f"a {kind(info.st_mode)}"

    def _is_ignored(self, prefix: str, name: str) -> bool:
        names = (name, prefix + name)
        return any(fnmatchcase(each, pattern) for pattern in self._asked[2] for each in names)

    def _add(self, path: str, file: str, info: os.stat_result) -> None:
        if not stat.S_ISREG(info.st_mode):
            raise UsageError(
                f"cannot save {file}: it is a {kind(info.st_mode)}; "
                "only files, directories and symbolic links can be saved"
            )
        self._check_count()
        if info.st_mode & _FILE_READ != _FILE_READ:
            self.modes[path] = stat.S_IMODE(info.st_mode) & 0o777
        executable = bool(info.st_mode & stat.S_IXUSR)
        self.sources.append(Source(path, file, info.st_size, executable, state_of_file(info)))

    def _check_count(self) -> None:
        # While it is listed, since links can lead to the same folders again and again.
        if max(len(self.sources) + len(self.links), len(self.visited)) > MOST_FILES:
            raise UsageError(
                f"cannot save more than {MOST_FILES:,} files at once; put them in an archive"
            )

    def wait_a_tick(self) -> None:
        """Wait for the end of the clock tick of the newest change: another in it would not show."""
        states = [source.state for source in self.sources if source.state is not None]
        newest = max((state[2] for state in (*states, *self.visited.values())), default=0)
        wait_s = (newest - time.time_ns()) / 1e9 + TICK_S
        if 0 < wait_s <= TICK_S:
            time.sleep(wait_s)


def _views(
    path: str, content: bytes | memoryview | Sequence[bytes | memoryview]
) -> tuple[memoryview, ...]:
    buffers = [content] if isinstance(content, (bytes, memoryview)) else content
    try:
        return tuple(PickleBuffer(each).raw() for each in buffers)
    except BufferError as error:
        raise UsageError(f"cannot save {path}: {error}") from None


def _owner(view: memoryview) -> object:
    # `raw` of a PickleBuffer is a view of a view.
    owner: object = view.obj
    while isinstance(owner, memoryview):
        owner = owner.obj
    return owner


def _target_within(link: str, path: str, folder: _Folder) -> str | None:
    """Return the target of a link as it is to be saved; None if that leads out of the tree."""
    target = os.readlink(link)
    head, name = os.path.split(os.path.join(os.path.dirname(link), target))
    # What it names itself, which may be a link as well: that one is looked at by itself.
    named = os.path.join(os.path.realpath(head), name)
    if name in ("", ".", ".."):
        named = os.path.realpath(named)
    place = folder.place_of(named)
    if place is None:
        return None
    # A relative target stays as it is if it leads to the place by its text alone, within the tree.
    joined = os.path.normpath(os.path.join(os.path.dirname(path), target))
    if not os.path.isabs(target) and joined == (place or "."):
        return target
    return os.path.relpath(f"/{place}", os.path.dirname(f"/{path}"))


def state_of_file(info: os.stat_result) -> State:
    return info.st_ino, info.st_size, info.st_mtime_ns


def kind(mode: int) -> str:
    """Return the name of a file type, such as socket, by the mode."""
    return _KINDS.get(stat.S_IFMT(mode), "special file")


def _unreadable(path: str, error: OSError) -> MemoflowError:
    if isinstance(error, FileNotFoundError):
        return NotFoundError(f"cannot save {path}: {error.filename or path} is not there")
    return UsageError(f"cannot save {path}: {error.strerror} ({error.filename})")
