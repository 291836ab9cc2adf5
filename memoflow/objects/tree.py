"""Tree: what there is to save, and whether it held still meanwhile."""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Mapping
from dataclasses import field
from pathlib import Path

from memoflow.dataclass import dataclass
from memoflow.errors import NotFoundError, RequestError
from memoflow.objects.paths import check_path, check_tree

# The finest step in which file systems note the time of a change, with room to spare.
_TICK_NS = 12_000_000

State = tuple[int, int, int]


@dataclass(frozen=True)
class Source:
    """A file to save: bytes in memory, or where it lies and the state it was found in."""

    path: str
    content: bytes | str
    size_bytes: int
    executable: bool = False
    state: State | None = None


@dataclass
class Tree:
    """Everything that one save takes in."""

    sources: list[Source] = field(default_factory=list)
    links: dict[str, str] = field(default_factory=dict)
    folders: list[str] = field(default_factory=list)  # the empty ones
    _visited: dict[str, State] = field(default_factory=dict)

    @classmethod
    def survey(cls, root: Path | None, files: Mapping[str, bytes | Path]) -> Tree:
        """List a file or directory, and `files` beside it by their relative paths.

        RequestError for what is missing, is neither file, directory nor link, or links outside.
        """
        tree = cls()
        if root is not None:
            where = os.path.abspath(root)
            try:
                info = os.stat(where)
                if stat.S_ISDIR(info.st_mode):
                    tree._walk(where, "")
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
                tree.sources.append(Source(path, content, len(content)))
        try:
            check_tree([source.path for source in tree.sources], tree.folders, tree.links)
        except ValueError as error:
            raise RequestError(f"cannot save {root or 'this'}: {error}") from None
        tree._wait_a_tick()
        return tree

    def check(self) -> None:
        """Raise RequestError if anything changed since the survey."""
        for source in self.sources:
            if isinstance(source.content, str):
                self._check_one(source.content, source.state)
        for folder, state in self._visited.items():
            self._check_one(folder, state)

    def _check_one(self, path: str, state: State | None) -> None:
        try:
            same = _state(os.stat(path)) == state
        except OSError:
            same = False
        if not same:
            raise RequestError(
                f"{path} changed while it was being saved; save when nothing writes to it"
            )

    def _walk(self, directory: str, prefix: str) -> None:
        if prefix:
            try:
                check_path(prefix[:-1])  # Now, because it also bounds how deep we go.
            except ValueError as error:
                raise RequestError(f"cannot save {directory}: {error}") from None
        self._visited[directory] = _state(os.stat(directory))
        with os.scandir(directory) as found:
            entries = sorted(found, key=lambda entry: entry.name)
        if not entries and prefix:
            self.folders.append(prefix[:-1])
        for entry in entries:
            path = prefix + entry.name
            if entry.is_symlink():
                self.links[path] = os.readlink(entry.path)
            elif entry.is_dir(follow_symlinks=False):
                self._walk(entry.path, f"{path}/")
            else:
                self._add(path, entry.path, entry.stat(follow_symlinks=False))

    def _add(self, path: str, file: str, info: os.stat_result) -> None:
        if not stat.S_ISREG(info.st_mode):
            raise RequestError(
                f"cannot save {file}: it is a {kind(info.st_mode)}; "
                "only files, directories and symbolic links can be saved"
            )
        executable = bool(info.st_mode & stat.S_IXUSR)
        self.sources.append(Source(path, file, info.st_size, executable, _state(info)))

    def _wait_a_tick(self) -> None:
        # A change in the same tick as the last one before the survey would leave no trace.
        states = [source.state for source in self.sources if source.state is not None]
        newest = max((state[2] for state in (*states, *self._visited.values())), default=0)
        wait_ns = newest + _TICK_NS - time.time_ns()
        if 0 < wait_ns <= _TICK_NS:
            time.sleep(wait_ns / 1e9)


def _state(info: os.stat_result) -> State:
    return info.st_ino, info.st_size, info.st_mtime_ns


def kind(mode: int) -> str:
    """Return what a file of that mode is called."""
    for test, name in (
        (stat.S_ISREG, "file"),
        (stat.S_ISLNK, "symbolic link"),
        (stat.S_ISDIR, "directory"),
        (stat.S_ISFIFO, "fifo"),
        (stat.S_ISSOCK, "socket"),
        (stat.S_ISBLK, "block device"),
        (stat.S_ISCHR, "character device"),
    ):
        if test(mode):
            return name
    return "special file"


def _unreadable(path: str, error: OSError) -> RequestError:
    if isinstance(error, FileNotFoundError):
        return NotFoundError(f"cannot save {path}: {error.filename or path} is not there")
    return RequestError(f"cannot save {path}: {error.strerror} ({error.filename})")
