"""Accept: results of earlier code, verified by a share of them and bound to the new code."""

from __future__ import annotations

import math
import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import field
from functools import partial
from typing import Any

from metaflow.client import Task
from metaflow.exception import MetaflowException
from metaflow.util import get_username
from xxhash import xxh3_64_intdigest

from memoflow.dataclass import dataclass
from memoflow.errors import (
    IntegrityError,
    MemoflowError,
    NoFingerprintError,
    NotFoundError,
    UsageError,
)
from memoflow.fingerprint import Difference, Part, differences
from memoflow.flow.host import task_rows
from memoflow.flow.host.artifacts import TaskArtifacts
from memoflow.flow.host.client import looking_at
from memoflow.flow.host.single_step import StepRuntime, TaskFailed, TaskStart
from memoflow.flow.memo import planned
from memoflow.flow.memo.comparison import first_ones, next_steps_differ, outputs_differ
from memoflow.flow.memo.context import Session, session_of
from memoflow.flow.memo.external_reads import ExternalReads
from memoflow.flow.memo.inputs import InputDigests, UndecidedError, current_of_step
from memoflow.flow.memo.lookup import MemoizedStep
from memoflow.flow.memo.options import MemoizeOptions
from memoflow.kinds import acceptance, memo
from memoflow.kinds.acceptance import Acceptance
from memoflow.kinds.decision import FIELD, Decision
from memoflow.kinds.memo import MemoEntry
from memoflow.kinds.memo_fields import Artifact
from memoflow.names import Key, Ref
from memoflow.store import Store
from memoflow.threads import for_each

TAG = "memo:accept"
_LOAD_LIMIT_BYTES = 64 << 20
_AT_ONCE = 16
_MOST_RUNS = 8  # that are searched for the inputs of a result, beside its own
_MOST_RECENT = 100_000


class DifferenceError(MemoflowError):
    """A task that ran anew and left something else than its stored result; nothing was bound."""


@dataclass
class Plan:
    """The results of one earlier code key that the present code is to have.

    `refs` are the newest of each series, `own` those that have a result of the present code,
    `verified` of these and of those that ran anew the ones that are the same.
    """

    subject: str  # Flow/step
    old: Key
    new: Key
    changes: tuple[Difference, ...]
    refs: tuple[Ref, ...]
    needed: int
    own: dict[Key, Ref] = field(default_factory=dict)  # by the series below the new code key
    verified: int = 0
    ran: int = 0
    outdated: int = 0  # whose inputs are of classes that changed: never found
    starts: list[tuple[MemoEntry, TaskStart]] = field(default_factory=list)
    run: str = ""  # Flow/run of the tasks that ran anew

    @property
    def bindable(self) -> int:
        """The number of results to bind once the tasks have run."""
        return max(0, len(self.refs) - self.outdated - len(self.own) - len(self.starts))


class Accepting:
    """The acceptance of one step's earlier results, by the flow as it is loaded now.

    `state` is Metaflow's of `python flow.py memo`. UsageError for a step that cannot be accepted.
    """

    def __init__(self, state: Any, step: str) -> None:
        flow, graph = state.flow, state.graph
        self._state = state
        if step not in graph.nodes:
            known = ", ".join(graph.sorted_nodes)
            raise UsageError(f"{graph.name} has no step {step!r}; its steps are {known}")
        decorators = getattr(flow, step).decorators
        self._memoize = next((deco for deco in decorators if deco.name == "memoize"), None)
        subject = f"{graph.name}/{step}"
        if self._memoize is None or graph[step].parallel_step:
            why = "has no @memoize" if self._memoize is None else "is @parallel, so not memoized"
            raise UsageError(f"{subject} {why}: it has no results to accept")
        self.session: Session = session_of(state.flow_datastore, state.logger)
        store = self.session.context.store
        if store is None:
            raise NotFoundError(f"{subject} has no results: there is no store")
        self.store: Store = store
        options = MemoizeOptions.parse(self._memoize.attributes)
        key = self.session.context.mask_key
        self.memoized = MemoizedStep(flow, graph, step, options, key=key)
        self.subject = subject
        try:
            self.new = self.memoized.code_key
        except NoFingerprintError as error:
            raise UsageError(f"{subject} is not cached: {error}") from error

    def plan(self, share: float, code: str | None = None) -> Plan:
        """Return the results to accept: of the earlier code with most, or of one by its digest.

        UsageError if there are none, or too few that can be run anew.
        """
        old = self._old_code(code)
        refs = acceptance.newest(self.store, old)
        entries = [entry for entry in map(self._read, refs) if entry is not None]
        mask = self.memoized.mask
        usable = [each for each in entries if not acceptance.is_outdated(each, mask)]
        if not usable:
            raise UsageError(
                f"none of the {len(refs)} results of {self.subject} could be used: the classes of "
                "their inputs changed as well; run the step"
            )
        found = differences(memo.code_parts(self.store, refs[0].key), self.memoized.code.parts)
        plan = Plan(
            self.subject,
            old,
            self.new,
            tuple(found),
            tuple(each.ref for each in usable),
            max(1, math.ceil(share * len(usable) - 1e-9)),
            outdated=0,
        )
        plan.outdated = len(entries) - len(usable)
        self._take_own(plan, usable)
        self._choose(plan, usable)
        return plan

    def verify(self, plan: Plan, *, max_workers: int) -> None:
        """Run the chosen tasks anew; DifferenceError at the first that is not the same."""
        if not plan.starts:
            return
        assert self._memoize is not None
        self._memoize.run_anew()
        found: list[str] = []

        def finished(number: int, task: str) -> bool:
            entry, _ = plan.starts[number]
            plan.ran += 1
            line = self._compared(entry, self._result_of(task))
            if line is None:
                plan.verified += 1
            else:
                found.append(f"{task} differs from {entry.origin}: {line}")
            return not found

        runtime = StepRuntime(self._state, self.memoized.step, tags=[TAG], max_workers=max_workers)
        plan.run = f"{self.subject.partition('/')[0]}/{runtime.run_id}"
        try:
            runtime.run_all([start for _, start in plan.starts], finished)
        except (TaskFailed, MetaflowException) as error:
            raise DifferenceError(f"{error}; nothing was bound") from error
        if found:
            raise DifferenceError(f"{found[0]}; nothing was bound")

    def bind(self, plan: Plan, why: str, on_each: Callable[[], None] = lambda: None) -> int:
        """Bind the results that the present code does not have; return their number."""
        note = Acceptance.of(
            plan.old,
            plan.new,
            by=get_username() or "",
            why=why,
            verified=plan.verified,
            when=self.store.time(),
        )
        acceptance.prepare(self.store, plan.old, plan.new, self.memoized.code.parts)
        bound: list[bool] = []

        def one(ref: Ref) -> None:
            bound.append(acceptance.bind(self.store, ref, plan.new, note))
            on_each()

        if self.store.backend.takes_round_trips:
            for_each(one, plan.refs, threads=_AT_ONCE)
        else:
            for ref in plan.refs:
                one(ref)
        return sum(bound)

    # The plan.

    def _old_code(self, code: str | None) -> Key:
        numbers = Counter(
            memo.code_key_of(ref.key)
            for ref in memo.recent(self.store, self.memoized.step_key, _MOST_RECENT)
        )
        # Of as many, the latest first.
        others = [key for key, _ in numbers.most_common() if key != self.new]
        if code is not None:
            named = [key for key in others if code and key.parts[-1].startswith(code)]
            if len(named) != 1:
                known = ", ".join(key.parts[-1][:12] for key in others) or "none"
                raise UsageError(
                    f"{len(named)} earlier versions of {self.subject} begin with {code!r}; "
                    f"known are {known}"
                )
            return named[0]
        if not others:
            why = "the code is as it was, so they are hits" if numbers else "it has none"
            raise UsageError(f"{self.subject} has no results of other code to accept: {why}")
        return others[0]

    def _read(self, ref: Ref) -> MemoEntry | None:
        try:
            return memo.read(self.store, ref)
        except (NotFoundError, IntegrityError):
            return None

    def _take_own(self, plan: Plan, entries: Sequence[MemoEntry]) -> None:
        """Compare the results that the present code has left already: they need not run anew."""
        left = acceptance.newest(self.store, plan.new, bound=False)
        own = {Key(ref.key.parts[:-1]): ref for ref in left}
        bound = {Key(ref.key.parts[:-1]) for ref, _ in acceptance.bound(self.store, plan.new)}
        for entry in entries:
            series = acceptance.series_of(entry.ref, plan.new)
            if series in own:
                plan.own[series] = own[series]
            elif series in bound:
                plan.own[series] = entry.ref  # It is bound, which verifies nothing.

    def _choose(self, plan: Plan, entries: Sequence[MemoEntry]) -> None:
        """Choose tasks to run anew, the same for the same code: a second try goes on there."""
        taken = plan.own.keys()
        for entry in entries:
            own = plan.own.get(acceptance.series_of(entry.ref, plan.new))
            if own is None or own.key == entry.ref.key:
                continue
            now = self._read(own)
            line = "its result is gone" if now is None else self._compared(entry, now)
            if line is not None:
                raise DifferenceError(
                    f"{now.origin if now else own.key} differs from {entry.origin}: {line}; "
                    "nothing was bound"
                )
            plan.verified += 1
        open_ = [each for each in entries if acceptance.series_of(each.ref, plan.new) not in taken]
        wanted = min(plan.needed - plan.verified, len(open_))
        drawn = sorted(
            open_, key=lambda each: xxh3_64_intdigest(f"{each.ref.key}{plan.new}".encode())
        )
        runs = Counter(entry.origin.split("/")[1] for entry in entries)
        known = [run for run, _ in runs.most_common(_MOST_RUNS)]
        starts = _Starts(self.memoized, self.session, [*known, *planned.latest_runs(self.memoized)])
        for entry in drawn:
            if len(plan.starts) >= wanted:
                return
            start = starts.of(entry)
            if start is not None:
                plan.starts.append((entry, start))
        if len(plan.starts) < wanted:
            can = plan.verified + len(plan.starts)
            raise UsageError(
                f"only {can} of {len(plan.refs)} results of {plan.subject} can be run anew, fewer "
                f"than the {plan.needed} asked for: the runs that left the others are gone, or "
                "what they read has changed; give a smaller --verify, or run the step"
            )

    # The comparison.

    def _result_of(self, task: str) -> MemoEntry:
        """Return the result that a task has just recorded; DifferenceError if it has none."""
        with looking_at(None, self._state.metadata.metadata_str()):
            told = task_rows.of_task(Task(task, _namespace_check=False))
        key = told.get("memo-key")
        ref = None if key is None else self.store.lookup(Key.parse(key))
        entry = None if ref is None else self._read(ref)
        if entry is None:
            decision = Decision.parse(told.get(FIELD))
            why = decision.unrecorded if decision is not None else ""
            raise DifferenceError(
                f"{task} ran, and its result was not recorded: {why or 'unknown'}"
            )
        return entry

    def _compared(self, old: MemoEntry, now: MemoEntry) -> str | None:
        """Return the differences of two results, None if the one can stand for the other."""
        found = list(_reads_differ(old, now))
        if not found:
            load = self._loader(now)
            context = self.session.context
            for artifact in (*old.artifacts.values(), *now.artifacts.values()):
                context.artifacts.restore(artifact)
            found += outputs_differ(old.artifacts, now.artifacts, load, self.memoized.mask)
            found += next_steps_differ(old.next_step, now.next_step)
            before, after = ({**each.named, **each.files} for each in (old, now))
            names = sorted({*before, *after})
            found += [
                f"file {name}: other content"
                for name in names
                if before.get(name) != after.get(name)
            ]
        return first_ones(found) if found else None

    def _loader(self, entry: MemoEntry) -> Callable[[Artifact], Any]:
        _, *task = entry.origin.split("/")
        opened: list[TaskArtifacts] = []

        def load(artifact: Artifact) -> Any:
            if not opened:  # Only here, since mostly all bytes are equal.
                opened.append(TaskArtifacts(self.session.context.reader.get_task_datastore(*task)))
            return opened[0].value_of(artifact.sha1, artifact.info)

        return load


def _reads_differ(old: MemoEntry, now: MemoEntry) -> Iterator[str]:
    """Yield a line for each read of the new code that the old result does not depend on.

    Bound, such a result would be found whatever the value of that is.
    """
    before = {(part.kind, part.name): part for part in (*old.inputs, *old.reads)}
    for part in (*now.inputs, *now.reads):
        known = before.get((part.kind, part.name))
        if known is None:
            yield f"it reads {part.name} now, which the stored result does not depend on"
        elif known.digest != part.digest:
            yield f"it ran with another {part.name}"


class _Starts:
    """The inputs of the tasks that left results, as far as runs that have them are still there.

    A task of `runs` serves as well if it would start from the same inputs.
    """

    def __init__(self, memoized: MemoizedStep, session: Session, runs: Sequence[str]) -> None:
        self._runs = runs
        self._memoized = memoized
        self._context = session.context
        self._reads = ExternalReads(memoized, session.context, environment=os.environ, is_here=True)
        self._tasks: dict[str, list[tuple[InputDigests, TaskStart]]] = {}
        self._found: dict[tuple[str, tuple[str, ...]], dict[tuple[str, ...], TaskStart]] = {}

    def of(self, entry: MemoEntry) -> TaskStart | None:
        """Return the inputs of a result's task; None if nobody could run it as it was."""
        flow, run, _, _ = entry.origin.split("/")
        if flow != self._memoized.shape.flow.__name__:
            return None
        try:
            if tuple(part.digest for part in self._reads.now(entry)) != tuple(
                part.digest for part in entry.reads
            ):
                return None
        except UndecidedError:
            return None
        names = tuple(
            f"config {part.name}" if part.kind == "config" else part.name for part in entry.inputs
        )
        for each in dict.fromkeys((run, *self._runs)):
            if (each, names) not in self._found:
                self._found[each, names] = self._by_inputs(each, names)
            start = self._found[each, names].get(_digests(entry.inputs))
            if start is not None:
                return start
        return None

    def _by_inputs(self, run: str, names: tuple[str, ...]) -> dict[Any, TaskStart]:
        found = {}
        for parents, start in self._of_run(run):
            try:
                found[_digests([parents.digest(name) for name in names])] = start
            except (UndecidedError, MemoflowError):
                continue
        return found

    def _of_run(self, run: str) -> list[tuple[InputDigests, TaskStart]]:
        if run not in self._tasks:
            try:
                self._tasks[run] = list(self._list(run))
            except (UndecidedError, MemoflowError, MetaflowException, OSError):
                self._tasks[run] = []
        return self._tasks[run]

    def _list(self, run: str) -> Iterator[tuple[InputDigests, TaskStart]]:
        memoized = self._memoized
        current = partial(current_of_step, memoized=memoized, known_in="task")
        tasks = planned.task_inputs(memoized, self._context, run, InputDigests, current)
        for parents, split_index in tasks:
            paths = tuple(str(each.pathspec) for each in parents.datastores)
            yield parents, TaskStart(paths, split_index, memoized.join_type)


def _digests(parts: Sequence[Part]) -> tuple[str, ...]:
    return tuple(part.digest for part in parts)
