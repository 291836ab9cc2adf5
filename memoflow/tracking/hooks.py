"""Hooks: the places in Python that report reads of files and variables.

An audit hook sees opens, listings, renames and subprocesses (PEP 578; the events are listed in the
Python documentation). It cannot be removed, so it is added once and does nothing while nobody
tracks. Looking whether a file is there raises no event: `os.stat` and its kin are wrapped, and the
method by which `os.environ` looks a variable up, as `os.getenv` and `os.path.expandvars` do, too.
A wrapper may outlive that, where code holds it, and then only calls the original.

The code that is tracked must not fail by it. An error of the tracker is noted, and then the result
of the code is not kept.
"""

from __future__ import annotations

import _posixsubprocess
import contextlib
import functools
import importlib
import os
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar
from types import CodeType, FrameType
from typing import Any

from memoflow.fingerprint.modules import is_stdlib, site_of
from memoflow.tracking import callers, files
from memoflow.tracking.callers import caller, is_import, is_users, note_code
from memoflow.tracking.notes import Notes, is_of_results
from memoflow.tracking.tracker import AccessTracker

_Trackers = tuple[AccessTracker, ...]
_of_process: _Trackers = ()  # the one that takes notes of all threads, if any
_of_calls: _Trackers = ()  # those that take notes of one call each, of all that run
_everybody: _Trackers = ()  # both
# Those of the calls that this context runs in; None where nobody has told.
_of_context: ContextVar[_Trackers | None] = ContextVar("memoflow_calls", default=None)
_changing = threading.RLock()
_carries = False
_OURS = os.path.join(os.path.dirname(__file__), "")
_OF_ENVIRON = frozenset(
    {os.__file__, "<frozen os>", "<frozen posixpath>", "<frozen genericpath>",
     "<frozen _collections_abc>", os.path.__file__, sys.modules["_collections_abc"].__file__}
)  # fmt: skip
_IN_PASSING = frozenset(
    {"expanduser",  # The path that comes of it counts.
     "copy", "_execvpe", "get_exec_path", "__iter__",
     "items", "values", "__eq__", "update", "__or__", "__ror__"}
)  # fmt: skip
_MOST_COPIED = 10_000
# What calls functions of the user's in threads and processes.
_CALLERS = frozenset({"concurrent", "functools", "joblib", "multiprocessing", "threading"})
_PARALLEL = "metaflow.multicore_utils"
# Where all variables are copied, as by `{**os.environ}`: each is asked for at the same place.
_copied_at: set[tuple[CodeType, int]] = set()
_is_hooked = False


def _tell(handler: Callable[..., None], frame: FrameType, *given: Any, **by: Any) -> None:
    """Call a handler for each tracker; note its errors, and raise only exceptions of signals."""
    if Notes.quiet.depth:
        return
    for tracker in trackers():
        with tracker.quiet:
            try:
                handler(tracker, frame, *given, **by)
                if tracker.counts_cwd and not tracker.has_used_cwd:
                    files.note_relative(tracker, handler, frame, given)
            except Exception as error:
                if not _is_of_tracker(error):
                    raise
                trouble = f"{type(error).__name__}: {error}"
                tracker.note_trouble(f"a read could not be followed ({trouble})")


def _is_of_tracker(error: Exception) -> bool:
    """Return whether an error is of the tracker's own making.

    A signal is handled wherever Python happens to be, so that the exception by which @timeout ends
    a step may come from here; the same goes for a method of the user's that turns one into a path.
    """
    at = error.__traceback__
    while at is not None:
        code, module = at.tb_frame.f_code, str(at.tb_frame.f_globals.get("__name__"))
        path = os.path.abspath(code.co_filename) if code.co_filename[:1] != "<" else None
        if not (code.co_filename.startswith(_OURS) or is_stdlib(module, path)):
            return module.startswith("memoflow.fingerprint.")
        at = at.tb_next
    return True


def _asked(tracker: AccessTracker, frame: FrameType | None, environ: Any, key: Any) -> None:
    """Note a variable that is looked up, if it is the user's code that asks."""
    if not isinstance(key, (str, bytes)):
        return
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
        raw = environ._data.get(environ.encodekey(key))
        tracker.note_variable(name, None if raw is None else os.fsdecode(raw))


def _is_asked(tracker: AccessTracker, frame: FrameType | None) -> bool:
    """Return whether the user's code reads it, itself or in parallel calls of its functions."""
    while frame is not None:
        path, module = frame.f_code.co_filename, str(frame.f_globals.get("__name__"))
        if is_users(path, module):
            return True
        if module.partition(".")[0] not in _CALLERS and module != _PARALLEL:
            return False
        frame = frame.f_back
    return tracker.in_step


class _CopiedEnviron(dict[str, str]):
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
        if _everybody and isinstance(key, str):
            _tell(_asked_of_copy, sys._getframe(2), key)


def _asked_of_copy(tracker: AccessTracker, frame: FrameType, name: str) -> None:
    if is_of_results(name) and is_users(
        frame.f_code.co_filename, str(frame.f_globals.get("__name__"))
    ):
        tracker.note_variable(name, os.environ.get(name))


def _changed(tracker: AccessTracker, frame: FrameType, name: Any, value: Any = None) -> None:
    """Note a variable that is about to be set or removed."""
    key = os.fsencode(name)
    before = os.environ._data.get(key)  # type: ignore[attr-defined]
    tracker.note_own_variable(
        os.fsdecode(key),
        None if before is None else os.fsdecode(before),
        None if value is None else os.fsdecode(value),
    )


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
        before = vars(self._owner)[self._name]
        if before is not self._before:
            self._before, self._made = before, self._wrap(before)
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


def _noting(handler: Callable[..., None]) -> Callable[[Any], Any]:
    """Return a wrapper that tells a handler the arguments of a call before it is made."""

    def wrap(original: Any) -> Any:
        @functools.wraps(original)
        def wrapped(*arguments: Any, **options: Any) -> Any:
            if _everybody:
                _tell(handler, sys._getframe(1), *arguments, **options)
            return original(*arguments, **options)

        return wrapped

    return wrap


def _noting_open(original: Any) -> Any:
    @functools.wraps(original)
    def wrapped(path: Any, flags: int, mode: int = 0o777, *, dir_fd: Any = None) -> Any:
        if not _everybody or Notes.quiet.depth or dir_fd is None:
            return original(path, flags, mode, dir_fd=dir_fd)
        # The event that is raised has not the folder.
        where = files.path_in(path, dir_fd)
        _tell(files.opened, sys._getframe(1), where, None, flags)
        with Notes.quiet:
            return original(path, flags, mode, dir_fd=dir_fd)

    return wrapped


def _noting_iteration(original: Any) -> Any:
    """Remember the line of code that iterates over all variables: it reads no single one."""

    @functools.wraps(original)
    def __iter__(self: Any) -> Any:
        frame = sys._getframe(1) if _everybody else None
        while frame is not None and frame.f_code.co_filename in _OF_ENVIRON:
            frame = frame.f_back
        if frame is not None and len(_copied_at) < _MOST_COPIED:
            _copied_at.add((frame.f_code, frame.f_lasti))
        return original(self)

    return __iter__


def _noting_copy(original: Any) -> Any:
    @functools.wraps(original)
    def copy(self: Any) -> Any:
        copied = original(self)
        return _CopiedEnviron(copied) if _everybody else copied

    return copy


def _noting_import(original: Any) -> Any:
    @functools.wraps(original)
    def import_module(name: str, package: str | None = None) -> Any:
        module = original(name, package)
        if _everybody:
            _tell(_imported, sys._getframe(1), module)
        return module

    return import_module


def _imported(tracker: AccessTracker, frame: FrameType, module: Any) -> None:
    if not tracker.in_step:
        return
    path = getattr(module, "__dict__", {}).get("__file__")
    if caller(frame) != "user" or not isinstance(path, str):
        return
    if site_of(path) is not None:
        tracker.note_package(str(module.__name__).partition(".")[0])
    elif path.endswith(".py") and is_users(path):
        note_code(tracker, os.path.abspath(path), module.__name__)


def _started(tracker: AccessTracker, frame: FrameType, *_: Any) -> None:
    """Note a process that `multiprocessing` starts, by `spawn` or to fork others from."""
    if files.is_asked(tracker, frame):
        tracker.note_child()


_ENVIRON = type(os.environ)
PATCHES = [
    *(Patch(os, name, _noting(files.looked)) for name in ("stat", "lstat", "access")),
    Patch(os, "readlink", _noting(files.asked_link)),
    Patch(os, "open", _noting_open),
    Patch(os, "getcwd", _noting(files.asked_cwd)),
    Patch(_ENVIRON, "__getitem__", _noting(_asked)),
    Patch(_ENVIRON, "__iter__", _noting_iteration),
    Patch(_ENVIRON, "copy", _noting_copy),
    Patch(importlib, "import_module", _noting_import),
    Patch(_posixsubprocess, "fork_exec", _noting(_started)),
]
if sys.version_info < (3, 11):
    import pathlib

    def _noting_accessor(wrap: Callable[[Any], Any]) -> Callable[[Any], Any]:
        return lambda original: staticmethod(wrap(original))

    _ACCESSOR = pathlib._NormalAccessor  # type: ignore[attr-defined]  # It has copied them.
    PATCHES += [
        Patch(_ACCESSOR, "stat", _noting_accessor(_noting(files.looked))),
        Patch(_ACCESSOR, "readlink", _noting_accessor(_noting(files.asked_link))),
    ]


def active() -> AccessTracker | None:
    """Return the tracker that takes notes of all threads of this process, if any."""
    return next(iter(_of_process), None)


@contextlib.contextmanager
def tracking(tracker: AccessTracker) -> Iterator[AccessTracker]:
    """Let a tracker record all threads of the process in a `with` block."""
    begin(tracker)
    try:
        yield tracker
    finally:
        end(tracker)


@contextlib.contextmanager
def tracking_call(tracker: AccessTracker) -> Iterator[AccessTracker]:
    """Let a tracker record this context in a `with` block.

    Those around it take notes as well. What runs in a thread of unknown origin is noted by those
    of all calls: it may work for any of them.
    """
    token = _of_context.set((*_calls_here(), tracker))
    _take_part(of_calls=lambda calls: (*calls, tracker))
    try:
        yield tracker
    finally:
        _take_part(of_calls=lambda calls: tuple(each for each in calls if each is not tracker))
        _of_context.reset(token)


def begin(tracker: AccessTracker) -> None:
    """Let a tracker take notes of the process until `end`, in place of any other."""
    _take_part(of_process=lambda _: (tracker,))


def end(tracker: AccessTracker) -> None:
    """Stop a tracker of the process, and restore the wrapped functions unless calls need them."""
    _take_part(of_process=lambda now: () if now == (tracker,) else now)


def trackers() -> _Trackers:
    """Return the trackers of this context."""
    return (*_of_process, *_calls_here()) if _of_calls else _of_process


def _calls_here() -> _Trackers:
    known = known_calls()
    return _of_calls if known is None else known


def known_calls() -> _Trackers | None:
    """Return the trackers of the calls that this context runs in; None if nobody can tell."""
    of_context = _of_context.get()
    if of_context is None and threading.get_ident() == threading.main_thread().ident:
        return ()  # It works for nobody else.
    return of_context


def follow_executors() -> None:
    """Have executors run work in the calls of the submitter, from now on."""
    global _carries
    with _changing:
        if not _carries:
            _carries = True
            Patch(ThreadPoolExecutor, "submit", _carrying).apply()


def _carrying(original: Any) -> Any:
    @functools.wraps(original)
    def submit(self: Any, fn: Any, /, *arguments: Any, **options: Any) -> Any:
        return original(self, _work, known_calls(), fn, *arguments, **options)

    return submit


def _work(calls: _Trackers | None, fn: Any, /, *arguments: Any, **options: Any) -> Any:
    token = _of_context.set(calls)
    try:
        return fn(*arguments, **options)
    finally:
        _of_context.reset(token)


def _take_part(
    of_process: Callable[[_Trackers], _Trackers] = lambda now: now,
    of_calls: Callable[[_Trackers], _Trackers] = lambda now: now,
) -> None:
    """Add or remove trackers; with none the functions are those of Python."""
    global _is_hooked, _of_process, _of_calls, _everybody
    with _changing:
        if not _is_hooked:
            _is_hooked = True
            sys.addaudithook(_on_audit)
            os.register_at_fork(
                before=_before_fork, after_in_parent=_after_fork, after_in_child=_in_child
            )
        had_any = bool(_everybody)
        _of_process, _of_calls = of_process(_of_process), of_calls(_of_calls)
        everybody = *_of_process, *_of_calls
        if everybody and not had_any:
            for patch in PATCHES:
                patch.apply()
        _everybody = everybody
        if had_any and not everybody:
            for patch in reversed(PATCHES):
                patch.undo()


def _before_fork() -> None:
    for tracker in _everybody:
        tracker.before_fork()


def _after_fork() -> None:
    for tracker in _everybody:
        tracker.after_fork()


def _in_child() -> None:
    global _changing
    _changing = threading.RLock()  # A thread that is not in this process may have held it.


def _on_audit(event: str, arguments: tuple[Any, ...]) -> None:
    handler = _HANDLERS.get(event)
    if handler is not None and _everybody:
        _tell(handler, sys._getframe(1), *arguments)


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
    "os.putenv": _changed,
    "os.unsetenv": _changed,
    "exec": callers.note_run,
}
