"""Loading: modules of the user's that are loaded by a name which only the run knew.

Import statements are followed with the code that they stand in; `importlib`, `runpy`, a loader or
`exec` get a name from anywhere.
"""

from __future__ import annotations

import opcode
import os
from types import CodeType, FrameType
from typing import Any

from memoflow.tracking.callers import caller, is_users
from memoflow.tracking.tracker import AccessTracker

_IMPORT_NAME = opcode.opmap["IMPORT_NAME"]


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
            if loading and not is_import(frame):
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
