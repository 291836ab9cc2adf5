"""Waiting for what comes, however slow the machine: no test ends by a number of seconds."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

# Only a failure waits this long; a test that passes goes on as soon as it can.
PATIENCE_S = 900.0


def until(holds: Callable[[], object]) -> None:
    """Wait for a condition that comes true by another thread's or process's doing."""
    deadline = time.monotonic() + PATIENCE_S
    while not holds():
        if time.monotonic() > deadline:
            raise AssertionError("it never came")
        threading.Event().wait(0.01)  # Some tests take the sleep away.
