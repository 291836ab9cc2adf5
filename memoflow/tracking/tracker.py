"""Tracker: the files, folders and variables that a piece of code reads while it runs.

Each path counts as it was touched first: one that the code has written is its own, one that was
read and is then changed by the code makes its result unknowable. A read that did not happen costs
a needless run; one that goes unseen costs a wrong answer.
"""

from __future__ import annotations

import fnmatch
import os
import stat
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from memoflow.tracking.children import ChildLog
from memoflow.tracking.digests import State, state_of
from memoflow.tracking.kernel import Event, KernelEvents
from memoflow.tracking.listings import names_in, names_matching
from memoflow.tracking.paths import Paths
from memoflow.tracking.strings import paths_in

KIND, SIZE, CONTENT = 0, 1, 2  # how much of a file was asked for

_MOST_WATCHED = 5000  # directories
_MOST_READS = 100_000
_CLOCK_SECONDS = 0.02  # by which the clock of a file system may be behind


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


class Quiet(threading.local):
    """Whether the thread that asks is in the tracker itself, or in what shall not count."""

    depth = 0

    def __enter__(self) -> None:
        self.depth += 1

    def __exit__(self, *error: object) -> None:
        self.depth -= 1


class AccessTracker:
    """What one process and its children read and wrote since `start`, by absolute path.

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
        events: Callable[[Callable[[Event], None]], KernelEvents] = KernelEvents,
    ) -> None:
        self.paths = paths
        self.reads: dict[str, Read] = {}
        self.links: dict[str, str | None] = {}
        self.listings: dict[str, tuple[str, ...]] = {}
        self.variables: dict[str, str | None] = {}
        self.code: dict[str, str] = {}
        self.written: dict[str, None] = {}
        self.never: dict[str, str] = {}
        self.unseen: dict[str, None] = {}
        self.troubles: dict[str, None] = {}
        self.started = time.time()
        self.is_full = False
        self.is_watching = False
        self.in_step = False
        self.quiet = Quiet()
        self._outputs = tuple(outputs)
        self._events = events
        self._own: set[str] = set()  # of `written`, what had not been read before
        self._trees: tuple[str, ...] = ()
        self._moved: tuple[str, ...] = ()  # where what the code had not made was moved to
        self._appended: set[str] = set()
        self._handled: set[str] = set()  # opened by Python, which told of it
        self._accessed: set[str] = set()
        self._own_variables: dict[str, str | None] = {}
        self._has_children = False
        self._has_forked = False
        self._searched: set[str] = set()  # folders that modules were looked for in
        self._is_listing = False  # while folders are opened that only the tracker looks into
        self._kernel: KernelEvents | None = None
        self._children: ChildLog | None = None
        self._local = threading.local()

    def start(self) -> None:
        """Take note from now on; of opens by any thread, and by code that is not Python's."""
        self.in_step = True
        self.is_watching = True
        self.started = time.time()
        with self.quiet:
            try:
                self._kernel = self._events(self._on_event)
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
        if self.busy:  # A signal came between two lines of the tracker, and was an exception.
            self.note_trouble("the step was interrupted where it was followed")
        with self.quiet:
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
        return self.quiet.depth > 0

    def note_read(self, path: str, depth: int = CONTENT, *, both: bool = False) -> None:
        """Note that a file was asked for, there or not."""
        self._touch(path, depth, sure=True, both=both)

    def note_earlier(self, path: str, state: State | None) -> None:
        """Note a file that was read before the start, when it was in this state."""
        if self.paths.counts(path) and not self._is_passing(path, state):
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
            self._check_moved(path)
            return
        if path in self._appended:
            self.note_never(
                f"file {self.paths.name(path)}", f"appends to {self.paths.name(path)}, and reads it"
            )
            return
        state = state_of(path) if known is None else known.state
        if self._is_passing(path, state):
            return
        if state is not None and state.kind != "file":
            if depth == CONTENT:
                self._note_other(path, state)
            depth = KIND  # A folder that is opened is not listed yet.
            if known is not None and known.depth >= depth and known.sure:
                return
        if len(self.reads) >= _MOST_READS:
            self.is_full = True
            return
        if known is not None:
            depth, sure, both = max(depth, known.depth), sure or known.sure, both or known.both
        self.reads[path] = Read(depth, state, sure, both)
        self._tell("read", path, depth, state, sure, both)

    def _check_moved(self, path: str) -> None:
        """Note that a file is read which was moved to where it is now."""
        if path.startswith(self._moved) or f"{path}/" in self._moved:
            name = self.paths.name(path)
            self.note_never(f"file {name}", f"moves {name} to where it is, and reads it")

    def _note_other(self, path: str, state: State) -> None:
        if stat.S_ISFIFO(state.mode):
            name = self.paths.name(path)
            self.note_never(f"file {name}", f"{name} is a pipe, whose content has no digest")

    def _is_passing(self, path: str, state: State | None) -> bool:
        """Return whether a file is a temporary one that was made since the start."""
        if not self.paths.is_temporary(path):
            return False
        return state is None or state.changed_ns / 1e9 >= self.started - _CLOCK_SECONDS

    def note_write(self, path: str, *, append: bool = False) -> None:
        """Note that a file or folder is about to be made, replaced or removed."""
        self._catch_up()
        self._handled.add(path)
        if append and path not in self.written and state_of(path) is not None:
            self._appended.add(path)
            if path in self.reads:
                self.written[path] = None
                self._tell("write", path)
            return
        self._keep_written(path)

    def _keep_written(self, path: str) -> None:
        known = self.reads.get(path)
        if known is None or known.depth < CONTENT:
            self._own.add(path)
        if path not in self.written:
            self.written[path] = None
            self._tell("write", path)

    def note_tree(self, path: str) -> None:
        """Note that a folder is made or removed, with all that is to be in it."""
        self.note_write(path)
        self._trees = (*self._trees, os.path.join(path, ""))
        self._tell("tree", path)
        if self._kernel is not None and not self._is_child:
            self._kernel.watch([os.path.dirname(path)])

    def note_move(self, source: str, target: str) -> None:
        """Note that a file or folder is about to be renamed."""
        note = self.note_tree if os.path.isdir(source) else self.note_write
        was_own = self.is_own(source) or self._is_passing(source, state_of(source))
        for path in (source, target):
            note(path)
        if not was_own and self.paths.counts(source):
            self._moved = (*self._moved, os.path.join(target, ""))
            self._tell("move", target)

    def note_link(self, path: str) -> None:
        """Note that the target of a symbolic link was asked for."""
        if path in self.links or not self.paths.counts(path):
            return
        self._catch_up()
        if self.is_own(path):
            return
        self.links[path] = link_text(self.paths, path)
        self._tell("link", path, self.links[path])

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

    def note_own_variable(self, name: str, before: str | None, value: str | None) -> None:
        """Note that an environment variable is set, or removed: that is the value None."""
        if self._own_variables.setdefault(name, before) == value:
            del self._own_variables[name]  # It is as it was.

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

    def note_trouble(self, reason: str) -> None:
        """Note why the reads of this time are not all known."""
        if reason not in self.troubles:
            self.troubles[reason] = None
            self._tell("trouble", reason)

    def note_child(self) -> None:
        """Note that another process is started, which does not tell what it reads."""
        if self._has_children:
            return
        self._has_children = True
        self._tell("child")
        if self._kernel is None:
            self.unseen["what its subprocesses read by themselves"] = None

    def note_value(self, value: Any) -> None:
        """Take note of what happens where a value names files, outside the project or not.

        Where the kernel tells nothing, an existing file that is named counts as read.
        """
        if not self.is_watching:
            return
        with self.quiet:
            for path in paths_in(value):
                folder = path if os.path.isdir(path) else os.path.dirname(path)
                if self._kernel is None:
                    if folder != path and os.path.isfile(path):
                        self._touch(path, CONTENT, sure=False)
                elif self.paths.counts(os.path.join(folder, "x")) and os.path.isdir(folder):
                    self._kernel.watch([folder])

    def is_own(self, path: str) -> bool:
        """Return whether the code made a file itself, before it read it."""
        return path in self._own or (path.startswith(self._trees) and not self._is_read(path))

    def _is_read(self, path: str) -> bool:
        known = self.reads.get(path)
        return known is not None and known.depth >= CONTENT

    def is_output(self, path: str) -> bool:
        """Return whether a file is declared to be an output."""
        name = self.paths.name(path)
        return any(fnmatch.fnmatch(name, pattern) for pattern in self._outputs)

    def has_accessed(self, path: str) -> bool:
        """Return whether a file that code unknown to Python opened was certainly read."""
        return path in self._accessed

    def before_fork(self) -> None:
        """Prepare for children that tell what they find."""
        if not self.is_watching:
            return
        self._has_forked = True  # What Python does not see in them, the kernel tells.
        if self._children is None:
            with self.quiet:
                self._children = ChildLog()

    @property
    def _is_child(self) -> bool:
        return self._children is not None and self._children.is_child

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
            if known is not None:
                known.depth, known.sure = max(known.depth, depth), known.sure or sure
                known.both |= both
            elif not self.is_own(path):
                found = None if state is None else State(*state)
                self.reads[path] = Read(depth, found, sure, both)
        elif what == "write":
            self._keep_written(note[0])
        elif what == "tree":
            self._trees = (*self._trees, os.path.join(note[0], ""))
        elif what == "move":
            self._moved = (*self._moved, os.path.join(note[0], ""))
        elif what == "listing":
            self.listings.setdefault(note[0], tuple(note[1]))
        elif what == "child":
            self.note_child()
        elif what == "trouble":
            self.troubles[note[0]] = None
        else:
            kept: dict[str, Any] = {
                "variable": self.variables, "code": self.code, "link": self.links,
                "never": self.never,
            }[what]  # fmt: skip
            kept.setdefault(*note)

    def _on_event(self, event: Event) -> None:
        """Take note of what the kernel saw; it sees as well what Python has told already."""
        if not (event.mine or self._has_children or self._has_forked):
            return
        with self.quiet:
            path = event.path
            if path.endswith((".pyc", ".py")) and not event.mine:
                if not self._has_children:
                    return  # Forked children tell what they import.
                path = _source_of(path) if path.endswith(".pyc") else path
            if not self.paths.counts(path):
                return
            if event.is_directory:
                self._on_directory(event, path)
            else:
                self._on_file(event, path)

    def _on_file(self, event: Event, path: str) -> None:
        known = self.reads.get(path)
        if event.mine and path in self._handled:
            if event.written and known is not None and path not in self.written:
                # Python has told of all it has opened itself; nor does it append silently.
                if path not in self._appended and not known.both:
                    self.written[path] = None
            return
        had_read = path in self._accessed or (known is not None and known.sure and self._is_read(path))
        if event.read:
            self._accessed.add(path)
        if event.made or (event.written and not event.read and not had_read):
            # New, or opened to be written: what seemed to be read is not, up to now.
            if known is not None and not known.sure and not had_read:
                del self.reads[path]
            self._keep_written(path)
        elif event.opened and not self.is_own(path) and not self._is_read(path):
            state = state_of(path)
            was = self._is_unchanged(state)
            if event.written and not was:
                self._note_doubt(path)
            self._keep_event(path, state)
        if event.written and not event.made and self._is_read(path):
            self.written[path] = None

    def _is_unchanged(self, state: State | None) -> bool:
        """Return whether a file has not changed since the start."""
        return state is not None and state.changed_ns / 1e9 < self.started - _CLOCK_SECONDS

    def _note_doubt(self, path: str) -> None:
        """Note that a file was read and written, in an order that nobody knows."""
        name = self.paths.name(path)
        if not self.is_output(path):
            self.note_never(f"file {name}", f"reads and changes {name}")

    def _keep_event(self, path: str, state: State | None) -> None:
        if state is not None and state.kind == "other":
            return
        if self._is_passing(path, state):
            return
        if len(self.reads) >= _MOST_READS:
            self.is_full = True
            return
        known = self.reads.get(path)
        state = state if known is None else known.state
        self.reads[path] = Read(CONTENT, state, sure=False)

    def _on_directory(self, event: Event, path: str) -> None:
        if event.made and not (event.mine and path in self._handled):
            self._trees = (*self._trees, os.path.join(path, ""))
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
            self.listings[path] = self._foreign(path, names or ())

    def _foreign(self, folder: str, names: Iterable[str]) -> tuple[str, ...]:
        """Return the names of what the code has not made itself by now."""
        return tuple(name for name in names if os.path.join(folder, name) not in self._own)


def link_text(paths: Paths, path: str) -> str | None:
    """Return the target of a symbolic link, in the project by name; None if it is none."""
    try:
        text = _readlink(path)
    except (OSError, ValueError):
        return None
    return paths.name(text) if os.path.isabs(text) else text


# The function itself: the module's attribute is replaced while a step runs.
_readlink = os.readlink


def _source_of(path: str) -> str:
    """Return the file that a compiled module was made from."""
    folder, name = os.path.split(path)
    return os.path.join(os.path.dirname(folder), f"{name.partition('.')[0]}.py")
