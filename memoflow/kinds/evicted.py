"""Evicted: removals of results that this machine knows of, as the reason for later misses.

One fact of the index for each code key, with its latest removals. The index may forget them, and
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

_MOST = 256  # of each code key


class Removal(NamedTuple):
    """The verb that removed a result, and the time in Unix seconds."""

    by: str
    at: float


def note(store: Store, keys: Iterable[Key], by: str) -> None:
    """Remember that results were removed just now; keys of anything else do not count."""
    removed: dict[Key, list[str]] = defaultdict(list)
    for key in keys:
        if memo.is_result(key) and len(key.parts) > 5:
            removed[memo.code_key_of(key)].append(key.parts[5])
    now = round(time.time())
    known = store.index.get([_fact(code_key) for code_key in removed])
    facts = {}
    for code_key, inputs in removed.items():
        kept = _parsed(known.get(_fact(code_key)))
        for each in inputs:
            kept.pop(each, None)
            kept[each] = Removal(by, now)
        facts[_fact(code_key)] = json.dumps(dict(list(kept.items())[-_MOST:]))
    store.index.set(facts)


def removals(store: Store, code_key: Key) -> dict[str, Removal]:
    """Return the removals under a code key, by the hex of the inputs in the key, latest last."""
    return _parsed(store.index.get([_fact(code_key)]).get(_fact(code_key)))


def _fact(code_key: Key) -> str:
    return f"evicted:{code_key}"


def _parsed(text: str | None) -> dict[str, Removal]:
    try:
        found = json.loads(text or "{}")
        return {inputs: Removal(str(by), float(at)) for inputs, (by, at) in found.items()}
    except (ValueError, TypeError, AttributeError):
        return {}  # Only the index, which may hold anything.
