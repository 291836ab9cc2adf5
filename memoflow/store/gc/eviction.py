"""Eviction: dropping refs because a rule says so: expired, long unused, over budget.

Machines' clocks may be days off, so the backend's clock decides. A ref was written when that says,
and expires as long after as whoever wrote it wanted by a clock of its own: from `created` to
`expires`. When this machine used a ref is moved by as much as its clock is off now; other machines
have noted the days on which they used it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import field, replace
from datetime import timedelta
from functools import cached_property
from math import inf

from memoflow import events
from memoflow.backends import Found
from memoflow.dataclass import dataclass
from memoflow.names import Key, Ref, entry_facts
from memoflow.objects import blob_name
from memoflow.store.clock import StoreClock
from memoflow.store.gc import uses
from memoflow.store.leases import leased
from memoflow.store.refs.refs import Refs
from memoflow.units import age, day


@dataclass(frozen=True)
class Evicted:
    """The refs that were dropped, their reasons, and their size; `sweep` returns the bytes freed.

    `reasons` are texts for people, one for each of `refs`. By `over_bytes` the store is still above
    its budget; `spared_bytes` of it belong to what only goes when it is named, `spared_kinds`.
    """

    refs: tuple[Ref, ...]
    size_bytes: int
    reasons: tuple[str, ...] = ()
    over_bytes: int = 0
    spared_bytes: int = 0
    spared_kinds: tuple[str, ...] = ()


@dataclass(frozen=True)
class Tier:
    """Refs that go before those of the next tier do.

    `holds` tells which they are, and `by_rule` which of them an age or a budget may take. `keep`
    returns keys that stay whatever the rules say, given those that go.
    """

    holds: Callable[[Key], bool]
    by_rule: Callable[[Key], bool]
    keep: Callable[[Collection[Key]], Collection[Key]]


def one_tier(keep: Collection[Key] | Callable[[], Collection[Key]]) -> list[Tier]:
    """Return the tier of all refs, that any rule may take but for those to keep."""
    return [Tier(lambda _: True, lambda _: True, lambda _: keep() if callable(keep) else keep)]


@dataclass(frozen=True)
class _Kept:
    ref: Ref
    used: float
    file: Found


def evict(
    refs: Refs,
    *,
    clock: StoreClock,
    now: float | None,
    older_than: timedelta | None,
    max_size_bytes: int | None,
    prefix: Key | None,
    tiers: Sequence[Tier],
    dry_run: bool,
) -> Evicted:
    """Drop refs by the rules; see `Store.evict`."""
    asked = now
    if now is None:
        now = clock.estimate() if dry_run else clock.fresh()
    held = _held(refs, prefix, ahead=now - clock.ours(), now=now)
    if asked is None and dry_run:
        # Nothing was written, so what was written last is one more witness of the time there.
        now = max([now, *(each.file.modified for each in held.values())])
    oldest = -inf if older_than is None else now - older_than.total_seconds()
    eviction = _Eviction(refs, held, now, tiers, oldest)
    eviction.take_old()
    budget = None
    if max_size_bytes is not None:
        budget = eviction.take_over(max_size_bytes)
        eviction.take_old()  # What was kept for something that is over the budget, too.
    if eviction.reasons and not dry_run:
        eviction.drop(prefix)
    going = tuple(held[key].ref for key in eviction.reasons)
    return Evicted(
        going,
        sum(ref.size_bytes for ref in going),
        tuple(eviction.reasons.values()),
        *(budget or ()),
    )


@dataclass(eq=False)
class _Eviction:
    """The refs to drop, with their reasons, as one rule after the other is applied."""

    refs: Refs
    held: dict[Key, _Kept]
    now: float
    tiers: Sequence[Tier]
    oldest: float
    reasons: dict[Key, str] = field(default_factory=dict)

    @cached_property
    def _kept(self) -> set[Key]:
        young = {key for key, each in self.held.items() if each.file.modified > self.now}
        return young.union(filter(leased(self.refs.backend), self.held))

    @cached_property
    def _ends(self) -> dict[Key, float]:
        over = [
            (key, each.file)
            for key, each in self.held.items()
            if expiry(each.ref, each.file) <= self.now
        ]
        # By the ref itself: the index may remember one that was made anew elsewhere, and anybody
        # may have left a bundle.
        return {
            key: end
            for key, file, stored in self.refs.contents(over, signed=False, copies=False)
            if (end := expiry(stored.ref, file)) <= self.now
        }

    def take_old(self) -> None:
        """Take expired refs, and those unused for long."""
        unused = [key for key, each in self.held.items() if each.used < self.oldest]
        for tier in self.tiers:
            for key in self._loose(tier, self._ends):
                self.reasons[key] = f"expired {age(self.now - self._ends[key])} ago"
            for key in self._loose(tier, filter(tier.by_rule, unused)):
                self.reasons[key] = f"unused for {age(self.now - self.held[key].used)}"

    def take_over(self, max_size_bytes: int) -> tuple[int, int, tuple[str, ...]]:
        """Take the least recently used, so that the rest and the blobs it reaches fit.

        Return by how much they do not, and what of them no rule may take, with its kinds.
        """
        held = {key: each for key, each in self.held.items() if key not in self.reasons}
        stock = _Stock(self.refs, held)
        for tier in self.tiers:
            loose = self._loose(tier, filter(tier.by_rule, held))
            for key in sorted(
                loose, key=lambda key: (held[key].used, held[key].ref.created, str(key))
            ):
                if stock.total_bytes <= max_size_bytes:
                    return 0, 0, ()
                self.reasons[key] = f"over the budget; last used {day(self.held[key].used)}"
                stock.take(key)
        over = stock.total_bytes - max_size_bytes
        if over <= 0:
            return 0, 0, ()
        spared = [
            key
            for key in held
            if not any(tier.holds(key) and tier.by_rule(key) for tier in self.tiers)
        ]
        return over, stock.size_of(spared), tuple(sorted({key.kind for key in spared}))

    def drop(self, prefix: Key | None) -> None:
        """Drop the taken refs, except those written anew meanwhile: these are other refs."""
        planned = len(self.reasons)
        there = {key: file.version for key, file in self.refs.listed(prefix)}
        for key in list(self.reasons):
            if there.get(key) != self.held[key].file.version:
                del self.reasons[key]
        # What stays after all may be what others are kept for.
        for tier in self.tiers if len(self.reasons) < planned else ():
            spared = set(tier.keep(self.reasons))
            for key in [key for key in self.reasons if key in spared and tier.holds(key)]:
                del self.reasons[key]
        self.refs.drop(self.reasons)
        for key, reason in self.reasons.items():
            events.emit("evict", reason=reason, **entry_facts(self.held[key].ref))

    def _loose(self, tier: Tier, keys: Iterable[Key]) -> list[Key]:
        """Return those of the keys that are of the tier, and that nothing keeps."""
        found = [key for key in keys if tier.holds(key) and key not in self.reasons]
        if not found:
            return []
        kept = self._kept.union(tier.keep(self.reasons))
        return [key for key in found if key not in kept]


class _Stock:
    """The size of refs: their files, and the blobs that they reach, each counted once."""

    def __init__(self, refs: Refs, held: dict[Key, _Kept]) -> None:
        self._files = {key: each.file.size_bytes for key, each in held.items()}
        self._sizes = {file.name: file.size_bytes for file in refs.backend.list("blobs")}
        self._reached: dict[Key, set[str]] = {}
        self._uses: Counter[str] = Counter()
        listed = [(key, each.file) for key, each in held.items()]
        for key, _, stored in refs.contents(listed, signed=False, copies=False):
            self._reached[key] = {blob_name(blob) for blob in refs.blobs(stored)}
            self._uses.update(self._reached[key])
        self.total_bytes = sum(self._sizes.get(name, 0) for name in self._uses)
        self.total_bytes += sum(self._files.values())

    def take(self, key: Key) -> None:
        """Count a ref no more."""
        self.total_bytes -= self._files[key]
        for name in self._reached.get(key, ()):
            self._uses[name] -= 1
            if not self._uses[name]:
                self.total_bytes -= self._sizes.get(name, 0)

    def size_of(self, keys: Collection[Key]) -> int:
        """Return the share of some refs."""
        names = {name for key in keys for name in self._reached.get(key, ())}
        blobs = sum(self._sizes.get(name, 0) for name in names)
        return blobs + sum(self._files[key] for key in keys)


def expiry(ref: Ref, file: Found) -> float:
    """Return the time at which a ref of this file expires, by the clock that dates the file."""
    return inf if ref.expires is None else file.modified + (ref.expires - ref.created)


def _held(refs: Refs, prefix: Key | None, *, ahead: float, now: float) -> dict[Key, _Kept]:
    """Return the listed refs with their last known uses, here and elsewhere.

    `ahead` is by how many seconds the backend's clock is ahead of ours.
    """
    known = refs.index.entries(prefix)
    used_here = {key: entry.used + ahead for key, entry in known.items() if entry.was_used}
    held, unknown = {}, []
    for key, file in refs.listed(prefix):
        entry = known.pop(str(key), None)
        if entry is not None:
            used = max(used_here.get(str(key), 0.0), file.modified)
            held[key] = _Kept(entry.ref, used, file)
        else:
            unknown.append((key, file))
    for key, file, stored in refs.contents(unknown, signed=False):
        # Seen here for the first time: elsewhere it may be in use, but not before it was made.
        held[key] = _Kept(stored.ref, file.modified, file)
    refs.index.drop(Key.parse(text) for text in known)
    known_here = {key for key in held if str(key) in used_here}
    noted = uses.latest(refs.backend, refs.index, held, known=known_here, now=now)
    for key, used in noted.items():
        held[key] = replace(held[key], used=max(held[key].used, used))
    return held
