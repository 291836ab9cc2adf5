"""Upkeep: what may be removed of all kinds, and removing it."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from datetime import timedelta
from functools import partial

from memoflow.errors import BadKeyError
from memoflow.kinds import card, checkpoint, hub, memo, model
from memoflow.kinds import evicted as evicted_memos
from memoflow.names import Key
from memoflow.store import Store
from memoflow.store.eviction import Evicted
from memoflow.store.sweeping import Swept


def protected(store: Store, referring: Iterable[Store] = ()) -> set[Key]:
    """Return what no rule removes: what tasks may resume from, and what live memos refer to.

    Those of the store itself and of `referring`: a flow may keep its results in another store than
    its checkpoints. And what revisions of the Hub stood for, where that leads to a snapshot.
    """
    kept = checkpoint.newest(store) | hub.standing(store)
    for text in {text for each in {store, *referring} for text in memo.references(each)}:
        with suppress(BadKeyError, UnicodeDecodeError):  # Nothing is called so.
            kept.add(Key.parse(text))
    return kept


def tidy(
    store: Store,
    *,
    older_than: timedelta | None = None,
    max_size_bytes: int | None = None,
    keep_newer: timedelta = timedelta(hours=1),
    now: bool = False,
    leftovers: bool = False,
    dry_run: bool = False,
    referring: Iterable[Store] = (),
) -> tuple[Evicted, Swept]:
    """Evict by the rules, forget what led only there, and sweep; see `Store.evict` and `sweep`."""
    evicted = store.evict(
        older_than=older_than,
        max_size_bytes=max_size_bytes,
        keep=partial(protected, store, referring),
        dry_run=dry_run,
    )
    if not dry_run:
        evicted_memos.note(store, (ref.key for ref in evicted.refs), "gc")
        memo.prune(store)
        card.prune(store)
    swept = store.sweep(keep_newer=keep_newer, now=now, leftovers=leftovers, dry_run=dry_run)
    return evicted, swept


def is_entry(key: Key) -> bool:
    """Tell whether a key is of something people saved; others only help to find or explain it."""
    is_save = checkpoint.is_save(key) or key.kind == model.KIND or hub.is_snapshot(key)
    return is_save or memo.is_result(key)
