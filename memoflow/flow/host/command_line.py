"""Command line: Metaflow's own click, the command that runs, and those of tasks.

Imported while Metaflow loads its plugins, so it stays light.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from metaflow._vendor import click as click
from metaflow.cli_components.utils import LazyGroup


def is_running_command() -> bool:
    """Tell whether this thread runs a command of a flow."""
    return click.get_current_context(silent=True) is not None


def flow_datastore() -> Any:
    """Return the datastore of the flow whose command this thread runs, None if it runs none."""
    ctx = click.get_current_context(silent=True)
    return getattr(getattr(ctx, "obj", None), "flow_datastore", None)


def on_command(hook: Callable[[str, Any], None]) -> None:
    """Have `hook` called with the name and the command each time that a flow loads one.

    Not earlier: to import the module of `run` before the flow's class exists would lose the
    Parameters of that class.
    """
    load = LazyGroup._lazy_load

    def load_and_tell(self: Any, name: str) -> Any:
        command = load(self, name)
        hook(name, command)
        return command

    LazyGroup._lazy_load = load_and_tell
