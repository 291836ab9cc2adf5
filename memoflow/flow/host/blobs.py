"""Blobs: the packed artifacts of one flow, as this process has read and written them.

Many tasks have equal artifacts, such as `_task_ok`: each is asked for and written once.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from hashlib import sha1
from typing import Any

from metaflow.datastore.content_addressed_store import ContentAddressedStore

_MOST_BYTES = 32 << 20
_MOST_BYTES_OF_ONE = 1 << 20


class BlobCache:
    """The bytes of the artifacts that were used last, by SHA-1, for a reader of Metaflow's."""

    def __init__(self) -> None:
        self._blobs: OrderedDict[str, bytes] = OrderedDict()
        self._size_bytes = 0
        self._lock = threading.Lock()

    def load_key(self, key: str) -> bytes | None:
        with self._lock:
            blob = self._blobs.get(key)
            if blob is not None:
                self._blobs.move_to_end(key)
            return blob

    def store_key(self, key: str, blob: bytes) -> None:
        if len(blob) > _MOST_BYTES_OF_ONE:
            return
        with self._lock:
            self._size_bytes += len(blob) - len(self._blobs.pop(key, b""))
            self._blobs[key] = blob
            while self._size_bytes > _MOST_BYTES:
                _, dropped = self._blobs.popitem(last=False)
                self._size_bytes -= len(dropped)


class NewBlobs(ContentAddressedStore):
    """The datastore of artifacts for tasks without a worker: each is written once."""

    def __init__(
        self,
        flow_datastore: Any,
        cache: BlobCache,
        is_there: Callable[[str], bool] = lambda sha1: False,
    ) -> None:
        """Open the store of a flow; `is_there` knows some SHA-1s, besides those in the cache."""
        of_flow = flow_datastore.ca_store
        super().__init__(of_flow._prefix, of_flow._storage_impl)
        self._cache = cache
        self._is_there = is_there
        self._lock = threading.Lock()
        self._under_way: dict[str, Future[None]] = {}

    def save_blobs(
        self,
        blob_iter: Iterable[bytes],
        raw: bool = False,
        len_hint: int = 0,
        is_transfer: bool = False,
    ) -> list[Any]:
        """Write packed blobs that are not there, and return their places as Metaflow does."""
        blobs = list(blob_iter)
        if self.TYPE == "local":
            # A file is written in place, so of two threads one writes, and the other finds it.
            with self._lock:
                saved: list[Any] = super().save_blobs(blobs)
        else:
            keys = [sha1(blob, usedforsecurity=False).hexdigest() for blob in blobs]
            self._write_missing(dict(zip(keys, blobs, strict=True)))
            saved = [self.save_blobs_result(uri=None, key=key) for key in keys]
        for one, blob in zip(saved, blobs, strict=True):
            self._cache.store_key(one.key, blob)
        return saved

    def _write_missing(self, blobs: dict[str, bytes]) -> None:
        """Write blobs that are neither known to be there nor being written by another thread.

        The server is not asked for any: that takes as long, and equal ones may be written over.
        """
        while blobs:
            ours, theirs = self._claim(blobs)
            if ours:
                self._write(ours)
            # What another thread failed to write is for this one to try.
            blobs = {key: blobs[key] for key, future in theirs.items() if future.exception()}

    def _claim(self, blobs: dict[str, bytes]) -> tuple[dict[str, bytes], dict[str, Future[None]]]:
        """Return the blobs for this thread to write, and those that others are writing."""
        ours, theirs = {}, {}
        with self._lock:
            for key, blob in blobs.items():
                if self._cache.load_key(key) is not None or self._is_there(key):
                    continue
                if key in self._under_way:
                    theirs[key] = self._under_way[key]
                else:
                    ours[key] = blob
                    self._under_way[key] = Future()
        return ours, theirs

    def _write(self, blobs: dict[str, bytes]) -> None:
        try:
            self._storage_impl.save_bytes(map(self._packed, blobs.items()), overwrite=True)
        except BaseException as error:
            for future in self._release(blobs):
                future.set_exception(error)
            raise
        for key, blob in blobs.items():
            self._cache.store_key(key, blob)
        for future in self._release(blobs):
            future.set_result(None)

    def _release(self, keys: Iterable[str]) -> list[Future[None]]:
        with self._lock:
            return [self._under_way.pop(key) for key in keys]

    def _packed(self, one: tuple[str, bytes]) -> tuple[str, Any]:
        key, blob = one
        path = self._storage_impl.path_join(self._prefix, key[:2], key)
        return path, (self._pack_v1(blob), {"cas_raw": False, "cas_version": 1})
