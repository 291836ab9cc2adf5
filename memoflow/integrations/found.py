"""Found: the state from which a task goes on."""

from __future__ import annotations

from typing import Any

from memoflow.flow.checkpoint.current_checkpoint import CurrentCheckpoint


def found_state(checkpoint: Any, name: str) -> Any:
    """Return the state that the load policy found, None without one.

    With a `memoflow.Checkpoint` that of the last save by this name of the task.
    """
    if isinstance(checkpoint, CurrentCheckpoint):
        return checkpoint.state
    return next(map(checkpoint.load_state, checkpoint.list(name=name)), None)
