"""Meter: how far a download is: a bar on a terminal, a line a minute in the log of a task."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from memoflow.units import readable

_EVERY = timedelta(minutes=1)


class Meter:
    """Counts the bytes of a download over all its files and threads."""

    def __init__(
        self,
        what: str,
        total_bytes: int,
        say: Callable[[str], None],
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._what = what
        self._total_bytes = total_bytes
        self._say = say
        self._clock = clock
        self._came_bytes = 0
        self._said = clock()
        self._lock = threading.Lock()

    def add(self, size_bytes: int) -> None:
        """Note that bytes have come, or less than none if they must come again."""
        with self._lock:
            self._came_bytes += size_bytes
            due = self._clock() - self._said >= _EVERY.total_seconds()
            if due:
                self._said = self._clock()
        if due and not sys.stderr.isatty():
            came, total = readable(self._came_bytes), readable(self._total_bytes)
            self._say(f"Downloading {self._what}: {came} of {total}")

    def bar_class(self) -> Any:
        """Return the class of bars to give to huggingface_hub: its own, which this one follows."""
        from huggingface_hub.utils import tqdm

        meter = self

        class Bar(tqdm):
            def update(self, n: float | None = 1) -> bool | None:
                meter.add(int(n or 0))
                shown: bool | None = super().update(n)
                return shown

        return Bar
