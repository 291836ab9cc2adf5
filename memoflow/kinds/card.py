"""Cards: what the task that computed a result showed of itself, kept for as long as the result.

    card/<flow>/<step>/<scope>/results/<inputs>/<refs>/<n>   the files, by name

The key is that of the result in `memo`, of another kind.
"""

from __future__ import annotations

from collections.abc import Mapping

from memoflow.errors import IntegrityError, NotFoundError
from memoflow.names import Key
from memoflow.store import Payload, Store

KIND = "card"

# Of all cards of a task. They are pages of one megabyte, mostly the program that draws them.
MOST_BYTES = 5 << 20


def key(result: Key) -> Key:
    """Return the key of the cards that belong to a result."""
    return Key.of(KIND, *result.parts[1:])


def keep(
    store: Store, result: Key, cards: Mapping[str, bytes], *, expires: float | None = None
) -> None:
    """Store cards by the names of their files, unless they are too large together."""
    if cards and sum(map(len, cards.values())) <= MOST_BYTES:
        store.save(key(result), Payload(files=cards), expires=expires, durable=False)


def give(store: Store, result: Key) -> dict[str, bytes]:
    """Return the cards kept with a result; none if there are none, or none that are whole."""
    ref = store.find(key(result))
    if ref is None:
        return {}
    try:
        manifest = store.manifest(ref)
        found = {file.path: store.read_file(manifest, file.path) for file in manifest.files}
    except (NotFoundError, IntegrityError):
        return {}
    store.touch(ref)
    return {name: data for name, data in found.items() if "/" not in name}


def prune(store: Store) -> int:
    """Forget the cards whose results are gone; return of how many."""
    kept = store.keys(Key.of(KIND))
    if not kept:
        return 0
    there = set(store.keys(Key.of("memo")))
    orphans = [each for each in kept if Key.of("memo", *each.parts[1:]) not in there]
    for orphan in orphans:
        store.forget(orphan)
    return len(orphans)
