"""Housekeeping: tidying the store when a run ends, at most once an hour."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import timedelta
from typing import TYPE_CHECKING

from metaflow import metaflow_config

from memoflow import units

if TYPE_CHECKING:
    from memoflow.store import Store


def budget_bytes() -> int | None:
    """Return the budget of the store; RequestError if what is set for it is no size."""
    text = metaflow_config.MEMOFLOW_MAX_SIZE
    return units.size("METAFLOW_MEMOFLOW_MAX_SIZE", text) if text else None


def collect(store: Store, say: Callable[[str], None], referring: Iterable[Store] = ()) -> None:
    """Evict and sweep, at most once an hour however many runs end; see `upkeep.tidy`."""
    from memoflow.kinds import upkeep  # Here, since tasks import this and never tidy.

    if not store.housekeeping_due(timedelta(hours=1)):
        return
    evicted, _ = upkeep.tidy(store, max_size_bytes=budget_bytes(), referring=referring)
    count = sum(upkeep.is_entry(ref.key) for ref in evicted.refs)
    if count:
        say(f"evicted {count} {'entry' if count == 1 else 'entries'}")
