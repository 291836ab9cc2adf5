"""Process: the worker of a step or any other process of Metaflow, and its environment."""

from __future__ import annotations

import os
from functools import partial

from memoflow.flow.host.command_line import click
from memoflow.log import INFO, report

# What subprocesses of a task save for it by. The last says only where stores are, since the rest
# of their configuration can hold secrets.
UID = "METAFLOW_CHECKPOINT_UID"
IDENTIFIER = "METAFLOW_CHECKPOINT_TASK_IDENTIFIER"
OPTIONS = "METAFLOW_CHECKPOINT_OPTIONS"
ARTIFACT_STORE = "METAFLOW_CHECKPOINT_ARTIFACT_STORE"


def arguments_of_step() -> list[str]:
    """Return the arguments after `step` on a worker's command line; none elsewhere."""
    ctx = click.get_current_context(silent=True)
    saved: list[str] = getattr(ctx, "saved_args", None) or [""]
    return saved[1:] if saved[0] == "step" else []


def tell(line: str, level: int = INFO) -> None:
    """Log a line, and print it to the task's log, without control characters."""
    report(line, partial(print, flush=True), level)


def forget_outer_task() -> None:
    """Remove the outer task's environment variables, in a process that runs its own flow."""
    for name in (UID, IDENTIFIER, OPTIONS, ARTIFACT_STORE):
        os.environ.pop(name, None)
