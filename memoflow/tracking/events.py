"""Kernel events, without those already seen by the hooks in Python.

The kernel tells that a file was opened, not what for; and what happens to one file before its
events are read is told at once, in no order.
"""

from __future__ import annotations

import os

from memoflow.tracking.digests import State, state_of
from memoflow.tracking.folders import Folders
from memoflow.tracking.kernel import Event, KernelEvents
from memoflow.tracking.listings import names_in
from memoflow.tracking.notes import CONTENT, Notes, Read

MOST_READS = 100_000


class EventNotes(Notes):
    """Notes that events are judged by, and that are taken of them."""

    is_full = False
    _has_children = False
    _has_forked = False
    _is_listing = False  # while folders are opened that only the tracker looks into
    _kernel: KernelEvents | None = None
    _folders: Folders | None = None
    _searched: frozenset[str] = frozenset()  # folders that modules were looked for in

    def _is_told(self, path: str, mine: bool) -> bool:
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
                    return  # Forked children tell what they import.
                path = _source_of(path) if path.endswith(".pyc") else path
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
        had_read = path in self._accessed or (
            known is not None and known.sure and self._is_read(path)
        )
        if event.read:
            self._accessed.add(path)
        if event.made or (event.written and not event.read and not had_read):
            # New, or opened to be written: what seemed to be read is not, up to now.
            if known is not None and not known.sure and not had_read:
                del self.reads[path]
            self._keep_written(path)
        elif event.opened and not self.is_own(path) and not self._is_read(path):
            state = state_of(path)
            if event.written and not self._is_unchanged(state):
                self._note_doubt(path)
            self._keep_event(path, state)
        if event.written and not event.made and self._is_read(path):
            self.written[path] = None

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
        if len(self.reads) >= MOST_READS:
            self.is_full = True
            return
        known = self.reads.get(path)
        state = state if known is None else known.state
        self.reads[path] = Read(CONTENT, state, sure=False)

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
            self._searched |= {path}
        elif self._is_listed(path) and not self.is_own(path):
            self.listings[path] = self._foreign(path, names or ())


def _source_of(path: str) -> str:
    """Return the file that a compiled module was made from."""
    folder, name = os.path.split(path)
    return os.path.join(os.path.dirname(folder), f"{name.partition('.')[0]}.py")
