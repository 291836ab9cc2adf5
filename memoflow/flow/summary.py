"""The end of a run: one line of what was saved, then housekeeping."""

from __future__ import annotations

import time

from memoflow.errors import MemoflowError
from memoflow.flow.session import Session, span


def show(session: Session, run_id: str) -> None:
    """Say what the run's memoized steps came to, once a run, and collect garbage."""
    hits, misses = session.hits, session.misses
    session.hits, session.misses = type(hits)(), type(misses)()
    store = session.store
    if store is None:
        return
    flow = session.flow_datastore.flow_name
    decided_late = [one for one in store.index.outcomes(flow, run_id) if one.hit]
    total_hits = hits.total() + len(decided_late)
    # A worker that found a hit itself was counted as neither by the scheduler.
    saved_s = session.saved_s + sum(one.saved_s for one in decided_late)
    if total_hits or misses.total():
        session.say(
            f"{total_hits} hit{'s' * (total_hits != 1)}, {misses.total()} "
            f"miss{'es' * (misses.total() != 1)}, {span(saved_s)} saved"
        )
    store.index.record_outcomes(
        [(flow, run_id, step, "", True, 0.0, time.time()) for step in ()]
    )
    try:
        session.collect()
    except (MemoflowError, OSError) as error:
        session.say(f"housekeeping failed: {error}")
