"""Current: values for `current`, and facts from it without the reads that are noted of a step.

A step's reads of public attributes are tracked, so memoflow's own questions go around them.
"""

from __future__ import annotations

from typing import Any

from metaflow.metaflow_current import current


def add_to_current(name: str, value: Any) -> None:
    """Let steps find a value as `current.<name>`."""
    current._update_env({name: value})


def run() -> tuple[str | None, str | None]:
    """Return the flow and the run that this process works for."""
    return current._flow_name, current._run_id
