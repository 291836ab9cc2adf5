"""Notes: the files that a piece of code touches, and the writer of each.

Each path counts as it was touched first: one that the code has written is its own, one that was
read and is then changed by the code makes its result unknowable. The kernel tells that a file was
opened, not what for; and what happens to one file before its events are read is told at once, in
no order.
"""

from __future__ import annotations

import contextlib
import json
import mmap
import os
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from memoflow.masking import is_credential
from memoflow.tracking.digests import State, state_of
from memoflow.tracking.kernel import Event, KernelEvents
from memoflow.tracking.paths import Folders, Paths, is_match, names_in

KIND, SIZE, CONTENT = 0, 1, 2  # how much of a file was asked for
_OWN_VARIABLES = ("MEMOFLOW_", "METAFLOW_MEMOFLOW_")
CLOCK_SECONDS = 0.02  # by which the clock of a file system may be behind
MOST_READS = 100_000


class ChildLog:
    """A file that children append to and their parent reads on."""

    def __init__(self) -> None:
        handle, self._path = tempfile.mkstemp(prefix="memoflow-reads-")
        os.close(handle)
        self._lost = mmap.mmap(-1, 1)  # Shared with children, and there when the disk is full.
        self._parent = os.getpid()
        self._read_bytes = 0

    @property
    def is_child(self) -> bool:
        """True in a process forked from the one that made the log."""
        return os.getpid() != self._parent

    @property
    def has_lost(self) -> bool:
        """True if a note could not be written or read."""
        return self._lost[0] != 0

    def append(self, *note: Any) -> None:
        """Append a note, in a child."""
        line = (json.dumps(note) + "\n").encode()
        try:
            handle = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
            try:
                is_whole = os.write(handle, line) == len(line)
            finally:
                os.close(handle)
        except OSError:
            is_whole = False
        if not is_whole:
            self._lost[0] = 1

    def read_new(self) -> Iterator[list[Any]]:
        """Yield the notes that were appended since the last time, in the parent."""
        if self.is_child:
            return
        try:
            with open(self._path, "rb") as log:
                log.seek(self._read_bytes)
                for line in log:
                    if not line.endswith(b"\n"):
                        return
                    self._read_bytes += len(line)
                    yield json.loads(line)
        except OSError:
            self._lost[0] = 1

    def close(self) -> None:
        """Remove the file, in the parent."""
        if not self.is_child:
            with contextlib.suppress(OSError):
                os.unlink(self._path)


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
    """A flag by thread: it runs a tracker itself, or code that must not count."""

    depth = 0

    def __enter__(self) -> None:
        self.depth += 1

    def __exit__(self, *error: object) -> None:
        self.depth = max(0, self.depth - 1)


class Notes:
    """Files, folders and variables that were touched since the start, by absolute path.

    What one tracker opens for itself is of no account to the others, so all share one `quiet`.
    """

    quiet = Quiet()

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
        # Sort of note -> where notes are kept by key, the first of each.
        self._kept: dict[str, dict[str, Any]] = {
            "variable": self.variables, "code": self.code, "link": self.links, "never": self.never,
            "package": self.packages, "trouble": self.troubles, "listing": self.listings,
        }  # fmt: skip
        self.call: object = None  # that is tracked, if it is one call
        self.until: float | None = None  # Unix seconds: what comes of it is used no longer
        self.counts_cwd = False  # the working directory, where a relative path is read
        self.has_used_cwd = False
        self.started = time.time()
        self.temporary_since = self.started  # since when temporary files are the code's own
        self._outputs = tuple(outputs)
        self._own: set[str] = set()  # of `written`, the files that had not been read before
        self._trees: set[str] = set()  # folders that are the code's own, with all in them
        self._moved: set[str] = set()  # the new places of files that the code had not made
        self._placed: set[str] = set()  # folders that were moved to where they are
        self._appended: set[str] = set()
        self._handled: set[str] = set()  # opened by Python, which told of it
        self.accessed: set[str] = set()  # certainly read by code that Python does not see
        self._by_value: set[str] = set()  # counted as read since a value names it
        self._own_variables: dict[str, str | None] = {}
        self._children: ChildLog | None = None
        self.is_full = False
        self._has_children = False
        self._has_forked = False
        self._is_listing = False  # while folders are opened that only the tracker looks into
        self._kernel: KernelEvents | None = None
        self._folders: Folders | None = None
        self._searched: set[str] = set()  # folders that modules were looked for in

    def note_until(self, until: float | None) -> None:
        """Note a time in Unix seconds at which something that was read expires."""
        if until is not None:
            self.until = until if self.until is None else min(self.until, until)

    def note_cwd(self) -> None:
        """Note the working directory, for reads by relative paths."""
        self.has_used_cwd = self.has_used_cwd or self.counts_cwd

    def knows(self, path: str) -> bool:
        """Return whether a file is known to be read, for certain."""
        known = self.reads.get(path)
        return known is not None and known.depth >= CONTENT and known.sure

    def is_own(self, path: str) -> bool:
        """Return whether the code made a file itself, before it read it."""
        return path in self._own or (is_in(path, self._trees) and not self._is_read(path))

    def _is_read(self, path: str) -> bool:
        return path in self.reads and self.reads[path].depth >= CONTENT

    def is_output(self, path: str) -> bool:
        """Return whether a file is declared to be an output."""
        name = self.paths.name(path)
        return any(is_match(name, pattern) for pattern in self._outputs)

    def note_never(self, name: str, reason: str) -> None:
        """Note the reason, by name, why the reads cannot determine the result."""
        self._keep("never", name, reason)

    def note_trouble(self, reason: str) -> None:
        """Note a reason for which the reads of this run are not all known."""
        self._keep("trouble", reason)

    def _keep(self, what: str, key: str, value: Any = None) -> None:
        """Keep the first note of this sort by this key, and report it to the parent."""
        if key not in self._kept[what]:
            self._kept[what][key] = value
            self._report(what, key, value)

    def _keep_written(self, path: str) -> None:
        known = self.reads.get(path)
        if known is not None and not known.sure and path in self._by_value:
            del self.reads[path]  # What the value names is where to write.
            known = None
        if known is None or known.depth < CONTENT:
            self._own.add(path)
        if path not in self.written:
            self.written[path] = None
            self._report("write", path)

    def _is_transient(self, path: str, state: State | None) -> bool:
        """Return whether a file is a temporary one that was made since the start."""
        if not self.paths.is_temporary(path):
            return False
        return state is None or state.changed_ns / 1e9 >= self.temporary_since - CLOCK_SECONDS

    def _is_unchanged(self, state: State | None) -> bool:
        """Return whether a file has not changed since the start."""
        return state is not None and state.changed_ns / 1e9 < self.started - CLOCK_SECONDS

    def _is_listed(self, path: str) -> bool:
        if not self.paths.counts(os.path.join(path, "x")):
            return False
        folder = path.partition("*")[0].partition("?")[0].partition("[")[0]
        return not self._is_transient(folder, state_of(folder.rstrip(os.sep) or os.sep))

    @property
    def _is_child(self) -> bool:
        return self._children is not None and self._children.is_child

    def _report(self, *note: Any) -> None:
        if self._children is not None and self._is_child:
            self._children.append(*note)

    def _is_known(self, path: str, mine: bool) -> bool:
        """Return whether that a file is opened or read is known, or of no account."""
        if mine:
            return path in self._handled
        return not (self._has_children or self._has_forked)

    def _on_event(self, event: Event) -> None:
        """Note a kernel event, unless the hooks in Python have noted it already."""
        if not (event.mine or self._has_children or self._has_forked):
            return
        with self.quiet:
            path = event.path
            if path.endswith((".pyc", ".py")) and not event.mine:
                if not self._has_children:
                    return  # Forked children report their imports.
                if path.endswith(".pyc"):  # The file that it was compiled from.
                    folder, name = os.path.split(path)
                    path = os.path.join(os.path.dirname(folder), f"{name.partition('.')[0]}.py")
            for name in [path] if self._folders is None else self._folders.names(path):
                if not self.paths.counts(name):
                    continue
                if event.is_directory:
                    self._on_directory(event, name)
                else:
                    self._on_file(event, name)

    def _on_file(self, event: Event, path: str) -> None:
        known = self.reads.get(path)
        if event.mine and path in self._handled:
            is_told = known is None or known.both or path in self._appended
            if event.written and not is_told:
                self.written.setdefault(path)  # Python tells of all that it opens to write.
            return
        had_read = path in self.accessed or (
            known is not None and known.sure and self._is_read(path)
        )
        if event.read:
            self.accessed.add(path)
        if event.made or (event.written and not event.read and not had_read):
            # New, or opened to be written: a file that seemed to be read is not, up to now.
            if known is not None and not known.sure and not had_read:
                del self.reads[path]
            self._keep_written(path)
        elif event.opened and not self.is_own(path) and not self._is_read(path):
            self._keep_event(path, state_of(path))
        if event.written and not event.made and self._is_read(path):
            self.written[path] = None
            read = self.reads[path]
            # Told late, its state may be that of after the write: what was read then is not known.
            is_late = not read.sure and not self._is_unchanged(read.state)
            if is_late and not self.is_output(path):
                name = self.paths.name(path)
                self.note_never(f"file {name}", f"reads and changes {name}")

    def _keep_event(self, path: str, state: State | None) -> None:
        if (state is not None and state.kind == "other") or self._is_transient(path, state):
            return
        if len(self.reads) >= MOST_READS:
            self.is_full = True
            return
        known = self.reads.get(path)
        self.reads[path] = Read(CONTENT, state if known is None else known.state, sure=False)

    def _on_directory(self, event: Event, path: str) -> None:
        if (event.made or event.replaced) and not (event.mine and path in self._handled):
            self._trees.add(path)
            self._keep_written(path)
            if self._kernel is not None:
                self._kernel.watch([path])
        if not event.opened or self._is_listing or path in self.listings:
            return
        if not (event.mine and path in self._handled) and path not in self._searched:
            self._on_listed(path)

    def _on_listed(self, path: str) -> None:
        """Note a folder that was opened, unless to look for modules there."""
        self._handled.add(path)  # First: to look into it is to open it again.
        names = names_in(path)
        if any(name.endswith((".py", ".pyc")) for name in names or ()):
            self._searched.add(path)
        elif self._is_listed(path) and not self.is_own(path):
            others = (each for each in names or () if os.path.join(path, each) not in self._own)
            self.listings[path] = tuple(others)


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


def is_of_results(name: str) -> bool:
    """Return whether results may depend on a variable of this name: not on credentials."""
    return not (name.startswith(_OWN_VARIABLES) or is_credential(name))


def link_text(paths: Paths, path: str) -> str | None:
    """Return the target of a symbolic link, in the project by name; None if it is none."""
    try:
        text = _readlink(path)
    except (OSError, ValueError):
        return None
    return paths.name(text) if os.path.isabs(text) else text


# The function itself: the module's attribute is replaced while a step runs.
_readlink = os.readlink
