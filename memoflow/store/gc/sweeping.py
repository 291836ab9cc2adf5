"""Sweeping: deleting blobs that no ref reaches, while others save.

Blobs are listed first and refs after, so that a ref written meanwhile is seen. What no ref
reaches is pending deletion, and deleted by a later pass; but not what was written since a save
began that takes long and is not done. Before it deletes, a pass says what, and looks at the refs
once more; `deletions` tells how saves and passes come to terms.

What each ref reaches is read once for each version of it. The bytes of replaced saves do not wait
for a sweep, which leaves alone all that is younger than its grace: a task that saves often would
fill a disk. The oldest of them are freed first, so that whoever is loading the save that was just
replaced has the time of some more saves to end.
"""

from __future__ import annotations

import json
import threading
import zlib
from collections.abc import Callable, Collection, Iterable, Iterator
from datetime import timedelta
from functools import cached_property

from memoflow import events
from memoflow.backends import Backend, Found
from memoflow.dataclass import dataclass
from memoflow.errors import NoRoomError
from memoflow.fields import Fields, loaded, number, text
from memoflow.names import Key, Ref
from memoflow.objects import blob_name, blob_of
from memoflow.progress import each
from memoflow.store.deletion_log import Deleting, ended_without_a_word, time_there
from memoflow.store.gc.full_disk import delete_in_parts, keep_reserve, make_room
from memoflow.store.leases import drop_stale
from memoflow.store.marker_file import content, sealed
from memoflow.store.refs.refs import DROPPED, QUARANTINE, Refs
from memoflow.store.saves.upload_heartbeat import DEAD_AFTER_SECONDS, unfinished_since
from memoflow.threads import Pool

PENDING = "gc/condemned"
REMAINS_AGE = timedelta(days=1)
# What may still come of a pass that stopped: whoever sleeps longer wakes up too late to check.
STOPPED_AGE = timedelta(days=7)
_QUARANTINE_AGE = timedelta(days=30)
# Of what nobody has gone on with for so long, when room is needed now.
_SILENT_SECONDS = 180.0
_BATCH = 1000
_MOST_PENDING = 200_000
LARGEST_PENDING_BYTES = 40 << 20
_BUCKETS = [f"reach {number:03}" for number in range(256)]
_MOST_BLOBS = 2000  # of a ref that is remembered
_AT_ONCE = 16
_Version = str
_Seen = dict[str, tuple[_Version, frozenset[str]]]
# Times the size of the newest save: with the packs that this uses, as much as there may be.
_MOST = 2.25
# A pass looks at each ref of the store, which takes as long as writing so many bytes.
_BYTES_PER_REF = 10_000


@dataclass(frozen=True)
class Swept:
    """The blobs that a sweep deleted, and the number of those that wait for a later pass."""

    blobs: int
    size_bytes: int
    pending: int
    remains: int = 0


@dataclass(eq=False)
class Sweep:
    """One sweep; see `Store.sweep`. `time` is a dry run's, which asks for none: that writes."""

    refs: Refs
    keep_newer: timedelta
    now: bool
    dry_run: bool
    leftovers: bool = False
    time: float = 0.0
    without: Collection[Key] = ()

    @cached_property
    def reach(self) -> Reach:
        return Reach(self.refs)

    def run(self) -> Swept:
        backend = self.refs.backend
        grace = 0.0 if self.now else self.keep_newer.total_seconds()
        found = {name.name: name for name in backend.list("blobs") if blob_of(name.name)}
        # In a dry run nothing may be written: no earlier than the newest thing there.
        newest = max((file.modified for file in found.values()), default=0.0)
        time = max(newest, self.time) if self.dry_run else time_there(backend)
        # Before the refs: what is not marked any more has its ref by then.
        silent_s = _SILENT_SECONDS if self.leftovers else DEAD_AFTER_SECONDS
        since_saves, dead = unfinished_since(backend, now=time, dead_after_s=silent_s)
        reached = self.look()
        lost = {
            name: file
            for name, file in found.items()
            if name not in reached and file.modified <= time - grace and file.modified < since_saves
        }
        since = _read_pending(backend)
        to_delete = [
            file for name, file in lost.items() if self.now or since.get(name, time) < time - grace
        ]
        if self.dry_run:
            self.reach.remember()
            return Swept(len(to_delete), _size(to_delete), len(lost) - len(to_delete))
        gone = self._delete_all(to_delete, dead, time)
        left = {name: since.get(name, time) for name in lost.keys() - {file.name for file in gone}}
        try:
            if left or since:
                # The oldest first, and no more than can be read again: others are for a later pass.
                oldest = dict(sorted(left.items(), key=lambda each: each[1])[:_MOST_PENDING])
                data = sealed(json.dumps({"blobs": oldest}).encode())
                backend.write(PENDING, data, durable=False)
        except NoRoomError:
            # What cannot be noted cannot wait either, and need not: it is of nobody who runs.
            gone += self._delete_all([lost[name] for name in left], dead, time)
            left = {}
        self.reach.remember()
        remains = self._tidy(dead, time)
        keep_reserve(backend)
        events.emit("gc", blobs=len(gone), size_bytes=_size(gone))
        return Swept(len(gone), _size(gone), len(left), remains)

    def look(self, beat: Callable[[], object] = lambda: None) -> set[str]:
        """Return the names of the blobs that refs reach now."""
        # Nothing that a ref reaches is ever deleted: only a dry run may take refs for gone.
        return self.reach.look(beat, without=self.without if self.dry_run else ())

    def _delete_all(
        self, to_delete: list[Found], dead_saves: list[str], time: float
    ) -> list[Found]:
        def make() -> None:
            self._tidy(dead_saves, time)
            self.refs.backend.delete([PENDING])
            make_room(self.refs.backend)

        return delete_in_parts(to_delete, self.delete, make_room=make)

    def delete(self, to_delete: list[Found]) -> list[Found]:
        """Delete the blobs that still no ref reaches, and return these."""
        gone: list[Found] = []
        with Deleting(self.refs.backend, [file.name for file in to_delete]) as deleting:
            # After the list was written: who has not seen that has a ref that is seen now.
            reached = self.look(deleting.beat)
            lost = [file for file in to_delete if file.name not in reached]
            for start in range(0, len(lost), _BATCH):
                batch = lost[start : start + _BATCH]
                blobs = (blob_of(file.name) for file in batch)
                sha256 = (blob for blob in blobs if blob and blob.algorithm == "sha256")
                self.refs.index.drop_blobs(sha256)
                if not deleting.beat():
                    break  # Held up for so long that others may count on what is left.
                self.refs.backend.delete([file.name for file in batch])
                gone += batch
        return gone

    def _tidy(self, dead_saves: list[str], time: float) -> int:
        backend = self.refs.backend
        unfinished = time - (_SILENT_SECONDS if self.leftovers else REMAINS_AGE.total_seconds())
        remains = backend.cleanup(before=unfinished)
        old = time - (0.0 if self.leftovers else _QUARANTINE_AGE.total_seconds())
        quarantined = [file.name for file in backend.list(QUARANTINE) if file.modified <= old]
        old = time - STOPPED_AGE.total_seconds()
        stopped = ended_without_a_word(backend, before=old)
        dropped = [file.name for file in backend.list(DROPPED) if file.modified < old]
        drop_stale(backend, before=time - REMAINS_AGE.total_seconds())
        if out := [*quarantined, *dead_saves, *stopped, *dropped]:
            backend.delete(out)
        return remains


def _read_pending(backend: Backend) -> dict[str, float]:
    try:
        data = backend.read(PENDING, most_bytes=LARGEST_PENDING_BYTES)
        return {} if data is None else pending(data)
    except ValueError:
        return {}  # Damaged: they are pending again, and wait once more.


def pending(data: bytes) -> dict[str, float]:
    """Return since when which blobs are pending deletion; ValueError if that is damaged."""
    if len(data) > LARGEST_PENDING_BYTES:
        raise ValueError("it is larger than it can be")
    blobs = Fields(loaded(content(data))).mapping("blobs", {})
    return {text(name, "blobs"): number(since, "blobs") for name, since in blobs.items()}


def _size(files: Iterable[Found]) -> int:
    return sum(file.size_bytes for file in files)


class Reach:
    """The blobs that refs reach, remembered from sweep to sweep where reading is slow."""

    def __init__(self, refs: Refs) -> None:
        self._refs = refs
        self._is_remembered = refs.backend.takes_round_trips
        self._facts = refs.index.get(_BUCKETS) if self._is_remembered else {}
        self.seen = dict(_decoded(self._facts))  # by the last look

    def look(self, beat: Callable[[], object], *, without: Collection[Key]) -> set[str]:
        """Return the names of the blobs that refs reach which are listed now, `without` some."""
        before, self.seen = self.seen, {}
        new: list[tuple[Key, Found]] = []
        reached: set[str] = set()
        for key, found in self._refs.listed():
            beat()
            known = before.get(found.name)
            if key in without:
                if known is not None:
                    self.seen[found.name] = known
                continue
            # By its version: a key can lead elsewhere since it was last looked at.
            if known is not None and known[0] == _version(found):
                self.seen[found.name] = known
                reached |= known[1]
            else:
                new.append((key, found))
        for (_, found), (names, is_all) in zip(
            each(new, "Reading references"), self._read(new), strict=True
        ):
            beat()
            reached |= names
            if is_all and found.version:
                self.seen[found.name] = (_version(found), names)
        return reached

    def remember(self) -> None:
        """Keep the last look for the next sweep on this machine, without refs that went."""
        if not self._is_remembered:
            return
        buckets: dict[str, dict[str, list[str]]] = {bucket: {} for bucket in _BUCKETS}
        for name, (version, names) in sorted(self.seen.items()):
            if len(names) <= _MOST_BLOBS:
                bucket = _BUCKETS[zlib.crc32(name.encode()) % len(_BUCKETS)]
                buckets[bucket][name] = [version, *sorted(names)]
        facts = {bucket: json.dumps(rows) for bucket, rows in buckets.items()}
        empty = json.dumps({})
        self._refs.index.set(
            {name: text for name, text in facts.items() if self._facts.get(name, empty) != text}
        )

    def _read(self, new: list[tuple[Key, Found]]) -> Iterator[tuple[frozenset[str], bool]]:
        keys = [key for key, _ in new]
        if self._is_remembered and len(keys) >= _AT_ONCE:
            with Pool(_AT_ONCE) as pool:
                yield from pool.map(self._read_one, keys)
        else:
            yield from map(self._read_one, keys)

    def _read_one(self, key: Key) -> tuple[frozenset[str], bool]:
        """Return the blobs that a ref reaches, and True if these are all."""
        stored = self._refs.read_any(key, alike=True)
        if stored is None:
            return frozenset(), False
        blobs = self._refs.blobs(stored)
        # A manifest that is lost or damaged may be put back.
        is_all = stored.manifest_blob is None or len(blobs) > 1
        return frozenset(map(blob_name, blobs)), is_all


def _version(found: Found) -> str:
    return f"{found.version} {found.size_bytes} {found.modified}"


def _decoded(facts: dict[str, str]) -> Iterator[tuple[str, tuple[str, frozenset[str]]]]:
    for bucket in facts.values():
        try:
            rows = [
                (str(name), (str(version), frozenset(map(str, names))))
                for name, (version, *names) in json.loads(bucket).items()
            ]
        except (ValueError, TypeError, AttributeError):
            continue  # Damaged: read again.
        yield from rows


class ReplacedBlobs:
    """The blobs that this process replaced in a local store and has not freed yet."""

    def __init__(self, refs: Refs) -> None:
        self._refs = refs
        self._left: dict[str, int] = {}  # sizes by name, the oldest first
        # Kept, since it remembers what each ref reaches.
        self._sweep = Sweep(refs, keep_newer=timedelta(0), now=True, dry_run=False)
        self._lock = threading.Lock()  # two saves of a task may end at once

    def add(self, replaced: Iterable[Ref]) -> None:
        """Note the blobs of refs that are about to be dropped."""
        names = [name for ref in replaced for name in sorted(self._blobs(ref))]
        sizes = self._refs.backend.sizes(names)
        with self._lock:
            for name, size_bytes in zip(names, sizes, strict=True):
                self._left.setdefault(name, size_bytes or 0)

    def free(self, live: Ref) -> None:
        """Delete the oldest leftovers if there are many; `live` is there in their place."""
        names = self._blobs(live)
        used_bytes = sum(size or 0 for size in self._refs.backend.sizes(sorted(names)))
        with self._lock:
            for name in names:
                self._left.pop(name, None)
            least_bytes = _BYTES_PER_REF * len(self._sweep.reach.seen)
            self._free_above(max(least_bytes, _MOST * live.size_bytes - used_bytes))

    def _free_above(self, most_bytes: float) -> None:
        left_bytes = sum(self._left.values())
        if left_bytes <= most_bytes:
            return
        to_delete = []
        for name, size_bytes in self._left.items():
            if left_bytes <= most_bytes / 2:
                break
            to_delete.append(Found(name, size_bytes, 0.0))
            left_bytes -= size_bytes
        self._sweep.delete(to_delete)
        # What a ref reaches still is not left over.
        for found in to_delete:
            del self._left[found.name]

    def _blobs(self, ref: Ref) -> set[str]:
        stored = self._refs.read_any(ref.key)
        return set() if stored is None else set(map(blob_name, self._refs.blobs(stored)))
