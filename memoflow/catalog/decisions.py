"""Decisions: the modules about hits, misses and results of tasks, of runs and of a team."""

from __future__ import annotations

from types import ModuleType


def _of_flow() -> tuple[ModuleType, ModuleType, ModuleType, ModuleType]:
    # Here, since they import Metaflow, and most questions do without.
    from memoflow.flow.memo import run_decisions, task_results, team, why

    return why, run_decisions, team, task_results


def decisions() -> tuple[ModuleType, ModuleType, ModuleType]:
    """Return the modules about the decisions on tasks, on whole runs and on those of a team."""
    return _of_flow()[:3]


def task_results() -> ModuleType:
    """Return the module about the results of tasks and runs."""
    return _of_flow()[3]
