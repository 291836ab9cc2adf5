"""The record of a task that did not run, since its results come from another."""

from __future__ import annotations

from typing import Any

from memoflow.flow.host import task_record
from memoflow.flow.host.foreach import Foreach
from memoflow.flow.memo.inputs import FlowShape
from memoflow.kinds.memo import MemoEntry


def write(
    task: Any,
    entry: MemoEntry,
    *,
    shape: FlowShape,
    parent: Any,
    foreach: Foreach,
    join_type: str | None,
    attempt: int,
    flow_datastore: Any,
) -> None:
    """Write the records of `task` as if it had run and left the results in `entry`."""
    task_record.write(
        task,
        flow_datastore=flow_datastore,
        attempt=attempt,
        parent=parent,
        passed=None if join_type is None else {*shape.parameters, *shape.constants},
        artifacts={name: (each.sha1, each.info) for name, each in entry.artifacts.items()},
        next_step=entry.next_step,
        foreach=foreach,
        fields=origin(entry),
    )


def origin(entry: MemoEntry) -> dict[str, str]:
    """Return the metadata of a hit: the task and the key of its results.

    Not `origin-task-id`, as `resume` writes it: the Client API then reads the origin's metadata
    in place of the task's, which fails once the origin's run was cleaned up.
    """
    return {"memo-origin": entry.origin, "memo-key": str(entry.ref.key)}
