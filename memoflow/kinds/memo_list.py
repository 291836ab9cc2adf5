"""Memo lists: many results at once, for people who look at them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from memoflow.errors import IntegrityError, NotFoundError
from memoflow.fingerprint import Part
from memoflow.kinds import memo
from memoflow.kinds.memo import MemoEntry
from memoflow.log import log
from memoflow.names import Ref
from memoflow.store import Store
from memoflow.units import iso


def read_results(store: Store, refs: Iterable[Ref]) -> Iterator[MemoEntry]:
    """Yield the results behind refs; gone and damaged ones are left out, with a warning."""
    for ref in refs:
        if None in (iso(ref.created), iso(ref.expires or 0.0)):
            log.warning("[memoize] left out: %s has a time that no calendar has", ref.key)
            continue
        try:
            yield memo.read(store, ref)
        except (NotFoundError, IntegrityError) as error:
            log.warning("[memoize] left out: %s", error)


def input_name(part: Part) -> str:
    """Return the name of an input, told apart from a value of a config that has the same."""
    return f"config {part.name}" if part.kind == "config" else part.name
