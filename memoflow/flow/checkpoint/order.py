"""Order: the numbers of saves that run at the same time."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from functools import partial


class _Turn:
    def __init__(self) -> None:
        self.number: int | None = None
        self.has_ended = False

    @property
    def is_open(self) -> bool:
        return self.number is None and not self.has_ended


class Order:
    """Numbers saves in the order of their beginnings, not of their ends.

    A signal's handler that saves overtakes the save that it interrupts, and has the newer state.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._turns: list[_Turn] = []

    @contextlib.contextmanager
    def turn(self) -> Iterator[Callable[[int], int]]:
        """Yield a function that reserves the series' next number for the save in the block."""
        mine = _Turn()
        with self._lock:
            self._turns.append(mine)
        try:
            yield partial(self._number, mine)
        finally:
            with self._lock:
                mine.has_ended = True
                while self._turns and self._turns[0].has_ended:
                    del self._turns[0]

    def _number(self, mine: _Turn, following: int) -> int:
        with self._lock:
            at = self._turns.index(mine)
            waiting = 0
            for later in self._turns[at + 1 :]:
                if later.number is not None:
                    mine.number = max(1, later.number - 1 - waiting)
                    return mine.number
                waiting += later.is_open
            # Of those that began before, some have numbers that nobody lists yet, and the others
            # get the ones below this.
            given = [each.number for each in self._turns[:at] if each.number is not None]
            first = max([following, *(number + 1 for number in given)])
            mine.number = first + sum(each.is_open for each in self._turns[:at])
            return mine.number
