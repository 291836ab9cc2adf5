"""Callers: the code that opens a file, reads a variable or loads a module, by its stack frames.

Import statements are followed with the code that they stand in; `importlib`, `runpy`, a loader or
`exec` get a name from anywhere.
"""

from __future__ import annotations

import functools
import opcode
import os
from collections.abc import Iterator
from types import CodeType, FrameType
from typing import Any, Literal

from memoflow.fingerprint.modules import is_stdlib, site_of
from memoflow.tracking.tracker import AccessTracker

Caller = Literal["user", "host", "import", "nobody"]
_Owner = Literal["user", "host", "import", "library"]
_DEEPEST = 200  # frames looked at
# They open what memoflow keeps; its other rooms open files of the user's, to save them.
_OF_STORES = ("memoflow.backends", "memoflow.index", "memoflow.store", "memoflow.storages")
_IMPORTS = ("<frozen importlib", "<frozen zipimport")
# By their whole paths: a module of the user's may be named `pdb`, too.
_READERS_OF_CODE = frozenset(
    os.path.join(os.path.dirname(os.__file__), f"{name}.py")
    for name in ("linecache", "inspect", "traceback", "tokenize", "pdb", "runpy")
) | {"<frozen runpy>"}
# Of the functions that load a module: the variable that names it, and the attribute of that.
_NAMING = {
    "_load_unlocked": ("spec", "name"),
    "exec_module": ("module", "__name__"),
    "_run_code": ("mod_name", ""),
}
_IMPORT_NAME = opcode.opmap["IMPORT_NAME"]


def caller(frame: FrameType | None) -> Caller:
    """Return the caller: the first frame of user code, Metaflow, or an import statement.

    "import" is the loading of a library, or of the code of a module of the user's; a module of the
    user's that runs while it is imported is "user". "nobody" is a thread of a library's.
    """
    for each in _callers(frame, _DEEPEST):
        owner = _owner(each.f_code.co_filename, str(each.f_globals.get("__name__")))
        if owner != "library" and not (owner == "import" and _is_of_resource(each)):
            return owner
    return "nobody"


def _callers(frame: FrameType | None, most: int) -> Iterator[FrameType]:
    """Yield a frame and those that called it, nearest first."""
    while frame is not None and most:
        yield frame
        frame, most = frame.f_back, most - 1


def _is_of_resource(frame: FrameType) -> bool:
    """Return whether a loader is called by hand, for a file beside the code."""
    above = frame.f_back
    return (
        frame.f_code.co_name == "get_data"
        and above is not None
        and not above.f_code.co_filename.startswith(_IMPORTS)
    )


def reads_code(frame: FrameType | None) -> bool:
    """Return whether a file is opened to show or parse code, as for a traceback."""
    return any(each.f_code.co_filename in _READERS_OF_CODE for each in _callers(frame, 6))


def is_users(filename: str, module: str = "") -> bool:
    """Return whether code of this file and module is the user's."""
    return _owner(filename, module) == "user"


@functools.lru_cache(maxsize=4096)
def _owner(filename: str, module: str) -> _Owner:
    top = module.partition(".")[0]
    if top in ("metaflow", "metaflow_extensions") or module.startswith(_OF_STORES):
        return "host"
    if filename.startswith(_IMPORTS):
        return "import"
    if top == "memoflow" or filename.startswith(("<frozen", "<attrs", "<__array", "<decorator")):
        return "library"
    if filename.startswith("<"):
        return "library" if is_stdlib(module, None) else "user"  # a cell of a notebook, or `exec`
    return "library" if _is_installed(os.path.dirname(filename)) else "user"


@functools.lru_cache(maxsize=4096)
def _is_installed(folder: str) -> bool:
    # By the folder: a process asks about each of its modules, and they lie in few.
    path = os.path.join(os.path.abspath(folder), "")
    return site_of(path) is not None or is_stdlib("", path)


def note_run(tracker: AccessTracker, frame: FrameType, code: Any) -> None:
    """Note the file of a module that is loaded by a name which only the run knew."""
    if not isinstance(code, CodeType) or code.co_name != "<module>":
        return
    path = code.co_filename
    if path.startswith("<") or not path.endswith(".py") or not is_users(path):
        return
    absolute = os.path.abspath(path)
    if tracker.in_step and not _is_stated(tracker, frame):
        note_code(tracker, absolute, _module_of(frame))
    else:
        tracker.note_handled(absolute)


def _module_of(frame: FrameType | None) -> str:
    """Return the name of the module that is being loaded, as far as its loader tells."""
    for each in _callers(frame, 12):
        variable, attribute = _NAMING.get(each.f_code.co_name, ("", ""))
        found = each.f_locals.get(variable) if variable else None
        if found is not None and found != "":
            return str(getattr(found, attribute, "") if attribute else found)
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
            if loading and not is_import(frame):
                # Unpickling names the classes that it loads, and they are noted by its caller.
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


def is_import(frame: FrameType) -> bool:
    """Return whether a frame is at an import statement."""
    at = frame.f_lasti
    code = frame.f_code.co_code
    return 0 <= at < len(code) and code[at] == _IMPORT_NAME


def note_code(tracker: AccessTracker, path: str, module: str) -> None:
    """Note the file of a module, or the archive that it is in."""
    if os.path.exists(path):
        tracker.note_code(path, module)
        return
    above = os.path.dirname(path)
    while above != os.path.dirname(above) and not os.path.exists(above):
        above = os.path.dirname(above)
    if os.path.isfile(above):
        tracker.note_read(above)
