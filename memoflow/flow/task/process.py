"""Process: which of Metaflow's processes this is, and what a task tells those that it starts."""

from __future__ import annotations

import os

from memoflow.display import shown
from memoflow.flow.host.command_line import click

# What subprocesses of a task save for it by. The last says only where stores are, since the rest
# of their configuration can hold secrets.
UID = "METAFLOW_CHECKPOINT_UID"
IDENTIFIER = "METAFLOW_CHECKPOINT_TASK_IDENTIFIER"
OPTIONS = "METAFLOW_CHECKPOINT_OPTIONS"
ARTIFACT_STORE = "METAFLOW_CHECKPOINT_ARTIFACT_STORE"


def arguments_of_step() -> list[str]:
    """Return what follows `step` on the command line of a worker; nothing in other processes."""
    ctx = click.get_current_context(silent=True)
    saved: list[str] = getattr(ctx, "saved_args", None) or [""]
    return saved[1:] if saved[0] == "step" else []


def tell(line: str) -> None:
    """Print a text to the task's log; whoever made the names in it, it does no more than that."""
    print(shown(line), flush=True)


def forget_outer_task() -> None:
    """Drop what a task told this process, which runs a flow of its own and saves for that."""
    for name in (UID, IDENTIFIER, OPTIONS, ARTIFACT_STORE):
        os.environ.pop(name, None)
