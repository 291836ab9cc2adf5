"""Held entries: states in the memory of this process, copied when they were saved."""

from __future__ import annotations

import mmap
import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import field

from memoflow.dataclass import dataclass
from memoflow.flow.spool.entry import Entry
from memoflow.kinds.about import About
from memoflow.kinds.checkpoint import SavedCheckpoint
from memoflow.memory import private_memory
from memoflow.objects import Content
from memoflow.store import Payload, Store

_LEAST_BYTES = 1 << 20


class CopyMemory:
    """Memory for copies, used again: the first use of a page costs more than the copy."""

    def __init__(self) -> None:
        self._free: list[mmap.mmap] = []

    def take(self, size_bytes: int) -> mmap.mmap:
        """Return memory of this size or more; MemoryError if there is none."""
        with suppress(IndexError):
            memory = self._free.pop()
            if size_bytes <= len(memory) <= 2 * max(size_bytes, _LEAST_BYTES):
                return memory
        try:
            return private_memory(max(size_bytes, _LEAST_BYTES), in_large_pages=True)
        except OSError as error:
            raise MemoryError(f"there is no memory for a copy of {size_bytes:,} bytes") from error

    def give_back(self, memory: mmap.mmap) -> None:
        """Keep memory for the next copy, unless some is kept already."""
        if not self._free:
            self._free.append(memory)


MEMORY = CopyMemory()
os.register_at_fork(after_in_child=MEMORY.__init__)  # type: ignore[misc]  # Its copies are not ours.


@dataclass(frozen=True, eq=False)
class HeldEntry(Entry):
    """One state in memory: `write` stores its files, and `let_go` is called once that is done."""

    files: Mapping[str, Content]
    let_go: Callable[[], None]
    write: Callable[[Store, Payload, About], SavedCheckpoint] | None = None  # None: as any other
    _stored: list[SavedCheckpoint] = field(default_factory=list)

    @property
    def place(self) -> str:
        return "the memory of this process"

    def upload(self, store: Store) -> SavedCheckpoint:
        if not self._stored:
            payload = Payload(files=self.files)
            write = self.write
            one = self.store(store, payload) if write is None else write(store, payload, self.about)
            self._stored.append(one)
            self.let_go()
        return self._stored[0]
