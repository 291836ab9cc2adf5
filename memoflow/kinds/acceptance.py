"""Acceptance: results of earlier code that a person binds to the code as it is now.

A bound result is a ref below the new code key, to the same manifest, with the note `accepted` in
its description. It is used, evicted and verified like any other, and expires when the original
does.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from typing import Any

from memoflow.dataclass import dataclass
from memoflow.errors import IntegrityError, NotFoundError, UnsignedError
from memoflow.fields import Fields
from memoflow.fingerprint import Part, of_references
from memoflow.kinds import card, kept_code, memo
from memoflow.masking import ANY, Mask
from memoflow.names import Digest, Key, Ref
from memoflow.store import Payload, Store
from memoflow.units import age, moment

NOTE = "accepted"  # in the description of a result
_FIRST = "00000001"  # of a series


@dataclass(frozen=True)
class Acceptance:
    """The note on a bound result: person, host, time, reason, and number of verified tasks."""

    id: str
    by: str
    host: str
    when: float
    why: str
    code: str  # the code key under which the result was recorded, in hex
    verified: int  # tasks that ran anew and left the same

    @classmethod
    def of(cls, old: Key, new: Key, *, by: str, why: str, verified: int, when: float) -> Acceptance:
        """Return the note for results of one code key that another is to have."""
        return cls(id_of(old, new), by, _host(), when, why, old.parts[-1], verified)

    @classmethod
    def parse(cls, meta: Mapping[str, Any]) -> Acceptance | None:
        """Return the note in a description; None if there is none that can be read."""
        with suppress(ValueError, TypeError, KeyError, AttributeError):
            if NOTE not in meta:
                return None
            fields = Fields(Fields(meta).mapping(NOTE))
            texts = {
                name: fields.text(name, "", is_free=True)
                for name in ("id", "by", "host", "why", "code")
            }
            return cls(when=fields.number("when"), verified=fields.whole("verified"), **texts)
        return None

    def to_json(self) -> dict[str, Any]:
        return dict(vars(self))

    @property
    def line(self) -> str:
        """The person and the time, in few words."""
        since = age(max(0.0, time.time() - self.when))
        return f"accepted by {self.by or 'somebody'} {since} ago"

    @property
    def details(self) -> str:
        """All of the note, in words."""
        why = f": {self.why}" if self.why else ""
        return (
            f"by {self.by or 'somebody'} on {self.host} at {moment(self.when)}, "
            f"{self.verified} verified{why}"
        )


def id_of(old: Key, new: Key) -> str:
    """Return the id of the acceptance of a code key's results for another: always the same."""
    return Digest.of(f"{old} {new}".encode()).hex[:8]


def newest(store: Store, code_key: Key, *, bound: bool = True) -> list[Ref]:
    """Return the newest result of each series below a code key, with bound ones or without."""
    found: dict[Key, Ref] = {}
    for ref, meta in store.metas(code_key / memo.RESULTS, wanted=memo.is_result):
        series = Key(ref.key.parts[:-1])
        known = found.get(series)
        if (bound or NOTE not in meta) and (known is None or str(known.key) < str(ref.key)):
            found[series] = ref
    return [found[series] for series in sorted(found, key=str)]


def series_of(ref: Ref, code_key: Key) -> Key:
    """Return the series that a result would be in under another code key."""
    return Key((*code_key.parts, *ref.key.parts[4:-1]))


def is_outdated(entry: memo.MemoEntry, mask: Mask = ANY) -> bool:
    """Tell whether the classes of a result's inputs are not as they were, so it is never found."""
    folder = entry.ref.key.parts[-2].partition(".")[0]
    return of_references(entry.refs, mask=mask).hex != folder


def prepare(store: Store, old: Key, new: Key, parts: Iterable[Part]) -> None:
    """Write the notes by which results below a code key are found: its code and its read-sets."""
    kept_code.keep(store, new / memo.CODE, parts)
    for note in (memo.READ_SETS, memo.REFERENCES):
        for key in store.keys(old / note):
            ref = store.find(key)
            target = Key((*new.parts, *key.parts[4:]))
            if ref is None or store.find(target) is not None:
                continue
            if note == memo.READ_SETS:
                store.save(target, Payload(), meta=store.meta(ref), durable=False)
            else:
                store.binding.bind(target, ref, store.meta(ref))


def bind(store: Store, ref: Ref, new: Key, note: Acceptance) -> bool:
    """Bind a result to a code key; False if it has one of its own there, or if it is gone."""
    series = series_of(ref, new)
    if store.latest(series) is not None:
        return False
    try:
        meta = {**store.meta(ref), NOTE: note.to_json()}
        bound = store.binding.bind(series / _FIRST, ref, meta)
    except (NotFoundError, IntegrityError, UnsignedError):
        return False
    if bound is None:
        return False
    cards = store.find(card.key(ref.key))
    if cards is not None:
        with suppress(NotFoundError, IntegrityError):
            store.binding.bind(card.key(bound.key), cards, store.meta(cards))
    return True


def bound(store: Store, prefix: Key) -> Iterator[tuple[Ref, Acceptance]]:
    """Yield the bound results below a key, each with its note."""
    for ref, meta in store.metas(prefix, wanted=memo.is_result):
        note = Acceptance.parse(meta)
        if note is not None:
            yield ref, note


def undo(store: Store, refs: Iterable[Ref]) -> int:
    """Remove bound results, but not those recorded in their place since; return their number."""
    count = 0
    for ref in refs:
        there = store.lookup(ref.key)
        if there is not None and there.digest == ref.digest:
            store.forget(ref.key)
            store.forget(card.key(ref.key))
            count += 1
    return count


def _host() -> str:
    return socket.gethostname().partition(".")[0]
