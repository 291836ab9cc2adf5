"""Hooks: where Python tells of files and variables that code asks for.

An audit hook sees opens, listings, renames and subprocesses (PEP 578; the events are listed in the
Python documentation). It cannot be removed, so it is added once and does nothing while nobody
tracks. Looking whether a file is there raises no event: `os.stat` and its kin are wrapped, and the
method by which `os.environ` looks a variable up.
"""

from __future__ import annotations

import contextlib
import dis
import functools
import importlib
import os
import re
import sys
from collections.abc import Callable, Iterator
from types import CodeType, FrameType
from typing import Any

from memoflow.tracking import commands
from memoflow.tracking.callers import caller, is_users, reads_code
from memoflow.tracking.tracker import KIND, SIZE, AccessTracker

_WRITES = os.O_WRONLY | os.O_RDWR
_CREDENTIAL = re.compile(r"KEY|TOKEN|SECRET|PASSW|CREDENTIAL", re.I)
_OWN_VARIABLES = ("MEMOFLOW_", "METAFLOW_MEMOFLOW_")
_OF_ENVIRON = frozenset(
    {os.__file__, "<frozen os>", "<frozen posixpath>", "<frozen genericpath>",
     "<frozen _collections_abc>", sys.modules["posixpath"].__file__,
     sys.modules["_collections_abc"].__file__}
)  # fmt: skip
_BY_KIND = frozenset(
    {"exists", "lexists", "isfile", "isdir", "islink", "is_file", "is_dir", "is_symlink",
     "is_mount", "ismount", "samefile"}
)  # fmt: skip
_BY_TIME = frozenset({"getmtime", "getatime", "getctime"})

_active: AccessTracker | None = None
_is_hooked = False


def active() -> AccessTracker | None:
    """Return the tracker that takes notes in this process, if any."""
    return _active


@contextlib.contextmanager
def tracking(tracker: AccessTracker) -> Iterator[AccessTracker]:
    """Let a tracker take notes meanwhile; of the whole process, whichever thread."""
    begin(tracker)
    try:
        yield tracker
    finally:
        end(tracker)


def begin(tracker: AccessTracker) -> None:
    """Let a tracker take notes until `end`, in place of any other."""
    global _active, _is_hooked
    if not _is_hooked:
        _is_hooked = True
        sys.addaudithook(_on_audit)
        os.register_at_fork(before=_before_fork)
    if _active is None:
        for patch in _PATCHES:
            patch.apply()
    _active = tracker


def end(tracker: AccessTracker) -> None:
    """Let a tracker take no more notes, and put back what was wrapped."""
    global _active
    if _active is tracker:
        _active = None
        for patch in reversed(_PATCHES):
            patch.undo()


def _before_fork() -> None:
    if _active is not None:
        _active.before_fork()


def _on_audit(event: str, arguments: tuple[Any, ...]) -> None:
    handler = _HANDLERS.get(event)
    if handler is None or _active is None or _active.busy:
        return
    # Raised here, an error would fail the call of the code that is tracked.
    with _active.quiet(), contextlib.suppress(Exception):
        handler(_active, sys._getframe(1), *arguments)


def _absolute(path: Any) -> str | None:
    """Return an absolute path; None for what is no path, such as the number of an open file."""
    if isinstance(path, int) or path is None:
        return None
    text = os.fsdecode(path)
    return os.path.abspath(text) if text and "\0" not in text else None


def _counts(tracker: AccessTracker, frame: FrameType, path: str) -> bool:
    """Return whether a call is one of the code that is tracked; note the path otherwise."""
    who = caller(frame)
    is_asked = who == "user" or (who == "nobody" and tracker.in_step)
    if is_asked and not (path.endswith(".py") and reads_code(frame)):
        return True
    tracker.note_handled(path)
    return False


def _opened(
    tracker: AccessTracker, frame: FrameType, path: Any, mode: Any = None, flags: Any = 0
) -> None:
    absolute = _absolute(path)
    if absolute is None or not _counts(tracker, frame, absolute):
        return
    flags = flags if isinstance(flags, int) else 0
    how = flags & (os.O_RDONLY | _WRITES)
    if how == os.O_RDONLY:
        tracker.note_read(absolute)
    elif flags & os.O_TRUNC or flags & os.O_EXCL or not os.path.exists(absolute):
        tracker.note_write(absolute)
    elif flags & os.O_APPEND:
        tracker.note_write(absolute, append=True)
    elif how & os.O_RDWR:
        tracker.note_read(absolute, both=True)
    else:
        tracker.note_write(absolute, append=True)  # Written in part, as `dd conv=notrunc` does.


def _connected(tracker: AccessTracker, frame: FrameType, database: Any) -> None:
    """Note a file of SQLite's, which opens it by itself, and what was not yet merged into it."""
    text = database.decode() if isinstance(database, bytes) else str(database)
    if text.startswith("file:"):
        from urllib.parse import unquote, urlsplit  # Here, since few databases are named so.

        text = unquote(urlsplit(text).path)
    if not text or text == ":memory:":
        return
    absolute = os.path.abspath(text)
    if _counts(tracker, frame, absolute):
        tracker.note_read(absolute, both=True)
        tracker.note_read(f"{absolute}-wal", both=True)
        tracker.note_handled(f"{absolute}-shm")


def _loaded_library(tracker: AccessTracker, frame: FrameType, name: Any, *_: Any) -> None:
    absolute = _absolute(name)
    if absolute is not None and os.sep in str(name) and _counts(tracker, frame, absolute):
        tracker.note_read(absolute)


def _listed(tracker: AccessTracker, frame: FrameType, path: Any = None) -> None:
    if isinstance(path, int):
        path = _folder_of(path)
    absolute = _absolute(path or ".")
    if absolute is None:
        return
    who = "import" if _is_matching(frame) else caller(frame)
    if who == "user" or (who == "nobody" and tracker.in_step):
        tracker.note_listing(absolute)
    else:
        tracker.note_handled(absolute)


def _is_matching(frame: FrameType | None) -> bool:
    """Return whether a folder is listed to match a pattern, which is noted as such."""
    while frame is not None:
        path, name = frame.f_code.co_filename, frame.f_code.co_name
        if os.path.basename(path) == "glob.py":
            return True
        if "pathlib" in path:
            return name not in ("iterdir", "walk", "_walk", "_scandir")
        if is_users(path, str(frame.f_globals.get("__name__"))):
            return False
        frame = frame.f_back
    return False


def _matched(tracker: AccessTracker, frame: FrameType, pattern: Any, *more: Any) -> None:
    """Note a pattern of `glob`, which is taken below `root_dir` where one is given."""
    text = os.fsdecode(pattern)
    root = os.fsdecode(more[1]) if len(more) > 1 and more[1] is not None else ""
    if caller(frame) in ("user", "nobody"):
        _note_pattern(tracker, os.path.join(root, text))


def _matched_below(tracker: AccessTracker, frame: FrameType, path: Any, pattern: Any) -> None:
    if caller(frame) in ("user", "nobody"):
        _note_pattern(tracker, os.path.join(os.fspath(path), str(pattern)))


def _matched_anywhere(tracker: AccessTracker, frame: FrameType, path: Any, pattern: Any) -> None:
    _matched_below(tracker, frame, path, os.path.join("**", str(pattern)))


def _note_pattern(tracker: AccessTracker, pattern: str) -> None:
    absolute = os.path.abspath(pattern)
    if not any(character in absolute for character in "*?["):
        tracker.note_read(absolute, KIND)
    else:
        tracker.note_pattern(absolute)


def _moved(
    tracker: AccessTracker, frame: FrameType, source: Any, target: Any, *folders: Any
) -> None:
    for path in (source, target):
        absolute = _absolute(path)
        if absolute is not None:
            note = tracker.note_tree if os.path.isdir(absolute) else tracker.note_write
            note(absolute)


def _linked(tracker: AccessTracker, frame: FrameType, source: Any, target: Any, *_: Any) -> None:
    absolute, made = _absolute(source), _absolute(target)
    if made is not None:
        tracker.note_write(made)
    if absolute is not None and os.path.exists(absolute) and caller(frame) == "user":
        tracker.note_read(absolute)


def _changed(tracker: AccessTracker, frame: FrameType, path: Any, *_: Any) -> None:
    absolute = _absolute(path)
    if absolute is not None:
        tracker.note_write(absolute)


def _made_folder(tracker: AccessTracker, frame: FrameType, path: Any, *_: Any) -> None:
    absolute = _absolute(path)
    if absolute is not None and not os.path.exists(absolute):
        tracker.note_tree(absolute)


def _removed_tree(tracker: AccessTracker, frame: FrameType, path: Any, *_: Any) -> None:
    absolute = _absolute(path)
    if absolute is not None:
        tracker.note_tree(absolute)


def _started(
    tracker: AccessTracker,
    frame: FrameType,
    executable: Any,
    arguments: Any = (),
    directory: Any = None,
    *_: Any,
) -> None:
    if caller(frame) not in ("user", "nobody"):
        return
    tracker.note_child(seen=False)
    for path in commands.files_named(executable, arguments, directory):
        tracker.note_named(path)


def _ran_in_shell(tracker: AccessTracker, frame: FrameType, command: Any) -> None:
    _started(tracker, frame, None, ["sh", "-c", os.fsdecode(command)])


def _spawned(
    tracker: AccessTracker, frame: FrameType, path: Any, arguments: Any = (), *_: Any
) -> None:
    if os.path.basename(frame.f_code.co_filename) != "subprocess.py":  # It has told of it.
        _started(tracker, frame, path, arguments)


def _set_variable(tracker: AccessTracker, frame: FrameType, name: Any, *_: Any) -> None:
    tracker.note_own_variable(os.fsdecode(name))


def _ran(tracker: AccessTracker, frame: FrameType, code: Any) -> None:
    """Note the file of a module that is loaded by a name which only the run knew."""
    if not isinstance(code, CodeType) or code.co_name != "<module>":
        return
    path = code.co_filename
    if path.startswith("<") or not path.endswith(".py") or not is_users(path):
        return
    absolute = os.path.abspath(path)
    if tracker.in_step and not _is_stated(tracker, frame):
        tracker.note_code(absolute, _module_of(frame))
    else:
        tracker.note_handled(absolute)


def _module_of(frame: FrameType | None) -> str:
    """Return the name of the module that is being loaded, as far as its loader tells."""
    for _ in range(12):
        if frame is None:
            return ""
        found = frame.f_locals.get("spec") if frame.f_code.co_name == "_load_unlocked" else None
        if found is not None:
            return str(found.name)
        found = frame.f_locals.get("module") if frame.f_code.co_name == "exec_module" else None
        if found is not None:
            return str(getattr(found, "__name__", ""))
        if frame.f_code.co_name == "_run_code" and frame.f_locals.get("mod_name"):
            return str(frame.f_locals["mod_name"])
        frame = frame.f_back
    return ""


def _is_stated(tracker: AccessTracker, frame: FrameType | None) -> bool:
    """Return whether a module is loaded by import statements alone: such code is followed anyway.

    Those that importing one imports in turn are no others.
    """
    loading = False
    for _ in range(400):
        if frame is None:
            return True
        name = frame.f_code.co_filename
        if name.startswith("<frozen importlib"):
            loading = True
        elif frame.f_code.co_name == "__import__" and "importlib" in name:
            return False
        else:
            if loading and not _is_import(frame):
                # Unpickling names what it loads, and that is told by whoever unpickles.
                return caller(frame) == "host"
            if not loading:
                return False  # `exec` or a loader, called by hand.
            loading = False
            if frame.f_code.co_name != "<module>":
                return os.path.abspath(name) not in tracker.code
            frame = frame.f_back
            # What loads this module in turn: `exec_module` and the like are importlib's.
            if frame is None or not frame.f_code.co_filename.startswith("<frozen importlib"):
                return frame is None or not frame.f_code.co_filename.startswith("<frozen runpy")
            loading = True
        frame = frame.f_back
    return False


def _is_import(frame: FrameType) -> bool:
    """Return whether a frame is at an import statement."""
    at = frame.f_lasti
    code = frame.f_code.co_code
    return 0 <= at < len(code) and dis.opname[code[at]] == "IMPORT_NAME"


_HANDLERS: dict[str, Callable[..., None]] = {
    "open": _opened,
    "sqlite3.connect": _connected,
    "ctypes.dlopen": _loaded_library,
    "os.listdir": _listed,
    "os.scandir": _listed,
    "glob.glob": _matched,
    "glob.glob/2": _matched,
    "pathlib.Path.glob": _matched_below,
    "pathlib.Path.rglob": _matched_anywhere,
    "os.rename": _moved,
    "os.link": _linked,
    "os.symlink": _linked,
    "os.remove": _changed,
    "os.truncate": _changed,
    "os.mkdir": _made_folder,
    "os.rmdir": _removed_tree,
    "shutil.rmtree": _removed_tree,
    "subprocess.Popen": _started,
    "os.system": _ran_in_shell,
    "os.posix_spawn": _spawned,
    "os.exec": _spawned,
    "os.putenv": _set_variable,
    "os.unsetenv": _set_variable,
    "exec": _ran,
}


class _Patch:
    """One function of a module or class that is wrapped while somebody tracks."""

    def __init__(self, owner: Any, name: str, wrap: Callable[[Any], Any]) -> None:
        self._owner = owner
        self._name = name
        self._wrap = wrap
        self._before: Any = None
        self._made: Any = None

    def apply(self) -> None:
        self._before = vars(self._owner)[self._name]
        self._made = self._wrap(self._before)
        setattr(self._owner, self._name, self._made)
        for group in _GROUPS:
            if self._before in getattr(os, group, ()):
                getattr(os, group).add(self._made)

    def undo(self) -> None:
        if vars(self._owner).get(self._name) is self._made:
            setattr(self._owner, self._name, self._before)
        for group in _GROUPS:
            getattr(os, group, set()).discard(self._made)


# `shutil` asks by them what a function of `os` can do.
_GROUPS = ("supports_fd", "supports_dir_fd", "supports_follow_symlinks", "supports_effective_ids")


def _noting_stat(original: Any) -> Any:
    @functools.wraps(original)
    def wrapped(path: Any, *arguments: Any, **options: Any) -> Any:
        tracker = _active
        if tracker is not None and not tracker.busy and not isinstance(path, int):
            with tracker.quiet(), contextlib.suppress(Exception):
                _looked(tracker, sys._getframe(1), path, options.get("dir_fd"))
        return original(path, *arguments, **options)

    return wrapped


def _noting_link(original: Any) -> Any:
    @functools.wraps(original)
    def readlink(path: Any, *, dir_fd: Any = None) -> Any:
        target = original(path, dir_fd=dir_fd)
        tracker = _active
        if tracker is not None and not tracker.busy:
            with tracker.quiet(), contextlib.suppress(Exception):
                absolute = _path_in(path, dir_fd)
                if absolute is not None and caller(sys._getframe(1)) == "user":
                    tracker.note_link(absolute, os.fsdecode(target))
        return target

    return readlink


def _looked(tracker: AccessTracker, frame: FrameType, path: Any, dir_fd: Any = None) -> None:
    """Note that a file is looked for, and its size if that was asked."""
    absolute = _path_in(path, dir_fd)
    if absolute is None or not tracker.paths.counts(absolute):
        return
    known = tracker.reads.get(absolute)
    if known is not None and known.depth >= SIZE:
        return
    name = frame.f_code.co_name
    if name in _BY_TIME or reads_code(frame):
        return
    who = caller(frame)
    if who == "user" or (who == "nobody" and tracker.in_step):
        by_kind = name in _BY_KIND or os.path.isdir(absolute) or not os.path.exists(absolute)
        tracker.note_read(absolute, KIND if by_kind else SIZE)


def _noting_open(original: Any) -> Any:
    @functools.wraps(original)
    def wrapped(path: Any, flags: int, mode: int = 0o777, *, dir_fd: Any = None) -> Any:
        tracker = _active
        if tracker is None or tracker.busy or dir_fd is None:
            return original(path, flags, mode, dir_fd=dir_fd)
        # The event that is raised has not the folder.
        with tracker.quiet():
            with contextlib.suppress(Exception):
                _opened(tracker, sys._getframe(1), _path_in(path, dir_fd), None, flags)
            return original(path, flags, mode, dir_fd=dir_fd)

    return wrapped


def _path_in(path: Any, dir_fd: Any) -> str | None:
    """Return the absolute path of one that may be relative to an open folder."""
    if dir_fd is None or os.path.isabs(path):
        return _absolute(path)
    folder = _folder_of(dir_fd)
    return None if folder is None else _absolute(os.path.join(folder, os.fsdecode(path)))


def _folder_of(handle: int) -> str | None:
    try:
        return os.readlink(f"/proc/self/fd/{handle}")
    except OSError:
        return None


def _noting_item(original: Any) -> Any:
    @functools.wraps(original)
    def __getitem__(self: Any, key: Any) -> Any:
        tracker = _active
        if tracker is not None and not tracker.busy:
            with tracker.quiet(), contextlib.suppress(Exception):
                _asked_variable(tracker, sys._getframe(1), self, key)
        return original(self, key)

    return __getitem__


def _asked_variable(
    tracker: AccessTracker, frame: FrameType | None, environ: Any, key: Any
) -> None:
    """Note a variable that the user's own code asks for, by whatever method."""
    name = os.fsdecode(key)
    if name in tracker.variables or not is_of_results(name):
        return
    while frame is not None and frame.f_code.co_filename in _OF_ENVIRON:
        if frame.f_code.co_name in ("expanduser", "copy", "_execvpe", "get_exec_path"):
            return  # The path that comes of it counts.
        if frame.f_code.co_name == "__iter__" or _is_of_all(frame):
            return
        frame = frame.f_back
    if frame is None or _is_import(frame) or (id(frame), frame.f_lasti) in _iterated:
        return
    if is_users(frame.f_code.co_filename, str(frame.f_globals.get("__name__"))):
        tracker.note_variable(name, _value(environ, key))


def is_of_results(name: str) -> bool:
    """Return whether results may depend on a variable of this name: not on credentials."""
    return not (name.startswith(_OWN_VARIABLES) or _CREDENTIAL.search(name))


def _value(environ: Any, key: Any) -> str | None:
    raw = environ._data.get(environ.encodekey(key))
    return None if raw is None else os.fsdecode(raw)


def _is_of_all(frame: FrameType) -> bool:
    """Return whether all variables are asked for, as in `items()`: that is no read of one."""
    return frame.f_code.co_name in ("items", "values", "__eq__", "update", "__or__", "__ror__")


# Where all variables are copied, as by `{**os.environ}`: each is asked for at the same place.
_iterated: set[tuple[int, int]] = set()


def _noting_iteration(original: Any) -> Any:
    @functools.wraps(original)
    def __iter__(self: Any) -> Any:
        if _active is not None:
            frame: FrameType | None = sys._getframe(1)
            while frame is not None and frame.f_code.co_filename in _OF_ENVIRON:
                frame = frame.f_back
            if len(_iterated) > 10_000:
                _iterated.clear()
            if frame is not None:
                _iterated.add((id(frame), frame.f_lasti))
        return original(self)

    return __iter__


def _noting_import(original: Any) -> Any:
    @functools.wraps(original)
    def import_module(name: str, package: str | None = None) -> Any:
        module = original(name, package)
        tracker = _active
        if tracker is not None and not tracker.busy and tracker.in_step:
            with tracker.quiet(), contextlib.suppress(Exception):
                path = vars(module).get("__file__")
                asked = caller(sys._getframe(1)) == "user"
                if asked and isinstance(path, str) and path.endswith(".py") and is_users(path):
                    tracker.note_code(os.path.abspath(path), module.__name__)
        return module

    return import_module


_ENVIRON = type(os.environ)
_PATCHES = [
    *(_Patch(os, name, _noting_stat) for name in ("stat", "lstat", "access")),
    _Patch(os, "readlink", _noting_link),
    _Patch(os, "open", _noting_open),
    _Patch(_ENVIRON, "__getitem__", _noting_item),
    _Patch(_ENVIRON, "__iter__", _noting_iteration),
    _Patch(importlib, "import_module", _noting_import),
]
if sys.version_info < (3, 11):
    import pathlib

    def _noting_accessor(original: Any) -> Any:
        return staticmethod(_noting_stat(getattr(original, "__func__", original)))

    _ACCESSOR = pathlib._NormalAccessor  # type: ignore[attr-defined]
    _PATCHES += [_Patch(_ACCESSOR, name, _noting_accessor) for name in ("stat", "lstat")]
