"""The end of a run: one line with hits, misses and time saved, then maintenance."""

from __future__ import annotations

import time

from memoflow.errors import MemoflowError
from memoflow.flow.memo import last_misses
from memoflow.flow.memo.context import Session
from memoflow.units import span


def show(session: Session, run_id: str) -> None:
    """Print hits, misses and time saved of a run, once, then collect garbage."""
    context, log = session.context, session.log
    if log.ended:
        return
    log.ended = True
    if "cards" in vars(context) and context.cards is not None:
        context.cards.wait()
    store = context.store
    if store is None:
        return
    flow = context.flow_datastore.flow_name
    now = time.time()
    store.index.record_outcomes([(*hit[:4], True, hit[4], now) for hit in log.hits])
    last_misses.keep(store.index, flow, log.missed)
    # The workers' decisions, where the scheduler could not decide, are in the index.
    saved_s = {hit[3]: hit[4] for hit in log.hits}
    missed = set(log.misses)
    for outcome in store.index.outcomes(flow, run_id):
        if outcome.hit:
            saved_s[outcome.task] = outcome.saved_s
        else:
            missed.add(outcome.task)
    missed -= saved_s.keys()  # Missed by the scheduler, found by the worker after it had waited.
    if saved_s or missed:
        hits = f"{len(saved_s)} hit{'s' * (len(saved_s) != 1)}"
        misses = f"{len(missed)} miss{'es' * (len(missed) != 1)}"
        saved = f", {span(sum(saved_s.values()))} saved" if saved_s else ""
        context.say(f"{hits}, {misses}{saved}")
    try:
        if missed:
            session.prefetch.leave_bundles()
        context.collect()
    except (MemoflowError, OSError) as error:
        context.say(f"maintenance failed: {error}")
