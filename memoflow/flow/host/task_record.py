"""Task record: the artifacts and metadata of a finished task, written for one that did not run.

Follows MetaflowTask.run_step and clone_task_helper: a real task to the Client.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from metaflow.metadata_provider import DataArtifact, MetaDatum
from metaflow.mflog import RUNTIME_LOG_SOURCE

from memoflow.flow.host import local_rows, transition
from memoflow.flow.host.artifacts import TaskArtifacts
from memoflow.flow.host.blobs import NewBlobs
from memoflow.flow.host.foreach import Foreach
from memoflow.flow.host.log_files import decorated


def write(
    task: Any,
    *,
    flow_datastore: Any,
    blobs: NewBlobs,
    attempt: int,
    parent: Any,
    passed: Iterable[str] | None,
    artifacts: Mapping[str, tuple[str, dict[str, Any]]],
    next_step: dict[str, Any],
    foreach: Foreach,
    fields: Mapping[str, str],
    log: Iterable[tuple[str, bytes]] = (),
) -> TaskArtifacts:
    """Write the records of a runtime's task as if it had run and left these artifacts.

    The runtime has begun the attempt. It starts with all that `parent`, a datastore, holds, or in
    a join with what it holds of `passed`. `fields` are added to the metadata of the task, `log` is
    what it printed, as streams and lines. Returns the artifacts.

    What others take for a finished task comes last: `DONE.lock` in the datastore once all that it
    vouches for is there, and then `attempt_ok` in the metadata.
    """
    run, step, task_id = task.run_id, task.step, task.task_id
    local_rows.write_fast(task.metadata)
    if attempt:  # The runtime has registered the first one when it made the task.
        task.metadata.register_task_id(run, step, task_id, attempt)
    # An own datastore: the runtime's still belongs to the attempt that it would start.
    output = flow_datastore.get_task_datastore(run, step, task_id, attempt=attempt, mode="w")
    output._ca_store = blobs
    output._metadata = None  # Or `done` would register it, in requests of its own.
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
    texts: dict[str, bytearray] = {}
    for stream, line in decorated(log):
        texts.setdefault(stream, bytearray()).extend(line)
    if texts:
        output.save_logs(RUNTIME_LOG_SOURCE, {name: bytes(text) for name, text in texts.items()})
    output.done()
    infos = bound.infos()
    task.metadata.register_data_artifacts(
        run,
        step,
        task_id,
        attempt,
        [
            DataArtifact(
                name=name,
                ds_type=flow_datastore.TYPE,
                ds_root=flow_datastore.datastore_root,
                url=None,
                sha=sha1,
                type=infos[name]["encoding"],
            )
            for name, sha1 in bound.sha1s().items()
        ],
    )
    noted = {
        "attempt": str(attempt),
        "ds-type": flow_datastore.TYPE,
        "ds-root": flow_datastore.datastore_root,
        **fields,
        **foreach.metadata(),
        "attempt-done": str(attempt),
        "attempt_ok": "True",
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
    return bound
