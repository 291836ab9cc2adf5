"""Callers: the code that opens a file or reads a variable, by its stack frames."""

from __future__ import annotations

import functools
import os
from types import FrameType
from typing import Literal

from memoflow.fingerprint.packages import is_stdlib, site_of

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


def caller(frame: FrameType | None) -> Caller:
    """Return the caller: the first frame of user code, Metaflow, or an import statement.

    "import" is the loading of a library, or of the code of a module of the user's; a module of the
    user's that runs while it is imported is "user". "nobody" is a thread of a library's.
    """
    for _ in range(_DEEPEST):
        if frame is None:
            return "nobody"
        owner = _owner(frame.f_code.co_filename, str(frame.f_globals.get("__name__")))
        if owner != "library" and not (owner == "import" and _is_of_resource(frame)):
            return owner
        frame = frame.f_back
    return "nobody"


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
    for _ in range(6):
        if frame is None:
            return False
        if frame.f_code.co_filename in _READERS_OF_CODE:
            return True
        frame = frame.f_back
    return False


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
