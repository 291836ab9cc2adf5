"""Environment variables that the user's own code reads, by any method.

All of them, `os.getenv` and `os.path.expandvars` too, look a variable up by one method of the class
of `os.environ`. A copy of all variables is no read of one.
"""

from __future__ import annotations

import os
import sys
from types import CodeType, FrameType
from typing import Any

from memoflow.masking import is_credential
from memoflow.tracking import guard
from memoflow.tracking.callers import is_users
from memoflow.tracking.loading import is_import
from memoflow.tracking.tracker import AccessTracker

_OWN_VARIABLES = ("MEMOFLOW_", "METAFLOW_MEMOFLOW_")
_OF_ENVIRON = frozenset(
    {os.__file__, "<frozen os>", "<frozen posixpath>", "<frozen genericpath>",
     "<frozen _collections_abc>", os.path.__file__, sys.modules["_collections_abc"].__file__}
)  # fmt: skip
_IN_PASSING = frozenset(
    {"expanduser",  # The path that comes of it counts.
     "copy", "_execvpe", "get_exec_path", "__iter__",
     "items", "values", "__eq__", "update", "__or__", "__ror__"}
)  # fmt: skip
_MOST = 10_000
# What calls functions of the user's in threads and processes.
_CALLERS = frozenset({"concurrent", "functools", "joblib", "multiprocessing", "threading"})
_PARALLEL = "metaflow.multicore_utils"

# Where all variables are copied, as by `{**os.environ}`: each is asked for at the same place.
_copied_at: set[tuple[CodeType, int]] = set()


def asked(tracker: AccessTracker, frame: FrameType | None, environ: Any, key: Any) -> None:
    """Note a variable that is looked up, if it is the user's code that asks."""
    name = os.fsdecode(key)
    if name in tracker.variables or not is_of_results(name):
        return
    while frame is not None and frame.f_code.co_filename in _OF_ENVIRON:
        if frame.f_code.co_name in _IN_PASSING:
            return
        frame = frame.f_back
    if frame is None or is_import(frame) or (frame.f_code, frame.f_lasti) in _copied_at:
        return
    if _is_asked(tracker, frame):
        tracker.note_variable(name, _value(environ, key))


def _is_asked(tracker: AccessTracker, frame: FrameType | None) -> bool:
    """Tell whether the user's code reads it, itself or in parallel calls of its functions."""
    while frame is not None:
        path, module = frame.f_code.co_filename, str(frame.f_globals.get("__name__"))
        if is_users(path, module):
            return True
        if module.partition(".")[0] not in _CALLERS and module != _PARALLEL:
            return False
        frame = frame.f_back
    return tracker.in_step


class Copied(dict[str, str]):
    """A copy of all variables, as `os.environ.copy` returns it: one asked of it is read."""

    def __getitem__(self, key: str) -> str:
        self._ask(key)
        return super().__getitem__(key)

    def get(self, key: str, default: Any = None) -> Any:
        self._ask(key)
        return super().get(key, default)

    def __contains__(self, key: object) -> bool:
        self._ask(key)
        return super().__contains__(key)

    def __reduce__(self) -> tuple[Any, ...]:
        return dict, (dict(self),)

    def _ask(self, key: object) -> None:
        tracker = guard.active
        if tracker is not None and not tracker.quiet.depth and isinstance(key, str):
            guard.guarded(tracker, _asked_of_copy, sys._getframe(2), key)


def _asked_of_copy(tracker: AccessTracker, frame: FrameType, name: str) -> None:
    if is_of_results(name) and is_users(
        frame.f_code.co_filename, str(frame.f_globals.get("__name__"))
    ):
        tracker.note_variable(name, os.environ.get(name))


def iterated(frame: FrameType | None) -> None:
    """Remember the line of code that iterates over all variables: it reads no single one."""
    while frame is not None and frame.f_code.co_filename in _OF_ENVIRON:
        frame = frame.f_back
    if frame is not None and len(_copied_at) < _MOST:
        _copied_at.add((frame.f_code, frame.f_lasti))


def changed(tracker: AccessTracker, frame: FrameType, name: Any, value: Any = None) -> None:
    """Note a variable that is about to be set or removed."""
    key = os.fsencode(name)
    before = os.environ._data.get(key)  # type: ignore[attr-defined]
    tracker.note_own_variable(
        os.fsdecode(key),
        None if before is None else os.fsdecode(before),
        None if value is None else os.fsdecode(value),
    )


def is_of_results(name: str) -> bool:
    """Return whether results may depend on a variable of this name: not on credentials."""
    return not (name.startswith(_OWN_VARIABLES) or is_credential(name))


def _value(environ: Any, key: Any) -> str | None:
    raw = environ._data.get(environ.encodekey(key))
    return None if raw is None else os.fsdecode(raw)
