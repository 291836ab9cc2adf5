"""Evicted: removals of results that this machine knows of, as the reason for later misses.

One fact of the index for each scope, with its latest removals. The index may forget them, and
another machine never knew: then a miss is explained without.
"""

from __future__ import annotations

import json
import time
from collections import defaultdict
from collections.abc import Iterable
from typing import NamedTuple

from memoflow.kinds import memo
from memoflow.names import Key
from memoflow.store import Store

_MOST = 256  # of each scope


class Removal(NamedTuple):
    """The verb that removed a result, and the time in Unix seconds."""

    by: str
    at: float


def note(store: Store, keys: Iterable[Key], by: str) -> None:
    """Remember that results were removed just now; keys of anything else do not count."""
    removed: dict[Key, list[str]] = defaultdict(list)
    for key in keys:
        if memo.is_result(key) and len(key.parts) > 5:
            removed[memo.scope_of(key)].append(key.parts[5])
    now = round(time.time())
    known = store.index.get([_fact(scope) for scope in removed])
    facts = {}
    for scope, inputs in removed.items():
        kept = _parsed(known.get(_fact(scope)))
        for each in inputs:
            kept.pop(each, None)
            kept[each] = Removal(by, now)
        facts[_fact(scope)] = json.dumps(dict(list(kept.items())[-_MOST:]))
    store.index.set(facts)


def removals(store: Store, scope: Key) -> dict[str, Removal]:
    """Return the removals in a scope, by the hex of the inputs in the key, latest last."""
    return _parsed(store.index.get([_fact(scope)]).get(_fact(scope)))


def _fact(scope: Key) -> str:
    return f"evicted:{scope}"


def _parsed(text: str | None) -> dict[str, Removal]:
    try:
        found = json.loads(text or "{}")
        return {inputs: Removal(str(by), float(at)) for inputs, (by, at) in found.items()}
    except (ValueError, TypeError, AttributeError):
        return {}  # Only the index, which may hold anything.
