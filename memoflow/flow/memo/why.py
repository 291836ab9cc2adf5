"""The answer to `why`: the decision on a task, or on tasks of a run to come, with differences."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from itertools import chain, islice
from typing import Any

from metaflow.client import Step, Task
from metaflow.exception import MetaflowException

from memoflow.backends import first_read
from memoflow.dataclass import dataclass
from memoflow.errors import IntegrityError, NotFoundError, UsageError
from memoflow.flow import artifact_store
from memoflow.flow.host import task_rows
from memoflow.flow.memo import miss, planned
from memoflow.flow.memo.context import Session, session_of
from memoflow.flow.memo.inputs import UndecidedError
from memoflow.flow.memo.lookup import MemoizedStep, look_up
from memoflow.flow.memo.options import MemoizeOptions
from memoflow.flow.memo.planned import OptionRun
from memoflow.kinds import memo
from memoflow.kinds.acceptance import Acceptance
from memoflow.kinds.decision import (
    FIELD,
    HIT,
    MISS,
    NONE,
    OFF,
    ORIGIN,
    SHADOW,
    UNKNOWN,
    Decision,
    Reason,
    reason_of,
)
from memoflow.kinds.nearest import EarlierResults
from memoflow.names import Key, Ref
from memoflow.storages import backend_of
from memoflow.store import Store
from memoflow.units import moment

_MOST_TASKS = 200  # that are looked up before a run
_MANY = 8  # tasks for which all results of the step are read at once, if this machine lacks them
_MOST_SHOWN = 12  # differences, to people
_MOST_CLONES = 10  # of clones, that are followed to a result


@dataclass(frozen=True)
class Why:
    """The decision on a task, or on the tasks that a run would start of a step.

    `decision` is None if nothing was looked up; `note` is the reason then, or a remark. Before a
    run, `tasks` is the number of tasks looked up, with the inputs of the run `like`, and `hits` the
    number of results found; the decision is that on the first miss. `memoized_by` is the run whose
    `--with memoize` the step is looked up like, where the code has no @memoize.
    """

    subject: str
    decision: Decision | None = None
    note: str = ""
    key: str | None = None
    like: str | None = None
    tasks: int = 0
    hits: int = 0
    memoized_by: str | None = None

    @property
    def outcome(self) -> str:
        """One of "hit", "miss", "unknown" and "none"."""
        if self.decision is None or self.decision.outcome == OFF:
            return NONE
        return self.decision.outcome

    @property
    def line(self) -> str:
        """The answer in one line, as in a task's log."""
        if self.decision is None:
            return self.note
        others = f", and of {self.tasks - 1} more" if self.tasks > 1 else ""
        return self.decision.line + (others if self.outcome == HIT else "")

    def __str__(self) -> str:
        return "\n".join(lines(self))

    def to_json(self) -> dict[str, Any]:
        told = {} if self.decision is None else self.decision.to_json()
        return {
            "subject": self.subject,
            "outcome": self.outcome,
            "line": self.line,
            "reason": told.get("reason", NONE),
            "detail": told.get("detail", ""),
            "note": self.note,
            "unrecorded": told.get("unrecorded", ""),
            "key": self.key,
            "origin": told.get("nearest") or None,
            "recorded": told.get("recorded"),
            "differences": told.get("differences", []),
            "like": self.like,
            "tasks": self.tasks,
            "hits": self.hits,
            "memoized_by": self.memoized_by,
        }


def lines(why: Why) -> list[str]:
    """Return the answer for people: a headline, and each difference with its diff."""
    return [_headline(why), *_details(why)]


def _headline(why: Why) -> str:
    would = "would be" if why.subject.count("/") == 1 else "was"
    note = f"; {why.note}" if why.note else ""
    if why.outcome == HIT and why.like is not None:
        return f"{why.subject} would be a hit, with inputs as in {why.like}{note}"
    if why.outcome == HIT:
        return f"{why.subject} {would} a hit: {why.line}{note}"
    if why.decision is not None and why.decision.is_uncached:
        return f"{why.subject} is {why.line}"
    if why.outcome == MISS:
        return f"{why.subject} {would} a miss: {why.line}"
    if why.outcome == SHADOW:
        return f"{why.subject} ran in shadow mode: {why.line}"
    if why.outcome == UNKNOWN:
        return f"{why.subject} is unknown: {why.line}"
    return f"{why.subject} {would} not looked up: {why.line}"


def _details(why: Why) -> Iterator[str]:
    decision = why.decision
    if decision is None:
        return
    if why.tasks > 1:
        like = f", with inputs as in {why.like}" if why.outcome == MISS else ""
        yield f"{why.hits} of {why.tasks} tasks would be hits{like}"
    elif why.outcome == MISS and why.like is not None:
        yield f"with inputs as in {why.like}"
    if decision.unrecorded and not decision.is_uncached:
        yield f"not cached: {decision.unrecorded}"
    if decision.recorded is not None and (why.outcome == MISS or why.like is None):
        was = f"compared with {decision.nearest}, " if why.outcome == MISS else ""
        yield f"{was}recorded {moment(decision.recorded)}"
    for each in decision.differences[:_MOST_SHOWN]:
        if len(decision.differences) > 1 or each.diff or str(each) != why.line:
            yield ""
            yield str(each)
            yield from (f"    {line}" for line in each.diff.splitlines())
    more = len(decision.differences) - _MOST_SHOWN
    if more > 0:
        yield ""
        yield f"and {more} more (all with --json)"


def of_task(store: Store, pathspec: str) -> Why:
    """Return the decision that was made on a finished task.

    `pathspec` is Flow/run/step/task, or Flow/run/step for a step of one task. UsageError for
    other texts, NotFoundError if Metaflow has no such task.
    """
    task = _task(pathspec)
    told = task_rows.of_task(task)
    cloned = task_rows.origin_of_clone(task.pathspec, told)
    if cloned is not None:
        return Why(task.pathspec, note=f"it did not run: resume cloned {_remark(cloned)}")
    key, origin = told.get("memo-key"), told.get(ORIGIN)
    if origin is not None:
        ref = None if key is None else store.lookup(Key.parse(key))
        decision = Decision.hit(origin, None if ref is None else ref.created)
        notes = [f"its audit: {told['memo-audit']}"] if "memo-audit" in told else []
        accepted = None if ref is None else _acceptance(store, ref)
        if accepted is not None:
            notes.append(accepted.line)
        return Why(task.pathspec, decision, "; ".join(notes), key=key)
    made = Decision.parse(told.get(FIELD)) or _of_older(store, task, told)
    if made is None:
        return Why(task.pathspec, note=_nothing_known(task, told))
    return Why(task.pathspec, made, key=key)


def _acceptance(store: Store, ref: Ref) -> Acceptance | None:
    """Return the note on a result that was bound to the code of the step; None for others."""
    with suppress(IntegrityError, NotFoundError):
        return Acceptance.parse(store.meta(ref))
    return None


def result_key(pathspec: str) -> str | None:
    """Return the key of a task's result, None if it has none; errors as for `of_task`.

    Of a clone, that of the task that was cloned.
    """
    task = _task(pathspec)
    told = task_rows.of_task(task)
    with suppress(MetaflowException):  # The cloned task may be gone.
        for _ in range(_MOST_CLONES):
            cloned = task_rows.origin_of_clone(task.pathspec, told)
            if cloned is None:
                break
            task = Task(cloned, _namespace_check=False)
            told = task_rows.of_task(task)
    return told.get("memo-key")


def _remark(cloned: str) -> str:
    """Return a cloned task, with the origin of its result if it was a hit and is still known."""
    with suppress(MetaflowException):
        origin = task_rows.of_task(Task(cloned, _namespace_check=False)).get(ORIGIN)
        if origin is not None:
            return f"{cloned}, a hit: the result of {origin}"
    return cloned


def _of_older(store: Store, task: Any, told: Mapping[str, str]) -> Decision | None:
    """Return the decision on a task from before decisions were kept, from its result."""
    said, unrecorded = told.get("memo-reason", ""), told.get("memo-unrecorded", "")
    if "memo-key" not in told:
        return Decision.miss(Reason.TOLD, said, unrecorded=unrecorded) if said else None
    result = Key.parse(told["memo-key"])
    # Later results of the same run do not explain this miss.
    before = task.parent.parent.created_at.timestamp()
    ref = store.lookup(result)
    try:
        parts = memo.code_parts(store, result)
        inputs = None if ref is None else memo.read(store, ref).inputs
    except (IntegrityError, NotFoundError):
        parts, inputs = (), None
    code_key = memo.code_key_of(result)
    earlier = EarlierResults(store, code_key, parts, before=before, result=result)
    found = earlier.nearest(inputs)
    if not parts or found is None or not found.differences:
        return Decision.miss(Reason.TOLD, said)
    return Decision.miss(
        reason_of(found.differences),
        differences=found.differences,
        nearest=found.origin,
        recorded=found.created,
    )


def _task(pathspec: str) -> Any:
    depth = pathspec.count("/")
    if depth not in (2, 3) or not all(pathspec.split("/")):
        raise UsageError(
            f"{pathspec!r} is not a task; name one as Flow/run/step/task, or a run as Flow/run"
        )
    try:
        if depth == 3:
            return Task(pathspec, _namespace_check=False)
        tasks = list(Step(pathspec, _namespace_check=False))
    except MetaflowException as error:
        raise NotFoundError(f"Metaflow has no task {pathspec}: {error}") from error
    if len(tasks) != 1:
        example = f", such as {tasks[0].pathspec}" if tasks else ""
        raise UsageError(f"{pathspec} has {len(tasks)} tasks; name one{example}")
    return tasks[0]


def _nothing_known(task: Any, told: Mapping[str, str]) -> str:
    # A task that failed counts as not finished.
    if told.get("attempt_ok") != "False" and not task.finished:
        return "it is still running"
    if not task.successful:
        return "it failed, and results of failed tasks are not kept"
    return "it has no @memoize, or that was off"


def before_run(flow: Any, graph: Any, flow_datastore: Any, steps: Iterable[str] = ()) -> list[Why]:
    """Return the decision on each memoized step of a run to come, without running anything.

    `flow`, `graph` and `flow_datastore` are as `python flow.py` has loaded them. Parameters
    and results of upstream steps are taken from the latest run that came so far; a step after one
    that would be a miss is unknown rather than a hit. Where no step has @memoize, or one that is
    named has none, steps are memoized as the latest run had them by `--with memoize`. UsageError
    for a step that does not exist; one that is not memoized is answered only when it is named.
    """
    wanted = tuple(steps)
    for step in wanted:
        if step not in graph.nodes:
            known = ", ".join(graph.sorted_nodes)
            raise UsageError(f"{graph.name} has no step {step!r}; its steps are {known}")
    session = session_of(flow_datastore, lambda *args, **kwargs: None)
    where = artifact_store.of_datastore(flow_datastore.TYPE, flow_datastore.datastore_root)
    # Read by itself: to open the flow's store would make one.
    backend = backend_of(where.type, where.folder)
    empty = first_read(backend, "format.json", most_bytes=1) is None
    asked = wanted or graph.sorted_nodes
    needed = set(asked).union(*(_before(graph, step) for step in asked))
    run = None
    if not all(_memoize_of(flow, step) for step in wanted) or not any(
        _memoize_of(flow, step) for step in graph.nodes
    ):
        run = OptionRun.latest(graph.name)
    by_run = run.memoize(flow) if run is not None else set()
    found: dict[str, Why] = {}
    for step in graph.sorted_nodes:
        if step not in needed:
            continue
        memoize = _memoize_of(flow, step)
        subject = f"{graph.name}/{step}"
        if memoize is not None and graph[step].parallel_step:
            found[step] = Why(subject, note="it is @parallel")
        elif memoize is not None:
            options = MemoizeOptions.parse(memoize.attributes)
            memoized = MemoizedStep(flow, graph, step, options, key=session.context.mask_key)
            why = _of_step(subject, memoized, session, empty=empty)
            before = _before(graph, step)
            missed = [each for each in found if each in before and found[each].outcome == MISS]
            if missed and why.outcome == HIT:  # Of other results than those that there are now.
                after = Decision(UNKNOWN, Reason.AFTER_MISS, ", ".join(missed))
                why = replace(why, decision=after)
            found[step] = why
            if run is not None and step in by_run:
                found[step] = replace(why, memoized_by=run.pathspec)
        elif step in wanted:
            hint = planned.hint_of_option(step, () if run is None else run.others)
            found[step] = Why(subject, note=f"it has no @memoize; {hint}")
    return [found[step] for step in graph.sorted_nodes if step in found and step in asked]


def _memoize_of(flow: Any, step: str) -> Any:
    """Return the decorator of a memoized step, None of others."""
    decorators = getattr(flow, step).decorators
    return next((deco for deco in decorators if deco.name == "memoize"), None)


def not_memoized(graph: Any) -> str:
    """Return the line about a flow without memoized steps, and how its runs can be predicted."""
    run = OptionRun.latest(graph.name)
    return f"no step has @memoize; {planned.hint_of_option('', () if run is None else run.others)}"


def _before(graph: Any, step: str) -> set[str]:
    """Return all upstream steps of a step."""
    before: set[str] = set()
    ahead = set(graph[step].in_funcs)
    while ahead:
        before |= ahead
        ahead = {each for name in ahead for each in graph[name].in_funcs} - before
    return before


def _of_step(subject: str, memoized: MemoizedStep, session: Session, *, empty: bool) -> Why:
    if memoized.mode == "off":
        return Why(subject, note="@memoize is off")
    if empty:
        return Why(subject, Decision.miss(Reason.FIRST_RUN))
    store = session.context.store
    if store is None:
        return Why(subject, note="there is no store")
    known = look_up(memoized, None, session, dry=True).decision
    if known.reason in (Reason.NO_FINGERPRINT, Reason.REFRESHED):
        return Why(subject, known)
    code_key = memoized.code_key
    if not memo.recent(store, code_key / "results", 1):
        return Why(subject, miss.explain(memoized, None, session, ()), key=str(code_key))
    unknown = Decision(UNKNOWN, Reason.UNDECIDED)
    for run in planned.latest_runs(memoized):
        try:
            why = _of_run(subject, memoized, session, run)
        except (UndecidedError, IntegrityError, NotFoundError, MetaflowException) as error:
            return Why(subject, replace(unknown, detail=f"{unknown.line}: {error}"))
        if why is not None:
            return replace(why, key=str(code_key))
    return Why(subject, unknown, key=str(code_key))


def _prefetch(memoized: MemoizedStep, session: Session) -> None:
    """Read all results of the step at once, unless this machine knows some for each of many tasks.

    One by one, a result that is not in the index takes three requests.
    """
    store = session.context.store
    assert store is not None
    if len(store.index.entries(memoized.code_key / memo.RESULTS)) < _MANY:
        store.remembered.prefetch(memoized.code_key)


def _of_run(subject: str, memoized: MemoizedStep, session: Session, run: str) -> Why | None:
    """Look up the tasks of the step with the inputs of a run; None if it has none."""
    hit = missed = None
    tasks, hits, unlike = 0, 0, ""
    following = islice(planned.planned_tasks(memoized, session.context, run), _MOST_TASKS)
    first = list(islice(following, _MANY))
    if len(first) == _MANY:
        _prefetch(memoized, session)
    for parents in chain(first, following):
        verdict = look_up(memoized, parents, session, dry=True)
        if verdict.undecided:
            raise UndecidedError(verdict.decision.line)
        if not tasks:
            read = {part.name for part in verdict.read}
            unlike = "; ".join(planned.unlike_defaults(memoized, parents, read))
        tasks += 1
        hits += verdict.entry is not None
        if verdict.entry is not None:
            hit = hit or verdict.decision
        else:
            missed = missed or verdict.decision
    decision = missed or hit
    if decision is None:
        return None
    note = "" if missed else unlike
    like = f"{memoized.shape.flow.__name__}/{run}"
    return Why(subject, decision, note, like=like, tasks=tasks, hits=hits)
