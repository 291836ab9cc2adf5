"""Tiered: a backend elsewhere, with a cache on this machine of its immutable files."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from memoflow.backends.backend import (
    LARGEST_READ_BYTES,
    Backend,
    BlobLocation,
    Data,
    Forwarding,
    chunks_of,
)
from memoflow.backends.local import Local
from memoflow.errors import BackendError, NotFoundError
from memoflow.log import log
from memoflow.threads import for_each

_TRIES = 5
_THREADS = 4
_SHRINK_TO = 0.9


class Tiered(Forwarding):
    """Read names that `is_cached` accepts through `near`; keep everything in `far`.

    What comes is proven by `is_whole`, given a backend and a name, before it is kept. When `near`
    has more than `limit_bytes`, what was not used for the longest time goes. Trouble with `near`
    is not an error: it is done without, and said once.
    """

    def __init__(
        self,
        near: Local,
        far: Backend,
        *,
        is_cached: Callable[[str], bool],
        is_whole: Callable[[Backend, str], bool],
        limit_bytes: int,
    ) -> None:
        super().__init__(far)
        self.near = near
        self.far = far
        self._is_cached = is_cached
        self._is_whole = is_whole
        self._limit_bytes = limit_bytes
        self._unseen_bytes = limit_bytes  # what came since `near` was measured: at first, all
        self._lock = threading.Lock()
        self._busy: dict[str, threading.Lock] = {}
        self._has_complained = False

    def read(self, name: str, *, most_bytes: int = LARGEST_READ_BYTES) -> bytes | None:
        if not self._is_cached(name):
            return self.far.read(name, most_bytes=most_bytes)
        with suppress(BackendError):
            data = self.near.read(name, most_bytes=most_bytes)
            if data is not None:
                self._used(name)
                return data
        data = self.far.read(name, most_bytes=most_bytes)
        if data is not None and len(data) <= most_bytes:
            self._keep(name, [memoryview(data)])
        return data

    def open(self, name: str) -> BinaryIO | None:
        if self._is_cached(name):
            self._fetch(name)
            with suppress(BackendError):
                file = self.near.open(name)
                if file is not None:
                    self._used(name)
                    return file
        return self.far.open(name)

    def write(
        self, name: str, data: Data, *, if_absent: bool = False, durable: bool = True
    ) -> bool:
        self.evict_cached(name)
        return self.far.write(name, data, if_absent=if_absent, durable=durable)

    def link_or_copy(self, name: str, source: Path | BlobLocation) -> bool:
        taken = self.far.link_or_copy(name, source)
        if taken and isinstance(source, Path) and self._is_cached(name):
            # It lies on this machine already, and is likely to be wanted here.
            with self._quietly():
                if self.near.link_or_copy(name, source):
                    self._count(source.stat().st_size)
        return taken

    def delete(self, names: Sequence[str]) -> None:
        self.far.delete(names)
        with self._quietly():
            self.near.delete([name for name in names if self._is_cached(name)])

    def path(self, name: str) -> Path | None:
        if self._is_cached(name):
            with suppress(BackendError):
                if self.near.has(name):
                    return self.near.path(name)
        return None

    def prefetch(self, names: Sequence[str]) -> None:
        wanted = [name for name in dict.fromkeys(names) if self._is_cached(name)]
        for_each(self._fetch, wanted, threads=_THREADS)

    def evict_cached(self, name: str) -> bool:
        if self.path(name) is None:
            return False
        with self._quietly():
            self.near.delete([name])
            return True
        return False

    def cleanup(self, *, before: float, dry_run: bool = False) -> int:
        with self._quietly():
            self.near.cleanup(before=before, dry_run=dry_run)
        return self.far.cleanup(before=before, dry_run=dry_run)

    def _fetch(self, name: str) -> None:
        """See to it that the cache has this name, whole, if it is there at all."""
        with self._lock:
            busy = self._busy.setdefault(name, threading.Lock())
        with busy:
            for _ in range(_TRIES):
                with suppress(BackendError):
                    if self.near.has(name):
                        break
                try:
                    kept = self._keep(name, chunks_of(BlobLocation(self.far, name)))
                except NotFoundError:
                    break
                if not kept or self._is_whole(self.near, name):
                    break
                # Torn on its way, or damaged there: then its reader is to find that out.
                self.near.delete([name])
        with self._lock:
            self._busy.pop(name, None)

    def _keep(self, name: str, chunks: Iterable[memoryview]) -> bool:
        """Write chunks to the cache; False if it cannot take them. The chunks' errors pass."""
        length, is_reading = 0, False

        def counted() -> Iterator[memoryview]:
            nonlocal length, is_reading
            is_reading = True
            for chunk in chunks:
                length += len(chunk)
                is_reading = False
                yield chunk
                is_reading = True
            is_reading = False

        try:
            self.near.write(name, counted(), durable=False)
        except BackendError as error:
            if is_reading:
                raise
            self._complain(error)
            return False
        self._count(length)
        return True

    def _count(self, size_bytes: int) -> None:
        with self._lock:
            self._unseen_bytes += size_bytes
            if self._unseen_bytes < self._limit_bytes * (1 - _SHRINK_TO):
                return
            self._unseen_bytes = 0
        with self._quietly():
            self._shrink()

    def _shrink(self) -> None:
        held = sorted(self.near.list(""), key=lambda found: found.modified)
        total = sum(found.size_bytes for found in held)
        if total <= self._limit_bytes:
            return
        for found in held[:-1]:  # Not what has just come, however large.
            if total <= self._limit_bytes * _SHRINK_TO:
                break
            self.near.delete([found.name])
            total -= found.size_bytes

    def _used(self, name: str) -> None:
        with suppress(OSError):
            os.utime(self.near.path(name))

    @contextmanager
    def _quietly(self) -> Iterator[None]:
        """Let trouble with the cache inside go no further."""
        try:
            yield
        except (BackendError, OSError) as error:
            self._complain(error)

    def _complain(self, error: BaseException) -> None:
        if not self._has_complained:
            self._has_complained = True
            log.warning("nothing more is cached in %s: %s", self.near.root, error)
