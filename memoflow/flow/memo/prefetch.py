"""Prefetch: the refs and artifacts of a scope, read in bulk before its tasks are looked up."""

from __future__ import annotations

import time

from memoflow.flow.memo.artifacts import Artifacts
from memoflow.flow.memo.store_context import StoreContext
from memoflow.kinds import memo
from memoflow.names import Key

_EVERY_SECONDS = 60.0


class ScopePrefetch:
    """Reads in bulk for a process that looks up tasks that others will run; else it is off."""

    def __init__(self, context: StoreContext) -> None:
        self.is_on = False
        self._context = context
        self._read: dict[Key, float] = {}  # by the clock that never goes back

    def read(self, scope_key: Key) -> None:
        """Read in bulk the entries that many lookups under a code key need, on a slow store."""
        store = self._context.store
        if not self.is_on or store is None:
            return
        now = time.monotonic()
        if now - self._read.get(scope_key, -_EVERY_SECONDS) < _EVERY_SECONDS:
            return
        self._read[scope_key] = now
        refs = store.remembered.prefetch(scope_key)
        artifacts = self._context.artifacts
        if not isinstance(artifacts, Artifacts):
            artifacts.look_ahead(memo.artifacts_of(store, refs))

    def leave_bundles(self) -> None:
        """Read the results that this run has added, so that the next run finds them in bulk."""
        for scope_key in self._read:
            self._read[scope_key] = -_EVERY_SECONDS
            self.read(scope_key)
