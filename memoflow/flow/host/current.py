"""Current: what Metaflow tells a step through `current`, asked without reading it as a step does.

Reads of a step's through `current` are noted: what memoflow itself wants to know is not asked so.
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
