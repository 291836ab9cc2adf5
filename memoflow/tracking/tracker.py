"""Tracker: the files, folders and variables that a piece of code reads while it runs.

Each path counts as it was touched first: one that the code has written is its own, one that was
read and is then changed by the code makes its result unknowable. A read that did not happen costs
a needless run; one that goes unseen costs a wrong answer.
"""

from __future__ import annotations

import contextlib
import fnmatch
import os
import stat
import threading
import time
from collections.abc import Iterable, Iterator
from typing import Any

from memoflow.dataclass import dataclass
from memoflow.tracking.children import ChildLog
from memoflow.tracking.digests import State, state_of
from memoflow.tracking.kernel import Event, KernelEvents
from memoflow.tracking.listings import names_in, names_matching
from memoflow.tracking.paths import Paths
from memoflow.tracking.strings import paths_in

KIND, SIZE, CONTENT = 0, 1, 2  # how much of a file was asked for

_MOST_WATCHED = 5000  # directories
_MOST_READS = 100_000


@dataclass
class Read:
    """A file that was touched: how much of it, its state then, and by whom that was seen.

    `sure` is False for what is only named by a command or opened by another process, which may
    have written it; `both` is True for a file that was opened to be read and written.
    """

    depth: int
    state: State | None
    sure: bool = True
    both: bool = False


class AccessTracker:
    """What one process and its children read and wrote since `start`, by absolute path.

    `reads` are files, `listings` the names that folders had by the folder or pattern asked for,
    `variables` the values of environment variables, None for one that was not set, and `code`
    modules loaded by a name that only the run knew, by file. `never` says by name why the result
    cannot be told from what was read, and `unseen` what could not be followed.
    """

    def __init__(self, paths: Paths, outputs: Iterable[str] = ()) -> None:
        self.paths = paths
        self.reads: dict[str, Read] = {}
        self.listings: dict[str, tuple[str, ...]] = {}
        self.variables: dict[str, str | None] = {}
        self.code: dict[str, str] = {}
        self.written: dict[str, None] = {}
        self.never: dict[str, str] = {}
        self.unseen: dict[str, None] = {}
        self.started = time.time()
        self.is_full = False
        self.is_watching = False
        self.in_step = False
        self._outputs = tuple(outputs)
        self._trees: tuple[str, ...] = ()
        self._appended: set[str] = set()
        self._handled: set[str] = set()
        self._accessed: set[str] = set()
        self._own_variables: set[str] = set()
        self._has_children = False
        self._is_listing = False  # while folders are opened that only the tracker looks into
        self._kernel: KernelEvents | None = None
        self._children: ChildLog | None = None
        self._local = threading.local()

    def start(self) -> None:
        """Take note from now on; of opens by any thread, and by code that is not Python's."""
        self.in_step = True
        self.is_watching = True
        self.started = time.time()
        with self.quiet():
            try:
                self._kernel = KernelEvents(self._on_event)
            except OSError:
                self._kernel = None
                return
            folders, whole = self.paths.walk(_MOST_WATCHED)
            self._kernel.watch(folders)
            caches = (os.path.join(folder, "__pycache__") for folder in folders)
            self._kernel.watch(folder for folder in caches if os.path.isdir(folder))
            if not whole:
                self.unseen[f"more than {_MOST_WATCHED} folders in {self.paths.root}"] = None

    def stop(self) -> None:
        """Take no more notes, and merge what children and the kernel have told."""
        if not self.is_watching:
            return
        self.is_watching = False
        with self.quiet():
            self._catch_up()
            if self._kernel is not None:
                self._kernel.close()
                if self._kernel.overflowed:
                    self.is_full = True
            if self._children is not None:
                self._children.close()
                self._children = None

    @property
    def sees_all(self) -> bool:
        """Whether opens are seen that Python does not make."""
        return self._kernel is not None

    @property
    def busy(self) -> bool:
        """Whether this thread is in the tracker itself, or in what shall not count."""
        return getattr(self._local, "depth", 0) > 0

    @contextlib.contextmanager
    def quiet(self) -> Iterator[None]:
        """Take no notes of what this thread does meanwhile."""
        self._local.depth = getattr(self._local, "depth", 0) + 1
        try:
            yield
        finally:
            self._local.depth -= 1

    def note_read(self, path: str, depth: int = CONTENT, *, both: bool = False) -> None:
        """Note that a file was asked for, there or not."""
        self._touch(path, depth, sure=True, both=both)

    def note_earlier(self, path: str, state: State | None) -> None:
        """Note a file that was read before the start, when it was in this state."""
        self._handled.add(path)
        if self.paths.counts(path) and not self._is_passing(path, state):
            self.reads.setdefault(path, Read(CONTENT, state))

    def note_named(self, path: str) -> None:
        """Note a file or folder that a command names; it may be read or written."""
        if os.path.isdir(path):
            if self._kernel is None:
                self.note_listing(path)
            else:
                self._kernel.watch([path])
        else:
            self._touch(path, CONTENT, sure=False)

    def _touch(self, path: str, depth: int, *, sure: bool, both: bool = False) -> None:
        self._handled.add(path)
        if not self.paths.counts(path):
            return
        known = self.reads.get(path)
        if known is not None and known.depth >= depth and (known.sure or not sure):
            known.both |= both
            return
        self._catch_up()
        if self.is_own(path):
            return
        if path in self._appended:
            self.never[f"file {self.paths.name(path)}"] = "it appends to it, and reads it"
            return
        state = state_of(path) if known is None else known.state
        if self._is_passing(path, state):
            return
        if len(self.reads) >= _MOST_READS:
            self.is_full = True
            return
        if depth == CONTENT and state is not None and state.kind == "other":
            self._note_other(path, state)
            return
        both |= known is not None and known.both
        self.reads[path] = Read(depth, state, sure or bool(known and known.sure), both)
        self._tell("read", path, depth, state, sure, both)

    def _note_other(self, path: str, state: State) -> None:
        if stat.S_ISFIFO(state.mode):
            name = self.paths.name(path)
            self.note_never(f"file {name}", f"{name} is a pipe, whose content has no digest")

    def _is_passing(self, path: str, state: State | None) -> bool:
        """Return whether a file is a temporary one that was made since the start."""
        if not self.paths.is_temporary(path):
            return False
        return state is None or state.changed_ns / 1e9 >= self.started - 0.05

    def note_write(self, path: str, *, append: bool = False) -> None:
        """Note that a file or folder is about to be made, replaced or removed."""
        self._handled.add(path)
        if append and path not in self.written and state_of(path) is not None:
            self._appended.add(path)
            if path in self.reads:
                self.written[path] = None
            return
        if path not in self.written:
            self.written[path] = None
            self._tell("write", path)

    def note_tree(self, path: str) -> None:
        """Note that a folder is made or removed, with all that is to be in it."""
        self.note_write(path)
        self._trees = (*self._trees, os.path.join(path, ""))
        if self._kernel is not None:
            self._kernel.watch([os.path.dirname(path)])

    def note_listing(self, path: str) -> None:
        """Note that the names in a folder were asked for."""
        self._handled.add(path)
        if path in self.listings or not self._is_listed(path):
            return
        self._catch_up()
        if not self.is_own(path):
            self._keep_listing(path, names_in(path))

    def note_pattern(self, pattern: str) -> None:
        """Note that the names matching an absolute pattern were asked for."""
        if pattern in self.listings or not self._is_listed(pattern):
            return
        self._catch_up()
        self._is_listing = True
        try:
            self._keep_listing(pattern, names_matching(pattern))
            if self._kernel is not None:
                self._kernel.drain()
        finally:
            self._is_listing = False

    def _keep_listing(self, where: str, names: Iterable[str] | None) -> None:
        kept = tuple(names) if names is not None else ("absent",)
        self.listings[where] = kept
        self._tell("listing", where, kept)

    def _is_listed(self, path: str) -> bool:
        if not self.paths.counts(os.path.join(path, "x")):
            return False
        folder = path.partition("*")[0].partition("?")[0].partition("[")[0]
        return not self._is_passing(folder, state_of(folder.rstrip(os.sep) or os.sep))

    def note_variable(self, name: str, value: str | None) -> None:
        """Note the value of an environment variable, None for one that is not set."""
        if name not in self.variables and name not in self._own_variables:
            self.variables[name] = value
            self._tell("variable", name, value)

    def note_own_variable(self, name: str) -> None:
        """Note that an environment variable is set or removed."""
        self._own_variables.add(name)

    def note_code(self, path: str, module: str) -> None:
        """Note a module that was loaded by a name that only the run knew."""
        self._handled.add(path)
        if path not in self.code and not self.is_own(path):
            self.code[path] = module
            self._tell("code", path, module)

    def note_handled(self, path: str) -> None:
        """Note that a file is opened to no effect on results, as an import opens its code."""
        self._handled.add(path)

    def note_never(self, name: str, reason: str) -> None:
        """Note why the result cannot be told from what was read, by the name of that."""
        if name not in self.never:
            self.never[name] = reason
            self._tell("never", name, reason)

    def note_child(self, *, seen: bool) -> None:
        """Note that another process is started; `seen` for a fork, which tells what it reads."""
        self._has_children |= not seen
        if not seen and self._kernel is None:
            self.unseen["what its subprocesses read by themselves"] = None

    def note_value(self, value: Any) -> None:
        """Take note of what happens where a value names files, outside the project or not.

        Where the kernel tells nothing, an existing file that is named counts as read.
        """
        if not self.is_watching:
            return
        with self.quiet():
            for path in paths_in(value):
                folder = path if os.path.isdir(path) else os.path.dirname(path)
                if self._kernel is None:
                    if folder != path and os.path.isfile(path):
                        self._touch(path, CONTENT, sure=False)
                elif self.paths.counts(os.path.join(folder, "x")) and os.path.isdir(folder):
                    self._kernel.watch([folder])

    def is_own(self, path: str) -> bool:
        """Return whether the code made a file itself, before it read it."""
        if path in self.reads:
            return False
        return path in self.written or path.startswith(self._trees)

    def is_output(self, path: str) -> bool:
        """Return whether a file is declared to be an output."""
        name = self.paths.name(path)
        return any(fnmatch.fnmatch(name, pattern) for pattern in self._outputs)

    def has_accessed(self, path: str) -> bool:
        """Return whether a file that another process opened was certainly read."""
        return path in self._accessed

    def before_fork(self) -> None:
        """Prepare for children that tell what they find."""
        if self._children is None and self.is_watching:
            with self.quiet():
                self._children = ChildLog()

    def _tell(self, *note: Any) -> None:
        if self._children is not None and self._children.is_child:
            self._children.tell(*note)

    def _catch_up(self) -> None:
        """Learn what has happened elsewhere before something is judged by what is known."""
        if self._kernel is not None:
            self._kernel.drain()
        if self._children is not None:
            for what, *note in self._children.news():
                self._learn(what, note)

    def _learn(self, what: str, note: list[Any]) -> None:
        if what == "read":
            path, depth, state, sure, both = note
            known = self.reads.get(path)
            if known is None and not self.is_own(path):
                found = None if state is None else State(*state)
                self.reads[path] = Read(depth, found, sure, both)
            elif known is not None:
                known.depth, known.sure = max(known.depth, depth), known.sure or sure
                known.both |= both
        elif what == "write":
            self.written[note[0]] = None
        elif what == "listing":
            self.listings.setdefault(note[0], tuple(note[1]))
        elif what == "variable":
            self.variables.setdefault(*note)
        elif what == "code":
            self.code.setdefault(*note)
        else:
            self.never.setdefault(*note)

    def _on_event(self, event: Event) -> None:
        """Take note of what the kernel saw; it sees as well what Python has told already."""
        if not (event.mine or self._has_children):
            return
        with self.quiet():
            path = event.path
            if path.endswith(".pyc") and not event.mine:
                path = _source_of(path)
            elif not self.paths.counts(path):
                return
            if event.written:
                self._on_written(event, path)
            if event.read and not event.mine:
                self._accessed.add(path)
            if not event.opened or (event.mine and path in self._handled):
                return
            if event.is_directory:
                self._on_listed(path)
            elif path not in self.reads and not self.is_own(path):
                self._touch_quietly(path, sure=False)

    def _on_written(self, event: Event, path: str) -> None:
        if event.mine and path in self._handled:
            return
        if path not in self.written:
            self.written[path] = None
        if event.is_directory and self._kernel is not None:
            self._kernel.watch([path])

    def _on_listed(self, path: str) -> None:
        """Note a folder that was opened, unless to look for modules there."""
        if self._is_listing:
            return
        self._handled.add(path)  # First: to look into it is to open it again.
        names = names_in(path)
        is_searched = any(name.endswith((".py", ".pyc")) for name in names or ())
        if not is_searched and path not in self.listings and self._is_listed(path):
            own = {os.path.basename(each) for each in self.written}
            self.listings[path] = tuple(name for name in names or () if name not in own)

    def _touch_quietly(self, path: str, *, sure: bool) -> None:
        state = state_of(path)
        if state is not None and state.kind == "other":
            return
        if not self._is_passing(path, state) and len(self.reads) < _MOST_READS:
            self.reads[path] = Read(CONTENT, state, sure)


def _source_of(path: str) -> str:
    """Return the file that a compiled module was made from."""
    folder, name = os.path.split(path)
    return os.path.join(os.path.dirname(folder), f"{name.partition('.')[0]}.py")
