"""Run summary: the hits, misses and time saved of a run that ends, by its steps."""

from __future__ import annotations

import shutil
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from typing import Any

from memoflow.dataclass import dataclass
from memoflow.display import printable, shortened
from memoflow.flow.host import task_rows
from memoflow.flow.memo.run_log import RunLog
from memoflow.index import Index
from memoflow.kinds.decision import FIELD, MISS, ORIGIN, SAVED, Decision, Reason
from memoflow.threads import within
from memoflow.units import span

_COLUMNS = ("step", "hits", "misses", "saved", "reason")
_PREFIX = len("[memoize] ")
_LEAST_REASON = 16  # cells, on however narrow a terminal
_PATIENCE_S = 10.0  # for the metadata of tasks
_MANY = 20  # tasks of one step that are told by their own lines

Task = tuple[str, str]  # step and id


@dataclass(frozen=True)
class StepSummary:
    """The hits and misses of one step of a run, and the time saved by the hits."""

    step: str
    hits: int = 0
    saved_s: float = 0.0
    misses: tuple[Decision, ...] = ()

    @property
    def why(self) -> str:
        """The reason for the misses: the line that all have, else the number of each reason."""
        lines = {each.line for each in self.misses}
        if len(lines) <= 1:
            return next(iter(lines), "")
        reasons = Counter(each.reason.words for each in self.misses).most_common()
        if len(reasons) == 1:
            return reasons[0][0]
        return ", ".join(f"{words} ({number:,})" for words, number in reasons)

    def row(self) -> tuple[str, ...]:
        numbers = f"{self.hits:,}", f"{len(self.misses):,}"
        return self.step, *numbers, span(self.saved_s) if self.hits else "", self.why


@dataclass(frozen=True)
class RunSummary:
    """The steps of a run whose tasks were looked up, in the order of their first tasks.

    `trouble` is why decisions of workers could not be read, which are not counted then.
    """

    steps: tuple[StepSummary, ...]
    trouble: str = ""

    @property
    def hits(self) -> int:
        return sum(each.hits for each in self.steps)

    @property
    def misses(self) -> int:
        return sum(len(each.misses) for each in self.steps)

    @property
    def total(self) -> str:
        """The numbers of hits and misses, and the time saved."""
        hits = f"{self.hits:,} hit{'s' * (self.hits != 1)}"
        misses = f"{self.misses:,} miss{'es' * (self.misses != 1)}"
        saved = span(sum(each.saved_s for each in self.steps))
        return f"{hits}, {misses}" + (f", {saved} saved" if self.hits else "")

    def lines(self, width: int | None = None) -> list[str]:
        """Return a table of the steps, and the total as the last line.

        The table is left out where it would only repeat: of one step of few tasks. `width` is the
        room for a line, where it has an end.
        """
        if not self.steps:
            return []
        if len(self.steps) == 1 and self.hits + self.misses <= _MANY:
            return [self.total]
        rows = [_COLUMNS, *(each.row() for each in self.steps)]
        if not self.misses:
            rows = [(*row[:-1], "") for row in rows]
        return [*_aligned([[printable(cell) for cell in row] for row in rows], width), self.total]


def of_run(log: RunLog, index: Index, metadata: Any, flow: str, run: str) -> RunSummary:
    """Return the summary of a run that this process launched.

    The decisions of workers are in the index, if they ran on this machine, or in the metadata of
    their tasks, which is asked for where there are others.
    """
    saved_s: dict[Task, float] = {(hit[2], hit[3]): hit[4] for hit in log.hits}
    missed: dict[Task, Decision] = {
        (step, task): decision
        for task, (step, decision) in log.misses.items()
        if decision.outcome == MISS  # Under `--memo off` nothing is looked up.
    }
    for outcome in index.outcomes(flow, run):
        if outcome.hit:
            saved_s[outcome.step, outcome.task] = outcome.saved_s
    examples: dict[tuple[str, Decision], Task] = {}  # of steps that workers found uncached
    for step, task, reason in index.misses(flow, run):
        found = Decision(MISS, Reason.of(reason))
        known = missed.get((step, task))
        if known is None or known.reason is not found.reason:
            missed[step, task] = found
            if found.is_uncached:
                examples[step, found] = step, task
    asked = [(step, task) for task, step in log.undecided.items()]
    asked = [each for each in asked if each not in saved_s and each not in missed]
    noted, trouble = _noted(metadata, flow, run, [*asked, *examples.values()])
    for place, told in noted.items():
        decision = Decision.parse(told.get(FIELD))
        if ORIGIN in told:
            saved_s[place] = float(told.get(SAVED, 0.0))
        elif decision is not None and decision.outcome == MISS:
            missed[place] = decision
    for place, decision in missed.items():
        missed[place] = missed[examples.get((place[0], decision), place)]
    for place in saved_s:  # Some found by the worker, after it had waited for another's.
        missed.pop(place, None)
    return RunSummary(_by_step(log.steps, saved_s, missed), trouble if asked else "")


def _noted(
    metadata: Any, flow: str, run: str, tasks: list[Task]
) -> tuple[dict[Task, task_rows.Rows], str]:
    """Return the notes of tasks, or the reason why they cannot be read."""
    fields = FIELD, ORIGIN, SAVED
    try:
        ask = partial(task_rows.of_tasks, metadata, flow, run, tasks, fields)
        return within(_PATIENCE_S, ask) if tasks else {}, ""
    except Exception as error:  # Of a provider, or of a server.
        number = f"{len(tasks):,} task{'s' * (len(tasks) != 1)}"
        return {}, f"{number} not counted, their metadata cannot be read: {error}"


def _by_step(
    order: Iterable[str], saved_s: Mapping[Task, float], missed: Mapping[Task, Decision]
) -> tuple[StepSummary, ...]:
    hits: dict[str, list[float]] = {}
    misses: dict[str, list[Decision]] = {}
    for (step, _), seconds in saved_s.items():
        hits.setdefault(step, []).append(seconds)
    for (step, _), decision in missed.items():
        misses.setdefault(step, []).append(decision)
    return tuple(
        StepSummary(
            step, len(hits.get(step, ())), sum(hits.get(step, ())), tuple(misses.get(step, ()))
        )
        for step in dict.fromkeys((*order, *hits, *misses))
        if step in hits or step in misses
    )


def room() -> int | None:
    """Return the width of a line after its label on this process's terminal, None without one."""
    if not sys.stdout.isatty():
        return None
    return shutil.get_terminal_size().columns - _PREFIX


def _aligned(rows: list[list[str]], width: int | None) -> Iterator[str]:
    """Yield rows with numbers to the right, and the last column cut to the room for a line."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for step, *numbers, why in rows:
        cells = [step.ljust(widths[0])]
        cells += [text.rjust(size) for text, size in zip(numbers, widths[1:-1], strict=True)]
        line = "  ".join(cells)
        left = None if width is None else width - len(line) - 2
        if left is None or left >= _LEAST_REASON:
            yield f"{line}  {why if left is None else shortened(why, left)}".rstrip()
            continue
        yield line
        if why and why != _COLUMNS[-1]:
            yield f"  {shortened(why, max(_LEAST_REASON, (width or 0) - 2))}"
