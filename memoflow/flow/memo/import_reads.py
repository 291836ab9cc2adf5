"""Early reads: files and variables that the user's modules ask for while they are imported.

A worker imports them before anybody knows which of its steps is memoized, so this is noted from
when Metaflow loads memoflow, and imports nothing. What is found is handed to the tracker of the
step, if there is one.
"""

from __future__ import annotations

import contextlib
import os
import sys
import time
from types import FrameType
from typing import Any

_LIBRARIES = ("site-packages", "dist-packages")
_MOST = 10_000
_ACCESS_MODE = os.O_RDONLY | os.O_WRONLY | os.O_RDWR

# Files and variables by name; of a file the state that it was in.
files: dict[str, os.stat_result | None] = {}
variables: dict[str, None] = {}

# When this process began to import what the user wrote, in Unix seconds.
started = time.time()

_is_on = False


def begin() -> None:
    """Take note in a process that runs one step, as its command line says."""
    global _is_on
    if not _is_on and "step" in sys.argv[1:] and "metaflow" in sys.modules:
        _is_on = True
        sys.addaudithook(_on_audit)
        _replace(_noting)


def end() -> None:
    """Take no more notes: from now on a tracker does, or nobody."""
    global _is_on
    if _is_on:
        _is_on = False
        _replace(_plain)


_plain: Any = vars(type(os.environ))["__getitem__"]


def _noting(self: Any, key: Any) -> Any:
    if _is_on and len(variables) < _MOST:
        frame: FrameType | None = sys._getframe(1)
        while frame is not None and _is_of_environ(frame):
            frame = frame.f_back
        if frame is not None and isinstance(key, str) and _is_users(frame):
            variables[key] = None
    return _plain(self, key)


def _replace(method: Any) -> None:
    type(os.environ).__getitem__ = method  # type: ignore[method-assign]


def _on_audit(event: str, arguments: tuple[Any, ...]) -> None:
    if event != "open" or not _is_on or len(files) >= _MOST:
        return
    path, _, flags = arguments
    if not isinstance(path, (str, bytes)) or not isinstance(flags, int):
        return
    if flags & _ACCESS_MODE == os.O_RDONLY and _is_of_import(sys._getframe(1)):
        # An error that were raised here would fail the code that opens the file.
        with contextlib.suppress(OSError, ValueError):
            _note(os.path.abspath(os.fsdecode(path)))


def _note(path: str) -> None:
    if path not in files:
        try:
            files[path] = os.stat(path)
        except OSError:
            files[path] = None


def _is_of_import(frame: FrameType | None) -> bool:
    """Return whether a module of the user's asks: not an import, nor Metaflow for it."""
    while frame is not None:
        name = frame.f_code.co_filename
        module = str(frame.f_globals.get("__name__")).partition(".")[0]
        if name.startswith("<frozen importlib") or module in ("metaflow", "memoflow"):
            return False
        if _is_users(frame):
            return True
        frame = frame.f_back
    return False


def _is_users(frame: FrameType) -> bool:
    path = frame.f_code.co_filename
    module = str(frame.f_globals.get("__name__")).partition(".")[0]
    if path.startswith("<") or module in ("metaflow", "memoflow", "metaflow_extensions"):
        return False
    return not path.startswith(_stdlib) and not any(each in path for each in _LIBRARIES)


def _is_of_environ(frame: FrameType) -> bool:
    path = frame.f_code.co_filename
    return path.startswith("<frozen") or path.endswith(("/os.py", "/_collections_abc.py"))


_stdlib = (os.path.dirname(os.__file__) + os.sep, os.path.dirname(os.path.realpath(os.__file__)))
