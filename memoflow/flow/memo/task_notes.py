"""Task notes: metadata, tally and card of a memoized task, left beside its artifacts."""

from __future__ import annotations

import time
from typing import Any

from metaflow.metadata_provider import MetaDatum
from metaflow.metaflow_current import current

from memoflow import events
from memoflow.flow.memo import card
from memoflow.flow.memo.card_page import Shown
from memoflow.flow.memo.lookup import MemoizedStep
from memoflow.flow.memo.store_context import StoreContext
from memoflow.kinds.decision import FIELD, MISS, ORIGIN, SAVED, Decision, keep_missed
from memoflow.kinds.memo import MemoEntry
from memoflow.names import entry_facts


class TaskNotes:
    """The notes of one attempt of a task; `task` is its Flow/run/step/task."""

    def __init__(
        self,
        memoized: MemoizedStep,
        context: StoreContext,
        *,
        output: Any,
        metadata: Any,
        attempt: int,
    ) -> None:
        self.task = f"{current.flow_name}/{output.pathspec}"
        self.run_id = output.run_id
        self._memoized = memoized
        self._context = context
        self._output = output
        self._metadata = metadata
        self._attempt = attempt

    def register(self, fields: dict[str, Any]) -> None:
        """Add fields to the metadata of the task."""
        output = self._output
        tags = [f"attempt_id:{self._attempt}"]
        self._metadata.register_metadata(
            output.run_id,
            output.step_name,
            output.task_id,
            [MetaDatum(field, value, field, tags) for field, value in fields.items()],
        )

    def register_miss(self, decision: Decision, key: str | None) -> None:
        """Add the decision on a miss, for `why`, and the key of its result if there is one."""
        fields = {FIELD: decision.text()}
        if key is not None:
            fields["memo-key"] = key
        self.register(fields)

    def keep_last_miss(self, decision: Decision) -> None:
        """Keep the decision on a miss that only this process knows, for the report."""
        store = self._context.store
        if store is not None:
            keep_missed(store.index, str(current.flow_name), {self._memoized.step: decision})

    def tally(self, *, hit: bool, saved_s: float) -> None:
        """Count the task as a hit or a miss of its step."""
        store, output = self._context.store, self._output
        if store is None:
            return
        flow, run = str(current.flow_name), output.run_id
        outcome = (flow, run, output.step_name, output.task_id, hit, saved_s, time.time())
        store.index.record_outcomes([outcome])

    def note_cost(self, decision: Decision, run_time_s: float) -> None:
        """Note the reason of a miss and the run time of its task, for the report."""
        store, output = self._context.store, self._output
        if store is None or decision.outcome != MISS:
            return
        task = str(current.flow_name), output.run_id, output.step_name, output.task_id
        cost = (*task, decision.reason.value, 1, run_time_s, time.time())
        store.index.record_misses([cost])

    def show(self, shown: Shown) -> None:
        """Write the card of the task, if it is to have one."""
        if self._memoized.has_card:
            card.of_worker(shown, self._context)


def origin(entry: MemoEntry) -> dict[str, str]:
    """Return the metadata of a hit: the task and the key of its result, and the time saved.

    Not `origin-task-id`, as `resume` writes it: the Client API then reads the origin's metadata
    in place of the task's, which fails once the origin's run was cleaned up.
    """
    return {
        ORIGIN: entry.origin,
        "memo-key": str(entry.ref.key),
        SAVED: f"{entry.run_time_s:.1f}",
    }


def of_hit(entry: MemoEntry, resumed: str | None) -> dict[str, str]:
    """Return the metadata of a hit whose task no worker registers.

    `resumed` is the run that its run resumes: the Client takes a run's origin from its last task.
    """
    return origin(entry) | ({} if resumed is None else {"origin-run-id": resumed})


def note_decision(decision: Decision, entry: MemoEntry | None, **task: str) -> None:
    """Append the decision on a task to the events; `task` names it in a process of others."""
    facts: dict[str, Any] = {"kind": "memo", "reason": decision.reason.value} | task
    facts["line"] = decision.line
    if entry is not None:
        facts |= entry_facts(entry.ref) | {"saved_s": entry.run_time_s}
    events.emit("miss" if entry is None else "hit", **facts)
