"""Hush: the calls of a thread that Metaflow or memoflow makes by itself, which are no reads."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager

Around = Callable[[], AbstractContextManager[None]]

_thread = threading.local()


def is_hushed() -> bool:
    """Return whether this thread is inside a call that is noted as a whole, if at all."""
    return getattr(_thread, "depth", 0) > 0


@contextlib.contextmanager
def hushed(around: Around = contextlib.nullcontext) -> Iterator[None]:
    """Note nothing that this thread does meanwhile; `around` is entered, too."""
    _thread.depth = getattr(_thread, "depth", 0) + 1
    try:
        with around():
            yield
    finally:
        _thread.depth -= 1
