"""Task results: the keys of the results that a run, a step of it or a task made or used."""

from __future__ import annotations

from contextlib import suppress

from metaflow.client import Run
from metaflow.exception import MetaflowNotFound

from memoflow.errors import MemoflowError, NotFoundError
from memoflow.flow.host import task_rows
from memoflow.flow.memo import why

_KEY, _CLONED = "memo-key", "origin-task-id"


def keys_used(pathspec: str) -> set[str]:
    """Return the keys of results by Flow/run, Flow/run/step or Flow/run/step/task.

    Of a clone that `resume` made they are those of the task that was cloned. Metaflow's service is
    asked once for all of a run. NotFoundError if Metaflow has no such run.
    """
    flow, run_id, *rest = pathspec.split("/")
    if len(rest) == 2:
        key = why.result_key(pathspec)
        return set() if key is None else {key}
    with task_rows.explained(pathspec):
        try:
            return _of_tasks(flow, run_id, tuple(rest))
        except MetaflowNotFound as error:
            raise NotFoundError(f"Metaflow has no run {flow}/{run_id}: {error}") from error


def _of_tasks(flow: str, run_id: str, wanted: tuple[str, ...]) -> set[str]:
    run = Run(f"{flow}/{run_id}", _namespace_check=False)
    found = set()
    for task, rows in task_rows.of_run(run, (_KEY, _CLONED)).items():
        if task[: len(wanted)] != wanted:
            continue
        key = rows.get(_KEY)
        if key is None and _CLONED in rows:
            with suppress(MemoflowError):  # The cloned task may be gone.
                key = why.result_key("/".join((flow, run_id, *task)))
        if key is not None:
            found.add(key)
    return found
