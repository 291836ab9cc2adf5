"""Listing: the checkpoints of any task, and those of a list that match."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from memoflow.errors import WrongTypeError
from memoflow.flow import references
from memoflow.flow.artifact_store import ArtifactStore
from memoflow.flow.host import task_rows
from memoflow.flow.task.save_arguments import plain
from memoflow.threads import apart


def matching(
    listed: list[dict[str, Any]],
    *,
    name: str | None,
    attempt: int | str | None,
    metadata: Mapping[str, Any] | None,
) -> list[dict[str, Any]]:
    """Return the references with this name, attempt, and all of these items of metadata."""
    if attempt is not None:
        try:
            attempt = int(attempt)
        except (TypeError, ValueError):
            raise ValueError(f"attempt is a number, not {attempt!r}") from None
    wanted = plain(metadata).items()
    return [
        each
        for each in listed
        if name in (None, each.get("name"))
        and attempt in (None, each.get("attempt"))
        and all(
            key in (each.get("metadata") or {}) and each["metadata"][key] == value
            for key, value in wanted
        )
    ]


@apart
def list_of_task(where: ArtifactStore, task: Any) -> list[dict[str, Any]]:
    """Return the saves of a finished or running task, newest first, by task or pathspec.

    Of a task that `resume` cloned, what its origin saved.
    """
    from metaflow import Task

    if isinstance(task, str):
        task = Task(task, _namespace_check=False)
    elif not isinstance(task, Task):
        raise WrongTypeError(f"task is a Task or its pathspec, not {task!r}")

    def saved_by(pathspec: str) -> list[dict[str, Any]]:
        return [each for saves in references.sources(where) for each in saves.of_task(pathspec)]

    listed = saved_by(task.pathspec)
    if listed:
        return listed
    cloned = task_rows.origin_of_clone(task.pathspec, task_rows.of_task(task))
    return [] if cloned is None else saved_by(cloned)
