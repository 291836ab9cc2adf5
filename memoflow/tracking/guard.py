"""Guard: the tracker that takes notes in this process, and how it is told without harm.

The code that is tracked must not fail by it. What goes wrong is noted, and then its result is not
kept.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from types import FrameType
from typing import Any

from memoflow.fingerprint.packages import is_stdlib
from memoflow.tracking.tracker import AccessTracker

active: AccessTracker | None = None

_OURS = os.path.join(os.path.dirname(__file__), "")


def guarded(
    tracker: AccessTracker, handler: Callable[..., None], frame: FrameType, *arguments: Any
) -> None:
    """Call a handler; note its errors, and raise only exceptions of signals."""
    with tracker.quiet:
        try:
            handler(tracker, frame, *arguments)
        except Exception as error:
            if not _is_of_tracker(error):
                raise
            tracker.note_trouble(f"a read could not be followed ({type(error).__name__}: {error})")


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
