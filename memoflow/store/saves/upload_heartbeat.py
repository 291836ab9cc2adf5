"""Upload heartbeat: marker files by which a sweep spares the blobs of unfinished saves.

A save that takes longer than the grace of a sweep would lose its first blobs to it, and all of
them again when it is repeated. So it writes `gc/saving/<id>`, again and again while it gets on:
how many seconds ago it began. When that was by the backend's clock follows from when the mark
was written.
"""

from __future__ import annotations

import math
import threading
import uuid
from collections.abc import Callable
from contextlib import suppress

from memoflow.backends import Backend
from memoflow.errors import BackendError
from memoflow.fields import number
from memoflow.store.marker_file import LARGEST_MARK_BYTES, content, sealed
from memoflow.threads import stop_check

FOLDER = "gc/saving"
_EVERY_SECONDS = 60.0
DEAD_AFTER_SECONDS = 600.0
_LONGEST_SECONDS = 10 * 365 * 86400.0


class UploadHeartbeat:
    """The marker of a save, from the first minute that it takes until it ends."""

    def __init__(self, backend: Backend, *, clock: Callable[[], float]) -> None:
        self._backend = backend
        self._clock = clock
        self._name = f"{FOLDER}/{uuid.uuid4().hex}"
        self._began = self._renewed = clock()
        self._is_marked = False
        self._lock = threading.Lock()
        self._check = stop_check()

    def __enter__(self) -> UploadHeartbeat:
        return self

    def __exit__(self, *failure: object) -> None:
        if self._is_marked:
            with suppress(BackendError):  # It counts for nothing soon, and is swept.
                self._backend.delete([self._name])

    def beat(self) -> None:
        """Renew the mark if that is due; any thread may call this, as often as it likes.

        StoppedError once nobody waits for the save any more.
        """
        self._check()
        now = self._clock()
        with self._lock:
            # Due, too, when the clock was set back.
            if abs(now - self._renewed) < _EVERY_SECONDS:
                return
            self._renewed = now
        self.mark()

    def mark(self) -> None:
        """Write the mark now."""
        self._is_marked = True
        seconds = max(0, math.ceil(self._clock() - self._began))
        self._backend.write(self._name, sealed(b"%d" % seconds), durable=False)


def unfinished_since(
    backend: Backend, *, now: float, dead_after_s: float = DEAD_AFTER_SECONDS
) -> tuple[float, list[str]]:
    """Return the start of the oldest save that goes on, and the markers of dead ones.

    By the backend's clock; infinity if no save has been marked.
    """
    since, dead = math.inf, []
    for mark in backend.list(FOLDER):
        if mark.modified < now - dead_after_s:
            dead.append(mark.name)
            continue
        # Earlier than it says, because a mark takes its time to be written.
        seconds = _seconds(backend.read(mark.name, most_bytes=LARGEST_MARK_BYTES))
        since = min(since, mark.modified - seconds - _EVERY_SECONDS)
    return since, dead


def _seconds(data: bytes | None) -> float:
    if data is None:
        return -math.inf  # It ended since it was listed.
    try:
        return number(int(content(data)), "the time since it began", most=_LONGEST_SECONDS)
    except ValueError:
        return math.inf  # Damaged: it may have begun at any time.
