"""Peek: reading a flow's artifacts before its step runs, without leaving a trace."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any


@contextlib.contextmanager
def untouched(flow: Any) -> Iterator[None]:
    """Unbind after the block what reading has bound to the flow.

    Or it would look as if a decorator had set it, pickled again at the task's end and unknown to
    what watches the step's reads.
    """
    before = set(vars(flow))
    try:
        yield
    finally:
        for name in set(vars(flow)) - before:
            del vars(flow)[name]
