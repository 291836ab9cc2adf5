"""Decisions: the modules about hits, misses and results of tasks, of runs and of a team."""

from __future__ import annotations

from types import ModuleType


def decisions() -> tuple[ModuleType, ModuleType, ModuleType]:
    """Return the modules about the decisions on tasks, on whole runs and on those of a team."""
    # Here, since they import Metaflow, and most questions do without.
    from memoflow.flow.memo import run_decisions, team, why

    return why, run_decisions, team


def task_results() -> ModuleType:
    """Return the module about the results of tasks and runs."""
    # Here, for the same reason.
    from memoflow.flow.memo import task_results

    return task_results
