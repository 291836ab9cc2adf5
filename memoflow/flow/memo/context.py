"""Context: the state of a process that launches a run or runs a task."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from functools import cached_property
from typing import TYPE_CHECKING, Any

from metaflow.exception import MetaflowException

from memoflow.errors import MemoflowError
from memoflow.flow.memo.artifacts import Artifacts
from memoflow.flow.memo.store_context import StoreContext
from memoflow.kinds import memo
from memoflow.kinds.decision import Decision, keep_missed
from memoflow.names import Key
from memoflow.threads import Pool
from memoflow.units import span

if TYPE_CHECKING:
    from memoflow.flow.host.task_ids import TaskIds
    from memoflow.flow.memo.lookup import MemoizedStep
    from memoflow.flow.memo.miss import ResultsBefore

_EVERY_SECONDS = 60.0
_AT_ONCE = 32


class RunLog:
    """The hits and misses of a run as far as this process decided them."""

    def __init__(self) -> None:
        self.run = ""  # Flow/run, whose own results explain no miss of it
        self.began = time.time()
        self.ended = False
        self.is_shadow = False  # nothing is served, and what would have been is compared
        self.hits: list[tuple[str, str, str, str, float]] = []  # flow, run, step, task, saved
        self.misses: set[str] = set()  # ids of the tasks whose workers do not look again
        self.missed: dict[str, Decision] = {}  # the last of each step
        self._uncached: set[tuple[str, str]] = set()  # step and reason
        self.before: dict[Key, ResultsBefore] = {}  # by code key
        self.unwritten: dict[str, str] = {}  # why a hit could not be, by path of the task

    def add_miss(self, step: str, task: str, decision: Decision) -> None:
        self.misses.add(task)
        self.missed[step] = decision

    def is_news(self, step: str, decision: Decision) -> bool:
        """Tell whether this is the first task of the step in this run that is not cached."""
        said = step, decision.reason
        is_first = said not in self._uncached
        self._uncached.add(said)
        return is_first


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
    def threads(self) -> Pool:
        """The threads that ask servers while the scheduler goes on."""
        return Pool(_AT_ONCE)

    def begin_run(self, memoized: MemoizedStep) -> None:
        """Keep the artifacts of the finished tasks before a step, as the runtime opens them."""
        # Here, since workers do without the runtime.
        from memoflow.flow.host import answers

        if memoized.mode != "off":
            self.context.tasks.follow(memoized.graph, memoized.step)
            answers.on_finished(self.context.tasks.add)

    def end_run(self, run_id: str) -> None:
        """Print hits, misses and time saved of a run, once, then collect garbage."""
        context, log = self.context, self.log
        if log.ended:
            return
        log.ended = True
        if "cards" in vars(context) and context.cards is not None:
            context.cards.wait()
        store = context.store
        if store is None:
            return
        flow = context.flow_datastore.flow_name
        now = time.time()
        store.index.record_outcomes([(*hit[:4], True, hit[4], now) for hit in log.hits])
        keep_missed(store.index, flow, log.missed)
        # The workers' decisions, where the scheduler could not decide, are in the index.
        saved_s = {hit[3]: hit[4] for hit in log.hits}
        missed = set(log.misses)
        for outcome in store.index.outcomes(flow, run_id):
            if outcome.hit:
                saved_s[outcome.task] = outcome.saved_s
            else:
                missed.add(outcome.task)
        missed -= saved_s.keys()  # Found by the worker, after it had waited for another's.
        if log.is_shadow:
            self._say_shadow()
        elif saved_s or missed:
            hits = f"{len(saved_s)} hit{'s' * (len(saved_s) != 1)}"
            misses = f"{len(missed)} miss{'es' * (len(missed) != 1)}"
            saved = f", {span(sum(saved_s.values()))} saved" if saved_s else ""
            context.say(f"{hits}, {misses}{saved}")
        try:
            if missed:
                self.prefetch.leave_bundles()
            context.collect()
        except (MemoflowError, OSError) as error:
            context.say(f"maintenance failed: {error}")

    def _say_shadow(self) -> None:
        """Print the time that hits would have saved, and the results that differ."""
        from memoflow.flow.memo import shadow  # Here, as few runs are in shadow mode.

        context = self.context
        try:
            for line in shadow.summary(self.log.run, context.metadata):
                context.say(line)
        except (MemoflowError, MetaflowException, OSError, ValueError) as error:
            context.say(f"shadow: no summary: {error}; see memoflow why {self.log.run}")


_sessions: dict[int, Session] = {}


def session_of(flow_datastore: Any, logger: Callable[..., None]) -> Session:
    """Return this process's session for a datastore; a forked child gets its own."""
    return _sessions.setdefault(os.getpid(), Session(flow_datastore, logger))
