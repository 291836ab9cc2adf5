"""Replay: a hit in the worker, which binds the results in place of running the step."""

from __future__ import annotations

from typing import Any

from memoflow.flow.host import transition
from memoflow.flow.host.artifacts import TaskArtifacts
from memoflow.flow.memo import card, card_page, task_record
from memoflow.flow.memo.lookup import MemoizedStep
from memoflow.flow.memo.store_context import StoreContext
from memoflow.flow.memo.task_notes import TaskNotes
from memoflow.kinds.memo import MemoEntry


class Replay:
    """One hit: `run` is called in place of the step, `finish` once its artifacts are written."""

    def __init__(self, entry: MemoEntry, memoized: MemoizedStep, context: StoreContext) -> None:
        self._entry = entry
        self._memoized = memoized
        self._context = context

    def run(self, flow: Any, *inputs: Any) -> None:
        """Bind the results: the task's end carries them over without loading any."""
        bound = TaskArtifacts.of_flow(flow)
        for name, artifact in self._entry.artifacts.items():
            bound.bind(name, artifact.sha1, artifact.info)
        transition.restore_on(flow, self._entry.next_step)

    def finish(self, notes: TaskNotes) -> None:
        """Note the use of the result and its origin, and take over the cards of that."""
        entry, memoized, context = self._entry, self._memoized, self._context
        context.candidates(memoized.scope_key, memoized.mask).touch(entry)
        notes.register(task_record.origin(entry))
        notes.tally(hit=True, saved_s=entry.run_time_s)
        notes.show(card_page.of_hit(notes.task, entry, memoized.scope.parts))
        card.replace_at_exit(notes.task, entry, context, memoized)
