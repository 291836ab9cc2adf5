"""Saved: checkpoints and models of any task, asked for outside of its decorators.

All of it runs in a thread of its own, since the handler of a signal may come in the middle and want
the same.
"""

from __future__ import annotations

import os
from typing import Any

from memoflow import owned
from memoflow.errors import UsageError
from memoflow.flow import references as references
from memoflow.flow.artifact_ref import Reference
from memoflow.flow.artifact_store import current_store
from memoflow.flow.checkpoint.checkpointer import Checkpointer
from memoflow.flow.checkpoint.listing import list_of_task, matching
from memoflow.flow.task.process import UID


def temporary(root: str | None) -> owned.Directory:
    """Return a new temporary directory, below `root` or the default directory."""
    if root is not None:
        os.makedirs(root, exist_ok=True)
    return owned.Directory("metaflow_checkpoint_", root)


def checkpointer() -> Checkpointer:
    """Return the checkpointer of the task that started this process; UsageError if none did."""
    mine = Checkpointer.from_environment()
    if mine is None:
        raise UsageError(
            "a checkpoint is saved for a task: call this in a step with @checkpoint or in a "
            f"subprocess of one that has its environment variables, {UID} among them"
        )
    return mine


def listed(task: Any, full_namespace: bool, as_dict: bool, **wanted: Any) -> list[Any]:
    """Return references to the checkpoints of a task, newest first."""
    mine = Checkpointer.from_environment()
    if mine is None and (task is None or full_namespace):
        raise ValueError(
            "outside of a task, list needs task=, a Task or its pathspec, and knows no "
            "full_namespace"
        )
    if task is not None:
        found = list_of_task(current_store(), task)
    else:
        assert mine is not None
        found = mine.list(full_namespace=full_namespace)
    found = matching(found, **wanted)
    return found if as_dict else [Reference(each) for each in found]
