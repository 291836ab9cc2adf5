"""Run log: the decisions of one process on the tasks of a run, and the results of runs before."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from memoflow.flow.memo.decision import Decision
from memoflow.names import Key

if TYPE_CHECKING:
    from memoflow.kinds.evicted import Removal
    from memoflow.kinds.nearest import EarlierResults


class RunLog:
    """The hits and misses of a run as far as this process decided them.

    `earlier`, `had_results` and `removals` are what `miss` has read of runs before, by scope.
    """

    def __init__(self) -> None:
        self.run = ""  # Flow/run, whose own results explain no miss of it
        self.began = time.time()
        self.ended = False
        self.hits: list[tuple[str, str, str, str, float]] = []  # flow, run, step, task, saved
        self.misses: set[str] = set()  # ids of the tasks whose workers do not look again
        self.missed: dict[str, Decision] = {}  # the last of each step
        self._uncached: set[tuple[str, str]] = set()  # step and reason
        self.earlier: dict[Key, EarlierResults] = {}
        self.had_results: dict[Key, bool] = {}
        self.removals: dict[Key, dict[str, Removal]] = {}

    def add_hit(self, flow: str, run: str, step: str, task: str, saved_s: float) -> None:
        self.hits.append((flow, run, step, task, saved_s))

    def add_miss(self, step: str, task: str, decision: Decision) -> None:
        self.misses.add(task)
        self.missed[step] = decision

    def is_news(self, step: str, decision: Decision) -> bool:
        """Tell whether this is the first task of the step in this run that is not cached."""
        said = step, decision.reason
        is_first = said not in self._uncached
        self._uncached.add(said)
        return is_first
