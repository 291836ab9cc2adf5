"""Loading: saved files out of a store, proven, or a quarantined blob and an error."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TypeVar

from memoflow.backends import Backend
from memoflow.errors import NotFoundError
from memoflow.names import Digest
from memoflow.objects import (
    DamagedBlobError,
    File,
    LostBlobError,
    Manifest,
    Proofs,
    blob_name,
    is_whole,
    read_file,
    unpack,
)
from memoflow.store.refs.refs import Refs
from memoflow.store.saves.proofs import prove_names

T = TypeVar("T")


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
    raise NotFoundError(f"there is no file {path!r} in what was saved")


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
