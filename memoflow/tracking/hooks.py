"""Hooks: the places in Python that report reads of files and variables.

An audit hook sees opens, listings, renames and subprocesses (PEP 578; the events are listed in the
Python documentation). It cannot be removed, so it is added once and does nothing while nobody
tracks. Looking whether a file is there raises no event: `os.stat` and its kin are wrapped, and the
method by which `os.environ` looks a variable up.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Iterator
from typing import Any

from memoflow.tracking import environment, files, guard, loading
from memoflow.tracking.guard import guarded
from memoflow.tracking.tracker import AccessTracker
from memoflow.tracking.wrapping import PATCHES

_is_hooked = False


def active() -> AccessTracker | None:
    """Return the tracker that takes notes in this process, if any."""
    return guard.active


@contextlib.contextmanager
def tracking(tracker: AccessTracker) -> Iterator[AccessTracker]:
    """Let a tracker record all threads of the process in a `with` block."""
    begin(tracker)
    try:
        yield tracker
    finally:
        end(tracker)


def begin(tracker: AccessTracker) -> None:
    """Let a tracker take notes until `end`, in place of any other."""
    global _is_hooked
    if not _is_hooked:
        _is_hooked = True
        sys.addaudithook(_on_audit)
        os.register_at_fork(before=_before_fork, after_in_parent=_after_fork)
    if guard.active is None:
        for patch in PATCHES:
            patch.apply()
    guard.active = tracker


def end(tracker: AccessTracker) -> None:
    """Stop a tracker and restore the wrapped functions."""
    if guard.active is tracker:
        guard.active = None
        for patch in reversed(PATCHES):
            patch.undo()


def _before_fork() -> None:
    if guard.active is not None:
        guard.active.before_fork()


def _after_fork() -> None:
    if guard.active is not None:
        guard.active.after_fork()


def _on_audit(event: str, arguments: tuple[Any, ...]) -> None:
    handler = _HANDLERS.get(event)
    if handler is None:
        return
    tracker = guard.active
    if tracker is not None and not tracker.quiet.depth:
        guarded(tracker, handler, sys._getframe(1), *arguments)


_HANDLERS: dict[str, Callable[..., None]] = {
    "open": files.opened,
    "sqlite3.connect": files.connected,
    "ctypes.dlopen": files.loaded_library,
    "os.listdir": files.listed,
    "os.scandir": files.listed,
    "glob.glob": files.matched,
    "glob.glob/2": files.matched,
    "pathlib.Path.glob": files.matched_below,
    "pathlib.Path.rglob": files.matched_anywhere,
    "os.rename": files.moved,
    "os.link": files.linked,
    "os.symlink": files.linked_by_name,
    "os.remove": files.removed,
    "os.truncate": files.truncated,
    "os.mkdir": files.made_folder,
    "os.rmdir": files.removed_folder,
    "shutil.rmtree": files.removed_folder,
    "subprocess.Popen": files.started,
    "os.system": files.ran_in_shell,
    "os.posix_spawn": files.spawned,
    "os.exec": files.spawned,
    "os.putenv": environment.changed,
    "os.unsetenv": environment.changed,
    "exec": loading.note_run,
}
