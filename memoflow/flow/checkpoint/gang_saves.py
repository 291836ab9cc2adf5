"""Gang saves: the parts that this node saves of its gang's checkpoints, one a round."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta

from memoflow.dataclass import dataclass
from memoflow.errors import NotFoundError, UsageError
from memoflow.flow.spool.entry import NO_DIGEST
from memoflow.flow.task.identity import Identity
from memoflow.kinds import checkpoint, gang
from memoflow.kinds.about import About
from memoflow.kinds.checkpoint import SavedCheckpoint
from memoflow.kinds.gang import Gang, Start
from memoflow.names import Key
from memoflow.store import Payload, Store


@dataclass(frozen=True)
class GangPart:
    """One node's part of a checkpoint, whose key is known before all parts are there."""

    key: Key
    gang: Gang
    round: int
    start: Start
    ttl: timedelta | None

    @property
    def number(self) -> int:
        return checkpoint.number_of(self.key)

    @property
    def token(self) -> str:
        return checkpoint.token_of(self.key)

    def store(self, store: Store, payload: Payload, about: About) -> SavedCheckpoint:
        """Store the part, and the checkpoint if this is the last one of it.

        Else what is returned has no digest: other nodes are still to come.
        """
        part = gang.save_part(store, self.gang, self.round, payload, about)
        whole = gang.complete(store, self.gang, self.round, self.start, about, ttl=self.ttl)
        return whole or SavedCheckpoint(replace(part, key=self.key, digest=NO_DIGEST), about)


class GangSaves:
    """The beginning of this node's attempt, and the number of its saves."""

    def __init__(self, store: Callable[[], Store], identity: Identity, series: Key) -> None:
        self._store = store
        self.gang = Gang(series, identity.task, identity.attempt, identity.node, identity.nodes)
        self._lock = threading.Lock()
        self._start: Start | None = None
        self._round = 0
        self._has_failed = False

    @contextmanager
    def in_step(self) -> Iterator[None]:
        """Save in the block; UsageError after one that raised.

        The caller may save again or go on without, which nobody can tell, and by its number a
        later part would be combined with those of other saves.
        """
        if self._has_failed:
            raise UsageError(
                "an earlier save(gang=True) of this attempt failed on this node, so its later "
                "parts might be combined with those of other saves; let the error end the step, "
                "and a retry begins from the last whole checkpoint"
            )
        try:
            yield
        except BaseException:
            self._has_failed = True
            raise

    def start(self, find: Callable[[], SavedCheckpoint | None], ttl: timedelta | None) -> Start:
        """Return the beginning of the attempt, by the decision of its first node."""
        if self._start is None:
            store = self._store()
            started = gang.started(store, self.gang)
            if started is None:
                for attempt in range(self.gang.attempt):
                    gang.recover(store, self.gang.of_attempt(attempt), ttl=ttl)
                started = gang.start(store, self.gang, find())
            self._start = started
        return self._start

    @property
    def has_origin(self) -> bool:
        """True if the nodes begin from a checkpoint of a gang."""
        return self._start is not None and self._start.origin is not None

    def origin(self) -> SavedCheckpoint | None:
        """Return the checkpoint that all nodes begin from; None without one of a gang.

        NotFoundError if it is gone by now: the attempt has to fail, and the next one decides anew.
        """
        if self._start is None or self._start.origin is None:
            return None
        found = checkpoint.find(self._store(), self._start.origin)
        if found is None:
            raise NotFoundError(f"{self._start.origin}, from which the other nodes begin, is gone")
        return found

    def say_missing(self, say: Callable[[str], None]) -> None:
        """Report the parts that other nodes have not saved of this node's last round."""
        if self._start is None or not self._round:
            return
        key = self._start.key_of(self.gang, self._round)
        missing = gang.missing_nodes(self._store(), self.gang, self._round, key)
        if missing:
            say(
                f"{key} is not whole yet, and is no checkpoint before it is: parts of the nodes "
                f"{', '.join(map(str, missing))} are missing"
            )

    def next_part(self, ttl: timedelta | None) -> GangPart:
        """Return the part of this node in its next round."""
        start = self.start(lambda: None, ttl)
        with self._lock:
            self._round += 1
            number = self._round
        return GangPart(start.key_of(self.gang, number), self.gang, number, start, ttl)
