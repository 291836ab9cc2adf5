"""Binding: a further key for bytes that are saved already, without a copy of them."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from memoflow.errors import BackendUnavailableError
from memoflow.names import Key, Ref
from memoflow.store.deletion_log import BlobFate
from memoflow.store.refs.ref_file import encode
from memoflow.store.refs.refs import Refs
from memoflow.store.saves.saving import blobs_fate, write_ref


class Binding:
    """Writes refs that lead to the manifests of other refs."""

    def __init__(self, refs: Refs) -> None:
        self._refs = refs

    def bind(self, key: Key, ref: Ref, meta: Mapping[str, Any]) -> Ref | None:
        """Write a further ref to the manifest of a ref; None if the key is taken.

        With the time of creation and the expiry of the ref, and other `meta`, plain JSON data.
        NotFoundError or IntegrityError if the ref is gone or damaged.
        """
        refs = self._refs
        outlook = refs.deletions.snapshot()  # Before anything is looked for.
        stored = refs.read_same(ref)
        manifest = refs.manifest(stored)
        encoded = partial(
            encode,
            manifest=stored.manifest,
            meta=dict(meta),
            size_bytes=ref.size_bytes,
            new_bytes=0,
            created=ref.created,
            expires=ref.expires,
            keyring=refs.keyring,
        )
        bound, theirs = write_ref(
            refs, lambda taken: None if taken else key, encoded, durable=False
        )
        if theirs is not None:
            return None
        fate = blobs_fate(refs, outlook, manifest, stored.manifest_blob, is_sure=False)
        if fate is not BlobFate.THERE:
            refs.drop_same(bound)
            raise BackendUnavailableError(f"bytes of {ref.key} went away while it was bound")
        refs.index.record([bound])
        return bound
