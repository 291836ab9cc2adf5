"""Progress of a download: a bar on a terminal, a line a minute in the log of a task."""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

from memoflow.units import readable, span

_FIRST = timedelta(seconds=10)
_EVERY = timedelta(minutes=1)
_LOOK_S = 1.0


class CancelledError(Exception):
    """The download was cancelled by the failure of another one."""


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
        self._came = self._said = clock()
        self._has_said = False
        self._lock = threading.Lock()
        self.stopped = threading.Event()

    def add(self, size_bytes: int) -> None:
        """Count downloaded bytes; a negative number takes back bytes that are fetched again."""
        with self._lock:
            self._came_bytes += size_bytes
            self._came = self._clock()
        self.look()

    def look(self) -> None:
        """Print the progress if a line is due."""
        with self._lock:
            now = self._clock()
            every = _EVERY if self._has_said else _FIRST
            if now - self._said < every.total_seconds():
                return
            quiet_s = now - max(self._came, self._said)
            self._said, self._has_said = now, True
        if not sys.stderr.isatty():
            came, total = min(self._came_bytes, self._total_bytes), self._total_bytes
            still = f", nothing for {span(quiet_s)}" if quiet_s >= _FIRST.total_seconds() else ""
            self._say(f"Downloading {self._what}: {readable(came)} of {readable(total)}{still}")

    def bar_class(self, base: Any = None) -> Any:
        """Return a subclass of huggingface_hub's bar or the caller's, reporting to this meter."""
        from huggingface_hub.utils import tqdm

        meter = self

        class Bar(base or tqdm):  # type: ignore[misc]
            def update(self, n: float | None = 1) -> bool | None:
                if meter.stopped.is_set():
                    raise CancelledError
                meter.add(int(n or 0))
                shown: bool | None = super().update(n)
                return shown

        return Bar


@contextlib.contextmanager
def polling(look: Callable[[], None]) -> Iterator[None]:
    """Call a function every second while the block runs."""
    done = threading.Event()

    def watch() -> None:
        while not done.wait(_LOOK_S):
            look()

    threading.Thread(target=watch, name="memoflow-hub-meter", daemon=True).start()
    try:
        yield
    finally:
        done.set()


def waiting_reporter(
    what: str, say: Callable[[str], None], *, clock: Callable[[], float] = time.monotonic
) -> Callable[[], None]:
    """Return a function that reports the wait for `what` after 10 seconds, then each minute."""
    began = said = clock()
    is_first = True

    def look() -> None:
        nonlocal said, is_first
        every = _FIRST if is_first else _EVERY
        if clock() - said >= every.total_seconds():
            said, is_first = clock(), False
            say(f"Waiting for {what}, for {span(said - began)} by now")

    return look
