"""Proofs: the blobs of this machine that need not be read again to be linked."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Mapping
from datetime import timedelta

from memoflow.backends import Backend
from memoflow.errors import NotFoundError
from memoflow.index import Index
from memoflow.names import Digest
from memoflow.objects import DamagedBlobError, File, LostBlobError, State, is_whole
from memoflow.threads import Pool

# A disk may damage what nobody wrote to, and leaves no trace of it in a file's state.
_LASTS = timedelta(days=7)
_THREADS = 4


class IndexedProofs:
    """Keep proofs in the index: a blob counts as proven while its file is as it was then."""

    def __init__(self, index: Index, *, clock: Callable[[], float] = time.time) -> None:
        self._index = index
        self._clock = clock

    def recall(self, blobs: Iterable[Digest]) -> Mapping[Digest, State]:
        """Return the state in which each blob was proven, if that was not too long ago."""
        names = {_fact(blob): blob for blob in blobs}
        now = self._clock()
        states: dict[Digest, State] = {}
        for name, text in self._index.get(list(names)).items():
            inode, size, modified, at = json.loads(text)
            if 0 <= now - at < _LASTS.total_seconds():
                states[names[name]] = (inode, size, modified)
        return states

    def remember(self, states: Mapping[Digest, State]) -> None:
        """Note that these blobs are proven now."""
        now = int(self._clock())
        self._index.set({_fact(blob): json.dumps([*state, now]) for blob, state in states.items()})


def _fact(blob: Digest) -> str:
    return f"proven:{blob}"


def prove_names(backend: Backend, files: Iterable[File]) -> None:
    """Hash the blobs of files by their names; DamagedBlobError or LostBlobError if one is not."""
    blobs = sorted({piece.blob for file in files for piece in file.pieces})
    with Pool(_THREADS) as pool:
        for _ in pool.map(lambda blob: _prove_name(backend, blob), blobs):
            pass


def _prove_name(backend: Backend, blob: Digest) -> None:
    try:
        if not is_whole(backend, blob):
            raise DamagedBlobError(blob)
    except NotFoundError:
        raise LostBlobError(blob) from None
