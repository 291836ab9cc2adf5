"""Why: whether a task was a hit, or a run would be, and if not, what differs from before."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

from metaflow.client import Step, Task
from metaflow.exception import MetaflowException

from memoflow.errors import IntegrityError, NoFingerprintError, NotFoundError, RequestError
from memoflow.fingerprint import Difference, Part
from memoflow.flow import artifact_store
from memoflow.flow.memo import expected
from memoflow.flow.memo.lookup import OTHER_CODE, REFRESHED, Memoized, dead_reference
from memoflow.flow.memo.options import Options
from memoflow.flow.memo.parents import Parents, UndecidedError
from memoflow.flow.memo.session import Session, session_of
from memoflow.kinds import memo
from memoflow.kinds.memo import Entry
from memoflow.kinds.nearest import nearest
from memoflow.names import Key
from memoflow.storages import backend_of
from memoflow.store import Store
from memoflow.units import moment

HIT, MISS, UNKNOWN, NONE = "hit", "miss", "unknown", "none"
_MOST_TASKS = 200  # that are looked up before a run
_MOST_SHOWN = 12  # differences, to people
# As a lookup says it of a result that was there, and could not be used.
_SPOILT = (
    "refers to, is gone",
    "the bytes of artifact",
    "the entry was damaged",
    " is older than ",
    "its result was evicted",
)


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
        if self.outcome == HIT:
            others = f", and of {self.tasks - 1} more" if self.tasks > 1 else ""
            return f"the result of {self.origin}{others}"
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
        also = f"; {why.reason}" if why.reason else ""
        return f"{why.subject} would be a hit, if what comes before it is as in {why.like}{also}"
    if why.outcome == HIT:
        audited = f"; its audit: {why.reason}" if why.reason else ""
        return f"{why.subject} {would} a hit: {why.line}{audited}"
    if why.outcome == MISS:
        return f"{why.subject} {would} a miss: {why.line}"
    if why.outcome == UNKNOWN:
        return f"{why.subject} would be a hit as far as the code goes: {why.reason}"
    return f"{why.subject} {would} neither hit nor miss: {why.reason}"


def _details(why: Why) -> Iterator[str]:
    if why.tasks > 1:
        yield f"{why.hits} of {why.tasks} tasks like those of {why.like} would be hits"
    elif why.outcome == MISS and why.like is not None:
        yield f"if what comes before it is as in {why.like}"
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
    resumed = task.origin_pathspec
    if resumed is not None:  # What Metaflow tells of it then is told of that one.
        return Why(task.pathspec, NONE, f"it was not run: resume took over {resumed}")
    key, origin = told.get("memo-key"), told.get("memo-origin")
    ref = None if key is None else store.find(Key.parse(key), even_expired=True)
    if origin is not None:
        recorded = None if ref is None else ref.created
        reason = told.get("memo-audit", "")
        return Why(task.pathspec, HIT, reason, key=key, origin=origin, recorded=recorded)
    reason, unrecorded = told.get("memo-reason", ""), told.get("memo-unrecorded", "")
    if key is None and not reason:
        return Why(task.pathspec, NONE, _nothing_known(task, told))
    if key is None:
        return Why(task.pathspec, MISS, reason, unrecorded)
    result = Key.parse(key)
    why = Why(task.pathspec, MISS, reason, key=key)
    if is_no_difference(reason, result):
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


def is_no_difference(reason: str, result: Key) -> bool:
    """Tell whether there was a result for the same values, so that none of them was the reason."""
    is_another = result.parts[-1].isdigit() and int(result.parts[-1]) > 1
    return is_another or reason == REFRESHED or any(text in reason for text in _SPOILT)


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


def _nothing_known(task: Any, told: Mapping[str, str]) -> str:
    # A task that failed counts as not finished.
    if told.get("attempt_ok") != "False" and not task.finished:
        return "it has not ended"
    if not task.successful:
        return "it failed, and nothing is kept of tasks that fail"
    return "it has no @memoize, or that was off"


def before_run(flow: Any, graph: Any, flow_datastore: Any, steps: Iterable[str] = ()) -> list[Why]:
    """Tell for each memoized step whether it would be a hit, without running anything.

    `flow`, `graph` and `flow_datastore` are as `python flow.py` has loaded them. Parameters, and
    what steps before it leave, are taken to be what they were in the latest run that came so far; a
    step after one that would be a miss is unknown rather than a hit. RequestError for a step that
    there is not; one without @memoize is answered only when it is named.
    """
    wanted = tuple(steps)
    for step in wanted:
        if step not in graph.nodes:
            known = ", ".join(graph.sorted_nodes)
            raise RequestError(f"there is no step {step!r}; the steps are {known}")
    session = session_of(flow_datastore, lambda *args, **kwargs: None)
    empty = _is_empty(flow_datastore)
    asked = wanted or graph.sorted_nodes
    needed = set(asked).union(*(_before(graph, step) for step in asked))
    found: dict[str, Why] = {}
    for step in graph.sorted_nodes:
        if step not in needed:
            continue
        decorators = getattr(flow, step).decorators
        memoize = next((deco for deco in decorators if deco.name == "memoize"), None)
        subject = f"{graph.name}/{step}"
        if memoize is not None and graph[step].parallel_step:
            found[step] = Why(subject, NONE, "it is @parallel")
        elif memoize is not None:
            options = Options.parse(memoize.attributes)
            why = _of_step(subject, Memoized(flow, graph, step, options), session, empty=empty)
            missed = [each for each in graph.sorted_nodes if each in _before(graph, step)]
            missed = [each for each in missed if each in found and found[each].outcome == MISS]
            found[step] = _after(why, missed)
        elif step in wanted:
            found[step] = Why(subject, NONE, "it has no @memoize")
    return [found[step] for step in graph.sorted_nodes if step in found and step in asked]


def _before(graph: Any, step: str) -> set[str]:
    """Return the steps that a step comes after, however many lie between."""
    before: set[str] = set()
    ahead = set(graph[step].in_funcs)
    while ahead:
        before |= ahead
        ahead = {each for name in ahead for each in graph[name].in_funcs} - before
    return before


def _after(why: Why, missed: list[str]) -> Why:
    """Return an answer that does not count on what the steps that would run are going to leave."""
    if why.outcome != HIT or not missed:
        return why
    would = "would be a miss" if len(missed) == 1 else "would be misses"
    reason = f"{', '.join(missed)}, before it, {would}, and may leave something else"
    return replace(why, outcome=UNKNOWN, reason=reason)


def _is_empty(flow_datastore: Any) -> bool:
    """Tell whether there is no store yet where the flow's is to be: looking does not make one."""
    where = artifact_store.of_datastore(flow_datastore.TYPE, flow_datastore.datastore_root)
    return backend_of(where.type, where.folder).read("format.json") is None


def _of_step(subject: str, memoized: Memoized, session: Session, *, empty: bool) -> Why:
    if memoized.mode == "off":
        return Why(subject, NONE, "off")
    if empty:
        return Why(subject, MISS, "first run")
    store = session.store
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
    for run in expected.latest_runs(memoized):
        try:
            seen = _of_run(memoized, session, store, sets, run)
        except (UndecidedError, IntegrityError, NotFoundError, MetaflowException) as error:
            return Why(subject, UNKNOWN, f"the inputs cannot be told before the run: {error}")
        if seen is not None:
            break
    else:
        return Why(subject, UNKNOWN, "its inputs are known in the run only", key=str(scope))
    like = f"{memoized.shape.flow.__name__}/{run}"
    why = Why(subject, HIT, key=str(scope), like=like, tasks=seen.tasks, hits=seen.hits)
    if seen.tasks == seen.hits:
        return replace(why, reason="; ".join(seen.unlike), origin=seen.origin)
    missed = None if seen.trouble else seen.missed
    found = nearest(store, scope, memoized.scope.parts, inputs=missed) if missed else None
    known = found is not None and found.differences
    return replace(
        why,
        outcome=MISS,
        reason="" if known else seen.trouble or "no result yet for these inputs",
        origin=found.origin if found else None,
        recorded=found.created if found else None,
        differences=found.differences if found else (),
    )


@dataclass
class _Seen:
    """What the tasks came to that would follow upon those of a run."""

    tasks: int = 0
    hits: int = 0
    origin: str = ""
    missed: tuple[Part, ...] | None = None
    trouble: str = ""
    unlike: tuple[str, ...] = ()


def _of_run(
    memoized: Memoized, session: Session, store: Store, sets: list[tuple[str, ...]], run: str
) -> _Seen | None:
    """Look up what would follow upon the tasks of a run; None if nothing would."""
    seen = _Seen()
    for parents in islice(expected.starts(memoized, session, run), _MOST_TASKS):
        seen.tasks += 1
        inputs = _inputs(parents, sets)
        if seen.tasks == 1:
            read = {part.name for each in inputs for part in each}
            seen.unlike = tuple(expected.unlike_defaults(memoized, parents, read))
        entry, trouble = _found(memoized, store, inputs)
        if entry is not None:
            seen.hits, seen.origin = seen.hits + 1, seen.origin or entry.origin
        elif seen.missed is None:
            seen.missed, seen.trouble = inputs[0] if inputs else None, trouble
    return seen if seen.tasks else None


def _found(
    memoized: Memoized, store: Store, inputs: list[tuple[Part, ...]]
) -> tuple[Entry | None, str]:
    """Return the result that would be used, else what is wrong with the one that there is."""
    trouble = ""
    for each in inputs:
        entry = memo.find(store, memoized.scope_key, each)
        if entry is None:
            continue
        dead = dead_reference(entry)
        if memoized.is_old(entry):
            trouble = f"the result of {entry.origin} is older than {memoized.options.ttl}"
        elif dead is not None:
            trouble = f"{dead}, which the result of {entry.origin} refers to, is gone"
        else:
            return entry, ""
    return None, trouble


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
