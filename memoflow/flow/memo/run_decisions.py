"""Run decisions: the hits, misses and clones of all tasks of a run, by its steps."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field, replace
from typing import Any

from metaflow.client import Flow, Run, Step
from metaflow.exception import MetaflowNotFound

from memoflow.dataclass import dataclass
from memoflow.errors import NotFoundError, UsageError
from memoflow.flow.host import task_rows
from memoflow.kinds.decision import FIELD, HIT, MISS, NONE, ORIGIN, SHADOW, Decision, Reason
from memoflow.units import span

_MOST_TASKS = 20_000
_FIELDS = ("attempt_ok", "end_step", "origin-task-id", FIELD, ORIGIN)

Task = tuple[str, str]  # step and id


@dataclass(frozen=True)
class MissGroup:
    """The misses of one step for one reason; `task` is the first of them.

    `run_time_s` is what the tasks took together, without `untimed` ones of an earlier memoflow.
    """

    reason: Reason
    misses: int
    run_time_s: float
    untimed: int
    task: str
    line: str

    @classmethod
    def of(cls, missed: Mapping[str, Decision]) -> tuple[MissGroup, ...]:
        """Return the misses of a step by reason, the longest run time first."""
        groups: dict[Reason, list[str]] = {}
        for task, decision in missed.items():
            groups.setdefault(decision.reason, []).append(task)
        made = []
        for reason, tasks in groups.items():
            times = [missed[task].run_time_s for task in tasks]
            known = [each for each in times if each is not None]
            line = missed[tasks[0]].line
            made.append(
                cls(reason, len(tasks), sum(known), len(tasks) - len(known), tasks[0], line)
            )
        return tuple(sorted(made, key=lambda each: (-each.run_time_s, -each.misses)))

    @property
    def cost(self) -> str:
        """The run time in words, empty where that of no task is known."""
        return span(self.run_time_s) if self.untimed < self.misses else ""

    def to_json(self) -> dict[str, Any]:
        return {**vars(self), "reason": self.reason.value}


@dataclass(frozen=True)
class StepDecisions:
    """The tasks of one step of a run; `task` is the first that was a miss, and `miss` the reason.

    `shadows` ran in shadow mode and would have been hits; `differing` of them differ from these.
    Tasks that are still running, that failed or that were not looked up are none of the three.
    """

    step: str
    tasks: int
    hits: int = 0
    misses: int = 0
    clones: int = 0
    task: str | None = None
    miss: Decision | None = None
    shadows: int = 0
    differing: int = 0
    groups: tuple[MissGroup, ...] = ()

    def to_json(self) -> dict[str, Any]:
        known = {
            name: value for name, value in vars(self).items() if name not in ("miss", "groups")
        }
        reason = None if self.miss is None else self.miss.reason.value
        groups = [each.to_json() for each in self.groups]
        return known | {"reason": reason, "line": self.line, "reasons": groups}

    @property
    def line(self) -> str:
        """The reason for the first miss, else the number of would-be hits; empty without one."""
        if self.miss is not None:
            return self.miss.line
        if not self.shadows:
            return ""
        unlike = f"{self.differing} of them differ" if self.differing else "all the same"
        return f"shadow mode: {self.shadows} would hit, {unlike}"


@dataclass(frozen=True)
class RunDecisions:
    """The steps of a run that had a hit, a miss or a clone, in their order.

    `step_tasks` is the number of tasks of each step that began, decided or not.
    """

    subject: str  # Flow/run
    steps: tuple[StepDecisions, ...]
    tasks: int
    is_finished: bool
    step_tasks: Mapping[str, int] = field(default_factory=dict)

    def only(self, step: str) -> RunDecisions:
        """Return the decisions on one step alone; NotFoundError if the run has no such step."""
        if step not in self.step_tasks:
            known = ", ".join(self.step_tasks)
            raise NotFoundError(f"{self.subject} has no step {step!r}; its steps are {known}")
        chosen = tuple(each for each in self.steps if each.step == step)
        return replace(
            self, subject=f"{self.subject}/{step}", steps=chosen, tasks=self.step_tasks[step]
        )

    @property
    def hits(self) -> int:
        return sum(each.hits for each in self.steps)

    @property
    def misses(self) -> int:
        return sum(each.misses for each in self.steps)

    @property
    def clones(self) -> int:
        return sum(each.clones for each in self.steps)

    def __str__(self) -> str:
        steps = [
            f"{each.step}: {each.hits} of {each.tasks} were hits"
            + f"; {each.line}" * bool(each.line)
            for each in self.steps
        ]
        return "\n".join([f"{self.subject}: {self.line}", *steps, *filter(None, [self.cost])])

    @property
    def run_time_s(self) -> float:
        """The run time of the tasks that missed, as far as it is known."""
        return sum(group.run_time_s for step in self.steps for group in step.groups)

    @property
    def cost(self) -> str:
        """The run time of the tasks that missed, by reason; empty where none is known."""
        by_reason: dict[str, float] = {}
        for group in (group for step in self.steps for group in step.groups):
            if group.cost:
                words = group.reason.words
                by_reason[words] = by_reason.get(words, 0.0) + group.run_time_s
        if not by_reason:
            return ""
        longest = sorted(by_reason.items(), key=lambda each: -each[1])
        told = ", ".join(f"{words} {span(seconds)}" for words, seconds in longest)
        return f"the misses ran {span(self.run_time_s)}: {told}"

    @property
    def outcome(self) -> str:
        """One of "miss", "hit" and "none": "miss" if at least one task was."""
        return MISS if self.misses else HIT if self.hits else NONE

    @property
    def line(self) -> str:
        """The numbers of hits, misses and clones."""
        if not self.steps:
            return "no task of it was looked up: no step has @memoize, or that was off"
        return ", ".join(_counts(self))

    @property
    def note(self) -> str:
        """A remark on a run that has not come to its end; empty for others."""
        return "" if self.is_finished else "it has not finished: it is still running, or it failed"

    def to_json(self) -> dict[str, Any]:
        return {
            "subject": self.subject,
            "outcome": self.outcome,
            "line": self.line,
            "note": self.note,
            "tasks": self.tasks,
            "hits": self.hits,
            "misses": self.misses,
            "clones": self.clones,
            "run_time_s": self.run_time_s,
            "steps": [each.to_json() for each in self.steps],
        }


def of_run(pathspec: str, *, most_tasks: int = _MOST_TASKS) -> RunDecisions:
    """Return the decisions on the tasks of a run, by Flow/run; NotFoundError for an unknown one.

    Metaflow's service is asked once for the steps, once a step for its tasks, and once for the
    metadata of all. UsageError, before that, for a run of more tasks than `most_tasks`.
    """
    with task_rows.explained(pathspec):
        try:
            run = Run(pathspec, _namespace_check=False)
        except MetaflowNotFound as error:
            raise NotFoundError(f"Metaflow has no run {pathspec}: {error}") from error
        # The Client yields the latest first.
        tasks = {step.id: [task.id for task in step] for step in reversed(list(run))}
    number = sum(map(len, tasks.values()))
    if number > most_tasks:
        raise UsageError(
            f"{pathspec} has {number:,} tasks, more than the {most_tasks:,} that are looked at "
            "together; name one of them as Flow/run/step/task"
        )
    with task_rows.explained(pathspec):
        rows = task_rows.of_run(run, _FIELDS)
    steps = (_of_step(step, ids, rows) for step, ids in tasks.items())
    return RunDecisions(
        pathspec,
        tuple(each for each in steps if each.hits or each.misses or each.clones or each.shadows),
        number,
        _is_finished(rows),
        {step: len(ids) for step, ids in tasks.items()},
    )


def tasks_of(step: str) -> int:
    """Return the number of tasks of a step, by Flow/run/step; 0 of a step that has not begun."""
    with task_rows.explained(step):
        try:
            return sum(1 for _ in Step(step, _namespace_check=False))
        except MetaflowNotFound:
            return 0


def latest(flow: str) -> RunDecisions | None:
    """Return the decisions of the latest run of a flow; None if Metaflow knows none of it here."""
    with task_rows.explained(flow):
        try:
            run = next(iter(Flow(flow, _namespace_check=False)), None)
        except MetaflowNotFound:
            return None
    return None if run is None else of_run(run.pathspec)


def _of_step(step: str, tasks: list[str], rows: Mapping[Task, task_rows.Rows]) -> StepDecisions:
    hits = clones = 0
    shadows: list[Decision] = []
    missed: dict[str, Decision] = {}
    for task in sorted(tasks, key=task_rows.in_order):
        told = rows.get((step, task), {})
        decision = Decision.parse(told.get(FIELD))
        if "origin-task-id" in told:
            clones += 1
        elif ORIGIN in told:
            hits += 1
        elif decision is not None and decision.outcome == MISS:
            missed[task] = decision
        elif decision is not None and decision.outcome == SHADOW:
            shadows.append(decision)
    first = next(iter(missed), None)
    return StepDecisions(
        step,
        len(tasks),
        hits,
        len(missed),
        clones,
        first,
        None if first is None else missed[first],
        len(shadows),
        sum(1 for each in shadows if each.detail),
        MissGroup.of(missed),
    )


def _is_finished(rows: Mapping[Task, task_rows.Rows]) -> bool:
    """Return whether the last step of a run has finished, by the metadata of its tasks."""
    end = next((each["end_step"] for each in rows.values() if "end_step" in each), "end")
    return any(step == end and told.get("attempt_ok") == "True" for (step, _), told in rows.items())


def _counts(of: RunDecisions) -> list[str]:
    told = [
        f"{of.hits} hit{'s' * (of.hits != 1)}",
        f"{of.misses} miss{'es' * (of.misses != 1)}",
    ]
    shadows = sum(each.shadows for each in of.steps)
    if shadows:
        told.append(f"{shadows} in shadow mode")
    if of.clones:
        told.append(f"{of.clones} clone{'s' * (of.clones != 1)}")
    return told
