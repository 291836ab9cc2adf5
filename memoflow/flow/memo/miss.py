"""Miss: the reason for a miss, from the results of the step before the run."""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING

from memoflow.errors import IntegrityError, NotFoundError
from memoflow.fingerprint import Part
from memoflow.fingerprint.outline import equal_parts, flat
from memoflow.flow.memo import uncached
from memoflow.flow.memo.context import Session
from memoflow.flow.memo.inputs import InputDigests
from memoflow.flow.memo.run_log import RunLog
from memoflow.kinds import evicted, memo
from memoflow.kinds.decision import Decision, Reason, reason_of
from memoflow.kinds.nearest import ITEM, PLACE, EarlierResults, Nearest
from memoflow.store import Store
from memoflow.units import span

if TYPE_CHECKING:
    from memoflow.flow.memo.lookup import MemoizedStep

_MOST_ITEMS = 1000  # of a foreach, to look for the item of an earlier result among
_LONGEST = 100  # characters of an item


def explain(
    memoized: MemoizedStep,
    parents: InputDigests | None,
    session: Session,
    seen: Sequence[tuple[Part, ...]],
) -> Decision:
    """Return the decision on a task without a result.

    `seen` are its inputs by each read-set of the step; none if they are not known.
    """
    log, store = session.log, session.context.store
    assert store is not None
    if memoized.code_key not in log.before:
        log.before[memoized.code_key] = ResultsBefore(memoized, log, store)
    before = log.before[memoized.code_key]
    inputs = [each if parents is None else parents.outlined(each) for each in seen]
    try:
        if before.earlier.has_same_code:
            return _of_same_code(parents, before, inputs)
        known = uncached.known(memoized, store)
        return before.of_other_code(inputs) if known is None else known
    except (IntegrityError, NotFoundError) as error:
        return Decision.miss(Reason.DAMAGED, str(error))


class ResultsBefore:
    """The results of a step before the run, read once in a process, however many tasks miss."""

    def __init__(self, memoized: MemoizedStep, log: RunLog, store: Store) -> None:
        self.store = store
        self._code_key = memoized.code_key
        self._began = log.began
        parts, mask = tuple(memoized.code.parts), memoized.mask
        self.earlier = EarlierResults(
            store, memoized.code_key, parts, before=log.began, run=log.run, mask=mask
        )

    @cached_property
    def _had_some(self) -> bool:
        """True if the step had results of this code before the run that are gone now."""
        since = memo.known_since(self.store, self._code_key)
        # A result of this run comes with a read-set as well.
        is_older = since is not None and since < self._began
        return is_older and not memo.recent(self.store, self._code_key / "results", 1)

    @cached_property
    def _removals(self) -> dict[str, evicted.Removal]:
        return evicted.removals(self.store, self._code_key)

    def removal(self, seen: Sequence[tuple[Part, ...]]) -> str:
        """Return the verb and age of the removal of the result for these inputs, "" for none.

        For a step without any read-set left, the latest removal.
        """
        removals = self._removals
        keys = [memo.results_key(self._code_key, inputs).parts[-1] for inputs in seen]
        found = [removals[key] for key in keys if key in removals]
        if not seen and removals:
            found = list(removals.values())[-1:]
        if not found:
            return ""
        last = max(found, key=lambda each: each.at)
        return f"{last.by}, {span(max(0.0, time.time() - last.at))} ago"

    def of_other_code(self, seen: Sequence[tuple[Part, ...]]) -> Decision:
        gone = self.removal(seen)
        if gone:
            return Decision.miss(Reason.EVICTED, gone)
        inputs = seen[0] if seen else None
        near = self.earlier.nearest(inputs)
        if near is None:
            return Decision.miss(Reason.EVICTED if self._had_some else Reason.FIRST_RUN)
        reason = reason_of(near.differences) if near.differences else Reason.CODE_CHANGED
        return _compared(reason, near, inputs or ())


def _of_same_code(
    parents: InputDigests | None, before: ResultsBefore, seen: Sequence[tuple[Part, ...]]
) -> Decision:
    compared = [(before.earlier.nearest(inputs), inputs) for inputs in seen]
    known = [(near, inputs) for near, inputs in compared if near is not None]
    if not known:
        return Decision.miss(Reason.NEW_INPUT)
    near, inputs = min(known, key=lambda pair: len(pair[0].differences))
    if not near.differences and near.expires is not None and near.expires <= before.store.time():
        return _compared(Reason.EXPIRED, near, inputs, f"{near.origin} is older than its ttl")
    gone = before.removal(seen)
    if gone or not near.differences:
        return Decision.miss(Reason.EVICTED, gone, inputs=inputs)
    if {each.name for each in near.differences} <= {ITEM, PLACE}:
        return _of_item(parents, near, inputs)
    return _compared(reason_of(near.differences), near, inputs)


def _of_item(parents: InputDigests | None, near: Nearest, inputs: tuple[Part, ...]) -> Decision:
    """Return the decision on a task of a foreach that differs from another by its item alone.

    The item was changed if that of the nearest result is no longer in the list and has parts in
    common with it; otherwise it is new.
    """
    now = {part.name: part for part in inputs}
    was = {part.name: part for part in near.inputs}
    name = ITEM if ITEM in now else PLACE
    item, before = now[name], was.get(name)
    if name == ITEM and before is not None and equal_parts(before.outline, item.outline):
        is_there = parents is None or parents.has_item(before.digest, most=_MOST_ITEMS)
        if is_there is False:
            return _compared(Reason.INPUT_CHANGED, near, inputs)
    text = flat(item.outline, _LONGEST) or item.summary
    return _compared(Reason.NEW_INPUT, near, inputs, text if name == ITEM else f"index={text}")


def _compared(
    reason: Reason, near: Nearest, inputs: tuple[Part, ...], detail: str = ""
) -> Decision:
    return Decision.miss(
        reason,
        detail,
        inputs=inputs,
        differences=tuple(near.differences),
        nearest=near.origin,
        recorded=near.created,
    )
