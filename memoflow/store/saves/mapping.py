"""Mapping: a saved file in memory, not read anew, private to its user."""

from __future__ import annotations

import mmap
import os
import threading

from memoflow.names import Digest
from memoflow.objects import File, Manifest, State, blob_name
from memoflow.objects.blobs import xxh3_of
from memoflow.objects.linking import whole_blob
from memoflow.objects.tree import state_of_file
from memoflow.store.refs.refs import Refs
from memoflow.store.saves.loading import load_file, prove_names


class MappedFiles:
    """The blobs that this process has proven, by the state of their files then."""

    def __init__(self, refs: Refs) -> None:
        self._refs = refs
        self._lock = threading.Lock()
        self._proven: dict[Digest, State] = {}

    def map(self, manifest: Manifest, path: str) -> memoryview:
        """Return the content of a file of a manifest, proven, writable and private.

        Copied where it is no blob of its own on this machine. Raises as `load_file` does.
        """
        for file in manifest.files:
            if file.path == path:
                mapped = self._mapped(file)
                if mapped is not None:
                    return mapped
        return memoryview(bytearray(load_file(self._refs, manifest, path)))

    def _mapped(self, file: File) -> memoryview | None:
        backend, blob = self._refs.backend, whole_blob(file)
        if blob is None or file.size_bytes == 0:
            return None
        backend.prefetch([blob_name(blob)])
        path = backend.path(blob_name(blob))
        if path is None:
            return None
        try:
            with open(path, "rb", buffering=0) as opened:
                info = os.fstat(opened.fileno())
                mapped = mmap.mmap(opened.fileno(), info.st_size, access=mmap.ACCESS_COPY)
        except (OSError, ValueError):
            return None
        view, state = memoryview(mapped), state_of_file(info)
        with self._lock:
            is_proven = self._proven.get(blob) == state
        if not is_proven:
            if not self._prove(file, view):
                return None  # Reading it finds out what is wrong.
            with self._lock:
                self._proven[blob] = state
        return view

    def _prove(self, file: File, view: memoryview) -> bool:
        if view.nbytes != file.size_bytes:
            return False
        if self._refs.keyring:
            # A signed ref names blobs by SHA-256; what their pieces are proven by can be forged.
            prove_names(self._refs.backend, [file])
        return all(
            xxh3_of(view[each.offset : each.offset + each.length]) == each.xxh3
            for each in file.pieces
        )
