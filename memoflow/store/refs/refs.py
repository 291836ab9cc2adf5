"""Refs: reading, writing and dropping them, in the backend first and in the index after.

What is damaged is moved to quarantine/ here, and what is gone is forgotten here, so that
either happens once.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import replace
from functools import partial

from memoflow.backends import Backend, BlobLocation, Found, Tiered
from memoflow.errors import (
    BackendError,
    FormatError,
    IntegrityError,
    MemoflowError,
    NotFoundError,
    UnsignedError,
)
from memoflow.index import Index
from memoflow.log import log
from memoflow.names import Digest, Key, Ref
from memoflow.objects import LARGEST_BYTES as LARGEST_MANIFEST_BYTES
from memoflow.objects import Manifest, blob_name
from memoflow.progress import Advance, counted
from memoflow.store.deletion_log import Deleting, DeletionLog
from memoflow.store.refs.prefetch import Prefetch
from memoflow.store.refs.ref_file import LARGEST_BYTES, OtherKeyError, RefNames, Stored, decode
from memoflow.store.refs.signing import Keyring
from memoflow.threads import Pool

QUARANTINE = "quarantine"
DROPPED = "gc/dropped"
_AT_ONCE = 16
_BATCH = 1000
_NO_KEYS = Keyring()


class Refs:
    """All refs of a store."""

    def __init__(
        self,
        backend: Backend,
        index: Index,
        *,
        keyring: Keyring = _NO_KEYS,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.backend = backend
        self.index = index
        self.keyring = keyring
        self._has_passed_over = False
        self.deletions = DeletionLog(backend, index, sleep=sleep)
        self.prefetch = Prefetch(backend)
        self.names = RefNames(backend)

    def read(self, key: Key) -> Stored | None:
        """Return the ref stored for the key and remember it; None if there is none.

        IntegrityError if it is damaged; it is in quarantine then. UnsignedError if we have keys and
        none of them has signed it; it stays where it is.
        """
        stored = self._read(key)
        return None if stored is None else self.remember(stored)

    def remember(self, stored: Stored) -> Stored:
        """Record a ref that was read in the index, as not used; return its stored form."""
        if self.index.lookup(stored.ref.key) != stored.ref:
            self.index.record([stored.ref], is_used=False)
        return stored

    def _read(
        self, key: Key, keyring: Keyring | None = None, *, alike: bool = False
    ) -> Stored | None:
        data = self.backend.read(self.names.of(key), most_bytes=LARGEST_BYTES)
        if data is None:
            self.index.drop([key])
            return None
        try:
            return decode(key, data, self.keyring if keyring is None else keyring)
        except OtherKeyError as error:
            self.index.drop([key])
            return decode(error.key, data, _NO_KEYS) if alike else None
        except UnsignedError:
            self.index.drop([key])
            raise
        except IntegrityError:
            self.quarantine(key, Digest.of(data))
            raise

    def read_any(self, key: Key, *, alike: bool = False) -> Stored | None:
        """Return the stored ref under any signature: to keep or remove it, not to use it.

        With `alike` even what is of a key that differs only by case: to keep what it needs.
        """
        try:
            return self._read(key, _NO_KEYS, alike=alike)
        except IntegrityError as error:
            log.warning("%s; quarantined", error)
            return None

    def contents(
        self,
        listed: Iterable[tuple[Key, Found]],
        *,
        signed: bool = True,
        copies: bool = True,
    ) -> Iterator[tuple[Key, Found, Stored]]:
        """Yield the stored refs of keys that were just listed, in few requests where that matters.

        What went since is left out, and what is damaged is quarantined with a warning. Unless it is
        to be `signed`, whoever signed it: to keep or remove it, not to use it. From `copies` of
        these versions in bundles, as far as there are any: never to decide what goes.
        """
        by_kind: dict[str, dict[Key, Found]] = defaultdict(dict)
        for key, file in listed:
            by_kind[key.kind][key] = file
        read = partial(self.or_warn, self._read) if signed else self.read_any
        keyring = self.keyring if signed else _NO_KEYS
        for kind, files in by_kind.items():
            is_slow = len(files) >= _AT_ONCE and self.backend.takes_round_trips
            copied = self.prefetch.copies(Key.of(kind), files) if is_slow and copies else {}
            single = []
            for key, file in files.items():
                stored = None
                # Of a copy, which says nothing.
                with suppress(IntegrityError, FormatError, OtherKeyError):
                    stored = decode(key, copied[key], keyring) if key in copied else None
                if stored is None:
                    single.append(key)
                else:
                    yield key, file, stored
            with Pool(_AT_ONCE) as pool:
                for start in range(0, len(single), _BATCH):
                    batch = single[start : start + _BATCH]
                    answers = pool.map(read, batch) if is_slow else map(read, batch)
                    for key, stored in zip(batch, answers, strict=True):
                        if stored is not None:
                            yield key, files[key], stored

    def make_room(self, key: Key) -> None:
        """Quarantine the ref stored for the key if none of our keys has signed it."""
        data = self.backend.read(self.names.of(key), most_bytes=LARGEST_BYTES)
        if data is None:
            return
        try:
            decode(key, data, self.keyring)
        except UnsignedError:
            self.quarantine(key, Digest.of(data))
        except IntegrityError:
            pass  # Its next reader quarantines it.

    def read_or_warn(self, key: Key) -> Stored | None:
        """Return the stored ref; None with a warning if it is damaged or not signed by us."""
        return self.or_warn(self.read, key)

    def distrusts(self, key: Key) -> bool:
        """Tell whether the stored ref is signed with none of our keys; see `Store.distrusts`."""
        try:
            self.read(key)
        except UnsignedError:
            return True
        except IntegrityError:
            pass
        return False

    def reindex(self) -> int:
        """Bring the index in line with the backend; see `Store.reindex`."""
        known = self.index.entries()
        unknown = [(key, file) for key, file in self.listed() if known.pop(str(key), None) is None]
        self.index.drop(Key.parse(text) for text in known)
        with counted("Reading references", len(unknown)) as advance:
            self.index.record(self._advancing(unknown, advance), is_used=False)
        return len(unknown)

    def _advancing(self, unknown: list[tuple[Key, Found]], advance: Advance) -> Iterator[Ref]:
        for _, _, stored in self.contents(unknown):
            yield stored.ref
            advance(1)

    def recent(
        self, prefix: Key, most: int, *, before: float, wanted: Callable[[Key], bool]
    ) -> list[Ref]:
        """Return some of the refs created below the prefix before a time; see `Store.recent`."""
        known = self.index.recent(prefix, 4 * most, before=before)
        found = [ref for ref in known if wanted(ref.key)][:most]
        if found:
            return found
        listed = [
            (each.modified, key)
            for key, each in self.listed(prefix)
            if wanted(key) and each.modified < before
        ]
        for _, key in sorted(listed, key=lambda pair: -pair[0])[:most]:
            stored = self.read_or_warn(key)
            if stored is not None:
                found.append(stored.ref)
        return found

    def or_warn(self, read: Callable[[Key], Stored | None], key: Key) -> Stored | None:
        """Return the ref that `read` returns; None with a warning for its errors."""
        try:
            return read(key)
        except UnsignedError as error:
            # Once: there may be thousands of them.
            if not self._has_passed_over:
                self._has_passed_over = True
                log.warning("%s; it is passed over, and so are others like it", error)
            return None
        except IntegrityError as error:
            log.warning("%s; quarantined", error)
            return None

    def read_same(self, ref: Ref) -> Stored:
        """Return the stored form of a ref; NotFoundError if that is no longer there."""
        stored = self.read(ref.key)
        if stored is None:
            raise NotFoundError(f"{ref.key} was forgotten; it must be made again")
        if stored.ref.digest != ref.digest:
            raise NotFoundError(f"{ref.key} was written again since it was found; find it again")
        return stored

    def manifest(self, stored: Stored) -> Manifest:
        """Return the manifest; NotFoundError or IntegrityError if its blob is lost or damaged."""
        manifest = self._manifest(stored)
        if manifest.size_bytes != stored.ref.size_bytes:
            raise IntegrityError(f"the manifest of {stored.ref.key} has another size than its ref")
        return manifest if stored.meta is None else replace(manifest, meta=stored.meta)

    def _manifest(self, stored: Stored) -> Manifest:
        blob = stored.manifest_blob
        if blob is None:
            return Manifest.from_json(stored.manifest)
        name = blob_name(blob)
        data = self.backend.read(name, most_bytes=LARGEST_MANIFEST_BYTES)
        if data is not None and Digest.of(data) != blob and self.backend.evict_cached(name):
            data = self.backend.read(name, most_bytes=LARGEST_MANIFEST_BYTES)
        if data is None:
            raise NotFoundError(f"the manifest of {stored.ref.key} is gone from the store")
        if len(data) > LARGEST_MANIFEST_BYTES:
            raise IntegrityError(f"the manifest of {stored.ref.key} is larger than one can be")
        if Digest.of(data) != blob:
            self.quarantine_blob(blob)
            raise IntegrityError(f"the manifest of {stored.ref.key} is damaged")
        return Manifest.from_bytes(data)

    def listed(self, prefix: Key | None = None) -> Iterator[tuple[Key, Found]]:
        """Yield every key below the prefix that the backend lists."""
        for key, found in self.names.listed(prefix):
            self.prefetch.add(key, found)
            yield key, found

    def drop(self, keys: Iterable[Key]) -> None:
        """Drop refs: in the index first, so that nothing here still finds one that is half gone."""
        keys = list(keys)
        self.prefetch.forget(keys)
        self.index.drop(keys)
        self.backend.delete(self.names.all_of(keys))
        # Again, should somebody have read it in between.
        self.index.drop(keys)

    def drop_same(self, ref: Ref) -> None:
        """Drop a ref that leads nowhere, unless its key leads elsewhere by now."""
        stored = self.read_or_warn(ref.key)
        is_same = stored is not None and stored.ref.digest == ref.digest
        if is_same and self._claim(ref.key, ref.digest):
            self.drop([ref.key])

    def forget_lost(self, ref: Ref) -> None:
        """Drop a ref that turned out to lead nowhere, as far as we are allowed to."""
        self.index.drop([ref.key])
        try:
            self.drop_same(ref)
        except BackendError as error:
            log.warning("%s leads nowhere and cannot be removed: %s", ref.key, error)

    def quarantine(self, key: Key, digest: Digest) -> None:
        """Move a damaged ref, or one that leads nowhere, to quarantine/, as far as we are allowed.

        Unless its key leads to something else by now than what has that digest.
        """
        self.index.drop([key])
        try:
            name = self.names.of(key)
            data = self.backend.read(name, most_bytes=LARGEST_BYTES)
            if data is not None and Digest.of(data) == digest and self._claim(key, digest):
                self.move_to_quarantine(name)
        except BackendError as error:
            log.warning("%s leads nowhere and cannot be moved: %s", key, error)

    def quarantine_blob(self, blob: Digest) -> None:
        """Move a damaged blob to quarantine/, as far as we are allowed to."""
        self.index.drop_blobs([blob])
        name = blob_name(blob)
        try:
            # Said like any other deletion: a save may count on it that knows nothing of this.
            with Deleting(self.backend, [name]):
                self.move_to_quarantine(name)
        except BackendError as error:
            log.warning("%s is damaged and cannot be moved: %s", name, error)

    def blobs(self, stored: Stored) -> set[Digest]:
        """Return every blob that a ref reaches, as far as that can still be told."""
        reached = {stored.manifest_blob} if stored.manifest_blob is not None else set()
        try:
            return reached | self.manifest(stored).blobs
        except BackendError:
            raise
        except MemoflowError:
            return reached

    def _claim(self, key: Key, digest: Digest) -> bool:
        """Tell whether it is for us to remove these bytes from their key: once, to one caller.

        Two that found the same could otherwise remove, the second one, what a third has written
        there since.
        """
        mark = f"{DROPPED}/{Digest.of(f'{key} {digest}'.encode()).hex}"
        if self.backend.write(mark, b"", if_absent=True, durable=False):
            return True
        # The same bytes again: emptied once more, or put back from a backup. Then they are younger.
        name = self.names.of(key)
        claimed = _found(self.backend, DROPPED, mark)
        there = _found(self.backend, name.rpartition("/")[0], name)
        if claimed is None or there is None or there.modified <= claimed.modified:
            return False
        # Read after listing: so they were there in this version, which one caller may remove.
        data = self.backend.read(name, most_bytes=LARGEST_BYTES)
        if data is None or Digest.of(data) != digest:
            return False
        version = Digest.of(f"{there.version} {there.modified}".encode())
        return self.backend.write(f"{mark}-{version.hex}", b"", if_absent=True, durable=False)

    def move_to_quarantine(self, name: str) -> None:
        """Move a file to quarantine/, as far as we are allowed to."""
        try:
            # The last of that name is kept. Unread where that can be: there is no telling its size.
            self.backend.delete([f"{QUARANTINE}/{name}"])
            there = self.backend.far if isinstance(self.backend, Tiered) else self.backend
            self.backend.link_or_copy(f"{QUARANTINE}/{name}", BlobLocation(there, name))
            self.backend.delete([name])
        except NotFoundError:
            return  # Another process was faster.
        except (BackendError, OSError) as error:
            log.warning("%s is damaged and cannot be moved: %s", name, error)


def _found(backend: Backend, folder: str, name: str) -> Found | None:
    return next((found for found in backend.list(folder) if found.name == name), None)
