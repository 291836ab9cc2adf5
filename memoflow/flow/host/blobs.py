"""Blobs: the packed artifacts of one flow, as this process has read and written them.

Many tasks have equal artifacts, such as `_task_ok`: each is asked for and written once.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable
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
        self._writing = threading.Lock()

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
            with self._writing:
                saved: list[Any] = super().save_blobs(blobs)
        else:
            keys = [sha1(blob, usedforsecurity=False).hexdigest() for blob in blobs]
            # Without asking the server for any: that takes as long, and equal ones may be written
            # over.
            new = [
                each for each in dict(zip(keys, blobs, strict=True)).items() if self._is_new(*each)
            ]
            self._storage_impl.save_bytes(map(self._packed, new), overwrite=True)
            saved = [self.save_blobs_result(uri=None, key=key) for key in keys]
        for one, blob in zip(saved, blobs, strict=True):
            self._cache.store_key(one.key, blob)
        return saved

    def _is_new(self, key: str, _: bytes) -> bool:
        return self._cache.load_key(key) is None and not self._is_there(key)

    def _packed(self, one: tuple[str, bytes]) -> tuple[str, Any]:
        key, blob = one
        path = self._storage_impl.path_join(self._prefix, key[:2], key)
        return path, (self._pack_v1(blob), {"cas_raw": False, "cas_version": 1})
