"""Tracker: the files, folders and variables that a piece of code reads while it runs.

A read that did not happen costs a needless run; one that goes unseen costs a wrong answer.
"""

from __future__ import annotations

import os
import stat
import sys
import time
from collections.abc import Callable, Iterable
from typing import Any

from memoflow.tracking.digests import ABSENT, State, state_of
from memoflow.tracking.kernel import KernelEvents
from memoflow.tracking.notes import (
    CONTENT,
    KIND,
    MOST_READS,
    ChildLog,
    Notes,
    Read,
    is_in,
    link_text,
)
from memoflow.tracking.paths import Paths, names_in, names_matching, paths_in

_MOST_WATCHED = 5000  # directories
# Libraries that open files in C++ or Rust.
_READERS = (
    "pyarrow", "polars", "duckdb", "h5py", "netCDF4", "safetensors", "tokenizers", "xgboost",
    "lightgbm", "onnxruntime", "cv2", "faiss", "tensorflow", "rasterio", "fiona",
)  # fmt: skip
# And the distributions with another name than their module.
NATIVE_READERS = frozenset({*map(str.lower, _READERS), "opencv_python", "faiss_cpu", "pandas"})


class AccessTracker(Notes):
    """The reads and writes of a process and its children since `start`, by absolute path.

    `reads` are files, `links` the targets of symbolic links that were asked for, `listings` the
    names that folders had by the folder or pattern asked for, `variables` the values of
    environment variables, None for one that was not set, and `code` modules loaded by a name that
    only the run knew, by file. `never` says by name why the result cannot be told from what was
    read, `troubles` why this time it cannot, and `unseen` what could not be followed.

    `events` makes the queue of what the kernel sees; an OSError of it means that there is none.
    """

    def __init__(
        self,
        paths: Paths,
        outputs: Iterable[str] = (),
        *,
        events: Callable[..., KernelEvents] = KernelEvents,
    ) -> None:
        super().__init__(paths, outputs)
        self.is_watching = False
        self.in_step = False
        self._events = events

    def start(self) -> None:
        """Take note from now on; of opens by any thread, and by code that is not Python's."""
        self.in_step = True
        self.is_watching = True
        self.started = self.temporary_since = time.time()
        if _has_workers():
            self.note_child()
        with self.quiet:
            try:
                self._kernel = self._events(self._on_event, self._is_known)
            except OSError:
                self._kernel = None
                return
            folders = self._folders = self.paths.folders(_MOST_WATCHED)
            self._kernel.watch(folders.found)
            self._kernel.watch(folders.caches)
            if not folders.whole:
                self.unseen[f"more than {_MOST_WATCHED} folders in {self.paths.root}"] = None

    def stop(self) -> None:
        """Stop noting, and merge the notes of children and of the kernel."""
        if not self.is_watching:
            return
        self.is_watching = False
        if self.quiet.depth:  # A signal came between two lines of the tracker, and raised.
            self.note_trouble("the code was interrupted where it was followed")
            self.quiet.depth = 0
        with self.quiet:
            self._catch_up()
            if self._kernel is not None:
                self._kernel.close()
                if self._kernel.overflowed:
                    self.is_full = True
            else:
                if self._has_children:
                    self.unseen["files that its subprocesses read by themselves"] = None
                for name in filter(sys.modules.__contains__, () if self.call else _READERS):
                    self.unseen[f"what {name} reads by itself"] = None
            if self._children is not None:
                if self._children.has_lost:
                    self.note_trouble("a process that it forked could not report its reads")
                self._children.close()
                self._children = None

    @property
    def sees_all(self) -> bool:
        """True if the kernel reports opens, so that those outside Python are seen too."""
        return self._kernel is not None

    def note_read(self, path: str, depth: int = CONTENT, *, both: bool = False) -> None:
        """Note that a file was asked for, there or not."""
        self._touch(path, depth, sure=True, both=both)

    def note_earlier(self, path: str, state: State | None) -> None:
        """Note a file that was read before the start, when it was in this state."""
        if self.paths.counts(path) and not self._is_transient(path, state):
            self.reads.setdefault(path, Read(CONTENT, state))

    def note_named(self, path: str) -> None:
        """Note a file or folder that a command names; it may be read or written."""
        if not os.path.isdir(path):
            self._touch(path, CONTENT, sure=False)
        elif self._kernel is None or self._is_child:
            self.note_listing(path)
        else:
            self._kernel.watch([path])

    def _touch(self, path: str, depth: int, *, sure: bool, both: bool = False) -> None:
        known = self.reads.get(path)
        if known is not None and known.depth >= depth and (known.sure or not sure):
            known.both |= both
            return
        self._catch_up()  # First, so that this open is not taken for an earlier one.
        if depth == CONTENT and sure:
            self._handled.add(path)
        if not self.paths.counts(path):
            return
        known = self.reads.get(path)
        if self.is_own(path):
            if path in self._moved or is_in(path, self._moved):
                name = self.paths.name(path)
                self.note_never(f"file {name}", f"moves {name} to where it is, and reads it")
            return
        if path in self._appended and depth > KIND:
            name = self.paths.name(path)
            self.note_never(f"file {name}", f"appends to {name}, and reads it")
            return
        state = state_of(path) if known is None else known.state
        if self._is_transient(path, state):
            return
        if state is None and known is None:
            self._touch_above(path)
        if state is not None and state.kind != "file":
            if depth == CONTENT and stat.S_ISFIFO(state.mode):
                name = self.paths.name(path)
                self.note_never(f"file {name}", f"{name} is a pipe, whose content has no digest")
            depth = KIND  # A folder that is opened is not listed yet.
            if known is not None and known.depth >= depth and known.sure:
                return
        if len(self.reads) >= MOST_READS:
            self.is_full = True
            return
        if known is not None:
            depth, sure, both = max(depth, known.depth), sure or known.sure, both or known.both
        self.reads[path] = Read(depth, state, sure, both)
        self._report("read", path, depth, state, sure, both)

    def _touch_above(self, path: str) -> None:
        """Note that no folder, but a file, is where one would have to be for a path."""
        above = os.path.dirname(path)
        while not os.path.exists(above):
            above = os.path.dirname(above)
        if not os.path.isdir(above):
            self._touch(above, KIND, sure=True)

    def note_write(self, path: str, *, append: bool = False) -> None:
        """Note that a file or folder is about to be made, replaced or removed."""
        self._catch_up()
        self._handled.add(path)
        if append and path not in self.written and state_of(path) is not None:
            self._appended.add(path)
            if path in self.reads:
                self.written[path] = None
                self._report("write", path)
            return
        self._keep_written(path)

    def note_tree(self, path: str) -> None:
        """Note that a folder is made or removed, with its whole content."""
        self.note_write(path)
        self._trees.add(path)
        self._report("tree", path)
        if self._kernel is not None and not self._is_child:
            self._kernel.watch([os.path.dirname(path)])

    def note_move(self, source: str, target: str) -> None:
        """Note that a file or folder is about to be renamed."""
        is_folder = os.path.isdir(source)
        note = self.note_tree if is_folder else self.note_write
        was_own = self.is_own(source) or self._is_transient(source, state_of(source))
        if is_folder:
            self._placed.add(target)
            self._report("placed", target)
        for path in (source, target):
            note(path)
        if not was_own and self.paths.counts(source):
            self._moved.add(target)
            self._report("move", target)

    def note_link(self, path: str) -> None:
        """Note that the target of a symbolic link was asked for."""
        if path in self.links or not self.paths.counts(path):
            return
        self._catch_up()
        if not self.is_own(path):
            self._keep("link", path, link_text(self.paths, path))

    def note_listing(self, path: str) -> None:
        """Note that the names in a folder were asked for."""
        self._handled.add(path)
        if path in self.listings or not self._is_listed(path):
            return
        self._catch_up()
        if not self.is_own(path):
            self._keep("listing", path, _listed(names_in(path)))

    def note_pattern(self, pattern: str) -> None:
        """Note that the names matching an absolute pattern were asked for."""
        if pattern in self.listings or not self._is_listed(pattern):
            return
        self._catch_up()
        self._is_listing = True
        try:
            self._keep("listing", pattern, _listed(names_matching(pattern)))
            if self._kernel is not None:
                self._kernel.drain()
        finally:
            self._is_listing = False

    def note_variable(self, name: str, value: str | None) -> None:
        """Note the value of an environment variable, None for one that is not set."""
        if name not in self._own_variables:
            self._keep("variable", name, value)

    def note_own_variable(self, name: str, before: str | None, value: str | None) -> None:
        """Note that an environment variable is set, or removed: the value None."""
        if self._own_variables.setdefault(name, before) == value:
            del self._own_variables[name]  # It is as it was.

    def note_package(self, name: str) -> None:
        """Note an installed module that was imported by a name that only the run knew."""
        self._keep("package", name)

    def note_other(self, kind: str, name: str, digest: str, summary: str) -> None:
        """Note a read of another kind, compared later by its own handler."""
        if (kind, name) not in self.others:
            self.others[kind, name] = digest, summary
            self._report("other", kind, name, digest, summary)

    def note_code(self, path: str, module: str) -> None:
        """Note a module that was loaded by a name that only the run knew."""
        self._handled.add(path)
        if not self.is_own(path):
            self._keep("code", path, module)

    def note_handled(self, path: str) -> None:
        """Note that a file is opened to no effect on results, as an import opens its code."""
        self._handled.add(path)

    def note_child(self) -> None:
        """Note the start of a process whose reads remain unknown."""
        if not self._has_children:
            self._has_children = True
            self._report("child")

    def note_value(self, value: Any) -> None:
        """Note accesses to the files that a value names, also outside the project.

        Where the kernel tells nothing, an existing file that is named counts as read.
        """
        if not self.is_watching:
            return
        with self.quiet:
            for path in paths_in(value):
                folder = path if os.path.isdir(path) else os.path.dirname(path)
                if self._kernel is None:
                    if folder != path and os.path.isfile(path):
                        self._by_value.add(path)
                        self._touch(path, CONTENT, sure=False)
                elif self.paths.counts(os.path.join(folder, "x")) and os.path.isdir(folder):
                    self._kernel.watch([folder])

    def has_made(self, path: str, state: State) -> bool:
        """Return whether the code made or changed a file that is in this state now.

        A folder that it moved into place, with all that is in it, counts; one that it only made
        does not, since others may write there at the same time.
        """
        if path in self.written:
            return True
        is_unknown = self._kernel is None or is_in(path, self._placed)
        return is_unknown and not self._is_unchanged(state)

    def before_fork(self) -> None:
        """Prepare the log in which forked children report their reads."""
        if not self.is_watching:
            return
        self._has_forked = True  # What Python does not see in them, the kernel tells.
        with self.quiet:
            if self._children is None:
                self._children = ChildLog()
            if self._kernel is not None:
                self._kernel.pause()

    def after_fork(self) -> None:
        """Go on in the parent."""
        if self.is_watching and self._kernel is not None:
            self._kernel.resume()

    def _catch_up(self) -> None:
        """Merge pending notes of other processes before a decision depends on them."""
        if self._kernel is not None:
            self._kernel.drain()
        if self._children is not None:
            for what, *note in self._children.read_new():
                self._merge_note(what, note)

    def _merge_note(self, what: str, note: list[Any]) -> None:
        if what == "read":
            path, depth, state, sure, both = note
            known = self.reads.get(path)
            if known is not None:
                known.depth, known.sure = max(known.depth, depth), known.sure or sure
                known.both |= both
            elif not self.is_own(path):
                found = None if state is None else State(*state)
                self.reads[path] = Read(depth, found, sure, both)
        elif what == "write":
            self._keep_written(note[0])
        elif what in ("tree", "move", "placed"):
            folders = {"tree": self._trees, "move": self._moved, "placed": self._placed}
            folders[what].add(note[0])
        elif what == "other":
            kind, name, digest, summary = note
            self.others.setdefault((kind, name), (digest, summary))
        elif what == "child":
            self.note_child()
        else:
            key, value = note
            self._kept[what].setdefault(key, tuple(value) if what == "listing" else value)


def _listed(names: Iterable[str] | None) -> tuple[str, ...]:
    return (ABSENT,) if names is None else tuple(names)


def _has_workers() -> bool:
    """Return whether `multiprocessing` has running worker processes."""
    process = sys.modules.get("multiprocessing.process")
    server = sys.modules.get("multiprocessing.forkserver")
    is_serving = getattr(getattr(server, "_forkserver", None), "_forkserver_pid", None) is not None
    return bool(getattr(process, "_children", ())) or is_serving
