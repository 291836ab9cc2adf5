"""Reads: the message of a watch on Metaflow's classes, and the calls that are no reads.

No reads are the calls of a thread that Metaflow or memoflow makes by itself: they are hushed.
"""

from __future__ import annotations

import contextlib
import hashlib
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager

from memoflow.fingerprint import ABSENT

Seen = tuple[str, str]  # digest and summary
Note = Callable[[str, str, str], None]  # is told the name of a read, digest and summary
Never = Callable[[str, str], None]  # is told a name, and why such a read cannot be repeated
Around = Callable[[], AbstractContextManager[None]]

GONE: Seen = (ABSENT, ABSENT)

_thread = threading.local()


def sha1(text: str) -> str:
    return hashlib.sha1(text.encode("utf-8", "surrogatepass"), usedforsecurity=False).hexdigest()


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
