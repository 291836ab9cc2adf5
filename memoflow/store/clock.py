"""Clocks: the time by the clock that dates a store's files, which may be days from this machine's.

Asking takes a write. Who may not write, or writes nothing on purpose, goes by how far the two were
apart when this machine last asked.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from memoflow.backends import Backend
from memoflow.errors import BackendError
from memoflow.index import Index
from memoflow.store.deletion_log import time_there

_AHEAD = "clock ahead"
_WORTH_NOTING_SECONDS = 1.0


class StoreClock:
    """The clock of a store as a process knows it."""

    def __init__(self, backend: Backend, index: Index, clock: Callable[[], float]) -> None:
        self._backend = backend
        self._index = index
        self._clock = clock
        self._ahead: float | None = None

    def fresh(self) -> float:
        """Return the time there, asked just now, or the estimate if that fails."""
        try:
            there = time_there(self._backend)
        except BackendError:  # Read-only, or full: then to remove something is all the better.
            return self.estimate()
        self._ahead = there - self._clock()
        if abs(self._ahead - self._remembered()) > _WORTH_NOTING_SECONDS:
            self._index.set({_AHEAD: repr(self._ahead)})
        return there

    def now(self) -> float:
        """Return the time there, asked once a process, or the estimate if that fails."""
        if self._ahead is None:
            self._ahead = self.fresh() - self._clock()
        return self._clock() + self._ahead

    @property
    def ahead(self) -> float:
        """Return the seconds by which the clock there is ahead of ours; see `now`."""
        return self.now() - self._clock()

    def ours(self) -> float:
        """Return the time here."""
        return self._clock()

    def estimate(self) -> float:
        """Return the time there by the last known difference, without a write."""
        ahead = self._remembered() if self._ahead is None else self._ahead
        return self._clock() + ahead

    def _remembered(self) -> float:
        try:
            ahead = float(self._index.get([_AHEAD]).get(_AHEAD, "0"))
        except ValueError:
            return 0.0
        return ahead if math.isfinite(ahead) else 0.0
