"""Refs: reading, writing and dropping them, in the backend first and in the index after.

What is damaged is moved to quarantine/ here, and what is gone is forgotten here, so that
either happens once.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from dataclasses import replace

from memoflow.backends import Backend, Found
from memoflow.errors import (
    BackendError,
    BadKeyError,
    IntegrityError,
    MemoflowError,
    NotFoundError,
)
from memoflow.index import Index
from memoflow.names import Digest, Key, Ref
from memoflow.objects import Manifest, blob_name
from memoflow.store.ref_file import Stored, decode

log = logging.getLogger("memoflow")

FOLDER = "refs"
QUARANTINE = "quarantine"
_CHUNK_BYTES = 1 << 20


class Refs:
    """All refs of a store."""

    def __init__(self, backend: Backend, index: Index) -> None:
        self.backend = backend
        self.index = index

    def read(self, key: Key) -> Stored | None:
        """Return what is stored for the key and remember it; None if nothing is.

        IntegrityError if it is damaged; it is in quarantine then.
        """
        data = self.backend.read(ref_name(key))
        if data is None:
            self.index.drop([key])
            return None
        try:
            stored = decode(key, data)
        except IntegrityError:
            self.set_aside(key)
            raise
        if self.index.lookup(key) != stored.ref:
            self.index.record([stored.ref])
        return stored

    def read_or_warn(self, key: Key) -> Stored | None:
        """Return what is stored; None with a warning if that was damaged."""
        try:
            return self.read(key)
        except IntegrityError as error:
            log.warning("%s; set aside in %s/", error, QUARANTINE)
            return None

    def read_same(self, ref: Ref) -> Stored:
        """Return what the ref was made from; NotFoundError if that is no longer there."""
        stored = self.read(ref.key)
        if stored is None:
            raise NotFoundError(f"{ref.key} was forgotten; whoever made it can make it again")
        if stored.ref.digest != ref.digest:
            raise NotFoundError(f"{ref.key} was made anew since it was found; find it again")
        return stored

    def manifest(self, stored: Stored) -> Manifest:
        """Return the manifest; NotFoundError or IntegrityError if its blob is lost or damaged."""
        manifest = self._manifest(stored)
        return manifest if stored.meta is None else replace(manifest, meta=stored.meta)

    def _manifest(self, stored: Stored) -> Manifest:
        blob = stored.manifest_blob
        if blob is None:
            return Manifest.from_json(stored.manifest)
        data = self.backend.read(blob_name(blob))
        if data is None:
            raise NotFoundError(f"the manifest of {stored.ref.key} is gone from the store")
        if Digest.of(data) != blob:
            self.set_blob_aside(blob)
            raise IntegrityError(f"the manifest of {stored.ref.key} is damaged")
        return Manifest.from_bytes(data)

    def listed(self, prefix: Key | None = None) -> Iterator[tuple[Key, Found]]:
        """Yield every key below the prefix that the backend lists."""
        for found in self.backend.list(FOLDER if prefix is None else ref_name(prefix)):
            try:
                yield Key.parse(found.name[len(FOLDER) + 1 :]), found
            except (BadKeyError, UnicodeDecodeError):
                continue  # No memoflow wrote it: a file that a person left here.

    def drop(self, keys: Iterable[Key]) -> None:
        """Forget: in the index first, so that nothing here still finds what is half gone."""
        keys = list(keys)
        self.index.drop(keys)
        self.backend.delete([ref_name(key) for key in keys])
        # Again, should somebody have read it in between.
        self.index.drop(keys)

    def forget_lost(self, key: Key) -> None:
        """Drop a ref that turned out to lead nowhere, as far as we are allowed to."""
        try:
            self.drop([key])
        except BackendError as error:
            log.warning("%s leads nowhere and cannot be removed: %s", key, error)

    def set_aside(self, key: Key) -> None:
        """Move a damaged ref to quarantine/, as far as we are allowed to."""
        self.index.drop([key])
        self._move(ref_name(key))

    def set_blob_aside(self, blob: Digest) -> None:
        """Move a damaged blob to quarantine/, as far as we are allowed to."""
        self.index.drop_blobs([blob])
        self._move(blob_name(blob))

    def blobs(self, stored: Stored) -> set[Digest]:
        """Return every blob that a ref reaches, as far as that can still be told."""
        reached = {stored.manifest_blob} if stored.manifest_blob is not None else set()
        try:
            return reached | self.manifest(stored).blobs
        except BackendError:
            raise
        except MemoflowError:
            return reached

    def _move(self, name: str) -> None:
        try:
            file = self.backend.open(name)
            if file is None:
                return
            with file:
                chunks = iter(lambda: file.read(_CHUNK_BYTES), b"")
                self.backend.write_from(f"{QUARANTINE}/{name}", chunks)
            self.backend.delete([name])
        except (BackendError, OSError) as error:
            log.warning("%s is damaged and cannot be moved: %s", name, error)


def ref_name(key: Key) -> str:
    """Return the name of a ref, or of the folder of refs below a key, in a backend."""
    return f"{FOLDER}/{key}"
