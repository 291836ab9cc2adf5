"""@memoize: the one place that turns trouble into a miss.

Imported whenever Metaflow is, so nothing here imports more than Metaflow until a step is
memoized: a package that is missing must not break flows without @memoize.
"""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from metaflow.decorators import StepDecorator
from metaflow.exception import MetaflowException

from memoflow.errors import UsageError
from memoflow.flow.memo import import_reads
from memoflow.flow.task import dependencies, launch_info
from memoflow.flow.task.process import arguments_of_step, tell
from memoflow.masking import without_passwords

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


class MemoizeDecorator(StepDecorator):
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
    defaults = {
        "inputs": None,
        "outputs": None,
        "files": None,
        "ignore": None,
        "ttl": None,
        "version": None,
        "environment": True,
        "scope": "flow",
        "refresh": False,
        "mode": None,
        "single_flight": True,
        "audit": 0,
        "show_card": True,
        "min_time": None,
        "mask": None,
        "next": None,
    }

    _memoized: MemoizedStep | None = None
    _session: Session | None = None
    _task: Task | None = None
    _run_id = ""
    _off = ""

    def step_init(
        self,
        flow: Any,
        graph: Any,
        step_name: str,
        decorators: Any,
        environment: Any,
        flow_datastore: Any,
        logger: Any,
    ) -> None:
        running = arguments_of_step()
        if running and step_name not in running:
            return  # The worker of another step.
        try:
            dependencies.provide(dependencies.TASK, install=bool(running))
        except UsageError as error:
            self._off = str(error)
            return
        try:
            self._prepare(flow, graph, step_name, flow_datastore, logger)
        except MetaflowException:
            raise  # Asked for something that cannot be.
        except Exception as error:
            self._give_up("preparing", error)

    def _prepare(
        self, flow: Any, graph: Any, step_name: str, flow_datastore: Any, logger: Any
    ) -> None:
        with _without_collecting():
            from memoflow.flow.memo.context import session_of
            from memoflow.flow.memo.lookup import MemoizedStep
            from memoflow.flow.memo.options import MemoizeOptions

            if arguments_of_step():
                from memoflow.flow.memo import worker  # noqa: F401  (it is asked for below)

        try:
            options = MemoizeOptions.parse(self.attributes)
            if self.system_ctx.is_launch:
                options.check(type(flow), graph, step_name)
            session = session_of(flow_datastore, logger)
            memoized = MemoizedStep(flow, graph, step_name, options, key=session.context.mask_key)
        except UsageError as error:
            raise MemoizeException(str(error)) from error
        self._session = session
        if graph[step_name].parallel_step:
            if self.system_ctx.is_launch:
                self._session.context.say_once(f"{step_name} is @parallel: not memoized")
            return
        self._memoized = memoized
        if arguments_of_step():
            # Now, while parameters are still what the class says, as in the scheduler.
            memoized.fix_scope()

    def runtime_init(self, flow: Any, graph: Any, package: Any, run_id: str) -> None:
        self._run_id = run_id
        self._say_if_off()

    def package_init(self, flow: Any, step_name: str, environment: Any) -> None:
        launch_info.note_image(step_name, getattr(flow, step_name).decorators)

    def add_to_package(self) -> list[tuple[str, str]]:
        return dependencies.package_files()

    def runtime_step_cli(
        self, cli_args: Any, retry_count: int, max_user_code_retries: int, ubf_context: Any
    ) -> None:
        if self._memoized is None or self._session is None or ubf_context is not None:
            return
        from memoflow.flow.memo import scheduler
        from memoflow.flow.memo.lookup import MissError

        try:
            scheduler.prepare(cli_args, retry_count, self._memoized, self._session)
        except MissError as error:
            raise MemoizeException(str(error)) from error

    def runtime_finished(self, exception: Any) -> None:
        if self._session is not None:
            from memoflow.flow.memo import summary

            try:
                summary.show(self._session, self._run_id)
            except Exception as error:
                self._give_up("summary", error)

    def task_pre_step(
        self,
        step_name: str,
        task_datastore: Any,
        metadata: Any,
        run_id: str,
        task_id: str,
        flow: Any,
        graph: Any,
        retry_count: int,
        max_user_code_retries: int,
        ubf_context: Any,
        inputs: Any,
    ) -> None:
        self._say_if_off()
        if self._memoized is None or self._session is None or ubf_context is not None:
            return
        from memoflow.flow.memo import worker
        from memoflow.flow.memo.lookup import MissError

        try:
            self._task = worker.Task(
                self._memoized,
                self._session,
                flow=flow,
                output=task_datastore,
                metadata=metadata,
                datastores=inputs,
                attempt=retry_count,
            )
        except MissError as error:
            raise MemoizeException(str(error)) from error
        except Exception as error:
            self._give_up("lookup", error)
            return
        # Last in the list is outermost: the user's own step decorators read and set, too.
        getattr(flow, step_name).wrappers.append(self._task)

    def task_post_step(
        self,
        step_name: str,
        flow: Any,
        graph: Any,
        retry_count: int,
        max_user_code_retries: int,
    ) -> None:
        if self._task is not None:
            self._task.settled()

    def task_exception(
        self,
        exception: Exception,
        step_name: str,
        flow: Any,
        graph: Any,
        retry_count: int,
        max_user_code_retries: int,
    ) -> None:
        if self._task is not None:
            self._task.failed()

    def task_finished(
        self,
        step_name: str,
        flow: Any,
        graph: Any,
        is_task_ok: bool,
        retry_count: int,
        max_user_code_retries: int,
    ) -> None:
        if self._task is None:
            return
        try:
            self._task.finished(is_task_ok)
        except Exception as error:
            self._give_up("recording", error)

    def _say_if_off(self) -> None:
        if self._off:
            tell(f"[memoize] off: {self._off}")

    def _give_up(self, what: str, error: Exception) -> None:
        # Any error at all: a memo that cannot be found or stored never fails its step.
        tell(without_passwords(f"[memoize] {what} failed: {type(error).__name__}: {error}"))
