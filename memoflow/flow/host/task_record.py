"""Task record: the artifacts and metadata of a finished task, written for one that did not run.

Follows MetaflowTask.run_step and clone_task_helper: a real task to the Client.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from metaflow.metadata_provider import MetaDatum

from memoflow.flow.host import transition
from memoflow.flow.host.artifacts import TaskArtifacts
from memoflow.flow.host.foreach import Foreach


def write(
    task: Any,
    *,
    flow_datastore: Any,
    attempt: int,
    parent: Any,
    passed: Iterable[str] | None,
    artifacts: Mapping[str, tuple[str, dict[str, Any]]],
    next_step: dict[str, Any],
    foreach: Foreach,
    fields: Mapping[str, str],
) -> None:
    """Write the records of a runtime's task as if it had run and left these artifacts.

    It starts with all that `parent`, a datastore, holds, or in a join with what it holds of
    `passed`. `fields` are added to the metadata of the task.
    """
    run, step, task_id = task.run_id, task.step, task.task_id
    if attempt:  # The runtime has registered the first one when it made the task.
        task.metadata.register_task_id(run, step, task_id, attempt)
    # An own datastore: the runtime still saves logs through the task's, which must not be done.
    output = flow_datastore.get_task_datastore(run, step, task_id, attempt=attempt, mode="w")
    output.init_task()
    bound = TaskArtifacts(output)
    if passed is None:
        bound.bind_all_of(parent)
    else:
        bound.bind_passed(parent, passed)
    for name, (sha1, info) in artifacts.items():
        bound.bind(name, sha1, info)
    output.save_artifacts(
        iter(
            {
                **({} if "name" in artifacts else {"name": task.flow_name}),
                "_current_step": step,
                "_exception": None,
                "_foreach_stack": foreach.stack,
                "_iteration_stack": foreach.iterations,
                "_success": True,
                "_task_ok": True,
                **transition.restore(next_step),
            }.items()
        )
    )
    noted = {
        "attempt": str(attempt),
        "ds-type": flow_datastore.TYPE,
        "ds-root": flow_datastore.datastore_root,
        "attempt_ok": "True",
        **fields,
        **foreach.metadata(),
    }
    types = {"attempt_ok": "internal_attempt_status"}
    task.metadata.register_metadata(
        run,
        step,
        task_id,
        [
            MetaDatum(field, value, types.get(field, field), [f"attempt_id:{attempt}"])
            for field, value in noted.items()
        ],
    )
    output.done()
