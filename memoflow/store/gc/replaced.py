"""Replaced blobs: the bytes of replaced saves, freed before they exceed those that are live.

Waiting for a sweep, which leaves alone all that is younger than its grace, a task that saves often
would fill a disk with saves that nobody keeps. Freed are the oldest first, so that whoever is
loading the save that was just replaced has the time of some more saves to end.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable
from datetime import timedelta

from memoflow.backends import Found
from memoflow.names import Ref
from memoflow.objects import blob_name
from memoflow.store.gc.sweeping import Sweep
from memoflow.store.refs.refs import Refs

# Times the size of the newest save: with the packs that this uses, as much as there may be.
_MOST = 2.25
# A pass looks at each ref of the store, which takes as long as writing so many bytes.
_BYTES_PER_REF = 10_000


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
            least_bytes = _BYTES_PER_REF * self._sweep.refs_seen
            self._free_above(max(least_bytes, _MOST * live.size_bytes - used_bytes))

    def _free_above(self, most_bytes: float) -> None:
        left_bytes = sum(self._left.values())
        if left_bytes <= most_bytes:
            return
        doomed = []
        for name, size_bytes in self._left.items():
            if left_bytes <= most_bytes / 2:
                break
            doomed.append(Found(name, size_bytes, 0.0))
            left_bytes -= size_bytes
        self._sweep.delete(doomed)
        # What a ref reaches still is not left over.
        for found in doomed:
            del self._left[found.name]

    def _blobs(self, ref: Ref) -> set[str]:
        stored = self._refs.read_any(ref.key)
        return set() if stored is None else set(map(blob_name, self._refs.blobs(stored)))
