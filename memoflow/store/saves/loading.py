"""Loading: saved files out of a store, proven, or a quarantined blob and an error.

A blob that was proven need not be read again to be linked, while its file stays as it was then.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import TypeVar

from memoflow.backends import Backend
from memoflow.errors import NotFoundError
from memoflow.index import Index
from memoflow.names import Digest
from memoflow.objects import (
    DamagedBlobError,
    File,
    LostBlobError,
    Manifest,
    Proofs,
    State,
    blob_name,
    is_whole,
    read_file,
    unpack,
)
from memoflow.objects.ranges import Range, read_ranges
from memoflow.store.refs.refs import Refs
from memoflow.threads import for_each

T = TypeVar("T")


# A disk may damage what nobody wrote to, and leaves no trace of it in a file's state.
_LASTS = timedelta(days=7)
_THREADS = 4


def load(
    refs: Refs,
    manifest: Manifest,
    into: Path,
    *,
    linked: Proofs | None,
    only: Callable[[str], bool] | None,
) -> None:
    """Write the files of a manifest into a directory; see `Store.load`.

    DamagedBlobError or LostBlobError if that cannot be; the blob is quarantined by then.
    """
    if only is not None:
        files = tuple(file for file in manifest.files if only(file.path))
        folders = tuple(filter(only, manifest.folders))
        manifest = replace(manifest, files=files, folders=folders)
    unpacked = partial(unpack, manifest=manifest, into=into, linked=linked)
    _proven(refs, manifest.files, unpacked)


def load_file(refs: Refs, manifest: Manifest, path: str) -> bytes:
    """Return the content of one file of a manifest; see `Store.read_file`."""
    for file in manifest.files:
        if file.path == path:
            return _proven(refs, [file], partial(read_file, file=file))
    raise NotFoundError(f"there is no file {path!r} in the saved files")


def load_ranges(
    refs: Refs, manifest: Manifest, path: str, ranges: Sequence[Range]
) -> list[memoryview]:
    """Return parts of one file of a manifest; see `Store.read_ranges`."""
    for file in manifest.files:
        if file.path == path:
            return _proven(refs, [file], partial(read_ranges, file=file, ranges=ranges))
    raise NotFoundError(f"there is no file {path!r} in the saved files")


def _proven(refs: Refs, files: Iterable[File], read: Callable[[Backend], T]) -> T:
    tried: set[Digest] = set()
    while True:
        try:
            if refs.keyring:
                # A signed ref names blobs by SHA-256; what their pieces are proven by can be
                # forged.
                prove_names(refs.backend, files)
            return read(refs.backend)
        except (DamagedBlobError, LostBlobError) as error:
            # Once more for a blob that is whole: then only the reading of it went wrong.
            if error.blob in tried or _give_up_on(refs, error.blob):
                raise
            tried.add(error.blob)


def _give_up_on(refs: Refs, blob: Digest) -> bool:
    """Quarantine a blob that spoiled a load; False if it turns out to be whole."""
    if refs.backend.evict_cached(blob_name(blob)):
        return False  # Only a copy of it was read, which is gone now.
    try:
        # Proven by its name: it may be the manifest that claims what is not so.
        if is_whole(refs.backend, blob):
            return False
    except NotFoundError:
        pass
    refs.quarantine_blob(blob)
    return True


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
    for_each(partial(_prove_name, backend), blobs, threads=_THREADS)


def _prove_name(backend: Backend, blob: Digest) -> None:
    try:
        if not is_whole(backend, blob):
            raise DamagedBlobError(blob)
    except NotFoundError:
        raise LostBlobError(blob) from None
