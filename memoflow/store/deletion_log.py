"""Deletions: announced by sweeps before they delete, so that saves see them.

A pass writes the names it will delete to `gc/deleting/<id>/names`, and then its id over
`gc/deletions`. Only after that it looks at the refs, deletes what none of them reaches, and removes
its names.
A save reads `gc/deletions` before it counts on any blob, and again when its ref is written. While
that has not changed, any pass that is still to come will see the ref. If it has, the save waits
for passes that will delete its blobs, and looks which are left. The list of a pass that stopped
without a word stays: it could go on at any time. So the save uses other names.
"""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import field
from enum import Enum

from memoflow.backends import Backend
from memoflow.dataclass import dataclass
from memoflow.errors import NoRoomError
from memoflow.index import Index
from memoflow.store.marker_file import LARGEST_MARK_BYTES, sealed

GENERATION = "gc/deletions"
DELETING = "gc/deleting"
PROBE = "gc/clock/probe"
LARGEST_NAMES_BYTES = 8 << 20
_QUIET = "deletions quiet"
_BEAT_SECONDS = 1.0
# A pass that fell behind by this much stops: nobody waits for it longer than the second.
_LATE_SECONDS = 15.0
_DEAD_SECONDS = 30.0
_PATIENCE_SECONDS = 3.0
_PAUSES = (0.02, 0.5)  # the first, and the longest


@dataclass(frozen=True)
class GcSnapshot:
    """The state of deletions at some time: the generation, and the names to delete."""

    generation: bytes | None
    to_delete: Mapping[str, frozenset[str]] = field(default_factory=dict)

    def will_delete(self, names: Collection[str]) -> set[str]:
        """Return the names among these that some pass may still delete."""
        return {name for each in self.to_delete.values() for name in each.intersection(names)}


class BlobFate(Enum):
    """The fate of blobs by the time that a ref reaches them."""

    THERE = "there, and to stay"
    LOST = "some are missing or truncated"
    DOOMED = "there, but a pass that has stopped could still delete some"


class DeletionLog:
    """The knowledge of this process about passes that delete from a backend."""

    def __init__(
        self, backend: Backend, index: Index, *, sleep: Callable[[float], None] = time.sleep
    ) -> None:
        self._backend = backend
        self._index = index
        self._sleep = sleep
        self._last: GcSnapshot | None = None

    def snapshot(self) -> GcSnapshot:
        """Return the state at some time before now; asks only if none is known yet.

        However old it is, `confirm` finds what was deleted since.
        """
        if self._last is None and self._backend.takes_round_trips:
            quiet = self._index.get([_QUIET]).get(_QUIET)
            if quiet is not None:
                self._last = GcSnapshot(quiet.encode() or None)
        return self._last or self.look()

    def look(self) -> GcSnapshot:
        """Return the present state."""
        # In this order: what lists names without having raised this will do so later.
        generation = self.generation()
        to_delete = {} if generation is None else self._to_delete()
        self._last = outlook = GcSnapshot(generation, to_delete)
        if not to_delete and self._backend.takes_round_trips:
            self._index.set({_QUIET: (generation or b"").decode(errors="replace")})
        return outlook

    def confirm(
        self,
        since: GcSnapshot,
        sizes: Mapping[str, int],
        *,
        fixed: Collection[str] = (),
        is_sure: bool = True,
    ) -> BlobFate:
        """Tell whether blobs are there to stay that a ref reaches which is written by now.

        `sizes` says how long each of them is at least. Without `is_sure` they are looked at even
        if nothing was deleted since the outlook. Those that are `fixed` cannot have other names:
        a pass that will delete them is believed to be dead after half a minute.
        """
        if is_sure and not since.will_delete(sizes) and self.generation() == since.generation:
            return BlobFate.THERE
        waited, pause, before = 0.0, _PAUSES[0], None
        while to_delete := (outlook := self.look()).will_delete(sizes):
            beats = self._beats(id for id, names in outlook.to_delete.items() if names & to_delete)
            if beats != before:  # It gets on, or another one has begun.
                before, waited = beats, 0.0
            elif waited > _PATIENCE_SECONDS and not to_delete <= set(fixed):
                return BlobFate.DOOMED
            elif waited > _DEAD_SECONDS or self._is_dead(beats):
                break
            self._sleep(pause)
            waited += pause
            pause = min(2 * pause, _PAUSES[1])
        names = list(sizes)
        for name, size_bytes in zip(names, self._backend.sizes(names), strict=True):
            if size_bytes is None or size_bytes < sizes[name]:
                return BlobFate.LOST
        return BlobFate.THERE

    def generation(self) -> bytes | None:
        return self._backend.read(GENERATION, most_bytes=LARGEST_MARK_BYTES)

    def _to_delete(self) -> dict[str, frozenset[str]]:
        known = self._last.to_delete if self._last is not None else {}
        to_delete = {}
        for found in self._backend.list(DELETING):
            id, _, what = found.name.removeprefix(f"{DELETING}/").partition("/")
            if what != "names":
                continue
            if id in known:  # Written once.
                to_delete[id] = known[id]
                continue
            data = self._backend.read(found.name, most_bytes=LARGEST_NAMES_BYTES)
            # A pass lists thousands at a time, not more: what is larger is of nobody's making.
            if data is not None and len(data) <= LARGEST_NAMES_BYTES:
                # With its checksum, which is no name; damaged names would be missed either way.
                to_delete[id] = frozenset(data.decode(errors="replace").split("\n"))
        return to_delete

    def _beats(self, ids: Iterable[str]) -> dict[str, tuple[float, str]]:
        return {
            found.name: (found.modified, found.version)
            for id in ids
            for found in self._backend.list(f"{DELETING}/{id}")
        }

    def _is_dead(self, beats: Mapping[str, tuple[float, str]]) -> bool:
        last = max((modified for modified, _ in beats.values()), default=0.0)
        return last < time_there(self._backend) - _DEAD_SECONDS


class Deleting:
    """One pass that deletes; see the module.

    Entering says what will be deleted. Whoever then looks at the refs may delete what none reaches,
    as long as `beat`, called before each deletion, says so.
    """

    def __init__(self, backend: Backend, names: Collection[str]) -> None:
        self._backend = backend
        self._names = names
        self._id = uuid.uuid4().hex
        self._folder = f"{DELETING}/{self._id}"
        self._beats = 0
        self._began = self._last = _now()

    def __enter__(self) -> Deleting:
        names = f"{self._folder}/names"
        data = sealed("\n".join(self._names).encode())
        self._backend.write(names, data, durable=False)
        try:
            self._backend.write(GENERATION, sealed(self._id.encode()), durable=False)
        except NoRoomError:
            self._backend.delete([names])  # Nothing is deleted, and it takes room itself.
            raise
        self._last = _now()
        return self

    def __exit__(self, kind: object, *failure: object) -> None:
        # After an error a deletion may still be under way to where the bytes are.
        if kind is None:
            self._backend.delete([f"{self._folder}/names", f"{self._folder}/beat"])

    def beat(self) -> bool:
        """Tell that the pass gets on; False if it was held up for so long that it must stop."""
        now = _now()
        # Either clock may stand still while this machine sleeps.
        gap = max(abs(new - old) for new, old in zip(now, self._last, strict=True))
        if gap > _LATE_SECONDS:
            return False
        if gap > _BEAT_SECONDS:
            self._beats += 1
            try:
                self._backend.write(f"{self._folder}/beat", b"%d" % self._beats, durable=False)
            except NoRoomError:
                # Another version of the names will do, which takes no room.
                if _touched(self._backend, f"{self._folder}/names") is None:
                    return True  # Tried again before the next deletion, until it is too late.
            self._last = now
        return True


def ended_without_a_word(backend: Backend, *, before: float) -> list[str]:
    """Return the files of passes that last got on before that time."""
    last: dict[str, float] = {}
    names: dict[str, list[str]] = {}
    for found in backend.list(DELETING):
        id = found.name.removeprefix(f"{DELETING}/").partition("/")[0]
        last[id] = max(last.get(id, 0.0), found.modified)
        names.setdefault(id, []).append(found.name)
    return [name for id, modified in last.items() if modified < before for name in names[id]]


def time_there(backend: Backend) -> float:
    """Return the time by the clock that dates the backend's files.

    Where nothing can be written, the time of the newest file that a listing shows: what is old by
    that is old.
    """
    # Needs no room, where it can be: time passes on a full disk, too.
    touched = _touched(backend, PROBE)
    if touched is not None:
        return touched
    try:
        backend.write(PROBE, uuid.uuid4().hex.encode(), durable=False)
        return max(file.modified for file in backend.list("gc/clock"))
    except NoRoomError:
        return max((file.modified for file in backend.list("")), default=0.0)


def _touched(backend: Backend, name: str) -> float | None:
    """Date a file of this machine now, and return the time; None where that cannot be."""
    path = backend.path(name)
    if path is None:
        return None
    try:
        os.utime(path, follow_symlinks=False)
        return os.lstat(path).st_ctime
    except OSError:
        return None  # It is not there, or somebody else's.


def _now() -> tuple[float, float]:
    return time.monotonic(), time.time()
