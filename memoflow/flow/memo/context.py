"""Context: the state of a process that launches a run or runs a task."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from memoflow.flow.memo.prefetch import ScopePrefetch
from memoflow.flow.memo.run_log import RunLog
from memoflow.flow.memo.store_context import StoreContext


class Session:
    """The store, the log of the run and the prefetch of one process."""

    def __init__(self, flow_datastore: Any, logger: Callable[..., None]) -> None:
        self.context = StoreContext(flow_datastore, logger)
        self.log = RunLog()
        self.prefetch = ScopePrefetch(self.context)


_sessions: dict[int, Session] = {}


def session_of(flow_datastore: Any, logger: Callable[..., None]) -> Session:
    """Return this process's session for a datastore; a forked child gets its own."""
    return _sessions.setdefault(os.getpid(), Session(flow_datastore, logger))
