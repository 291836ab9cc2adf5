"""Digests: the content of files, read once for as long as a file is as it was.

A digest is known by device and inode while size, modification and change time stand. As in git, it
is not trusted where the file had just been written when it was read: it may have been written once
more within the same tick of the file system's clock.
"""

from __future__ import annotations

import contextlib
import json
import os
import stat
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from xxhash import xxh3_128

from memoflow.fingerprint import source

ABSENT = "absent"

_CHUNK_BYTES = 1 << 19  # so that it is still in the processor's cache when it is hashed
_TICK_NS = 20_000_000  # of the coarsest clock of a file system in use
_SLOW_SECONDS = 1.0
_MOST_NEW = 200  # facts that are lost if the process is killed


class State(NamedTuple):
    """The state of a file by its metadata, compared without reading it."""

    device: int
    inode: int
    mode: int
    size: int
    modified_ns: int
    changed_ns: int

    @classmethod
    def of(cls, found: os.stat_result) -> State:
        """Return the state that a call of `stat` found."""
        return cls(
            found.st_dev, found.st_ino, found.st_mode, found.st_size, found.st_mtime_ns,
            found.st_ctime_ns,
        )  # fmt: skip

    @property
    def kind(self) -> str:
        """The sort of thing that it is: "file", "directory" or "other"."""
        if stat.S_ISREG(self.mode):
            return "file"
        return "directory" if stat.S_ISDIR(self.mode) else "other"


class UnreadableError(Exception):
    """A file without a digest: it cannot be read, or changes while it is read."""


def state_of(path: str) -> State | None:
    """Return the state of a file, links followed; None if it is not there."""
    try:
        found = _stat(path)
    except (OSError, ValueError):
        return None
    return State.of(found)


# The function itself: the module's attribute is replaced while a step runs.
_stat = os.stat


class FileDigests:
    """The digests of files, as far as this machine has read them already.

    `recall` and `remember` are those of an index; `say` is told of a file that took long to read.
    """

    def __init__(
        self,
        recall: Callable[[Sequence[str]], Mapping[str, str]],
        remember: Callable[[Mapping[str, str]], None],
        say: Callable[[str], None] = lambda line: None,
    ) -> None:
        self._recall = recall
        self._remember = remember
        self._say = say
        self._facts: dict[str, str] = {}
        self._new: dict[str, str] = {}
        self._is_many = False

    @contextlib.contextmanager
    def many(self) -> Iterator[None]:
        """Cache the digests computed in the block in one transaction."""
        self._is_many = True
        try:
            yield
        finally:
            self._is_many = False
            self._save()

    def expect(self, states: Iterable[State | None]) -> None:
        """Look up the cached digests of many files in one question."""
        self._look_up(
            [_fact(state) for state in states if state is not None and state.kind == "file"]
        )

    def _look_up(self, names: list[str]) -> None:
        unknown = [name for name in names if name not in self._facts]
        if unknown:
            self._facts.update(self._recall(unknown))

    def of_content(self, path: str, state: State) -> str:
        """Return the digest of a file that is in this state; UnreadableError if it has none."""
        name = _fact(state)
        self._look_up([name])
        known = _known(self._facts.get(name, ""), state)
        if known is not None:
            return known
        began = time.time_ns()
        digest = _read(path, state)
        took = (time.time_ns() - began) / 1e9
        if took > _SLOW_SECONDS:
            self._say(
                f"hashed {path} ({state.size / 1e9:.1f} GB) in {took:.1f} s; "
                "it is not read again while its size and times stand"
            )
        self._note(name, json.dumps([*state[3:], began, digest]))
        return digest

    def of_file(self, path: str) -> str | None:
        """Return the digest of a file now; None for no file, UnreadableError for no digest."""
        state = state_of(path)
        return None if state is None or state.kind != "file" else self.of_content(path, state)

    def of_code(self, path: str, state: State) -> str:
        """Return the digest of the code in a file, without comments and layout."""
        content = self.of_content(path, state)
        name = f"syntax:{sys.version_info[0]}.{sys.version_info[1]}:{content}"
        self._look_up([name])
        if name not in self._facts:
            found = source.current(path)
            if found is None:
                raise UnreadableError("it is no Python code")
            self._note(name, f"syntax:{source.syntax_digest(found.tree)}")
        return self._facts[name]

    def _note(self, name: str, fact: str) -> None:
        self._facts[name] = self._new[name] = fact
        if not self._is_many or len(self._new) >= _MOST_NEW:
            self._save()

    def _save(self) -> None:
        new, self._new = self._new, {}
        self._remember(new)


def _fact(state: State) -> str:
    return f"file:{state.device}:{state.inode}"


def _known(fact: str, state: State) -> str | None:
    """Return the digest that a fact holds, if it stands for the file in this state."""
    try:
        size, modified_ns, changed_ns, read_ns, digest = json.loads(fact)
        is_same = (size, modified_ns, changed_ns) == state[3:]
        is_settled = max(modified_ns, changed_ns) + _TICK_NS < read_ns
    except (ValueError, TypeError):
        return None
    return str(digest) if is_same and is_settled else None


def _read(path: str, state: State) -> str:
    """Return the digest of the content of a file, read whole while it stood still."""
    try:
        # A pipe would wait for somebody to write.
        handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | os.O_CLOEXEC)
    except OSError as error:
        raise UnreadableError(f"it cannot be read ({error.strerror})") from error
    hasher = xxh3_128()
    buffer = memoryview(bytearray(min(_CHUNK_BYTES, max(state.size, 1) + 1)))
    try:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            raise UnreadableError("it is no regular file")
        while count := os.readv(handle, [buffer]):
            hasher.update(buffer[:count])
        after = os.fstat(handle)
    except OSError as error:
        raise UnreadableError(f"it cannot be read ({error.strerror})") from error
    finally:
        os.close(handle)
    if (after.st_size, after.st_mtime_ns, after.st_ctime_ns) != state[3:]:
        raise UnreadableError("it changed while it was read")
    return f"xxh3:{hasher.hexdigest()}"
