"""Upkeep: what may be removed of all kinds, and removing it."""

from __future__ import annotations

from datetime import timedelta

from memoflow.kinds import checkpoint, memo
from memoflow.names import Key
from memoflow.store import Evicted, Store, Swept


def protected(store: Store) -> set[Key]:
    """Return what no rule removes: the newest of each series, and what live memos refer to."""
    return checkpoint.newest(store) | set(map(Key.parse, memo.references(store)))


def tidy(
    store: Store,
    *,
    older_than: timedelta | None = None,
    max_size_bytes: int | None = None,
    keep_newer: timedelta = timedelta(hours=1),
    now: bool = False,
    dry_run: bool = False,
) -> tuple[Evicted, Swept]:
    """Evict by the rules, forget what led only there, and sweep; see `Store.evict` and `sweep`."""
    evicted = store.evict(
        older_than=older_than,
        max_size_bytes=max_size_bytes,
        keep=protected(store),
        dry_run=dry_run,
    )
    if not dry_run:
        memo.prune(store)
    return evicted, store.sweep(keep_newer=keep_newer, now=now, dry_run=dry_run)


def is_entry(key: Key) -> bool:
    """Tell whether a key is of something people saved; others only help to find or explain it."""
    return memo.is_result(key) or checkpoint.is_save(key) or key.kind in ("model", "hub")
