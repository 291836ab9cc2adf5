"""The tracked step: one that runs, with the names, files and values that it reads and leaves."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from memoflow.flow.artifact_ref import find_in
from memoflow.flow.host import transition
from memoflow.flow.host.artifacts import INTERNAL, datastore_of
from memoflow.flow.hub import revisions
from memoflow.flow.memo.attributes import AttributeTracker
from memoflow.flow.memo.inputs import label
from memoflow.flow.memo.lookup import MemoizedStep
from memoflow.flow.memo.recorder import Left
from memoflow.flow.memo.step_reads import StepReads, StepTracker
from memoflow.flow.memo.store_context import StoreContext
from memoflow.tracking import paths_in


class TrackedStep:
    """One step from `start` to `stop`; `attributes` are tracked until `close`."""

    def __init__(
        self,
        memoized: MemoizedStep,
        context: StoreContext,
        *,
        flow: Any,
        inputs: Any,
        say: Callable[[str], None],
    ) -> None:
        join_type = memoized.join_type
        by_label = {label(datastore_of(one), join_type): one for one in inputs or ()}
        self.attributes = AttributeTracker(flow, by_label, memoized.shape)
        self.left = Left()
        self._memoized = memoized
        self._context = context
        self._flow = flow
        self._say = say
        self._others: StepTracker | None = None
        self._began = 0.0

    def start(self) -> None:
        if self._memoized.join_type is not None:
            self.attributes.note("inputs")
        for name in self._memoized.loads:
            self.attributes.note(name)
        revisions.listen(self.attributes.hear)
        self.attributes.start()
        others = StepTracker(self._memoized, self._context, self.attributes)
        try:
            others.start()
            self._others = others
        except Exception as error:  # Of the system, or of code of the user's that is looked at.
            others.stop(failed=True)
            self._say(f"not cached: its reads cannot be followed: {type(error).__name__}: {error}")
        self._began = time.monotonic()

    def stop(self, *, failed: bool) -> None:
        """End the tracking of reads, and note the outputs of the step while they are in memory."""
        left, flow = self.left, self._flow
        left.run_time_s = time.monotonic() - self._began
        self.attributes.stop_reads()
        if self._others is not None:
            self._others.stop(failed=failed)
        if not failed:
            left.next_step = transition.keep(flow, self._memoized.node, self._memoized.mask)
            held = [value for name, value in vars(flow).items() if name not in INTERNAL]
            refers_to, left.all_looked_at = find_in(held)
            left.named = frozenset(paths_in(held))
            left.refers_to = frozenset(refers_to)

    def close(self) -> None:
        self.attributes.stop()

    @property
    def reads(self) -> StepReads | None:
        """The reads besides inputs, once they are known; None if they could not be tracked."""
        return None if self._others is None else self._others.found
