"""Run log: the decisions of a run, as far as the process that launches it has made them."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from memoflow.kinds.decision import Decision
from memoflow.names import Key

if TYPE_CHECKING:
    from memoflow.flow.memo.miss import ResultsBefore


class RunLog:
    """The hits and misses of a run as far as this process decided them.

    A worker may still find a result for a task in `misses`, after it has waited for another's;
    `undecided` are tasks whose workers look up, by id, with their steps.
    """

    def __init__(self) -> None:
        self.run = ""  # Flow/run, whose own results explain no miss of it
        self.began = time.time()
        self.ended = False
        self.is_shadow = False  # nothing is served, and what would have been is compared
        self.hits: list[tuple[str, str, str, str, float]] = []  # flow, run, step, task, saved
        self.misses: dict[str, tuple[str, Decision]] = {}  # step and decision, by id of the task
        self.undecided: dict[str, str] = {}
        self.steps: dict[str, None] = {}  # in the order in which their first tasks began
        self._uncached: set[tuple[str, str]] = set()  # step and reason
        self.before: dict[Key, ResultsBefore] = {}  # by code key
        self.unwritten: dict[str, str] = {}  # why a hit could not be, by path of the task

    def add_miss(self, step: str, task: str, decision: Decision) -> None:
        self.misses[task] = step, decision

    @property
    def missed(self) -> dict[str, Decision]:
        """The last miss of each step."""
        return dict(self.misses.values())

    def is_news(self, step: str, decision: Decision) -> bool:
        """Tell whether this is the first task of the step in this run that is not cached."""
        said = step, decision.reason
        is_first = said not in self._uncached
        self._uncached.add(said)
        return is_first
