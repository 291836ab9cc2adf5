"""Store: the one door to saved things: find, save, load, forget, evict, sweep, verify; leases."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from memoflow import events
from memoflow.backends import Backend, Found, Tiered
from memoflow.display import html_rows
from memoflow.errors import IntegrityError, NotFoundError
from memoflow.index import Index
from memoflow.names import Digest, Key, Ref, entry_facts
from memoflow.objects import DamagedBlobError, LostBlobError, Manifest, blob_name
from memoflow.store.clock import StoreClock
from memoflow.store.deletion_log import time_there
from memoflow.store.leases import HEARTBEAT, Contender, Lease, Silences
from memoflow.store.marker_file import claim
from memoflow.store.refs.refs import QUARANTINE, Refs
from memoflow.store.refs.remembered import Remembered, first, numbered
from memoflow.store.refs.signing import Keyring
from memoflow.store.saves.adoption import Adoption, Payload, adopt
from memoflow.store.saves.binding import Binding
from memoflow.store.saves.loading import IndexedProofs, load, load_file, load_ranges
from memoflow.store.saves.mapping import MappedFiles
from memoflow.store.saves.saving import Next, save, stands
from memoflow.store.small_values import SmallValues

# What looks after a store is imported where it is used: tasks look up and save, and start sooner.
if TYPE_CHECKING:
    from memoflow.store.check.verification import Problem
    from memoflow.store.gc.eviction import Evicted, Tier
    from memoflow.store.gc.sweeping import ReplacedBlobs, Swept

_NO_KEYS = Keyring()


def _sweeping() -> ModuleType:
    # Here, since a task that looks up and saves starts sooner without it.
    from memoflow.store.gc import sweeping

    return sweeping


def _uses() -> ModuleType:
    # Here, since a task that looks up and saves starts sooner without it.
    from memoflow.store.gc import uses

    return uses


class Store:
    """Saved things of all kinds, by key. `open_store` makes one.

    `index` is what this machine remembers: it makes `find` quick and may be out of date;
    `manifest` and `load` ask the backend and find out. `remembered` is a view of the store through
    that, and through the refs that it has prefetched.
    """

    def __init__(
        self,
        id: str,
        backend: Backend,
        index: Index,
        *,
        keyring: Keyring = _NO_KEYS,
        clock: Callable[[], float] = time.time,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.id, self.backend, self.index, self.keyring = id, backend, index, keyring
        self._clock = clock
        self._store_clock = StoreClock(backend, index, clock)
        self._refs = Refs(backend, index, keyring=keyring, sleep=sleep)
        self.remembered = Remembered(self._refs, self._store_clock)
        self._expiry = self.remembered.expiry
        self._proofs = IndexedProofs(index, clock=clock)
        self._leftovers: ReplacedBlobs | None = None
        self._mapped = MappedFiles(self._refs)
        self.small_values = SmallValues(self._refs)
        self.binding = Binding(self._refs)
        self._silences = Silences()

    def __repr__(self) -> str:
        return f"<Store in {self.backend}>"

    def _repr_html_(self) -> str:
        kinds = Counter(Key.parse(text).kind for text in self.index.entries())
        rows = [(f"{kind} refs, as this machine knows", str(kinds[kind])) for kind in sorted(kinds)]
        return html_rows("Store", [("where", str(self.backend)), ("id", self.id), *rows])

    @property
    def is_signed(self) -> bool:
        """Tell whether refs are signed, and only signed ones used; see `store.refs.signing`."""
        return bool(self.keyring)

    def distrusts(self, key: Key) -> bool:
        """Tell whether there is a ref for the key, and none of our keys has signed it."""
        return self._refs.distrusts(key)

    def find(self, key: Key) -> Ref | None:
        """Return the ref of the key, or None.

        May be out of date if another machine forgot it since; `load` finds out. A damaged ref
        is quarantined with a warning, and None. One that expires does so by the store's clock.

            ref = store.find(Key.parse("model/Train/fit/9f2c"))
        """
        return self.remembered.find(key)

    def lookup(self, key: Key) -> Ref | None:
        """Return the ref of the key as `find` does, but expired or not."""
        return self.remembered.lookup(key)

    def is_older(self, ref: Ref, age: timedelta) -> bool:
        """Tell whether the ref was written so long ago, or longer, by the store's clock."""
        return self._expiry.is_older(ref, age.total_seconds())

    def time(self) -> float:
        """Return the time by the store's clock, as far as it is known."""
        return self._store_clock.now()

    def latest(self, series: Key) -> Ref | None:
        """Return the ref with the highest number that the backend lists directly below `series`.

        Damaged and expired ones are passed over. `remembered` has the same without a listing,
        which another machine may have added to.
        """
        return first(map(self.find, numbered(self._refs.listed(series), series)))

    def series(self, series: Key) -> list[Ref]:
        """Return the refs listed directly below `series`, the highest number first.

        Expired ones are among them; a damaged one is quarantined with a warning.
        """
        listed = numbered(self._refs.listed(series), series)
        return [ref for ref in map(self.lookup, listed) if ref is not None]

    def recent(
        self, prefix: Key, most: int, *, before: float, wanted: Callable[[Key], bool]
    ) -> list[Ref]:
        """Return some of the refs created below the prefix before a time, newest first.

        At most so many, expired ones too. What this machine remembers, unless that is nothing:
        then the backend is asked, and by its clock.
        """
        return self._refs.recent(prefix, most, before=before, wanted=wanted)

    def save(
        self,
        key: Key,
        payload: Payload,
        *,
        meta: Mapping[str, Any] | None = None,
        expires: float | None = None,
        durable: bool = True,
    ) -> Ref:
        """Save under a key; if something is saved there already, return that instead.

        When it returns, the payload outlives this process; with `durable` a power cut, too.
        `meta` is plain JSON data for the manifest, `expires` a time in Unix seconds.
        """
        there = self._refs.read_or_warn(key)
        if there is not None:
            if self._expiry.may_be_over(there.ref):
                self._refs.drop_same(there.ref)
            elif stands(self._refs, there):
                return there.ref
        return save(
            self._refs,
            self._proofs,
            lambda taken: None if taken else key,
            payload,
            meta=meta or {},
            clock=self._clock,
            expires=expires,
            previous=None,
            durable=durable,
        )

    def append(
        self,
        series: Key,
        payload: Payload,
        *,
        token: str | None = None,
        number: int | None = None,
        after: int = 0,
        place: Callable[[int], int] | None = None,
        created: float | None = None,
        meta: Mapping[str, Any] | None = None,
        expires: float | None = None,
        durable: bool = True,
    ) -> Ref:
        """Save under the next number of a series, above `after`; see `save`.

        A number can come again once what had it is forgotten. With a `token`, hex digits that the
        caller made at random, the key ends in both, and comes again nowhere. With a `number`, which
        needs a token, it is that one: saving once more returns what was saved. `place` is given the
        next number when all is packed, and returns the one to take. `created`, in Unix seconds, is
        when the caller settled on what to save; None is now. Of saves with a token each is likely
        to have pieces of the one before.
        """
        coming = Next(self._refs, series, token=token, number=number, after=after, place=place)
        has_previous = payload.tree is not None or token is not None
        previous = coming.previous(self.remembered) if has_previous else None
        return save(
            self._refs,
            self._proofs,
            coming.key,
            payload,
            meta=meta or {},
            clock=self._clock,
            created=created,
            expires=expires,
            previous=previous,
            durable=durable,
            outlook=coming.outlook,
            least_use=coming.least_use,
        )

    def manifest(self, ref: Ref) -> Manifest:
        """Return the list of saved files; its `meta` is that of `save`.

        NotFoundError if it is gone, IntegrityError if it is damaged: forgotten in both cases,
        so that the next `find` is a miss.
        """
        stored = self.remembered.read_same(ref)
        try:
            return self._refs.manifest(stored)
        except (NotFoundError, IntegrityError):
            self._refs.forget_lost(stored.ref)
            raise

    def meta(self, ref: Ref) -> dict[str, Any]:
        """Return the `meta` given to `save`, without reading a large manifest.

        Raises like `manifest`.
        """
        meta = self.remembered.read_same(ref).meta
        return self.manifest(ref).meta if meta is None else meta

    def metas(
        self, prefix: Key, *, wanted: Callable[[Key], bool]
    ) -> Iterator[tuple[Ref, dict[str, Any]]]:
        """Yield the refs below a prefix now, each with its `meta`, in few requests; see `meta`.

        Expired ones are among them; a damaged one is quarantined with a warning, and left out.
        """
        listed = ((key, file) for key, file in self._refs.listed(prefix) if wanted(key))
        for _, _, stored in self._refs.contents(listed):
            with suppress(NotFoundError, IntegrityError):
                meta = stored.meta
                yield stored.ref, self.manifest(stored.ref).meta if meta is None else meta

    def is_there(self, ref: Ref) -> bool:
        """Tell whether the ref and all its blobs exist, as the backend says, unread."""
        try:
            stored = self._refs.read_same(ref)
            blobs = self._refs.manifest(stored).blobs
        except (NotFoundError, IntegrityError):
            return False
        return self.backend.has(*(blob_name(blob) for blob in blobs))

    def load(
        self,
        ref: Ref,
        into: Path,
        *,
        linked: bool = False,
        only: Callable[[str], bool] | None = None,
    ) -> Path:
        """Write the saved files into a directory, proven, and return it.

        Files of the same names are replaced, others stay. With `only`, those whose relative path
        it says yes to. Raises like `manifest`, and leaves the directory as it was then; a ref that
        cannot be loaded is quarantined. With `linked` the files are for reading only: those kept
        `whole` share their bytes with the store where this process could not write to them.

            store.load(ref, Path("restored"))
        """
        linked_by = self._proofs if linked else None
        try:
            load(self._refs, self.manifest(ref), into, linked=linked_by, only=only)
        except (DamagedBlobError, LostBlobError):
            self._refs.quarantine(ref.key, ref.digest)
            raise
        self.touch(ref)
        events.emit("load", **entry_facts(ref))
        return into

    def read_file(self, manifest: Manifest, path: str) -> bytes:
        """Return the content of one file of a manifest, proven; NotFoundError if it has none."""
        return load_file(self._refs, manifest, path)

    def read_ranges(
        self, manifest: Manifest, path: str, ranges: Sequence[tuple[int, int]]
    ) -> list[memoryview]:
        """Return parts of one file of a manifest, by offset and length, each proven and writable.

        Only the pieces that hold them are read. Raises as `read_file` does.
        """
        return load_ranges(self._refs, manifest, path, ranges)

    def map_file(self, manifest: Manifest, path: str) -> memoryview:
        """Return the content of one file of a manifest, mapped where it is a blob of its own here.

        Proven, writable, and private to the caller. Raises as `read_file` does.
        """
        return self._mapped.map(manifest, path)

    def blob_path(self, digest: Digest) -> Path | None:
        """Return a blob's path on this machine, fetched if need be; None if it cannot be.

        To read and to link to, never to write to.
        """
        self.backend.prefetch([blob_name(digest)])
        return self.backend.path(blob_name(digest))

    def quarantine(self, digest: Digest) -> None:
        """Quarantine a damaged blob; a ref that needs it becomes a miss at its next use."""
        self._refs.quarantine_blob(digest)

    def mend(self, adoption: Adoption) -> None:
        """Make an adopted blob whole again from a file that holds the same; see `Payload`."""
        adopt(self.backend, str(adoption.digest), adoption)

    def keys(self, prefix: Key | None = None) -> list[Key]:
        """Return every key below the prefix, or every key, in order, as the backend lists them.

        store.keys(Key.of("checkpoint", "Train"))
        """
        return sorted((key for key, _ in self._refs.listed(prefix)), key=str)

    def forget(self, key: Key) -> None:
        """Drop the ref of the key; `sweep` frees its bytes. Absent is fine."""
        self._refs.drop([key])
        events.emit("forget", kind=key.kind, key=str(key))

    def replace(self, old: Sequence[Ref], new: Ref) -> None:
        """Drop refs in whose place another is there now, and free their bytes soon.

        On this machine before they exceed those of `new`; elsewhere a sweep frees them, since it
        takes many requests to tell what else needs them.
        """
        if self.backend.takes_round_trips:
            self._refs.drop([ref.key for ref in old])
            return
        if self._leftovers is None:
            self._leftovers = _sweeping().ReplacedBlobs(self._refs)
        self._leftovers.add(old)
        self._refs.drop([ref.key for ref in old])
        self._leftovers.free(new)

    def touch(self, ref: Ref) -> None:
        """Note that the ref was used, for `evict`: on this machine, until `note_uses`."""
        self.index.touch(ref.key)

    def note_uses(self, *, once: bool = False) -> None:
        """Note this machine's uses in the store, so that `evict` elsewhere knows them.

        Nothing happens if the store cannot be written. `once` is for a process on a machine that
        may be gone with it.
        """
        _uses().note(self.backend, self.index, self._store_clock, once=once)

    def merge_uses(self) -> None:
        """Merge the notes of use of days that are over, so that there are few."""
        _uses().merge(self.backend, self._refs.listed, self._store_clock.now())

    def evict(
        self,
        *,
        now: float | None = None,
        older_than: timedelta | None = None,
        max_size_bytes: int | None = None,
        prefix: Key | None = None,
        keep: Collection[Key] | Callable[[], Collection[Key]] = (),
        tiers: Sequence[Tier] = (),
        dry_run: bool = False,
    ) -> Evicted:
        """Drop expired refs, then those unused for `older_than`, then the least recently used.

        The last until the rest is within `max_size_bytes`: its refs, and the blobs that they
        reach, each counted once. When a ref was used is what this machine knows, and to the day
        what others have noted; a ref that nobody used counts as used when it was created. All by
        the backend's clock, as `now` is: when a ref was written there, and how long it was to last.
        Whatever the rules say, the refs of `keep` stay, and count; a function is asked for them
        once all is listed. What is leased and what is created after this began stays, too. `tiers`
        say more, in place of `keep`: what goes first, and what goes by no age and no budget.
        """
        # Here: a task that looks up and saves starts sooner without it.
        from memoflow.store.gc.eviction import evict, one_tier

        return evict(
            self._refs,
            clock=self._store_clock,
            now=now,
            older_than=older_than,
            max_size_bytes=max_size_bytes,
            prefix=prefix,
            tiers=tiers or one_tier(keep),
            dry_run=dry_run,
        )

    def sweep(
        self,
        *,
        keep_newer: timedelta = timedelta(hours=1),
        now: bool = False,
        leftovers: bool = False,
        dry_run: bool = False,
        without: Collection[Key] = (),
    ) -> Swept:
        """Delete blobs that no ref reaches; safe beside others that save and load.

        What is older than `keep_newer` is pending deletion, and deleted by a pass that long after.
        With `now`, both at once. What was written since the oldest save began that has run for a
        minute is left alone; a shorter one may have to write its bytes again. Also removes what
        dead writers left a day ago, and what was in quarantine for 30 days; with `leftovers`, three
        minutes ago, and all that is in quarantine. A full disk is no hindrance: see `room`. A dry
        run takes the refs `without` for gone.
        """
        time = self._store_clock.estimate() if dry_run else 0.0
        swept: Swept = (
            _sweeping()
            .Sweep(
                self._refs,
                keep_newer=keep_newer,
                now=now,
                leftovers=leftovers,
                dry_run=dry_run,
                time=time,
                without=without,
            )
            .run()
        )
        return swept

    def verify(self, *, read_data: bool = True, repair: bool = False) -> list[Problem]:
        """Read all refs, and all blobs unless told not to, and return the problems.

        A store elsewhere is read there, and this machine's copies here; the index is compared with
        it. With `repair`, what one of them has whole mends the other, what else is damaged goes to
        quarantine/, what depends on it is forgotten, and remains of killed saves are removed: what
        is old by this machine's clock, or by the backend's in a repair, which may write.
        """
        # Here: a task that looks up and saves starts sooner without it.
        from memoflow.store.check import orphans, verification

        problems = list(orphans.check_strays(self._refs, repair=repair))
        problems += verification.Verification(self._refs, read_data=read_data, repair=repair).run()
        now = time_there(self.backend) if repair else self._clock()
        backend = self.backend.far if isinstance(self.backend, Tiered) else self.backend
        problems += orphans.check(backend, self.id, now=now, read_data=read_data, repair=repair)
        return problems if repair else [replace(each, done="") for each in problems]

    def quarantined(self) -> list[Found]:
        """Return the damaged files in quarantine; a sweep deletes them after 30 days."""
        return sorted(self.backend.list(QUARANTINE), key=lambda found: found.name)

    def reindex(self) -> int:
        """Bring the index in line with the backend; return how many refs it had not known."""
        return self._refs.reindex()

    def housekeeping_due(self, every: timedelta = timedelta(hours=1)) -> bool:
        """Tell whether to tidy up, and claim it: True to one caller `every` so long."""
        return claim(self.backend, every=every, now=self._clock())

    def lease(
        self,
        key: Key,
        *,
        who: str,
        on_wait: Callable[[str], None] = lambda holder: None,
        is_done: Callable[[], bool] = lambda: False,
        within: Collection[str] = (),
        heartbeat: timedelta = HEARTBEAT,
    ) -> AbstractContextManager[Lease]:
        """Claim a key while its `with` lasts, so that others need not do the same work.

        Waits while another holds it, says for whom by `on_wait`, once a minute at most, and takes
        over from one that was silent for two heartbeats. `who` names the work for people; of a
        holder of the same name this is a later attempt, and it takes over at once. `is_done`,
        asked each time another let go and once the lease is ours, tells that the work is done;
        then it is not held. Nor is it if it was lifted, or if its `id` is in `within`, the leases
        of those who wait for this process. Nothing is wrong but the work done twice if two ever
        hold one key.
        """
        return Contender(
            self.backend, key, who, on_wait, is_done, within, heartbeat, self._silences
        ).hold()

    def close(self) -> None:
        """Write the pending rows of the index and close it; the store can be used again."""
        self.index.close()
