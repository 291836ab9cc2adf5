"""The record of a task that did not run: what Metaflow would have written, had it run.

Follows MetaflowTask.run_step and clone_task_helper of Metaflow 2.19: a real task to the Client
API, whose origin is the task that computed its results.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from metaflow.metadata_provider import MetaDatum
from metaflow.task import MAX_FOREACH_PATH_LENGTH, MetaflowTask

from memoflow.flow.memo import transition
from memoflow.flow.memo.inputs import FlowShape
from memoflow.kinds.memo import MemoEntry


def frames(
    flow: Any, step: str, datastores: list[Any], join_type: str | None, split_index: int | None
) -> SimpleNamespace:
    """Return a stand-in for the flow with the foreach and iteration stacks of the new task."""
    standin = SimpleNamespace(_graph=flow._graph, _foreach_stack=[])
    task = SimpleNamespace(flow=standin, ubf_context=None)
    MetaflowTask._init_foreach(task, step, join_type, datastores, split_index)
    node = flow._graph[step]
    recursive = node.type == "split-switch" and step in node.out_funcs
    MetaflowTask._init_iteration(task, step, datastores, recursive)
    return standin


def write(
    task: Any,
    entry: MemoEntry,
    *,
    shape: FlowShape,
    datastores: list[Any],
    standin: SimpleNamespace,
    join_type: str | None,
    attempt: int,
    flow_datastore: Any,
    metadata: Any,
) -> None:
    """Write the records of `task` as if it had run and left what `entry` holds."""
    run, step, task_id = task.run_id, task.step, task.task_id
    if attempt:  # The runtime has registered the first one when it made the task.
        metadata.register_task_id(run, step, task_id, attempt)
    # An own datastore: the runtime still saves logs through the task's, which must not be done.
    output = flow_datastore.get_task_datastore(run, step, task_id, attempt=attempt, mode="w")
    output.init_task()
    bind(output, entry, shape=shape, parent=datastores[0], join_type=join_type)
    output.save_artifacts(
        iter(
            {
                **({} if "name" in entry.artifacts else {"name": task.flow_name}),
                "_current_step": step,
                "_exception": None,
                "_foreach_stack": standin._foreach_stack,
                "_iteration_stack": standin._iteration_stack,
                "_success": True,
                "_task_ok": True,
                **transition.restore(entry.next_step),
            }.items()
        )
    )
    metadata.register_metadata(
        run, step, task_id, _metadata(entry, standin, flow_datastore, attempt)
    )
    output.done()


def bind(
    output: Any, entry: MemoEntry, *, shape: FlowShape, parent: Any, join_type: str | None
) -> None:
    """Bind the names that a task starts with and those of the entry to their artifacts."""
    if join_type is None:
        output._objects.update(parent._objects)
        output._info.update(parent._info)
    else:
        passed = {"_graph_info", *shape.parameters, *shape.constants}
        output.passdown_partial(parent, sorted(passed))
    for name, artifact in entry.artifacts.items():
        output._objects[name] = artifact.sha1
        output._info[name] = artifact.info


def origin(entry: MemoEntry) -> dict[str, str]:
    """Return the metadata of a hit that say where its results come from.

    Not `origin-task-id`, as `resume` writes it: the Client API then reads the origin's metadata
    in place of the task's, which fails once the origin's run was cleaned up.
    """
    return {"memo-origin": entry.origin, "memo-key": str(entry.ref.key)}


def _metadata(
    entry: MemoEntry, standin: SimpleNamespace, flow_datastore: Any, attempt: int
) -> list[MetaDatum]:
    values: dict[str, Any] = {
        "attempt": str(attempt),
        "ds-type": flow_datastore.TYPE,
        "ds-root": flow_datastore.datastore_root,
        "attempt_ok": "True",
        **origin(entry),
    }
    stack = []
    length = 0
    for frame in standin._foreach_stack:
        if not (frame.var and frame.value):
            break
        item = f"{frame.var}={frame.value}"
        length += len(item)
        if length > MAX_FOREACH_PATH_LENGTH:
            break
        stack.append(item)
    if stack:
        values["foreach-stack"] = stack
    path = ",".join(f"{frame.step}:{frame.index}" for frame in standin._foreach_stack)
    if path:
        values["foreach-execution-path"] = path
    tags = [f"attempt_id:{attempt}"]
    types = {"attempt_ok": "internal_attempt_status"}
    return [
        MetaDatum(field=field, value=value, type=types.get(field, field), tags=tags)
        for field, value in values.items()
    ]
