"""Team: hits, misses and time saved of all users, from the metadata of recent runs."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable
from datetime import timedelta
from itertools import takewhile
from typing import Any

from metaflow.client import Flow
from metaflow.exception import MetaflowNotFound

from memoflow.dataclass import dataclass
from memoflow.flow.host import task_rows
from memoflow.kinds.decision import FIELD, MISS, ORIGIN, SAVED, Decision
from memoflow.names import Key
from memoflow.store import Store
from memoflow.threads import for_each

_MOST_RUNS = 1000
_THREADS = 8
_FIELDS = ("origin-task-id", FIELD, ORIGIN, SAVED)


@dataclass(frozen=True)
class TeamTally:
    """Numbers of hits and misses, and the run time of the results that were hit.

    `untimed` are the hits whose time is not known: memoflow 0.1.0 did not note it. Tasks that
    failed, that `resume` cloned or that were not looked up are neither hit nor miss.
    """

    hits: int = 0
    misses: int = 0
    saved_s: float = 0.0
    untimed: int = 0

    def __add__(self, other: TeamTally) -> TeamTally:
        return TeamTally(
            self.hits + other.hits,
            self.misses + other.misses,
            self.saved_s + other.saved_s,
            self.untimed + other.untimed,
        )


@dataclass(frozen=True)
class Team:
    """The tallies, by user, flow and step, of the runs that began after `since` in Unix seconds.

    `runs` are their numbers by user; `left_out` is the number of earlier ones beyond the limit.
    """

    since: float
    runs: Counter[str]
    left_out: int
    tallies: dict[tuple[str, str, str], TeamTally]

    @property
    def total(self) -> TeamTally:
        return sum(self.tallies.values(), TeamTally())

    @property
    def by_user(self) -> dict[str, TeamTally]:
        """The tallies by user, also of users without hits and misses."""
        by_user = {user: TeamTally() for user in sorted(self.runs)}
        for (user, _, _), tally in self.tallies.items():
            by_user[user] += tally
        return by_user

    @property
    def by_step(self) -> dict[tuple[str, str], TeamTally]:
        """The tallies by flow and step, in order of their names."""
        by_step: dict[tuple[str, str], TeamTally] = {}
        for (_, flow, step), tally in self.tallies.items():
            by_step[flow, step] = by_step.get((flow, step), TeamTally()) + tally
        return dict(sorted(by_step.items()))


def collect(store: Store, since: timedelta, *, most_runs: int = _MOST_RUNS) -> Team:
    """Return the tallies of recent runs of the flows with results in a store.

    Read are the runs that began within the time `since`, the latest ones of at most `most_runs`.
    Metaflow's service is asked twice a flow and once a run; on disk, a file is read for each hit
    and miss.
    """
    began = time.time() - since.total_seconds()
    flows = {key.parts[1] for key in store.keys(Key.of("memo")) if len(key.parts) > 1}
    runs = [run for flow in sorted(flows) for run in _runs(flow, began)]
    runs.sort(key=lambda run: run.created_at, reverse=True)
    read = runs[:most_runs]
    tallies: dict[tuple[str, str, str], TeamTally] = {}
    for run, by_step in zip(read, for_each(_of_run, read, threads=_THREADS), strict=True):
        for step, tally in by_step.items():
            place = _user_of(run), run.path_components[0], step
            tallies[place] = tallies.get(place, TeamTally()) + tally
    users = Counter(map(_user_of, read))
    return Team(began, users, len(runs) - len(read), dict(sorted(tallies.items())))


def _runs(flow: str, began: float) -> Iterable[Any]:
    """Return the runs of a flow that began after a time; none of a flow without metadata."""
    with task_rows.explained(flow):
        try:
            latest_first = iter(Flow(flow, _namespace_check=False))
        except MetaflowNotFound:
            return ()
        return list(takewhile(lambda run: run.created_at.timestamp() >= began, latest_first))


def _of_run(run: Any) -> dict[str, TeamTally]:
    """Return the tallies of a run by its steps."""
    with task_rows.explained(run.pathspec):
        rows = task_rows.of_run(run, _FIELDS)
    by_step: dict[str, TeamTally] = {}
    for (step, _), told in rows.items():
        by_step[step] = by_step.get(step, TeamTally()) + _of_task(told)
    return {step: tally for step, tally in by_step.items() if tally.hits or tally.misses}


def _of_task(told: task_rows.Rows) -> TeamTally:
    """Return the tally of a single task by its metadata."""
    if "origin-task-id" in told:
        return TeamTally()
    if ORIGIN in told:
        try:
            return TeamTally(hits=1, saved_s=float(told[SAVED]))
        except (KeyError, ValueError):
            return TeamTally(hits=1, untimed=1)
    decision = Decision.parse(told.get(FIELD))
    return TeamTally(misses=int(decision is not None and decision.outcome == MISS))


def _user_of(run: Any) -> str:
    """Return the user who started a run, by its system tags."""
    tags = sorted(tag.removeprefix("user:") for tag in run.system_tags if tag.startswith("user:"))
    return tags[0] if tags else "unknown"
