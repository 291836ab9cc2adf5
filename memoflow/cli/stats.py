"""stats: time saved by hits, and the sizes of the store."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import click

from memoflow.cli.listing import SHORT_COLUMNS, Listed, of_entries
from memoflow.cli.table import show_facts, show_table
from memoflow.cli.verb import Answer, CommandContext, Verb
from memoflow.dataclass import dataclass
from memoflow.index import Tally
from memoflow.names import Ref
from memoflow.store import Store
from memoflow.store.entries import entries
from memoflow.units import readable, span

_MOST = 5


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
        return sum(each.hits for each in self.tallies)

    @property
    def misses(self) -> int:
        return sum(each.misses for each in self.tallies)

    @property
    def saved_s(self) -> float:
        return sum(each.saved_s for each in self.tallies)

    @property
    def deduplication(self) -> float | None:
        """The size of all loads by the stored size; None for an empty store."""
        return self.size_bytes / self.stored_bytes if self.stored_bytes else None

    @property
    def by_kind(self) -> list[Held]:
        entries = [(each.kind, each.ref) for each in self.entries]
        return held([*entries, *(("(notes)", ref) for ref in self.others)])

    @property
    def by_flow(self) -> list[Held]:
        return held((each.flow, each.ref) for each in self.entries)

    @property
    def hottest(self) -> list[Listed]:
        """The most recently used entries, latest first."""
        return sorted(self.entries, key=lambda each: -each.entry.used)[:_MOST]

    @property
    def coldest(self) -> list[Listed]:
        """The least recently used entries, which a budget evicts first."""
        return sorted(self.entries, key=lambda each: each.entry.used)[:_MOST]


def collect(store: Store) -> Stats:
    """Return a store's figures, with the hits of this machine."""
    stored_bytes = sum(file.size_bytes for file in store.backend.list("blobs"))
    everything = entries(store)
    found = of_entries(everything)
    others = everything.keys() - {each.key for each in found}
    notes = [everything[key].ref for key in others]
    return Stats(found, notes, store.index.tally(), stored_bytes)


_HELD = "objects of name, entries, size_bytes and new_bytes"


@click.command(
    cls=Verb,
    fields={
        "hits, misses": "hits and misses of memoized tasks on this machine",
        "saved_s": "run time of the results that were hit, in seconds",
        "steps": "objects of flow, step, hits, misses and saved_s",
        "entries": "number of entries",
        "size_bytes": "total size of the entries when loaded",
        "stored_bytes": "size of the store, without references",
        "deduplication": "size_bytes by stored_bytes; null for an empty store",
        "kinds, flows": f"{_HELD}; the kind `(notes)` has auxiliary references, a flow without a "
        "name the entries that all flows share",
        "hottest, coldest": f"the {_MOST} most and least recently used entries, each as `entries` "
        "of `ls`",
    },
    examples=("memoflow stats", "memoflow stats --json"),
)
@click.pass_obj
def stats(asked: CommandContext) -> Answer:
    """Show time saved by hits, and the size of the store by kind and flow.

    Hits, misses and uses are those of this machine. On the same disk, results share their bytes
    with Metaflow's own files.
    """
    figures = collect(asked.store)

    def data() -> dict[str, Any]:
        return {
            "hits": figures.hits,
            "misses": figures.misses,
            "saved_s": figures.saved_s,
            "steps": [
                {name: value for name, value in each._asdict().items() if name != "last"}
                for each in figures.tallies
            ],
            "entries": len(figures.entries),
            "size_bytes": figures.size_bytes,
            "stored_bytes": figures.stored_bytes,
            "deduplication": figures.deduplication,
            "kinds": [vars(each) for each in figures.by_kind],
            "flows": [vars(each) for each in figures.by_flow],
            "hottest": [each.to_json() for each in figures.hottest],
            "coldest": [each.to_json() for each in figures.coldest],
        }

    return Answer(data, lambda: _show(figures, asked.store))


def held(named: Iterable[tuple[str, Ref]]) -> list[Held]:
    """Return the sizes of references by the name that each has here, in order of names."""
    by_name: dict[str, list[Ref]] = {}
    for name, ref in named:
        by_name.setdefault(name, []).append(ref)
    return [
        Held(name, len(refs), sum(ref.size_bytes for ref in refs), sum(r.new_bytes for r in refs))
        for name, refs in sorted(by_name.items())
    ]


def _show(figures: Stats, store: Store) -> None:
    tasks = figures.hits + figures.misses
    rate = f" ({figures.hits / tasks:.0%})" if tasks else ""
    ratio = figures.deduplication
    show_facts(
        [
            ("hits", f"{figures.hits} of {tasks}{rate}"),
            ("saved", span(figures.saved_s)),
            ("entries", str(len(figures.entries))),
            ("size", readable(figures.size_bytes)),
            ("stored", readable(figures.stored_bytes)),
            ("deduplication", "" if ratio is None else f"{ratio:.2f} times"),
        ]
    )
    if figures.tallies:
        show_table(
            ("step", "hits", "misses", "saved"),
            [
                (f"{each.flow}/{each.step}", str(each.hits), str(each.misses), span(each.saved_s))
                for each in figures.tallies
            ],
            right="hits misses saved",
        )
    for column, each_held in (("kind", figures.by_kind), ("flow", figures.by_flow)):
        if each_held:
            show_table((column, "entries", "size", "new when saved"), map(_row, each_held))
    for title, each in (
        ("most recently used", figures.hottest),
        ("least recently used", figures.coldest),
    ):
        if each:
            rows = (one.short_row(store) for one in each)
            show_table(SHORT_COLUMNS, rows, title=title, right="size")


def _row(of: Held) -> tuple[str, ...]:
    name = of.name or "(shared by all)"
    return name, str(of.entries), readable(of.size_bytes), readable(of.new_bytes)
