"""Load policy: the checkpoint that a step begins from, by the run's option or the decorator's.

Imported while Metaflow loads its plugins, so it stays light.
"""

from __future__ import annotations

from typing import Any

from metaflow import metaflow_config

from memoflow.errors import UsageError
from memoflow.flow.host.command_line import click
from memoflow.flow.task import launch_info

POLICIES = ("eager", "fresh", "none")
_SETTING = "MEMOFLOW_CHECKPOINT_LOAD"
VARIABLE = f"METAFLOW_{_SETTING}"

# What the command line of this process asked for; the worker is told through its environment.
_given: dict[str, str | None] = {"load": None}


def option() -> Any:
    """Return `--checkpoint-load`, for `run` and `resume`."""

    def keep(ctx: Any, param: Any, value: str | None) -> str | None:
        _given["load"] = value
        launch_info.note_setting(_SETTING, value or "")
        return value

    return click.Option(
        ("--checkpoint-load", "checkpoint_load"),
        type=click.Choice(POLICIES),
        default=None,
        expose_value=False,
        callback=keep,
        help="What steps with @checkpoint load before they start, whatever load_policy= says: the "
        "latest of any run (eager), on a retry that of the task itself (fresh), or nothing (none).",
    )


def given() -> str | None:
    """Return the policy of the command line; None without one."""
    return _given["load"]


def of_run(own: str | None) -> str:
    """Return the policy of this run for a step with the policy `own`.

    UsageError for a setting that is none.
    """
    setting = getattr(metaflow_config, _SETTING, None)
    if setting and setting not in POLICIES:
        raise UsageError(f"{VARIABLE} is one of {', '.join(POLICIES)}, not {setting!r}")
    return given() or setting or own or "none"
