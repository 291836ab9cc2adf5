"""Naming: the entries that a name stands for, as people have it at hand."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence

from memoflow.catalog.decisions import decisions
from memoflow.catalog.listed import SHOWN_ID, Listed, listed
from memoflow.errors import BadKeyError, NotFoundError, UsageError
from memoflow.index import IndexEntry
from memoflow.kinds import retention
from memoflow.names import Key
from memoflow.store import Store

SHORTEST_ID = 4
_MOST_CANDIDATES = 20
_HEX = re.compile(r"[0-9a-f]+")
_TASK = re.compile(r"\w+/(?:\d+|(?:argo|sfn)-[^/]+)/\w+(?:/[^/]+)?")


class AmbiguousNameError(UsageError):
    """A name that matches several entries."""

    def __init__(self, text: str, found: Sequence[Listed]) -> None:
        lines = [f"  {each.id}  {each.key}" for each in found[:_MOST_CANDIDATES]]
        if len(found) > _MOST_CANDIDATES:
            lines.append(f"  and {len(found) - _MOST_CANDIDATES} more")
        named = "\n".join(lines)
        super().__init__(f"{text!r} matches {len(found)} entries; name one of them:\n{named}")


def matching(among: Collection[Listed], text: str) -> list[Listed]:
    """Return the entries that match a name.

    A name is a key, the beginning of an id or of a key, consecutive parts of keys, such as
    Flow/step, or module.function, in this order: the first kind with a match counts.
    """
    text = text.strip("/")
    is_id = len(text) >= SHORTEST_ID and _HEX.fullmatch(text)
    for fits in (
        lambda each: each.key == text,
        lambda each: is_id and each.ref.digest.hex.startswith(text),
        lambda each: each.key.startswith(f"{text}/"),
        lambda each: text and each.key.startswith(text),
        lambda each: text and f"/{text}/" in f"/{each.key}/",
        lambda each: each.kind == "memo" and text == f"{each.flow}.{each.step}",
    ):
        if found := [each for each in among if fits(each)]:
            return found
    return []


def one(store: Store, text: str) -> Listed:
    """Return the entry that matches a name; NotFoundError for none, AmbiguousNameError for many."""
    known = _by_key(store, text)
    if known is not None:
        return known
    found = _named(store, listed(store), text)
    if len(found) > 1:
        raise AmbiguousNameError(text, found)
    return found[0]


def some(store: Store, texts: Iterable[str], *, all_of_them: bool) -> list[Listed]:
    """Return the entries that match names, each once; one a name unless `all_of_them`."""
    among = listed(store)
    chosen: dict[str, Listed] = {}
    for text in texts:
        found = _named(store, among, text)
        if len(found) > 1 and not all_of_them:
            raise AmbiguousNameError(text, found)
        chosen.update((each.key, each) for each in found)
    return list(chosen.values())


def _named(store: Store, among: Collection[Listed], text: str) -> list[Listed]:
    """Return the entries that match a name, or the entry of a task; NotFoundError for none."""
    found = matching(among, text)
    if found:
        return found
    if not _TASK.fullmatch(text):
        raise NotFoundError(
            f"{store.backend} has no entry named {text!r}; list the entries with `memoflow ls`"
        )
    why, _, _ = decisions()
    key = why.result_key(text)
    of_task = None if key is None else _by_key(store, key)
    if of_task is None:
        raise NotFoundError(f"the task {text} has no entry in the store; ask `memoflow why {text}`")
    return [of_task]


def _by_key(store: Store, text: str) -> Listed | None:
    """Return the entry of a full key, without listing all others."""
    try:
        key = Key.parse(text)
    except (BadKeyError, UnicodeError):
        return None
    ref = store.lookup(key) if retention.is_entry(key) else None
    if ref is None:
        return None
    # Its own folder alone: that is a listing of one entry.
    remembered = store.index.entries(Key.of(*key.parts[:-1])).get(text)
    used = remembered.used if remembered is not None else ref.created
    return Listed(IndexEntry(ref, used), ref.digest.hex[:SHOWN_ID], text)
