"""Process: which of Metaflow's processes this is."""

from __future__ import annotations

from metaflow._vendor import click


def arguments_of_step() -> list[str]:
    """Return what follows `step` on the command line of a worker; nothing in other processes."""
    ctx = click.get_current_context(silent=True)
    saved: list[str] = getattr(ctx, "saved_args", None) or [""]
    return saved[1:] if saved[0] == "step" else []
