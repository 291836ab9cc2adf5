"""Entries: checkpoints that were saved without waiting, on their way to the store."""

from __future__ import annotations

from abc import ABC, abstractmethod
from datetime import timedelta

from memoflow.dataclass import dataclass
from memoflow.kinds import checkpoint
from memoflow.kinds.about import About
from memoflow.kinds.checkpoint import SavedCheckpoint
from memoflow.names import Digest, Key, Ref
from memoflow.store import Payload, Store

# No stored ref has it: what is not uploaded yet has no digest.
NO_DIGEST = Digest(f"sha256:{'0' * 64}")


@dataclass(frozen=True)
class Entry(ABC):
    """One committed checkpoint, and how to store it."""

    series: Key
    number: int
    token: str
    size_bytes: int
    created: float
    ttl: timedelta | None
    about: About

    @property
    def key(self) -> Key:
        return self.series / f"{self.number:08d}-{self.token}"

    @property
    def saved(self) -> SavedCheckpoint:
        """The checkpoint after its upload, without its digest and its new bytes."""
        return SavedCheckpoint(Ref(self.key, NO_DIGEST, self.size_bytes, self.created), self.about)

    @property
    @abstractmethod
    def place(self) -> str:
        """The place of its bytes until then, for people."""

    @abstractmethod
    def upload(self, store: Store) -> SavedCheckpoint:
        """Store the entry and let go of its bytes; a second call finds the stored one."""

    def store(self, store: Store, payload: Payload) -> SavedCheckpoint:
        """Store its payload under its key."""
        return checkpoint.save(
            store,
            self.series,
            payload,
            self.about,
            token=self.token,
            ttl=self.ttl,
            number=self.number,
            created=self.created,
        )
