"""Entries: all refs of a store at once, for people who look at it."""

from __future__ import annotations

from memoflow.index import IndexEntry
from memoflow.names import Key
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
    for text, key in unknown.items():
        ref = store.lookup(key)
        if ref is not None:
            found[text] = IndexEntry(ref, ref.created)  # In use elsewhere perhaps, never here.
    return {text: found[text] for text in sorted(found)}
