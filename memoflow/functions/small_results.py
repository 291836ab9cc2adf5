"""Small results: the last ones in the memory of this process, and others in the index."""

from __future__ import annotations

import struct
import threading
import time
from collections import OrderedDict
from typing import NamedTuple

from memoflow.functions.call import Call
from memoflow.functions.tallies import CallId
from memoflow.kinds import memo
from memoflow.names import Ref
from memoflow.store import LARGEST_SMALL_BYTES

_MOST = 2048
_SECONDS = 1.0  # that what is stored is believed to be there, without asking
_TIME = struct.Struct("<d")


class SmallResult(NamedTuple):
    """A result as a stream of pickle."""

    stream: bytes
    run_time_s: float


class SmallResults:
    """The small results of one function, without reads and expiry."""

    def __init__(self) -> None:
        self.begin()
        self._recent: OrderedDict[CallId, tuple[SmallResult, float]] = OrderedDict()

    def begin(self) -> None:
        """Begin in a process: in its parent a thread may have held the lock."""
        self._lock = threading.Lock()

    def get(self, call: Call) -> SmallResult | None:
        with self._lock:
            recent = self._recent.get(call.id)
        if recent is not None and time.monotonic() - recent[1] <= _SECONDS:
            return recent[0]
        store = call.place.store
        found = store.small_values.get(call.name)
        if found is None:
            return None
        key, value = found
        store.index.touch(call.code_key / memo.CODE, key)
        result = SmallResult(value[_TIME.size :], *_TIME.unpack_from(value))
        self._remember(call, result)
        return result

    def put(self, call: Call, ref: Ref, result: SmallResult) -> None:
        if len(result.stream) + _TIME.size > LARGEST_SMALL_BYTES:
            self.drop(call)
            return
        if b"__main__" not in result.stream:  # Of another script: it would not find the classes.
            value = _TIME.pack(result.run_time_s) + result.stream
            call.place.store.small_values.put(call.name, ref, value)
        self._remember(call, result)

    def drop(self, call: Call) -> None:
        with self._lock:
            self._recent.pop(call.id, None)

    def _remember(self, call: Call, result: SmallResult) -> None:
        with self._lock:
            self._recent[call.id] = result, time.monotonic()
            self._recent.move_to_end(call.id)
            if len(self._recent) > _MOST:
                self._recent.popitem(last=False)
