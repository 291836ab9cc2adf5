"""Context: the state of a process that launches a run or runs a task."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from functools import cached_property
from types import ModuleType
from typing import TYPE_CHECKING, Any

from metaflow.exception import MetaflowException

from memoflow.errors import MemoflowError
from memoflow.flow.memo import run_summary, run_tag, shadow
from memoflow.flow.memo.artifacts import Artifacts
from memoflow.flow.memo.run_log import RunLog
from memoflow.flow.memo.store_context import StoreContext
from memoflow.flow.memo.task_logs import TaskLogs
from memoflow.kinds import memo
from memoflow.kinds.decision import keep_missed
from memoflow.log import WARNING
from memoflow.names import Key
from memoflow.threads import Pool

if TYPE_CHECKING:
    from memoflow.flow.host.task_ids import TaskIds
    from memoflow.flow.memo.lookup import MemoizedStep
    from memoflow.flow.memo.task_lines import TaskLines

_EVERY_SECONDS = 60.0
_AT_ONCE = 32


def _launch_side() -> tuple[ModuleType, ModuleType]:
    # Not in workers, which do without the runtime.
    from memoflow.flow.host import answers
    from memoflow.flow.memo import task_lines

    return answers, task_lines


class ScopePrefetch:
    """Reads in bulk for a process that looks up tasks that others will run; else it is off."""

    def __init__(self, context: StoreContext) -> None:
        self.is_on = False
        self._context = context
        self._read: dict[Key, float] = {}  # by the clock that never goes back

    def read(self, code_key: Key) -> None:
        """Read in bulk the entries that many lookups under a code key need, on a slow store."""
        store = self._context.store
        if not self.is_on or store is None:
            return
        now = time.monotonic()
        if now - self._read.get(code_key, -_EVERY_SECONDS) < _EVERY_SECONDS:
            return
        self._read[code_key] = now
        refs = store.remembered.prefetch(code_key)
        artifacts = self._context.artifacts
        if not isinstance(artifacts, Artifacts):
            artifacts.look_ahead(memo.artifacts_of(store, refs), tasks=len(refs))

    def leave_bundles(self) -> None:
        """Read the results that this run has added, so that the next run finds them in bulk."""
        for code_key in self._read:
            self._read[code_key] = -_EVERY_SECONDS
            self.read(code_key)


class Session:
    """The store, the log of the run and the prefetch of one process."""

    def __init__(self, flow_datastore: Any, logger: Callable[..., None]) -> None:
        self.context = StoreContext(flow_datastore, logger)
        self.log = RunLog()
        self.prefetch = ScopePrefetch(self.context)
        self.task_ids: TaskIds | None = None  # once there are tasks to expect

    @cached_property
    def lines(self) -> TaskLines:
        """The lines of tasks on the terminal, for a process that launches tasks."""
        _, task_lines = _launch_side()
        made: TaskLines = task_lines.TaskLines(
            self.log, lambda head, line: self.context.say(line, head=head)
        )
        return made

    @cached_property
    def logs(self) -> TaskLogs:
        """The logs of the results, for a process that launches tasks."""
        return TaskLogs(self.context)

    @cached_property
    def threads(self) -> Pool:
        """The threads that ask servers while the scheduler goes on."""
        return Pool(_AT_ONCE)

    def begin_run(self, memoized: MemoizedStep) -> None:
        """Keep the artifacts of the finished tasks before a step, as the runtime opens them."""
        if memoized.mode != "off":
            self.context.tasks.follow(memoized.graph, memoized.step)
            answers, _ = _launch_side()
            answers.on_finished(self.context.tasks.add)

    def end_run(self, run_id: str) -> None:
        """Print the summary of a run, once, then collect garbage."""
        context, log = self.context, self.log
        if log.ended:
            return
        log.ended = True
        if "cards" in vars(context) and context.cards is not None:
            context.cards.wait()
        if "logs" in vars(self):
            self.logs.wait()
        store = context.store
        if store is None:
            return
        flow = context.flow_datastore.flow_name
        now = time.time()
        store.index.record_outcomes([(*hit[:4], True, hit[4], now) for hit in log.hits])
        keep_missed(store.index, flow, log.missed)
        if log.is_shadow:
            self._say_shadow()
            has_misses = True
        else:
            summary = run_summary.of_run(
                log, store.index, context.flow_datastore.metadata, flow, run_id
            )
            untagged = run_tag.put(context.flow_datastore.metadata, flow, run_id, summary)
            self._say_summary(summary, untagged)
            has_misses = summary.misses > 0
        try:
            if has_misses:
                self.prefetch.leave_bundles()
            context.collect()
        except (MemoflowError, OSError) as error:
            context.say(f"maintenance failed: {error}", WARNING)

    def _say_summary(self, summary: run_summary.RunSummary, untagged: str) -> None:
        context = self.context
        *table, total = summary.lines(run_summary.room()) or [""]
        for line in table:
            context.say(line, timestamp=False)
        for trouble in filter(None, (summary.trouble, untagged)):
            context.say(trouble, WARNING)
        if total:
            context.say(total)

    def _say_shadow(self) -> None:
        """Print the time that hits would have saved, and the results that differ."""
        context = self.context
        try:
            for line in shadow.summary(self.log.run, context.metadata):
                context.say(line)
        except (MemoflowError, MetaflowException, OSError, ValueError) as error:
            context.say(f"shadow: no summary: {error}; see memoflow why {self.log.run}", WARNING)


_sessions: dict[int, Session] = {}


def session_of(flow_datastore: Any, logger: Callable[..., None]) -> Session:
    """Return this process's session for a datastore; a forked child gets its own."""
    return _sessions.setdefault(os.getpid(), Session(flow_datastore, logger))
