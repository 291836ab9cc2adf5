"""Retention: the entries of all kinds that may be removed, and their removal."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from contextlib import suppress
from datetime import timedelta
from functools import cache, partial

from memoflow.errors import BackendError
from memoflow.kinds import card, checkpoint, hub, memo, model
from memoflow.kinds import evicted as evicted_memos
from memoflow.names import Key, Ref
from memoflow.store import Store
from memoflow.store.gc.eviction import Evicted, Tier
from memoflow.store.gc.sweeping import Swept
from memoflow.units import readable

KINDS = ("memo", checkpoint.KIND, model.KIND, hub.KIND)
# What can be computed or downloaded again: all that an age or a budget takes unless told to.
RECOVERABLE = ("memo", hub.KIND)


def kind_of(key: Key) -> str:
    """Return the kind of entry that a key is of or belongs to: a card is of its result."""
    return "memo" if key.kind == card.KIND else key.kind


def protected(store: Store, referring: Iterable[Store] = ()) -> set[Key]:
    """Return the keys that no rule removes: tasks resume from them or live memos name them.

    Those of the store itself and of `referring`: a flow may keep its results in another store than
    its checkpoints. And what revisions of the Hub stood for, where that leads to a snapshot.
    """
    kept = checkpoint.newest(store) | hub.standing(store)
    for each in {store, *referring}:
        kept |= memo.keys_of(memo.references(each))
    return kept


def tidy(
    store: Store,
    *,
    older_than: timedelta | None = None,
    max_size_bytes: int | None = None,
    kinds: Collection[str] = RECOVERABLE,
    keep_newer: timedelta = timedelta(hours=1),
    now: bool = False,
    leftovers: bool = False,
    dry_run: bool = False,
    among: Collection[Key] | None = None,
    referring: Iterable[Store] = (),
) -> tuple[Evicted, Swept]:
    """Evict by the rules, remove orphaned notes, and sweep; see `Store.evict` and `Store.sweep`.

    An age and a budget take refs of these `kinds` alone; `among` are the refs that somebody agreed
    to, None all. A dry run tells what would go, to the byte, and writes nothing.
    """
    tiers = _tiers(store, referring, kinds, among)
    evicted = store.evict(
        older_than=older_than, max_size_bytes=max_size_bytes, tiers=tiers, dry_run=dry_run
    )
    going = {ref.key for ref in evicted.refs}
    going.update(memo.orphans(store, going))
    going.update(card.orphans(store, going))
    if not dry_run:
        evicted_memos.note(store, (ref.key for ref in evicted.refs), "gc")
        for key in going.difference(ref.key for ref in evicted.refs):
            store.forget(key)
    swept = store.sweep(
        keep_newer=keep_newer, now=now, leftovers=leftovers, dry_run=dry_run, without=going
    )
    if not dry_run:
        with suppress(BackendError):  # They stay as they are: many, and as good.
            store.merge_uses()
    return evicted, swept


def _tiers(
    store: Store,
    referring: Iterable[Store],
    kinds: Collection[str],
    among: Collection[Key] | None,
) -> list[Tier]:
    """Return the order of eviction: models and checkpoints after the results that name them."""
    by_result = cache(lambda: [memo.references_by_result(each) for each in {store, *referring}])
    standing, newest = cache(lambda: hub.standing(store)), cache(lambda: checkpoint.newest(store))

    def referred(going: Collection[Key] = ()) -> set[Key]:
        return {
            key
            for noted in by_result()
            for result, texts in noted.items()
            if result not in going
            for key in memo.keys_of(texts)
        }

    def is_named(key: Key) -> bool:
        return kind_of(key) in kinds

    def holds(recoverable: bool, key: Key) -> bool:
        is_of_it = (kind_of(key) in RECOVERABLE) == recoverable
        return is_of_it and (among is None or key in among)

    return [
        Tier(partial(holds, True), is_named, lambda _: referred() | standing()),
        Tier(partial(holds, False), is_named, lambda going: referred(going) | newest()),
    ]


def unreached(evicted: Evicted, max_size_bytes: int | None) -> str:
    """Return a line on a budget that protected kinds keep from being reached; or ""."""
    kinds = [kind for kind in evicted.spared_kinds if kind in KINDS]
    if max_size_bytes is None or not evicted.over_bytes or not kinds:
        return ""
    named = " ".join(f"--kind {kind}" for kind in kinds)
    names = " and ".join({"hub": "snapshots"}.get(kind, f"{kind}s") for kind in kinds)
    return (
        f"the store stays {readable(evicted.over_bytes)} above its budget of "
        f"{readable(max_size_bytes)}: {names} take {readable(evicted.spared_bytes)} and go only "
        f"when named (memoflow gc {named} --max-size SIZE)"
    )


def entries_of(evicted: Evicted) -> tuple[list[Ref], list[str]]:
    """Return the evicted entries, without notes beside them, and the reason for each."""
    pairs = zip(evicted.refs, evicted.reasons, strict=True)
    going = [(ref, reason) for ref, reason in pairs if is_entry(ref.key)]
    return [ref for ref, _ in going], [reason for _, reason in going]


def is_entry(key: Key) -> bool:
    """Return whether a key is of an entry that people saved, not of a note beside it."""
    is_save = checkpoint.is_save(key) or key.kind == model.KIND or hub.is_snapshot(key)
    return is_save or memo.is_result(key)
