"""Wrapping: functions of the standard library that raise no audit event, replaced while one tracks.

A wrapper may outlive that, where code holds it, and then only calls the original.
"""

from __future__ import annotations

import _posixsubprocess
import functools
import importlib
import os
import sys
from collections.abc import Callable
from types import FrameType
from typing import Any

from memoflow.fingerprint.packages import site_of
from memoflow.tracking import environment, files, guard
from memoflow.tracking.callers import caller, is_users
from memoflow.tracking.guard import guarded
from memoflow.tracking.loading import note_code
from memoflow.tracking.tracker import AccessTracker


class Patch:
    """One function of a module or class, wrapped while a tracker is active."""

    def __init__(self, owner: Any, name: str, wrap: Callable[[Any], Any]) -> None:
        self._owner = owner
        self._name = name
        self._wrap = wrap
        self._before: Any = None
        self._made: Any = None

    def apply(self) -> None:
        """Replace the function."""
        self._before = vars(self._owner)[self._name]
        self._made = self._wrap(self._before)
        if self._owner is os:
            self._made.__module__ = "os"  # Pickled by name, it is found there; not in `posix`.
        setattr(self._owner, self._name, self._made)
        for group in _GROUPS:
            if self._before in getattr(os, group, ()):
                getattr(os, group).add(self._made)

    def undo(self) -> None:
        """Put the function back, unless somebody else has replaced it since."""
        if vars(self._owner).get(self._name) is self._made:
            setattr(self._owner, self._name, self._before)
        for group in _GROUPS:
            getattr(os, group, set()).discard(self._made)


# `shutil` asks by them what a function of `os` can do.
_GROUPS = ("supports_fd", "supports_dir_fd", "supports_follow_symlinks", "supports_effective_ids")


def _noting_stat(original: Any) -> Any:
    @functools.wraps(original)
    def wrapped(path: Any, *arguments: Any, **options: Any) -> Any:
        tracker = guard.active
        if tracker is not None and not tracker.quiet.depth and not isinstance(path, int):
            guarded(tracker, files.looked, sys._getframe(1), path, options.get("dir_fd"))
        return original(path, *arguments, **options)

    return wrapped


def _noting_readlink(original: Any) -> Any:
    @functools.wraps(original)
    def wrapped(path: Any, **options: Any) -> Any:
        tracker = guard.active
        if tracker is not None and not tracker.quiet.depth:
            guarded(tracker, files.asked_link, sys._getframe(1), path, options.get("dir_fd"))
        return original(path, **options)

    return wrapped


def _noting_open(original: Any) -> Any:
    @functools.wraps(original)
    def wrapped(path: Any, flags: int, mode: int = 0o777, *, dir_fd: Any = None) -> Any:
        tracker = guard.active
        if tracker is None or tracker.quiet.depth or dir_fd is None:
            return original(path, flags, mode, dir_fd=dir_fd)
        # The event that is raised has not the folder.
        where = files.path_in(path, dir_fd)
        guarded(tracker, files.opened, sys._getframe(1), where, None, flags)
        with tracker.quiet:
            return original(path, flags, mode, dir_fd=dir_fd)

    return wrapped


def _noting_item(original: Any) -> Any:
    @functools.wraps(original)
    def __getitem__(self: Any, key: Any) -> Any:
        tracker = guard.active
        if tracker is not None and not tracker.quiet.depth and isinstance(key, (str, bytes)):
            guarded(tracker, environment.asked, sys._getframe(1), self, key)
        return original(self, key)

    return __getitem__


def _noting_iteration(original: Any) -> Any:
    @functools.wraps(original)
    def __iter__(self: Any) -> Any:
        if guard.active is not None:
            environment.iterated(sys._getframe(1))
        return original(self)

    return __iter__


def _noting_copy(original: Any) -> Any:
    @functools.wraps(original)
    def copy(self: Any) -> Any:
        copied = original(self)
        return environment.Copied(copied) if guard.active is not None else copied

    return copy


def _noting_import(original: Any) -> Any:
    @functools.wraps(original)
    def import_module(name: str, package: str | None = None) -> Any:
        module = original(name, package)
        tracker = guard.active
        if tracker is not None and not tracker.quiet.depth and tracker.in_step:
            guarded(tracker, _imported, sys._getframe(1), module)
        return module

    return import_module


def _imported(tracker: AccessTracker, frame: FrameType, module: Any) -> None:
    path = getattr(module, "__dict__", {}).get("__file__")
    if caller(frame) != "user" or not isinstance(path, str):
        return
    if site_of(path) is not None:
        tracker.note_package(str(module.__name__).partition(".")[0])
    elif path.endswith(".py") and is_users(path):
        note_code(tracker, os.path.abspath(path), module.__name__)


def _noting_child(original: Any) -> Any:
    """Note a process that `multiprocessing` starts, by `spawn` or to fork others from."""

    @functools.wraps(original)
    def fork_exec(*arguments: Any, **options: Any) -> Any:
        tracker = guard.active
        if tracker is not None and not tracker.quiet.depth:
            guarded(tracker, _started, sys._getframe(1))
        return original(*arguments, **options)

    return fork_exec


def _started(tracker: AccessTracker, frame: FrameType) -> None:
    if files.is_asked(tracker, frame):
        tracker.note_child()


_ENVIRON = type(os.environ)
PATCHES = [
    *(Patch(os, name, _noting_stat) for name in ("stat", "lstat", "access")),
    Patch(os, "readlink", _noting_readlink),
    Patch(os, "open", _noting_open),
    Patch(_ENVIRON, "__getitem__", _noting_item),
    Patch(_ENVIRON, "__iter__", _noting_iteration),
    Patch(_ENVIRON, "copy", _noting_copy),
    Patch(importlib, "import_module", _noting_import),
    Patch(_posixsubprocess, "fork_exec", _noting_child),
]
if sys.version_info < (3, 11):
    import pathlib

    def _noting_accessor(wrap: Callable[[Any], Any]) -> Callable[[Any], Any]:
        return lambda original: staticmethod(wrap(original))

    _ACCESSOR = pathlib._NormalAccessor  # type: ignore[attr-defined]  # It has copied them.
    PATCHES += [
        Patch(_ACCESSOR, "stat", _noting_accessor(_noting_stat)),
        Patch(_ACCESSOR, "readlink", _noting_accessor(_noting_readlink)),
    ]
