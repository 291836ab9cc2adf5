"""Proofs: which blobs of this machine need not be read again to be linked."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Mapping
from datetime import timedelta

from memoflow.index import Index
from memoflow.names import Digest
from memoflow.objects import State

# A disk may damage what nobody wrote to, and leaves no trace of it in a file's state.
_LASTS = timedelta(days=7)


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
        for name, text in self._index.recall(list(names)).items():
            inode, size, modified, at = json.loads(text)
            if 0 <= now - at < _LASTS.total_seconds():
                states[names[name]] = (inode, size, modified)
        return states

    def remember(self, states: Mapping[Digest, State]) -> None:
        """Note that these blobs are proven now."""
        now = int(self._clock())
        self._index.remember(
            {_fact(blob): json.dumps([*state, now]) for blob, state in states.items()}
        )


def _fact(blob: Digest) -> str:
    return f"proven:{blob}"
