"""@memoize: the one place that turns trouble into a miss.

Imported whenever Metaflow is, so nothing here imports more than Metaflow until a step is
memoized: a package that is missing must not break flows without @memoize.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from types import ModuleType
from typing import TYPE_CHECKING, Any

from metaflow.exception import MetaflowException

from memoflow.errors import UsageError
from memoflow.flow.lifecycle import Attempt, Lifecycle
from memoflow.flow.memo import import_reads
from memoflow.flow.memo.options import OPTIONS, MemoizeOptions
from memoflow.garbage import without_collecting
from memoflow.log import WARNING

if TYPE_CHECKING:
    from memoflow.flow.memo.context import Session
    from memoflow.flow.memo.lookup import MemoizedStep
    from memoflow.flow.memo.worker import Task


import_reads.begin()

# Loaded in functions, since Metaflow imports this module at each start, and since a process is
# either the one that launches the run or a worker.


def _both_sides() -> tuple[ModuleType, ModuleType]:
    # Not before a step is memoized.
    from memoflow.flow.memo import context, lookup

    return context, lookup


def _worker_side() -> ModuleType:
    # Not in the process that launches the run.
    from memoflow.flow.memo import worker

    return worker


class MemoizeException(MetaflowException):
    headline = "@memoize"


@contextlib.contextmanager
def _misses_as_errors() -> Iterator[None]:
    """Raise the exception of the decorator for a miss under `--memo only`."""
    _, lookup = _both_sides()
    try:
        yield
    except lookup.MissError as error:
        raise MemoizeException(str(error)) from error


class MemoizeDecorator(Lifecycle):
    """Run a step once for the same code and inputs; later runs take its results from the store.

    MF Add To Current
    -----------------
    memo -> memoflow.flow.memo.worker.CurrentMemo
        `hit`, `key` and `origin` of the running task.
    """

    name = "memoize"
    label = "memoize"
    option_table = OPTIONS
    exception = MemoizeException

    _memoized: MemoizedStep | None = None
    _session: Session | None = None
    _task: Task | None = None

    def without_packages(self, error: UsageError) -> bool:
        self.off = str(error)
        return False

    def prepare(self, flow: Any, graph: Any) -> None:
        with self.degrade("preparing", but=MetaflowException):
            self._prepare(flow, graph)

    def _prepare(self, flow: Any, graph: Any) -> None:
        with without_collecting():
            context, lookup = _both_sides()
            if self.is_in_worker:
                _worker_side()
        try:
            options = MemoizeOptions.parse(self.attributes)
            if self.system_ctx.is_launch:
                options.check(type(flow), graph, self.step_name)
            session = context.session_of(self.flow_datastore, self.logger)
            if self.is_in_worker and _worker_side().Handoff.is_off():
                session.context.cut_off()  # Before anything asks the store for its id.
            memoized = lookup.MemoizedStep(
                flow, graph, self.step_name, options, key=session.context.mask_key
            )
        except UsageError as error:
            raise MemoizeException(str(error)) from error
        self._session = session
        if graph[self.step_name].parallel_step:
            if self.system_ctx.is_launch:
                self._session.context.say_once(
                    f"{self.step_name} is @parallel: not memoized", WARNING
                )
            return
        self._memoized = memoized
        if self.is_in_worker:
            # Now, while parameters are still what the class says, as in the scheduler.
            memoized.fix_code()

    def run_anew(self) -> None:
        """Run and record all tasks in this process's run, in any mode and over stored results."""
        if self._memoized is not None:
            self._memoized.mode, self._memoized.refresh = "on", True

    def begin_run(self) -> None:
        if self._memoized is not None and self._session is not None:
            with self.degrade("following the run"):
                self._session.begin_run(self._memoized)

    def launch(self, cli_args: Any, attempt: int, *, has_unbounded_foreach: bool) -> None:
        if self._memoized is None or self._session is None or has_unbounded_foreach:
            return
        from memoflow.flow.memo import scheduler  # Here, since workers do without.

        with _misses_as_errors():
            scheduler.prepare(cli_args, attempt, self._memoized, self._session)

    def end_run(self) -> None:
        if self._session is not None:
            with self.degrade("summary"):
                self._session.end_run(self.run_id)

    def begin(self, attempt: Attempt) -> None:
        if self._memoized is None or self._session is None or attempt.has_unbounded_foreach:
            return
        with self.degrade("lookup", but=MemoizeException), _misses_as_errors():
            self._task = _worker_side().Task(
                self._memoized,
                self._session,
                flow=attempt.flow,
                output=attempt.output,
                metadata=attempt.metadata,
                datastores=attempt.inputs,
                attempt=attempt.number,
            )
        if self._task is not None:
            # Last in the list is outermost: the user's own step decorators read and set, too.
            getattr(attempt.flow, attempt.step).wrappers.append(self._task)

    def settle(self) -> None:
        if self._task is not None:
            self._task.settled()

    def fail(self) -> None:
        if self._task is not None:
            self._task.failed()

    def end(self, *, is_ok: bool) -> None:
        if self._task is not None:
            with self.degrade("recording"):
                self._task.finished(is_ok)
