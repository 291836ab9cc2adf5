"""Maintenance: noting uses when a run ends and collecting garbage once an hour at most."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from datetime import timedelta
from functools import cache
from typing import TYPE_CHECKING

from metaflow import metaflow_config

from memoflow import units
from memoflow.errors import UsageError
from memoflow.log import WARNING, Say

if TYPE_CHECKING:
    from memoflow.store import Store


def collect(store: Store, say: Say, referring: Iterable[Store] = ()) -> None:
    """Note uses, then evict and sweep unless a run did within the hour.

    Nothing is removed while the budget that is set for the store cannot be understood: whoever set
    it wants something else. That is said once a process.
    """
    from memoflow.kinds import retention  # Here, since tasks import this and never tidy.

    _note_uses(store)
    text = metaflow_config.MEMOFLOW_MAX_SIZE
    try:
        budget = units.size("METAFLOW_MEMOFLOW_MAX_SIZE", text) if text else None
    except UsageError as error:
        line = f"nothing is evicted: {error}"
        if line not in _said:  # Each decorator tidies up after a run.
            _said.add(line)
            say(line, WARNING)
        return
    if not store.housekeeping_due(timedelta(hours=1)):
        return
    evicted, swept = retention.tidy(store, max_size_bytes=budget, referring=referring)
    kinds = Counter(ref.key.kind for ref in evicted.refs if retention.is_entry(ref.key))
    if kinds:
        named = ", ".join(f"{count} {kind}" for kind, count in sorted(kinds.items()))
        say(f"evicted {named}; freed {units.readable(swept.size_bytes)}")
    if line := retention.unreached(evicted, budget):
        say(line, WARNING)


@cache
def _note_uses(store: Store) -> None:
    """Note the entries that this machine has used, once a process."""
    store.note_uses()


_said: set[str] = set()
