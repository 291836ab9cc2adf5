"""Grouping: one name for the same read of each of the first objects in a listing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from memoflow.flow.memo.client_digests import Seen, of_many
from memoflow.flow.memo.client_names import Name, Segment


def grouped(reads: Mapping[Name, Seen]) -> Iterator[tuple[Name, Seen]]:
    """Yield the reads, with one for those that differ in their places alone.

    So that a step which walks over 1,000 runs has read one thing, and not thousands. Only places
    from the first on, without a gap: so a loop that ends early is grouped as well.
    """
    left = dict(reads)
    deepest = max((len(name.segments) for name in left), default=0)
    for at in reversed(range(deepest)):
        left = _grouped_at(at, left)
    yield from left.items()


def _grouped_at(at: int, reads: Mapping[Name, Seen]) -> dict[Name, Seen]:
    kept: dict[Name, Seen] = {}
    alike: dict[tuple[Name, tuple[Segment, ...]], dict[int, Seen]] = {}
    for name, seen in reads.items():
        if len(name.segments) > at and name.segments[at][0] == "index":
            before = Name(name.segments[:at], name.namespace, name.metadata, name.exists)
            alike.setdefault((before, name.segments[at + 1 :]), {})[name.segments[at][1]] = seen
        else:
            kept[name] = seen
    for (before, rest), places in alike.items():
        first = 0
        while first in places:
            first += 1
        if first > 1:
            kept[_between(before, ("first", first), rest)] = of_many(
                places.pop(place) for place in range(first)
            )
        for place, seen in places.items():
            kept[_between(before, ("index", place), rest)] = seen
    return kept


def _between(before: Name, segment: Segment, rest: tuple[Segment, ...]) -> Name:
    segments = (*before.segments, segment, *rest)
    return Name(segments, before.namespace, before.metadata, before.exists)
