"""Task rows: the metadata of tasks as their provider keeps it, nothing taken from an origin."""

from __future__ import annotations

import glob
import os
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from metaflow.exception import MetaflowException
from metaflow.metadata_provider.metadata import ObjectOrder

from memoflow.errors import MemoflowError

_FEW = 8  # tasks whose metadata is asked for one by one

Rows = dict[str, str]  # the latest value of each field


def of_task(task: Any) -> Rows:
    """Return the metadata of a task, in one request.

    The Client adds to that of a clone the fields of its origin, which may be gone.
    """
    provider = task._metaflow.metadata
    return _latest(provider.get_object("task", "metadata", None, None, *task.path_components) or ())


def origin_of_clone(pathspec: str, rows: Rows) -> str | None:
    """Return the task that `resume` cloned, by the metadata of its clone; None for other tasks.

    Other tasks of a resumed run have an origin run, too, and no origin task.
    """
    if "origin-task-id" not in rows:
        return None
    flow, _, step, _ = pathspec.split("/")
    return f"{flow}/{rows['origin-run-id']}/{step}/{rows['origin-task-id']}"


def of_run(run: Any, fields: Collection[str]) -> dict[tuple[str, str], Rows]:
    """Return some fields of all tasks of a run, by step and task.

    One request to Metaflow's service, whose answer has all fields; on disk one file a value is
    read. Another provider is asked once a step and once a task.
    """
    provider = run._metaflow.metadata
    if provider.TYPE == "service":
        rows = _of_run_in_service(provider, run.path_components)
    elif provider.TYPE == "local":
        rows = _on_disk(provider, run.path_components, fields)
    else:
        return {(step.id, task.id): of_task(task) for step in run for task in step}
    return _by_task(rows, fields)


def _of_run_in_service(provider: Any, run: Iterable[str]) -> Any:
    # `get_object` asks for single tasks only; the service has the metadata of runs as well.
    of, wanted = map(ObjectOrder.type_to_order, ("run", "metadata"))
    return provider._get_object_internal("run", of, "metadata", wanted, None, None, *run)


def _by_task(rows: Any, fields: Collection[str]) -> dict[tuple[str, str], Rows]:
    by_task: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for row in rows or ():
        if row["field_name"] in fields:
            task = str(row["step_name"]), str(row["task_id"])
            by_task.setdefault(task, []).append(row)
    return {task: _latest(kept) for task, kept in by_task.items()}


def of_tasks(
    provider: Any, flow: str, run: str, tasks: Collection[tuple[str, str]], fields: Collection[str]
) -> dict[tuple[str, str], Rows]:
    """Return some fields of some tasks of a run, given by step and id, in few requests."""
    if provider.TYPE == "service" and len(tasks) > _FEW:
        found = _by_task(_of_run_in_service(provider, (flow, run)), fields)
        return {task: found[task] for task in tasks if task in found}
    return {
        task: _latest(row for row in rows or () if row["field_name"] in fields)
        for task in tasks
        for rows in [provider.get_object("task", "metadata", None, None, flow, run, *task)]
    }


@contextmanager
def explained(subject: str) -> Iterator[None]:
    """Turn Metaflow's errors within the block into MemoflowError that names their subject."""
    try:
        yield
    except MetaflowException as error:
        raise MemoflowError(f"cannot read the metadata of {subject}: {error}") from error


def in_order(task: str) -> tuple[int, str]:
    """Return a sort key for ids of tasks: mostly numbers, counted up as tasks begin."""
    return (int(task), "") if task.isdigit() else (0, task)


def _on_disk(provider: Any, run: list[str], fields: Iterable[str]) -> Iterator[dict[str, Any]]:
    of_run = provider._get_metadir(*run)
    if of_run is None:
        return
    folder, metadata = map(glob.escape, os.path.split(of_run))
    for field in fields:
        for path in glob.iglob(os.path.join(folder, "*", "*", metadata, f"sysmeta_{field}_*.json")):
            yield provider._read_json_file(path)


def _latest(rows: Iterable[dict[str, Any]]) -> Rows:
    # Of one millisecond, the service tells the order by numbers.
    earliest_first = sorted(rows, key=lambda row: (row["ts_epoch"], row.get("id") or 0))
    return {str(row["field_name"]): str(row["value"]) for row in earliest_first}
