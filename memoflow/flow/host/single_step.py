"""Single step: tasks of one step that run anew, on the inputs of tasks of earlier runs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from metaflow.package import MetaflowPackage
from metaflow.runtime import NativeRuntime, TaskFailed

from memoflow.dataclass import dataclass

MAX_LOG_BYTES = 10 << 20


@dataclass(frozen=True)
class TaskStart:
    """The inputs of a task: `run/step/task` of each parent, and its place in a foreach."""

    parents: tuple[str, ...]
    split_index: int | None
    join_type: str | None

    @property
    def arguments(self) -> dict[str, Any]:
        found: dict[str, Any] = {"input_paths": list(self.parents)}
        if self.split_index is not None:
            found["split_index"] = str(self.split_index)
        return found if self.join_type is None else found | {"join_type": self.join_type}


class StepRuntime(NativeRuntime):
    """Metaflow's scheduler, for tasks of one step in a run of their own, and none after these."""

    def __init__(self, state: Any, step: str, *, tags: Sequence[str], max_workers: int) -> None:
        state.metadata.add_sticky_tags(tags=list(tags))
        package = MetaflowPackage(
            state.flow, state.environment, state.echo, suffixes=state.package_suffixes
        )
        super().__init__(
            state.flow,
            state.graph,
            state.flow_datastore,
            state.metadata,
            state.environment,
            package,
            state.logger,
            state.entrypoint,
            state.event_logger,
            state.monitor,
            max_workers=max_workers,
            max_log_size=MAX_LOG_BYTES,
        )
        self._step = step
        self._starts: dict[str, int] = {}
        self._on_finished: Callable[[int, str], bool] = lambda number, task: True

    def run_all(self, starts: Sequence[TaskStart], finished: Callable[[int, str], bool]) -> None:
        """Run a task for each start; `finished` gets the number of the start and the task.

        After it returned False no further task begins. TaskFailed for a task that fails.
        """
        self._on_finished = finished
        for number, start in enumerate(starts):
            self._is_cloned.update(dict.fromkeys(start.parents, False))
            self._run_queue.insert(0, (self._step, {**start.arguments, "_number": number}))
        with self.run_heartbeat():
            self.execute()

    def _new_task(self, step: str, input_paths: Any = None, **kwargs: Any) -> Any:
        number = kwargs.pop("_number", None)
        task = super()._new_task(step, input_paths, **kwargs)
        if number is not None:
            self._starts[task.path] = number
        return task

    def _queue_push(self, step: str, task_kwargs: Any, index: Any = None) -> None:
        """Begin no other task than those that were asked for."""

    def _queue_tasks(self, finished_tasks: Any) -> None:
        for task in finished_tasks:
            if not self._on_finished(self._starts[task.path], f"{task.flow_name}/{task.path}"):
                self._run_queue.clear()
        # Or the run would count as one that broke off before its end.
        self._finished[self._graph.end_step, (), ()] = ""


__all__ = ["StepRuntime", "TaskFailed", "TaskStart"]
