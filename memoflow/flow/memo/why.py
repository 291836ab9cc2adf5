"""Why: whether a task was a hit, or a run would be, and if not, what differs from before."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from metaflow.client import Step, Task
from metaflow.exception import MetaflowException

from memoflow.errors import IntegrityError, NoFingerprintError, NotFoundError, RequestError
from memoflow.fingerprint import Difference, Part
from memoflow.flow.memo import expected
from memoflow.flow.memo.lookup import OTHER_CODE, REFRESHED, Memoized
from memoflow.flow.memo.options import Options
from memoflow.flow.memo.parents import Parents, UndecidedError
from memoflow.flow.memo.session import Session, session_of
from memoflow.kinds import memo
from memoflow.kinds.nearest import nearest
from memoflow.names import Key
from memoflow.store import Store
from memoflow.units import moment

HIT, MISS, UNKNOWN, NONE = "hit", "miss", "unknown", "none"
_MOST_TASKS = 200  # that are looked up before a run
_MOST_SHOWN = 12  # differences, to people


@dataclass(frozen=True)
class Why:
    """What became of a task, or what would become of the tasks of a step.

    `outcome` is "hit", "miss", "unknown" for a step whose inputs only the run knows, or "none" if
    nothing was looked up. `reason` is what was said at the time, or what stood in the way, and
    `unrecorded` why the result of a miss was not kept. `origin` is the task whose result was found,
    and on a miss the one that left the nearest earlier result, from which the `differences` are;
    `recorded` is when that was, in Unix seconds. Before a run, `tasks` of those that `like` would
    start were looked up, and `hits` of them found.
    """

    subject: str
    outcome: str
    reason: str = ""
    unrecorded: str = ""
    key: str | None = None
    origin: str | None = None
    recorded: float | None = None
    differences: tuple[Difference, ...] = ()
    like: str | None = None
    tasks: int = 0
    hits: int = 0

    @property
    def line(self) -> str:
        """The whole of it in one line, as a task's log has it."""
        if self.outcome == HIT and self.like is None:
            return f"the result of {self.origin}"
        if self.outcome != MISS:
            return self.reason
        items = [each for each in self.differences if each.name == "input"]
        if len(self.differences) == 1 and items and items[0].new:
            return f"no result yet for input {items[0].new}"
        if not self.differences:
            return self.reason or "first run"
        more = len(self.differences) - 1
        return f"{self.differences[0]}" + (f", and {more} more" if more else "")

    def to_json(self) -> dict[str, Any]:
        return {
            "subject": self.subject,
            "outcome": self.outcome,
            "line": self.line,
            "reason": self.reason,
            "unrecorded": self.unrecorded,
            "key": self.key,
            "origin": self.origin,
            "recorded": self.recorded,
            "differences": [each.to_json() for each in self.differences],
            "like": self.like,
            "tasks": self.tasks,
            "hits": self.hits,
        }


def lines(why: Why) -> list[str]:
    """Return what people read of it: a headline, and each difference with its diff."""
    return [_headline(why), *_details(why)]


def _headline(why: Why) -> str:
    would = "would be" if why.subject.count("/") == 1 else "was"
    if why.outcome == HIT and why.like is not None:
        return f"{why.subject} would be a hit, if what comes before it is as in {why.like}"
    if why.outcome == HIT:
        return f"{why.subject} {would} a hit: {why.line}"
    if why.outcome == MISS:
        return f"{why.subject} {would} a miss: {why.line}"
    if why.outcome == UNKNOWN:
        return f"{why.subject} would be a hit as far as the code goes: {why.reason}"
    return f"{why.subject} {would} neither hit nor miss: {why.reason}"


def _details(why: Why) -> Iterator[str]:
    if why.tasks > 1:
        yield f"{why.hits} of {why.tasks} tasks like those of {why.like} would be hits"
    if why.unrecorded:
        yield f"its result was not recorded: {why.unrecorded}"
    if why.outcome == HIT and why.recorded is not None:
        yield f"recorded {moment(why.recorded)}"
    if why.outcome == MISS and why.origin is not None and why.recorded is not None:
        yield f"compared with {why.origin}, recorded {moment(why.recorded)}"
    for each in why.differences[:_MOST_SHOWN]:
        if len(why.differences) > 1 or each.diff or str(each) != why.line:
            yield ""
            yield str(each)
            yield from (f"    {line}" for line in each.diff.splitlines())
    more = len(why.differences) - _MOST_SHOWN
    if more > 0:
        yield ""
        yield f"and {more} more, which --json lists"


def of_task(store: Store, pathspec: str) -> Why:
    """Tell why a finished task was a hit or a miss, by its metadata and what the store holds.

    `pathspec` is Flow/run/step/task, or Flow/run/step for a step of one task. RequestError for
    other texts, NotFoundError if Metaflow knows no such task.
    """
    task = _task(pathspec)
    told = {str(name): str(value) for name, value in task.metadata_dict.items()}
    key, origin = told.get("memo-key"), told.get("memo-origin")
    ref = None if key is None else store.find(Key.parse(key), even_expired=True)
    if origin is not None:
        recorded = None if ref is None else ref.created
        reason = told.get("memo-audit", "")
        return Why(task.pathspec, HIT, reason, key=key, origin=origin, recorded=recorded)
    reason, unrecorded = told.get("memo-reason", ""), told.get("memo-unrecorded", "")
    if key is None and not reason:
        return Why(task.pathspec, NONE, _nothing_known(task))
    if key is None:
        return Why(task.pathspec, MISS, reason, unrecorded)
    result = Key.parse(key)
    why = Why(task.pathspec, MISS, reason, key=key)
    if _replaced_another(result) or reason == REFRESHED:
        return why
    # What the same run has left since tells nothing about this miss.
    before = task.parent.parent.created_at.timestamp()
    try:
        parts = memo.code_parts(store, result)
        inputs = None if ref is None else memo.read(store, ref).inputs
    except (IntegrityError, NotFoundError):
        return why
    if not parts:
        return why
    return _compared(store, why, parts, inputs, before=before)


def _compared(
    store: Store,
    why: Why,
    parts: Iterable[Part],
    inputs: tuple[Part, ...] | None,
    *,
    before: float,
) -> Why:
    assert why.key is not None
    result = Key.parse(why.key)
    found = nearest(
        store, memo.scope_of(result), parts, inputs=inputs, result=result, before=before
    )
    if found is None:
        return why
    return Why(
        why.subject,
        why.outcome,
        why.reason,
        key=why.key,
        origin=found.origin,
        recorded=found.created,
        differences=found.differences,
    )


def _replaced_another(result: Key) -> bool:
    """Tell whether there was a result for the same values, so that none of them was the reason."""
    return result.parts[-1].isdigit() and int(result.parts[-1]) > 1


def _task(pathspec: str) -> Any:
    depth = pathspec.count("/")
    if depth not in (2, 3) or not all(pathspec.split("/")):
        raise RequestError(f"{pathspec!r} is no task; name one as Flow/run/step/task")
    try:
        if depth == 3:
            return Task(pathspec, _namespace_check=False)
        tasks = list(Step(pathspec, _namespace_check=False))
    except MetaflowException as error:
        raise NotFoundError(f"Metaflow knows no {pathspec}: {error}") from error
    if len(tasks) != 1:
        example = f", such as {tasks[0].pathspec}" if tasks else ""
        raise RequestError(f"{pathspec} has {len(tasks)} tasks; name one{example}")
    return tasks[0]


def _nothing_known(task: Any) -> str:
    if not task.finished:
        return "it has not ended"
    if not task.successful:
        return "it failed, and nothing is kept of tasks that fail"
    return "it has no @memoize, or that was off"


def before_run(flow: Any, graph: Any, flow_datastore: Any, steps: Iterable[str] = ()) -> list[Why]:
    """Tell for each memoized step whether it would be a hit, without running anything.

    `flow`, `graph` and `flow_datastore` are as `python flow.py` has loaded them. What steps before
    it leave is taken to be what it was in the latest run. RequestError for a step that there is
    not; one without @memoize is answered only when it is named.
    """
    wanted = tuple(steps)
    for step in wanted:
        if step not in graph.nodes:
            known = ", ".join(graph.sorted_nodes)
            raise RequestError(f"there is no step {step!r}; the steps are {known}")
    session = session_of(flow_datastore, lambda *args, **kwargs: None)
    found = []
    for step in graph.sorted_nodes:
        if step not in wanted and wanted:
            continue
        decorators = getattr(flow, step).decorators
        memoize = next((deco for deco in decorators if deco.name == "memoize"), None)
        subject = f"{graph.name}/{step}"
        if memoize is not None and graph[step].parallel_step:
            found.append(Why(subject, NONE, "it is @parallel"))
        elif memoize is not None:
            options = Options.parse(memoize.attributes)
            found.append(_of_step(subject, Memoized(flow, graph, step, options), session))
        elif wanted:
            found.append(Why(subject, NONE, "it has no @memoize"))
    return found


def _of_step(subject: str, memoized: Memoized, session: Session) -> Why:
    store = session.store
    if memoized.mode == "off":
        return Why(subject, NONE, "off")
    if store is None:
        return Why(subject, NONE, "there is no store")
    try:
        scope = memoized.scope_key
    except NoFingerprintError as error:
        return Why(subject, MISS, f"not memoized: {error}")
    if memoized.refresh:
        return Why(subject, MISS, REFRESHED, key=str(scope))
    if not memo.recent(store, scope / "results", 1):
        found = nearest(store, scope, memoized.scope.parts)
        if found is None:
            return Why(subject, MISS, "first run", key=str(scope))
        return Why(
            subject,
            MISS,
            "" if found.differences else OTHER_CODE,
            key=str(scope),
            origin=found.origin,
            recorded=found.created,
            differences=found.differences,
        )
    return _looked_up(subject, memoized, session, store)


def _looked_up(subject: str, memoized: Memoized, session: Session, store: Store) -> Why:
    """Look up the tasks that would follow upon what the latest run left."""
    scope = memoized.scope_key
    listed = memoized.listed()
    sets = list(memo.read_sets(store, scope)) if listed is None else [listed]
    run = expected.latest_run(memoized)
    tasks = hits = 0
    missed: tuple[Part, ...] | None = None
    origin = ""
    try:
        for parents in expected.starts(memoized, session, run) if run else ():
            if tasks == _MOST_TASKS:
                break
            tasks += 1
            inputs = _inputs(parents, sets)
            entries = [memo.find(store, scope, each) for each in inputs]
            entry = next((each for each in entries if each and not memoized.is_old(each)), None)
            if entry is not None:
                hits, origin = hits + 1, origin or entry.origin
            elif missed is None:
                missed = inputs[0] if inputs else None
    except (UndecidedError, IntegrityError, NotFoundError, MetaflowException) as error:
        return Why(subject, UNKNOWN, f"the inputs cannot be told before the run: {error}")
    like = f"{memoized.shape.flow.__name__}/{run}"
    if not tasks:
        return Why(subject, UNKNOWN, "its inputs are known in the run only", key=str(scope))
    if tasks == hits:
        return Why(subject, HIT, key=str(scope), origin=origin, like=like, tasks=tasks, hits=hits)
    found = nearest(store, scope, memoized.scope.parts, inputs=missed) if missed else None
    return Why(
        subject,
        MISS,
        "" if found and found.differences else "no result yet for these inputs",
        key=str(scope),
        origin=found.origin if found else None,
        recorded=found.created if found else None,
        differences=found.differences if found else (),
        like=like,
        tasks=tasks,
        hits=hits,
    )


def _inputs(parents: Parents, sets: list[tuple[str, ...]]) -> list[tuple[Part, ...]]:
    """Return what each read-set comes to; UndecidedError if none can be told."""
    found: list[tuple[Part, ...]] = []
    undecided: UndecidedError | None = None
    for names in sets:
        try:
            found.append(tuple(parents.read(name) for name in names))
        except UndecidedError as error:
            undecided = error
    if undecided is not None and not found:
        raise undecided
    return found
