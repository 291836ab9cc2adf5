"""Sweeping: deleting blobs that no ref reaches, while others save.

Blobs are listed first and refs after, so that a ref written meanwhile is seen. What no ref
reaches is condemned, and deleted by a later pass; but not what was written since a save began
that takes long and is not done. A save that reads no `gc/sweeping` after it wrote its ref was
seen by the pass that deletes; one that reads it waits, then looks whether its blobs are still
there. So whichever comes first, a saved ref never loses its blobs.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import timedelta

from memoflow.backends import Backend, Found
from memoflow.names import Digest, Key
from memoflow.objects import blob_name, blob_of
from memoflow.store.long_saves import unfinished_since
from memoflow.store.refs import QUARANTINE, Refs
from memoflow.store.saving import SWEEPING

_CONDEMNED = "gc/condemned"
_PROBE = "gc/probe"
_LITTER_AGE = timedelta(days=1)
_QUARANTINE_AGE = timedelta(days=30)
_BATCH = 100


@dataclass(frozen=True)
class Swept:
    """What a sweep deleted, and how many blobs wait for a later pass."""

    blobs: int
    size_bytes: int
    condemned: int
    litter: int = 0


def sweep(refs: Refs, *, keep_newer: timedelta, now: bool, dry_run: bool) -> Swept:
    """Delete blobs that no ref reaches; see `Store.sweep`."""
    backend = refs.backend
    found = {name.name: name for name in backend.list("blobs") if blob_of(name.name)}
    today = None if dry_run else time_there(backend)
    # In a dry run nothing may be written, so the newest thing there stands for the time.
    time = today if today is not None else max((f.modified for f in found.values()), default=0.0)
    # Before the refs: what is not marked any more has its ref by then.
    since_saves, dead = unfinished_since(backend, now=time)
    seen: set[Key] = set()
    reached = _reached(refs, seen)
    grace = 0.0 if now else keep_newer.total_seconds()
    lost = {
        name: file
        for name, file in found.items()
        if name not in reached
        and file.modified <= time - grace
        and (now or file.modified < since_saves)
    }
    since = _read_condemned(backend)
    doomed = {
        name: file for name, file in lost.items() if now or since.get(name, time) < time - grace
    }
    if dry_run:
        return Swept(len(doomed), _size(doomed.values()), len(lost) - len(doomed))
    gone = _delete(refs, doomed, seen) if doomed else []
    left = {name: since.get(name, time) for name in lost.keys() - {file.name for file in gone}}
    if left or since:
        backend.write(_CONDEMNED, json.dumps({"blobs": left}).encode(), durable=False)
    litter = backend.tidy(before=time - _LITTER_AGE.total_seconds())
    old = time - _QUARANTINE_AGE.total_seconds()
    backend.delete([file.name for file in backend.list(QUARANTINE) if file.modified < old])
    backend.delete(dead)
    return Swept(len(gone), _size(gone), len(left), litter)


def time_there(backend: Backend) -> float:
    """Return what time it is by the clock that dates the backend's files."""
    backend.write(_PROBE, uuid.uuid4().hex.encode(), durable=False)
    return max(file.modified for file in backend.list("gc") if file.name == _PROBE)


def _reached(refs: Refs, seen: set[Key], beat: Callable[[], None] = lambda: None) -> set[str]:
    """Return the names of the blobs that refs not `seen` yet reach."""
    reached: set[str] = set()
    for key, _ in refs.listed():
        if key in seen:
            continue
        seen.add(key)
        beat()
        stored = refs.read_or_warn(key)
        if stored is not None:
            reached.update(map(blob_name, refs.blobs(stored)))
    return reached


def _delete(refs: Refs, doomed: dict[str, Found], seen: set[Key]) -> list[Found]:
    """Delete what is still reached by no ref, and return that."""
    backend = refs.backend
    mark = _Mark(backend)
    gone: list[Found] = []
    try:
        mark.beat()
        reached = _reached(refs, seen, mark.beat)
        lost = [file for file in doomed.values() if file.name not in reached]
        for start in range(0, len(lost), _BATCH):
            batch = lost[start : start + _BATCH]
            if not mark.is_mine():
                break  # Others held us for dead, and go on as if nothing were being deleted.
            mark.beat()
            refs.index.drop_blobs(_sha256(batch))
            backend.delete([file.name for file in batch])
            gone += batch
    finally:
        mark.remove()
    return gone


class _Mark:
    """What tells saves that blobs are being deleted."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._id = uuid.uuid4().hex
        self._beats = 0

    def beat(self) -> None:
        self._beats += 1
        self._backend.write(SWEEPING, f"{self._id} {self._beats}".encode(), durable=False)

    def is_mine(self) -> bool:
        return (self._backend.read(SWEEPING) or b"").startswith(self._id.encode())

    def remove(self) -> None:
        if self.is_mine():
            self._backend.delete([SWEEPING])


def _read_condemned(backend: Backend) -> dict[str, float]:
    try:
        blobs = json.loads(backend.read(_CONDEMNED) or b"{}").get("blobs", {})
        return {str(name): float(since) for name, since in blobs.items()}
    except (ValueError, TypeError, AttributeError, RecursionError):
        return {}  # Damaged: they are condemned again, and wait once more.


def _sha256(files: Iterable[Found]) -> list[Digest]:
    digests = (blob_of(file.name) for file in files)
    return [digest for digest in digests if digest and digest.algorithm == "sha256"]


def _size(files: Iterable[Found]) -> int:
    return sum(file.size_bytes for file in files)
