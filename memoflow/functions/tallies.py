"""Tallies: hits and misses of functions, recorded in the index in batches."""

from __future__ import annotations

import itertools
import os
import socket
import threading
import time
from collections.abc import Callable
from multiprocessing import parent_process, util

from memoflow.index import Index
from memoflow.names import Key

_WRITE_SECONDS = 1.0
_MOST_TIMES = 1 << 14
_numbers = itertools.count(1)  # A process may count by several, for the same index.

Of = tuple[str, str, int, bool]  # module, function, day since 1970, whether hits
CallId = tuple[str, ...]
Count = tuple[int, float, float]  # calls, their run time (saved by hits), time of the last


class Tallies:
    """The hits and misses of this process: of each function and day of UTC one row.

    Each write replaces the row by its present count, so that a write that failed is made up for by
    the next. `clock` and `ticks` are those of the day and of the batches.
    """

    def __init__(
        self,
        index: Index,
        *,
        clock: Callable[[], float] = time.time,
        ticks: Callable[[], float] = time.monotonic,
    ) -> None:
        self._index = index
        self._clock, self._ticks = clock, ticks
        self._pid = os.getpid()
        began, host = time.strftime("%Y%m%dT%H%M%S", time.gmtime()), socket.gethostname()
        self._process = f"{began}-{host.partition('.')[0]}-{self._pid}-{next(_numbers)}"
        # Reentrant, since a signal's handler may call a memoized function.
        self._lock, self._writing = threading.RLock(), threading.RLock()
        self._counts: dict[Of, Count] = {}
        self._written: dict[Of, Count] = {}
        self._times: dict[CallId, float] = {}
        self._wrote = ticks()
        if parent_process() is not None:
            # A forked worker ends without Python's exit, at which `Place` flushes.
            util.Finalize(None, self.flush, exitpriority=0)

    def hit(self, series: Key, call: CallId, run_time_s: float | None = None) -> None:
        """Count a hit of a function; None is the run time that was counted last for the call."""
        if run_time_s is None:
            run_time_s = self._times.get(call, 0.0)
        self._count(series, call, run_time_s, is_hit=True)

    def miss(self, series: Key, call: CallId, run_time_s: float) -> None:
        """Count a run of a function."""
        self._count(series, call, run_time_s, is_hit=False)

    def _count(self, series: Key, call: CallId, run_time_s: float, *, is_hit: bool) -> None:
        if os.getpid() != self._pid:
            return  # Forked within a call: its locks may be held for ever.
        at = self._clock()
        _, module, name = series.parts
        of = module, name, int(at // 86400), is_hit
        with self._lock:
            if len(self._times) >= _MOST_TIMES:
                self._times.clear()
            self._times[call] = run_time_s
            number, sum_s, _ = self._counts.get(of, (0, 0.0, 0.0))
            self._counts[of] = number + 1, sum_s + run_time_s, at
        if self._ticks() - self._wrote >= _WRITE_SECONDS:
            self.flush()

    def flush(self) -> None:
        """Write the counts that changed since the last write."""
        if os.getpid() != self._pid:
            return  # The parent's, which writes them itself.
        with self._writing:
            with self._lock:
                changed = dict(self._counts.items() - self._written.items())
                self._written.update(changed)
                self._wrote = self._ticks()
            outcomes, misses = [], []
            for of, (number, sum_s, at) in changed.items():
                is_hit, place = of[-1], self._place(of)
                outcomes.append((*place, *((number, sum_s) if is_hit else (-number, 0.0)), at))
                if not is_hit:
                    misses.append((*place, "", number, sum_s, at))
            self._index.record_outcomes(outcomes)
            self._index.record_misses(misses)

    def _place(self, of: Of) -> tuple[str, str, str, str]:
        module, name, day, is_hit = of
        return module, self._process, name, f"{'hits' if is_hit else 'misses'} of day {day}"
