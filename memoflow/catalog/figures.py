"""Figures: hits, time saved, and the sizes of a store by kind and flow."""

from __future__ import annotations

from collections.abc import Iterable

from memoflow.catalog.listed import Listed, of_entries
from memoflow.dataclass import dataclass
from memoflow.index import Tally
from memoflow.names import Ref
from memoflow.store import Store
from memoflow.store.entries import entries

MOST_SHOWN = 5


@dataclass(frozen=True)
class Held:
    """The sizes of entries of one kind or flow.

    `new_bytes` were not in the store before the saves: their share of the stored bytes.
    """

    name: str
    entries: int
    size_bytes: int
    new_bytes: int


@dataclass(frozen=True)
class Stats:
    """A store in figures.

    `others` are the auxiliary references beside the `entries`; `stored_bytes` is the size of all
    blobs, each counted once.
    """

    entries: list[Listed]
    others: list[Ref]
    tallies: list[Tally]
    stored_bytes: int

    @property
    def size_bytes(self) -> int:
        """The total size of a load of each entry."""
        return sum(each.ref.size_bytes for each in self.entries) + sum(
            ref.size_bytes for ref in self.others
        )

    @property
    def hits(self) -> int:
        """The number of hits on this machine."""
        return sum(each.hits for each in self.tallies)

    @property
    def misses(self) -> int:
        """The number of misses on this machine."""
        return sum(each.misses for each in self.tallies)

    @property
    def saved_s(self) -> float:
        """The run time of the results that were hit, in seconds."""
        return sum(each.saved_s for each in self.tallies)

    @property
    def deduplication(self) -> float | None:
        """The size of all loads by the stored size; None for an empty store."""
        return self.size_bytes / self.stored_bytes if self.stored_bytes else None

    @property
    def by_kind(self) -> list[Held]:
        """The sizes of the entries of each kind."""
        entries = [(each.kind, each.ref) for each in self.entries]
        return held([*entries, *(("(notes)", ref) for ref in self.others)])

    @property
    def by_flow(self) -> list[Held]:
        """The sizes of the entries of each flow."""
        return held((each.flow, each.ref) for each in self.entries)

    @property
    def hottest(self) -> list[Listed]:
        """The most recently used entries, latest first."""
        return sorted(self.entries, key=lambda each: -each.entry.used)[:MOST_SHOWN]

    @property
    def coldest(self) -> list[Listed]:
        """The least recently used entries, which a budget evicts first."""
        return sorted(self.entries, key=lambda each: each.entry.used)[:MOST_SHOWN]


def collect(store: Store, *, since: float = 0.0) -> Stats:
    """Return a store's figures, with the hits of this machine since a moment."""
    stored_bytes = sum(file.size_bytes for file in store.backend.list("blobs"))
    everything = entries(store)
    found = of_entries(everything)
    others = everything.keys() - {each.key for each in found}
    notes = [everything[key].ref for key in others]
    return Stats(found, notes, store.index.tally(since), stored_bytes)


def held(named: Iterable[tuple[str, Ref]]) -> list[Held]:
    """Return the sizes of references by the name that each has here, in order of names."""
    by_name: dict[str, list[Ref]] = {}
    for name, ref in named:
        by_name.setdefault(name, []).append(ref)
    return [
        Held(name, len(refs), sum(ref.size_bytes for ref in refs), sum(r.new_bytes for r in refs))
        for name, refs in sorted(by_name.items())
    ]
