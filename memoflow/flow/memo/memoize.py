"""@memoize: the one place that turns trouble into a miss.

Imported whenever Metaflow is, so nothing here imports more than Metaflow until a step is
memoized: a package that is missing must not break flows without @memoize.
"""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from metaflow.exception import MetaflowException

from memoflow.errors import UsageError
from memoflow.flow.lifecycle import Attempt, Lifecycle
from memoflow.flow.memo import import_reads
from memoflow.flow.memo.options import OPTIONS, MemoizeOptions

if TYPE_CHECKING:
    from memoflow.flow.memo.context import Session
    from memoflow.flow.memo.lookup import MemoizedStep
    from memoflow.flow.memo.worker import Task


import_reads.begin()


@contextlib.contextmanager
def _without_collecting() -> Iterator[None]:
    """Look for no garbage while modules are imported: it takes a tenth of that, and finds none."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


class MemoizeException(MetaflowException):
    headline = "@memoize"


class MemoizeDecorator(Lifecycle):
    """Run a step once for the same code and inputs; later runs take its results from the store.

    MF Add To Current
    -----------------
    memo -> memoflow.flow.memo.current_memo.CurrentMemo
        `hit`, `key` and `origin` of the running task.

    Parameters
    ----------
    inputs : List[str], optional, default None
        Names that decide the result; "input" and "index" are those of the foreach. None: what
        the step actually reads.
    outputs : List[str], optional, default None
        Names to keep. None: all that the step sets or changes.
    files : List[str], optional, default None
        Patterns of files that the step writes, such as "out/*.csv": they are kept with its result,
        and put back on a hit where they are missing or different.
    ignore : List[str], optional, default None
        Reads that do not decide the result: "current.run_id", patterns of files ("logs/*"),
        "os.environ['X']", names of globals ("lib.client").
    ttl : str or timedelta, optional, default None
        How long a result may be used: "30d", "12h", "90m". None: until it is evicted.
    version : str, optional, default None
        Part of the key; change it to start afresh.
    environment : bool, default True
        Whether Python's minor version and the versions of packages are part of the key.
    scope : str, default "flow"
        "flow", or "global" to share results with equal steps of other flows.
    refresh : bool, default False
        Run and record again, whatever is stored.
    mode : str, optional, default None
        "on" (None means that), "off", "read-only" or "only".
    single_flight : bool, default True
        Whether a task waits while another, of any run on any machine, computes the same result.
    audit : float, default 0
        The share of hits that run all the same and are compared with what is stored, which stands.
    show_card : bool, default True
        Whether tasks get a card of what they were found under, and hits the cards of their origins.
    min_time : str or timedelta, optional, default None
        How long a step must run for its result to be kept, such as "1s". None: however short.
    mask : List[str], optional, default None
        Names of parameters, constants and variables whose values are shown nowhere, such as "dsn".
        Names that look like those of passwords need not be listed. The values still count.
    next : str, optional, default None
        The step that follows, checked against the graph; nothing depends on it.
    """

    name = "memoize"
    label = "memoize"
    options = OPTIONS
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
        with _without_collecting():
            from memoflow.flow.memo.context import session_of
            from memoflow.flow.memo.lookup import MemoizedStep

            if self.is_in_worker:
                from memoflow.flow.memo import worker  # noqa: F401  (it is asked for below)

        try:
            options = MemoizeOptions.parse(self.attributes)
            if self.system_ctx.is_launch:
                options.check(type(flow), graph, self.step_name)
            session = session_of(self.flow_datastore, self.logger)
            memoized = MemoizedStep(
                flow, graph, self.step_name, options, key=session.context.mask_key
            )
        except UsageError as error:
            raise MemoizeException(str(error)) from error
        self._session = session
        if graph[self.step_name].parallel_step:
            if self.system_ctx.is_launch:
                self._session.context.say_once(f"{self.step_name} is @parallel: not memoized")
            return
        self._memoized = memoized
        if self.is_in_worker:
            # Now, while parameters are still what the class says, as in the scheduler.
            memoized.fix_scope()

    def launch(self, cli_args: Any, attempt: int, *, has_unbounded_foreach: bool) -> None:
        if self._memoized is None or self._session is None or has_unbounded_foreach:
            return
        from memoflow.flow.memo import scheduler
        from memoflow.flow.memo.lookup import MissError

        try:
            scheduler.prepare(cli_args, attempt, self._memoized, self._session)
        except MissError as error:
            raise MemoizeException(str(error)) from error

    def end_run(self) -> None:
        if self._session is not None:
            from memoflow.flow.memo import summary

            with self.degrade("summary"):
                summary.show(self._session, self.run_id)

    def begin(self, attempt: Attempt) -> None:
        if self._memoized is None or self._session is None or attempt.has_unbounded_foreach:
            return
        from memoflow.flow.memo import worker
        from memoflow.flow.memo.lookup import MissError

        with self.degrade("lookup", but=MemoizeException):
            try:
                self._task = worker.Task(
                    self._memoized,
                    self._session,
                    flow=attempt.flow,
                    output=attempt.output,
                    metadata=attempt.metadata,
                    datastores=attempt.inputs,
                    attempt=attempt.number,
                )
            except MissError as error:
                raise MemoizeException(str(error)) from error
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
