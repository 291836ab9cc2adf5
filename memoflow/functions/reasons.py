"""Reasons: hit or miss of a call, and the differences from earlier ones."""

from __future__ import annotations

from memoflow.fingerprint import differences
from memoflow.functions import arguments
from memoflow.functions.call import Call
from memoflow.kinds.candidates import OutdatedEntry
from memoflow.kinds.decision import HIT, Decision, Reason, reason_of
from memoflow.kinds.memo import MemoEntry
from memoflow.kinds.nearest import EarlierResults

_MOST_SHOWN = 12  # differences


def decide(call: Call, found: MemoEntry | OutdatedEntry | None) -> Decision:
    """Return the decision on a call, given the result found for its arguments."""
    if isinstance(found, MemoEntry):
        return Decision.hit(found.origin, found.ref.created, found.run_time_s)
    if isinstance(found, OutdatedEntry):
        unlike = differences(found.entry.reads, found.now)
        return Decision.miss(
            reason_of(unlike), differences=tuple(unlike), nearest=found.entry.origin
        )
    place = call.place
    inputs = arguments.described(call.inputs, call.bound, place.mask)
    earlier = EarlierResults(place.store, call.code_key, call.code.parts, mask=place.mask)
    near = earlier.nearest(inputs)
    if near is None:
        return Decision.miss(Reason.FIRST_RUN)
    if not near.differences:
        return Decision.miss(Reason.EVICTED, inputs=inputs)
    return Decision.miss(
        reason_of(near.differences),
        inputs=inputs,
        differences=tuple(near.differences),
        nearest=near.origin,
        recorded=near.created,
    )


def explain_call(call: Call, found: MemoEntry | OutdatedEntry | None) -> str:
    """Return the decision in words: a line, and below it the differences, with diffs of code."""
    decision = decide(call, found)
    lines = [decision.log_line]
    if decision.nearest and decision.outcome != HIT:
        lines.append(f"compared with {decision.nearest}:")
    for each in decision.differences[:_MOST_SHOWN]:
        lines += [f"  {each}", *(f"    {line}" for line in each.diff.splitlines())]
    more = len(decision.differences) - _MOST_SHOWN
    return "\n".join([*lines, *([f"  and {more} more"] if more > 0 else [])])
