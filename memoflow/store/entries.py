"""Entries: all refs of a store at once, for people who look at it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import Any

from memoflow.errors import MemoflowError
from memoflow.index import IndexEntry
from memoflow.names import Key, Ref
from memoflow.progress import each
from memoflow.store.refs.ref_file import FOLDER, parsed_key
from memoflow.store.store import Store


def entries(store: Store) -> dict[str, IndexEntry]:
    """Return all entries by key, in order, each with its last use on this machine.

    The backend is listed once, and the index says the rest; only refs that this machine has never
    seen are read, in bulk where asking takes a while. Damaged ones are left out, with a warning.
    """
    known = store.index.entries()
    found: dict[str, IndexEntry] = {}
    unknown: dict[str, Key] = {}
    # By their texts: to make a key of each takes longer than to list them.
    for file in store.backend.list(FOLDER):
        text = file.name[len(FOLDER) + 1 :]
        entry = known.get(text)
        if entry is not None:
            found[text] = entry
            continue
        key = parsed_key(text)
        if key is not None:  # Else it is a file that a person left here.
            unknown[text] = key
    for kind in {key.kind for key in unknown.values()}:
        store.remembered.prefetch(Key.of(kind))
    for text, key in each(unknown.items(), "Reading references"):
        ref = store.lookup(key)
        if ref is not None:
            found[text] = IndexEntry(ref, ref.created)  # In use elsewhere perhaps, never here.
    return {text: found[text] for text in sorted(found)}


def metas_at_hand(store: Store, refs: Iterable[Ref]) -> Iterator[tuple[Ref, dict[str, Any]]]:
    """Yield those of the refs whose `meta` can be read without a request, each with its `meta`.

    On a disk these are all but damaged ones; elsewhere those of which a bundle was read before.
    """
    for ref in refs:
        with suppress(MemoflowError):
            if not store.backend.takes_round_trips:
                yield ref, store.meta(ref)
            elif (stored := store.remembered.copied(ref)) is not None and stored.meta is not None:
                yield ref, stored.meta
