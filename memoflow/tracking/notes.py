"""Notes: the files that a piece of code touches, and the writer of each.

Each path counts as it was touched first: one that the code has written is its own, one that was
read and is then changed by the code makes its result unknowable.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from memoflow.tracking.children import ChildLog
from memoflow.tracking.digests import State, state_of
from memoflow.tracking.listings import is_match
from memoflow.tracking.paths import Paths

KIND, SIZE, CONTENT = 0, 1, 2  # how much of a file was asked for

_CLOCK_SECONDS = 0.02  # by which the clock of a file system may be behind


@dataclass
class Read:
    """A touched file: the extent of the read, the state then, and the source of the note.

    `sure` is False for what is only named by a command or opened by another process, which may
    have written it; `both` is True for a file that was opened to be read and written.
    """

    depth: int
    state: State | None
    sure: bool = True
    both: bool = False


class Quiet(threading.local):
    """A flag by thread: it runs the tracker itself, or code that must not count."""

    depth = 0

    def __enter__(self) -> None:
        self.depth += 1

    def __exit__(self, *error: object) -> None:
        self.depth -= 1


class Notes:
    """Files, folders and variables that were touched since the start, by absolute path."""

    def __init__(self, paths: Paths, outputs: Iterable[str]) -> None:
        self.paths = paths
        self.reads: dict[str, Read] = {}
        self.links: dict[str, str | None] = {}
        self.listings: dict[str, tuple[str, ...]] = {}
        self.variables: dict[str, str | None] = {}
        self.code: dict[str, str] = {}
        self.packages: dict[str, None] = {}
        self.others: dict[tuple[str, str], tuple[str, str]] = {}  # digest, summary by kind, name
        self.written: dict[str, None] = {}
        self.never: dict[str, str] = {}
        self.unseen: dict[str, None] = {}
        self.troubles: dict[str, None] = {}
        self.started = time.time()
        self.temporary_since = self.started  # since when what is made for a while is made for this
        self.quiet = Quiet()
        self._outputs = tuple(outputs)
        self._own: set[str] = set()  # of `written`, what had not been read before
        self._trees: set[str] = set()  # folders that are the code's own, with all in them
        self._moved: set[str] = set()  # where what the code had not made was moved to
        self._placed: set[str] = set()  # folders that were moved to where they are
        self._appended: set[str] = set()
        self._handled: set[str] = set()  # opened by Python, which told of it
        self._accessed: set[str] = set()
        self._by_value: set[str] = set()  # counted as read since a value names it
        self._own_variables: dict[str, str | None] = {}
        self._children: ChildLog | None = None

    @property
    def busy(self) -> bool:
        """True if this thread runs the tracker itself, or code that must not count."""
        return self.quiet.depth > 0

    def knows(self, path: str) -> bool:
        """Return whether a file is known to be read, for certain."""
        known = self.reads.get(path)
        return known is not None and known.depth >= CONTENT and known.sure

    def is_own(self, path: str) -> bool:
        """Return whether the code made a file itself, before it read it."""
        return path in self._own or (is_in(path, self._trees) and not self._is_read(path))

    def _is_read(self, path: str) -> bool:
        known = self.reads.get(path)
        return known is not None and known.depth >= CONTENT

    def is_output(self, path: str) -> bool:
        """Return whether a file is declared to be an output."""
        name = self.paths.name(path)
        return any(is_match(name, pattern) for pattern in self._outputs)

    def has_accessed(self, path: str) -> bool:
        """Return whether a file that code unknown to Python opened was certainly read."""
        return path in self._accessed

    def note_never(self, name: str, reason: str) -> None:
        """Note the reason, by name, why the reads cannot determine the result."""
        if name not in self.never:
            self.never[name] = reason
            self._tell("never", name, reason)

    def note_trouble(self, reason: str) -> None:
        """Note a reason for which the reads of this run are not all known."""
        if reason not in self.troubles:
            self.troubles[reason] = None
            self._tell("trouble", reason)

    def _keep_written(self, path: str) -> None:
        known = self.reads.get(path)
        if known is not None and not known.sure and path in self._by_value:
            del self.reads[path]  # What the value names is where to write.
            known = None
        if known is None or known.depth < CONTENT:
            self._own.add(path)
        if path not in self.written:
            self.written[path] = None
            self._tell("write", path)

    def _check_moved(self, path: str) -> None:
        """Note that a file is read which was moved to where it is now."""
        if path in self._moved or is_in(path, self._moved):
            name = self.paths.name(path)
            self.note_never(f"file {name}", f"moves {name} to where it is, and reads it")

    def _is_passing(self, path: str, state: State | None) -> bool:
        """Return whether a file is a temporary one that was made since the start."""
        if not self.paths.is_temporary(path):
            return False
        return state is None or state.changed_ns / 1e9 >= self.temporary_since - _CLOCK_SECONDS

    def _is_unchanged(self, state: State | None) -> bool:
        """Return whether a file has not changed since the start."""
        return state is not None and state.changed_ns / 1e9 < self.started - _CLOCK_SECONDS

    def _is_listed(self, path: str) -> bool:
        if not self.paths.counts(os.path.join(path, "x")):
            return False
        folder = path.partition("*")[0].partition("?")[0].partition("[")[0]
        return not self._is_passing(folder, state_of(folder.rstrip(os.sep) or os.sep))

    def _foreign(self, folder: str, names: Iterable[str]) -> tuple[str, ...]:
        """Return the names of files that the code has not made itself."""
        return tuple(name for name in names if os.path.join(folder, name) not in self._own)

    @property
    def _is_child(self) -> bool:
        return self._children is not None and self._children.is_child

    def _tell(self, *note: Any) -> None:
        if self._children is not None and self._children.is_child:
            self._children.tell(*note)


def is_in(path: str, folders: set[str]) -> bool:
    """Return whether a path lies in one of some folders."""
    if not folders:
        return False
    above = os.path.dirname(path)
    while above not in folders:
        path, above = above, os.path.dirname(above)
        if path == above:
            return False
    return True


def link_text(paths: Paths, path: str) -> str | None:
    """Return the target of a symbolic link, in the project by name; None if it is none."""
    try:
        text = _readlink(path)
    except (OSError, ValueError):
        return None
    return paths.name(text) if os.path.isabs(text) else text


# The function itself: the module's attribute is replaced while a step runs.
_readlink = os.readlink
