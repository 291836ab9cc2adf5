"""Task lines: the lines of tasks on the terminal, counted where a foreach is wide."""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Callable
from math import prod
from typing import Any

from metaflow import metaflow_config

from memoflow.flow.host import answers
from memoflow.flow.memo.flags import given
from memoflow.flow.memo.run_log import RunLog

_WIDE = 20  # tasks that are told by a line each
_MOST_MISSES = 3  # of one reason, told by a line each
_EVERY_SECONDS = 10.0
_DECISION = re.compile(r"(?:\[[^\]]*\] )?\[memoize\] (hit|miss): ")  # A pod's line has its name.


class TaskLines:
    """The lines of the tasks of a run; `say` prints one about a step.

    Of a step in a wide foreach these are on the terminal: the first hit, a few misses for each
    reason, and the numbers of both, every few seconds and at the end. The log of a task has all.
    """

    def __init__(
        self,
        log: RunLog,
        say: Callable[[str, str], None],
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._log = log
        self._say = say
        self._clock = clock
        self._steps: dict[str, _StepLines] = {}
        self._followed: set[str] = set()

    def follow(self, task: Any, stack: list[Any]) -> None:
        """Count the lines of a task from now on, if the foreaches around it are wide."""
        replayed = "all" if given["replay"] else None  # Each log comes after its hit.
        asked = given["lines"] or replayed or metaflow_config.MEMOFLOW_LINES
        splits = [int(frame.num_splits or 0) for frame in stack]
        if asked == "all" or prod(splits) <= _WIDE or task.path in self._followed:
            return
        self._followed.add(task.path)
        step = self._steps.get(task.step)
        if step is None:
            total = splits[0] if len(splits) == 1 else None  # Of others the width differs.
            step = self._steps[task.step] = _StepLines(total, self._clock)
        head = f"[{task.run_id}/{task.step}] "
        answers.filter_lines(
            task,
            lambda line: self._shows(task, step, line),
            lambda: self._say(head, step.line) if step.is_due() else None,
        )

    def _shows(self, task: Any, step: _StepLines, line: str) -> bool:
        """Tell whether a line is printed, and count the decision that it is."""
        decision = _DECISION.match(line)
        missed = self._log.misses.get(task.task_id)
        if decision is None:
            # What Metaflow says of a task, where no process stands for it.
            is_plain = line.startswith(("Task is starting", "Task finished", "Foreach yields"))
            is_answered = answers.is_answered(task) and missed is None
            return not (is_plain and is_answered) or step.is_first(task.path)
        if decision[1] == "hit":
            shows = step.is_first(task.path)
            step.add_hit(task.task_id)
        else:
            shows = step.add_miss(task.task_id, "" if missed is None else missed[1].reason.words)
        return shows


class _StepLines:
    """The hits and misses of a step so far, by the ids of its tasks."""

    def __init__(self, total: int | None, clock: Callable[[], float]) -> None:
        self._total = total
        self._clock = clock
        self._told = clock()
        self._first = ""  # the path of the hit whose lines are printed
        self._hits: set[str] = set()
        self._misses: dict[str, str] = {}
        self._is_told = True

    def is_first(self, path: str) -> bool:
        self._first = self._first or path
        return self._first == path

    def add_hit(self, task: str) -> None:
        self._is_told = False
        self._hits.add(task)
        self._misses.pop(task, None)

    def add_miss(self, task: str, reason: str) -> bool:
        """Tell whether it is one of the first misses for its reason."""
        self._is_told = False
        self._misses[task] = reason
        return Counter(self._misses.values())[reason] <= _MOST_MISSES

    def is_due(self) -> bool:
        """Tell whether the numbers are to be printed now."""
        if self._is_told:
            return False
        is_all = len(self._hits) + len(self._misses) == self._total
        if not is_all and self._clock() - self._told < _EVERY_SECONDS:
            return False
        self._told, self._is_told = self._clock(), True
        return True

    @property
    def line(self) -> str:
        """The numbers of hits and misses, and of misses by reason."""
        told = f"{len(self._hits):,} hit{'s' * (len(self._hits) != 1)}"
        if self._misses:
            told += f", {len(self._misses):,} miss{'es' * (len(self._misses) != 1)}"
        told += "" if self._total is None else f" of {self._total:,} tasks"
        reasons = Counter(filter(None, self._misses.values())).most_common()
        return told + (
            f": {', '.join(f'{words} ({number:,})' for words, number in reasons)}" * bool(reasons)
        )
