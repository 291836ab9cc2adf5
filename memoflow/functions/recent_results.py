"""Recent results: the last small results of a process, trusted for a second."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict

from memoflow.functions.tallies import CallId

_LARGEST_BYTES = 8 << 10
_MOST = 2048
_SECONDS = 1.0  # that what is stored is believed to be there, without asking


class RecentResults:
    """The last small results of this process."""

    def __init__(self) -> None:
        self.begin()
        self._results: OrderedDict[CallId, tuple[bytes, float]] = OrderedDict()

    def begin(self) -> None:
        """Begin in a process: in its parent a thread may have held the lock."""
        self._lock = threading.Lock()

    def get(self, call: CallId) -> bytes | None:
        with self._lock:
            found = self._results.get(call)
            if found is None or time.monotonic() - found[1] > _SECONDS:
                return None
            return found[0]

    def put(self, call: CallId, stream: bytes) -> None:
        if len(stream) > _LARGEST_BYTES:
            return
        with self._lock:
            self._results[call] = stream, time.monotonic()
            self._results.move_to_end(call)
            if len(self._results) > _MOST:
                self._results.popitem(last=False)

    def drop(self, call: CallId) -> None:
        with self._lock:
            self._results.pop(call, None)
