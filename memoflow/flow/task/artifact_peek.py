"""Reads of a flow's artifacts before its step runs, without side effects."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any


@contextlib.contextmanager
def untouched(flow: Any) -> Iterator[None]:
    """Remove from the flow, after the block, the attributes that reading has bound.

    Or it would look as if a decorator had set it, pickled again at the task's end and unknown to
    what watches the step's reads.
    """
    before = set(vars(flow))
    try:
        yield
    finally:
        for name in set(vars(flow)) - before:
            del vars(flow)[name]
