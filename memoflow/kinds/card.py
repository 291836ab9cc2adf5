"""Cards: the cards of the task that computed a result, kept for as long as the result.

    card/<flow>/<step>/<scope>/results/<inputs>/<refs>/<n>   <name of its file>/<part>

The key is that of the result in `memo`, of another kind. A page that `@card` makes is a megabyte,
nearly all of it its program: in parts, that is stored once for all cards of all tasks.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Collection, Mapping

from memoflow.errors import IntegrityError, NotFoundError
from memoflow.names import Key
from memoflow.store import Payload, Store

KIND = "card"

# Of all cards of a task.
MOST_BYTES = 16 << 20

_MOST_PARTS = 100
_SCRIPT = re.compile(rb"(?=<script\b)|(?<=</script>)")


def key(result: Key) -> Key:
    """Return the key of the cards that belong to a result."""
    return Key.of(KIND, *result.parts[1:])


def keep(
    store: Store, result: Key, cards: Mapping[str, bytes], *, expires: float | None = None
) -> None:
    """Store cards by the names of their files, the smallest first, as many as are to be kept."""
    parts: dict[str, bytes] = {}
    left = MOST_BYTES
    for name, data in sorted(cards.items(), key=lambda item: len(item[1])):
        left -= len(data)
        if left < 0:
            break
        cut = _SCRIPT.split(data, maxsplit=_MOST_PARTS)
        parts |= {f"{name}/{i:03}": part for i, part in enumerate(cut) if part}
    if parts:
        store.save(key(result), Payload(files=parts), expires=expires, durable=False)


def give(store: Store, result: Key) -> dict[str, bytes]:
    """Return the cards kept with a result; none if there are none, or none that are whole."""
    ref = store.find(key(result))
    if ref is None:
        return {}
    parts: dict[str, list[bytes]] = defaultdict(list)
    try:
        manifest = store.manifest(ref)
        for file in sorted(manifest.files, key=lambda file: file.path):
            name, slash, part = file.path.rpartition("/")
            if slash and "/" not in name and part:
                parts[name].append(store.read_file(manifest, file.path))
    except (NotFoundError, IntegrityError):
        return {}
    store.touch(ref)
    return {name: b"".join(found) for name, found in parts.items()}


def orphans(store: Store, going: Collection[Key] = ()) -> list[Key]:
    """Return the keys of cards whose results are gone, or `going`."""
    kept = [each for each in store.keys(Key.of(KIND)) if each not in going]
    if not kept:
        return []
    there = set(store.keys(Key.of("memo"))).difference(going)
    return [each for each in kept if Key.of("memo", *each.parts[1:]) not in there]
