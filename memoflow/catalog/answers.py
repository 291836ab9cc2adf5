"""Answers: the decisions on the tasks that a name stands for."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeAlias

from memoflow.catalog.decisions import decisions
from memoflow.catalog.labels import details
from memoflow.catalog.listed import Listed, listed
from memoflow.catalog.naming import RUN, named
from memoflow.errors import NotFoundError, UsageError
from memoflow.kinds import memo
from memoflow.store import Store

if TYPE_CHECKING:
    from memoflow.flow.memo.run_decisions import RunDecisions
    from memoflow.flow.memo.why import Why

    Decided: TypeAlias = Why | RunDecisions

_MOST = 20  # results of one name, each with its task
_PATHSPEC = re.compile(r"\w+(?:/[^/*?\[]+){1,3}")


def answers(store: Callable[[], Store], name: str) -> list[Decided]:
    """Return the decisions on the tasks of a name; NotFoundError, with names like it, for none.

    A name is a run, a step of it, or a task; a flow or Flow/step, for its latest run; or one of
    results as `naming.named` knows them, for the tasks that left them. The store is only asked for
    the last two.
    """
    text = name.strip().strip("/")
    if _PATHSPEC.fullmatch(text) and (text.count("/") > 1 or RUN.fullmatch(text)):
        return [of_pathspec(store, text)]
    return _of_entries(store(), text)


def of_pathspec(store: Callable[[], Store], pathspec: str) -> Decided:
    """Return the decision on a task, or those on the tasks of a run, or of one step of it."""
    of_tasks, of_runs, _ = decisions()
    flow, run, *rest = pathspec.split("/")
    if not rest:
        of_run: RunDecisions = of_runs.of_run(pathspec)
        return of_run
    if len(rest) == 1 and of_runs.tasks_of(pathspec) != 1:
        of_step: RunDecisions = of_runs.of_run(f"{flow}/{run}").only(rest[0])
        return of_step
    of_task: Why = of_tasks.of_task(store(), pathspec)
    return of_task


def _of_entries(store: Store, text: str) -> list[Decided]:
    among = listed(store)
    try:
        found = named(store, among, text)
    except NotFoundError as error:
        raise NotFoundError(f"{error}, or name a task as Flow/run/step/task") from None
    results = [each for each in found if each.kind == "memo"]
    _refuse_calls(store, results, text)
    _, of_runs, _ = decisions()
    if text in {each.flow for each in found} | {each.where for each in found}:
        flow, _, step = text.partition("/")
        latest = of_runs.latest(flow)
        if latest is not None:
            return [latest.only(step) if step else latest]
    if not results:
        raise UsageError(
            f"{text} is a {found[0].kind}: only results have a decision; name a task or a run"
        )
    if len(results) > _MOST:
        raise UsageError(
            f"{text!r} stands for {len(results)} results; name fewer than {_MOST + 1} of them, or "
            "their run"
        )
    known = details(store, results)
    origins = {known[each.key].origin: None for each in results if each.key in known}
    return [of_pathspec(lambda: store, origin) for origin in origins]


def _refuse_calls(store: Store, results: list[Listed], text: str) -> None:
    """Raise UsageError for results of a memoized function: its calls are in no run."""
    for each in results[:_MOST]:
        if memo.is_call(store, each.ref):
            raise UsageError(
                f"{text} is a function, whose calls are no tasks: ask in Python with "
                f"{each.step}.why(...), given the arguments of the call"
            )
