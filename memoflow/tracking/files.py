"""Files: the calls by which Python code opens, lists, makes and moves files, one handler each.

Each is told the arguments of an audit event (PEP 578; the events are listed in the documentation of
Python), and the frame of the code that calls.
"""

from __future__ import annotations

import genericpath
import glob
import os
import pathlib
from collections.abc import Iterator
from types import FrameType
from typing import Any

from memoflow.tracking import commands
from memoflow.tracking.callers import caller, reads_code
from memoflow.tracking.notes import KIND, SIZE, is_of_results
from memoflow.tracking.paths import is_magic
from memoflow.tracking.tracker import AccessTracker

_WRITES = os.O_WRONLY | os.O_RDWR
_GLOB = glob.__file__
# A module up to 3.12, a package since.
_PATHLIB = os.path.splitext(pathlib.__file__.removesuffix("/__init__.py"))[0]
_OS = frozenset(
    {os.__file__, os.path.__file__, genericpath.__file__,
     "<frozen os>", "<frozen posixpath>", "<frozen genericpath>"}
)  # fmt: skip
_BY_SIZE = frozenset({"getsize", "stat", "lstat"})
# They look at each folder on the way, which does not decide on their result.
_IN_PASSING = frozenset(
    {"realpath", "resolve", "makedirs", "mkdir", "glob", "rglob", "walk", "_walk", "fwalk"}
)


def is_asked(tracker: AccessTracker, frame: FrameType | None) -> bool:
    """Return whether a call is one of the code that is tracked."""
    who = caller(frame)
    return who == "user" or (who == "nobody" and tracker.in_step)


def asked_cwd(tracker: AccessTracker, frame: FrameType) -> None:
    """Note that the working directory is asked for, as for the absolute form of a path."""
    if tracker.counts_cwd and is_asked(tracker, asked_by(frame)[1].f_back):
        tracker.note_cwd()


def note_relative(
    tracker: AccessTracker, handler: Any, frame: FrameType, given: tuple[Any, ...]
) -> None:
    """Note that the working directory told which file is asked for, if its path is relative."""
    if handler.__module__ != __name__ or handler in (asked_cwd, started, ran_in_shell, spawned):
        return
    path = given[0] if given else None
    is_path = path is None or isinstance(path, (str, bytes, os.PathLike))
    if is_path and not os.path.isabs(os.fspath(path or ".")) and is_asked(tracker, frame):
        tracker.note_cwd()


def absolute(path: Any) -> str | None:
    """Return an absolute path; None for a file descriptor or another value."""
    if isinstance(path, int) or path is None:
        return None
    text = os.fsdecode(path)
    return os.path.abspath(text) if text and "\0" not in text else None


def counts(tracker: AccessTracker, frame: FrameType, path: str) -> bool:
    """Return whether a call is one of the code that is tracked; note the path otherwise."""
    if is_asked(tracker, frame) and not (path.endswith(".py") and reads_code(frame)):
        return True
    tracker.note_handled(path)
    return False


def opened(
    tracker: AccessTracker, frame: FrameType, path: Any, mode: Any = None, flags: Any = 0
) -> None:
    where = absolute(path)
    flags = flags if isinstance(flags, int) else 0
    how = flags & (os.O_RDONLY | _WRITES)
    if where is None or (how == os.O_RDONLY and tracker.knows(where)):
        return
    if not counts(tracker, frame, where):
        return
    if how == os.O_RDONLY:
        tracker.note_read(where)
    elif flags & os.O_TRUNC or flags & os.O_EXCL or not os.path.exists(where):
        tracker.note_write(where)
    elif how & os.O_RDWR:
        tracker.note_read(where, both=True)  # So does `a+`, which may read.
    else:
        tracker.note_write(where, append=True)  # Written in part, as `dd conv=notrunc` does.


def connected(tracker: AccessTracker, frame: FrameType, database: Any) -> None:
    """Note an SQLite file, which SQLite opens itself, and its journal."""
    text = database.decode() if isinstance(database, bytes) else str(database)
    if text.startswith("file:"):
        from urllib.parse import unquote, urlsplit  # Here, since few databases are named so.

        text = unquote(urlsplit(text).path)
    if not text or text == ":memory:":
        return
    where = os.path.abspath(text)
    if counts(tracker, frame, where):
        tracker.note_read(where, both=True)
        tracker.note_read(f"{where}-wal", both=True)
        tracker.note_handled(f"{where}-shm")


def loaded_library(tracker: AccessTracker, frame: FrameType, name: Any, *_: Any) -> None:
    where = absolute(name)
    if where is not None and os.sep in str(name) and counts(tracker, frame, where):
        tracker.note_read(where)


def matched(tracker: AccessTracker, frame: FrameType, pattern: Any, *more: Any) -> None:
    """Note a pattern of `glob`, which is taken below `root_dir` where one is given."""
    text = os.fsdecode(pattern)
    root = os.fsdecode(more[1]) if len(more) > 1 and more[1] is not None else ""
    if caller(frame) in ("user", "nobody"):
        _note_pattern(tracker, os.path.join(root, text))


def matched_below(tracker: AccessTracker, frame: FrameType, path: Any, pattern: Any) -> None:
    if caller(frame) in ("user", "nobody"):
        _note_pattern(tracker, os.path.join(os.fspath(path), str(pattern)))


def matched_anywhere(tracker: AccessTracker, frame: FrameType, path: Any, pattern: Any) -> None:
    matched_below(tracker, frame, path, os.path.join("**", str(pattern)))


def _note_pattern(tracker: AccessTracker, pattern: str) -> None:
    where = os.path.abspath(pattern)
    if is_magic(where):
        tracker.note_pattern(where)
    else:
        tracker.note_read(where, KIND)


def linked(
    tracker: AccessTracker, frame: FrameType, source: Any, target: Any, *folders: Any
) -> None:
    for ends in _ends(source, target, *folders):
        _link(tracker, frame, *ends)


def linked_by_name(
    tracker: AccessTracker, frame: FrameType, source: Any, target: Any, dir_fd: int = -1, *_: Any
) -> None:
    made = path_in(target, dir_fd)
    if made is not None:
        _link(tracker, frame, os.path.join(os.path.dirname(made), os.fsdecode(source)), made)


def _link(tracker: AccessTracker, frame: FrameType, source: str, made: str) -> None:
    """Note the new name of a file: reads by it are reads of the old name."""
    tracker.note_write(made)
    if os.path.exists(source) and is_asked(tracker, frame):
        tracker.note_read(os.path.abspath(source))


def moved(
    tracker: AccessTracker, frame: FrameType, source: Any, target: Any, *folders: Any
) -> None:
    for ends in _ends(source, target, *folders):
        tracker.note_move(*ends)


def _ends(source: Any, target: Any, first: int = -1, second: int = -1) -> Iterator[tuple[str, str]]:
    """Yield two paths, each relative to an open folder of its own, if both can be told."""
    old, new = path_in(source, first), path_in(target, second)
    if old is not None and new is not None:
        yield old, new


def removed(tracker: AccessTracker, frame: FrameType, path: Any, dir_fd: int = -1, *_: Any) -> None:
    where = path_in(path, dir_fd)
    if where is not None:
        tracker.note_write(where)


def truncated(tracker: AccessTracker, frame: FrameType, path: Any, *_: Any) -> None:
    removed(tracker, frame, path)  # The second argument of the event is a size.


def made_folder(
    tracker: AccessTracker, frame: FrameType, path: Any, mode: Any = 0, dir_fd: int = -1, *_: Any
) -> None:
    where = path_in(path, dir_fd)
    if where is not None and not os.path.exists(where):
        tracker.note_tree(where)


def removed_folder(
    tracker: AccessTracker, frame: FrameType, path: Any, dir_fd: int | None = -1, *_: Any
) -> None:
    where = path_in(path, dir_fd)
    if where is not None:
        tracker.note_tree(where)


def listed(tracker: AccessTracker, frame: FrameType, path: Any = None) -> None:
    if isinstance(path, int):
        path = folder_of(path)
    where = absolute(path or ".")
    if where is None:
        return
    if not is_matching(frame) and is_asked(tracker, frame):
        tracker.note_listing(where)
    else:
        tracker.note_handled(where)


def is_matching(frame: FrameType | None) -> bool:
    """Return whether a folder is listed to match a pattern, which is noted as such."""
    found = False
    while frame is not None:
        path, name = frame.f_code.co_filename, frame.f_code.co_name
        if path == _GLOB:
            found = name not in ("glob0", "glob1")  # Called by themselves, they tell of no pattern.
        elif is_of_pathlib(path):
            found = name in ("glob", "rglob")
        elif path not in _OS:
            return found
        frame = frame.f_back
    return found


def is_of_pathlib(path: str) -> bool:
    """Return whether a file is one of the module `pathlib`."""
    return path.startswith(_PATHLIB) and path[len(_PATHLIB) :].startswith((".py", os.sep))


def looked(
    tracker: AccessTracker,
    frame: FrameType,
    path: Any,
    *_: Any,
    dir_fd: Any = None,
    **_options: Any,
) -> None:
    """Note that a file is looked for, and its size if that was asked."""
    where = path_in(path, dir_fd)
    if where is None or not tracker.paths.counts(where):
        return
    known = tracker.reads.get(where)
    if known is not None and known.depth >= SIZE:
        return
    name, asking = asked_by(frame)
    if name in _IN_PASSING or (known is not None and name not in _BY_SIZE):
        return
    if reads_code(asking) or not is_asked(tracker, asking):
        return
    by_size = name in _BY_SIZE and not os.path.isdir(where) and os.path.exists(where)
    tracker.note_read(where, SIZE if by_size else KIND)


def asked_link(tracker: AccessTracker, frame: FrameType, path: Any, *, dir_fd: Any = None) -> None:
    """Note that the target of a symbolic link is asked for."""
    where = path_in(path, dir_fd)
    if where is None or where in tracker.links or not tracker.paths.counts(where):
        return
    # The links that lead to the project are those of this checkout.
    if not tracker.paths.base.startswith(os.path.join(where, "")) and is_asked(tracker, frame):
        tracker.note_link(where)


def asked_by(frame: FrameType) -> tuple[str, FrameType]:
    """Return the name of the called function of `os.path` or `pathlib`, else "stat"; its frame."""
    name, last = "stat", frame
    at: FrameType | None = frame
    while at is not None:
        path = at.f_code.co_filename
        if not (path in _OS or path == _GLOB or is_of_pathlib(path)):
            break
        name, last = at.f_code.co_name, at
        if path == _GLOB:
            name = "glob"
        at = at.f_back
    return name, last


def path_in(path: Any, dir_fd: Any) -> str | None:
    """Return the absolute path of one that may be relative to an open folder."""
    if dir_fd is None or dir_fd < 0 or os.path.isabs(path):
        return absolute(path)
    folder = folder_of(dir_fd)
    return None if folder is None else absolute(os.path.join(folder, os.fsdecode(path)))


def folder_of(handle: int) -> str | None:
    """Return the path of an open folder."""
    try:
        return os.readlink(f"/proc/self/fd/{handle}")
    except OSError:
        return None


def started(
    tracker: AccessTracker,
    frame: FrameType,
    executable: Any,
    arguments: Any = (),
    directory: Any = None,
    *_: Any,
) -> None:
    if not is_asked(tracker, frame):
        return
    tracker.note_child()
    for path in commands.files_named(executable, arguments, directory):
        tracker.note_named(path)
    for name in commands.variables_named(arguments):
        if is_of_results(name):
            tracker.note_variable(name, os.environ.get(name))


def ran_in_shell(tracker: AccessTracker, frame: FrameType, command: Any) -> None:
    started(tracker, frame, None, ["sh", "-c", os.fsdecode(command)])


def spawned(
    tracker: AccessTracker, frame: FrameType, path: Any, arguments: Any = (), *_: Any
) -> None:
    if os.path.basename(frame.f_code.co_filename) != "subprocess.py":  # It has told of it.
        started(tracker, frame, path, arguments)
