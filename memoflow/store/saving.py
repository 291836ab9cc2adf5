"""Saving: blobs, then the manifest, then the ref, then the index; and outliving a sweep."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from memoflow.backends import Backend
from memoflow.errors import BackendUnavailableError, RequestError
from memoflow.names import Digest, Key, Ref
from memoflow.objects import Manifest, Packed, Proofs, State, Tree, blob_name, pack, state_of
from memoflow.store.adoption import adopt
from memoflow.store.long_saves import LongSave
from memoflow.store.payload import Payload
from memoflow.store.ref_file import LARGEST_INLINE_BYTES, encode
from memoflow.store.refs import Refs, ref_name

SWEEPING = "gc/sweeping"
_TRIES = 3
_STALE_SECONDS = 3.0

# Given the key that was taken, or None at first: the next one, or None to leave it at that.
NextKey = Callable[[Key | None], Key | None]


@dataclass(frozen=True)
class Previous:
    """The last save of a series: its manifest, and what its ref holds of that."""

    manifest: Manifest
    listed: dict[str, Any] | Digest


def save(
    refs: Refs,
    proofs: Proofs,
    next_key: NextKey,
    payload: Payload,
    *,
    meta: Mapping[str, Any],
    clock: Callable[[], float],
    expires: float | None,
    previous: Previous | None,
    durable: bool,
) -> Ref:
    """Save under the first key that is free; see `Store.save` and `Store.append`."""
    plain, created = _plain(meta), clock()
    with LongSave(refs.backend, clock=clock) as progress:
        for _ in range(_TRIES):
            manifest, packed, new_bytes = _put(refs, payload, previous, progress, durable=durable)
            listed = _put_manifest(refs.backend, manifest, previous, durable=durable)
            encoded = partial(
                encode,
                manifest=listed,
                meta=plain,
                size_bytes=manifest.size_bytes,
                new_bytes=new_bytes,
                created=_whole_milliseconds(created),
                expires=None if expires is None else _whole_milliseconds(expires),
            )
            ref = _write_ref(refs, next_key, encoded, durable=durable)
            _outlive_sweep(refs.backend)
            blobs = manifest.blobs | ({listed} if isinstance(listed, Digest) else set())
            if all(refs.backend.exists([blob_name(blob) for blob in blobs])):
                refs.index.record([ref])
                refs.index.record_pieces(packed.new)
                proofs.remember(_states(refs.backend, packed.whole))
                return ref
            # Swept between being found and being reached by this ref: write all of it anew.
            refs.drop([ref.key])
            refs.index.drop_blobs(blob for blob in blobs if blob.algorithm == "sha256")
            previous = None
            progress.mark()  # At once: this sweep is quicker than we are.
    raise BackendUnavailableError(
        f"the bytes of {ref.key} vanished {_TRIES} times while they were saved; "
        "is something else deleting blobs?"
    )


def _plain(meta: Mapping[str, Any]) -> dict[str, Any]:
    try:
        plain: dict[str, Any] = json.loads(json.dumps(dict(meta), allow_nan=False))
    except (TypeError, ValueError, RecursionError) as error:
        raise RequestError(f"meta must be plain JSON data: {error}") from None
    return plain


def _put(
    refs: Refs,
    payload: Payload,
    previous: Previous | None,
    progress: LongSave,
    *,
    durable: bool,
) -> tuple[Manifest, Packed, int]:
    """Write a payload's bytes; return its manifest, what was packed, and what of it was new."""
    packed = pack(
        refs.backend,
        Tree.survey(payload.tree, payload.files),
        whole=payload.whole,
        linked=payload.linked,
        known=refs.index.find_pieces,
        previous=None if previous is None else previous.manifest,
        beat=progress.beat,
        durable=durable,
    )
    taken = []
    for name, adoption in sorted(payload.adopted.items()):
        progress.beat()
        taken.append(adopt(refs.backend, name, adoption))
    files = sorted((*packed.files, *payload.kept), key=lambda file: file.path)
    manifest = Manifest(tuple(files), packed.folders, tuple(adopted for adopted, _ in taken))
    new_bytes = packed.new_bytes + sum(size_bytes for _, size_bytes in taken)
    return manifest, packed, new_bytes


def _states(backend: Backend, blobs: Iterable[Digest]) -> dict[Digest, State]:
    paths = {blob: backend.path(blob_name(blob)) for blob in blobs}
    states = {blob: state_of(path) for blob, path in paths.items() if path is not None}
    return {blob: state for blob, state in states.items() if state is not None}


def _put_manifest(
    backend: Backend, manifest: Manifest, previous: Previous | None, *, durable: bool
) -> dict[str, Any] | Digest:
    """Return what the ref is to hold: the manifest while it is small, else its digest."""
    if previous is not None and manifest == replace(previous.manifest, meta={}):
        return previous.listed
    data = manifest.to_bytes()
    if len(data) <= LARGEST_INLINE_BYTES:
        return manifest.to_json()
    digest = Digest.of(data)
    backend.write(blob_name(digest), data, durable=durable)
    return digest


def _write_ref(
    refs: Refs,
    next_key: NextKey,
    encoded: Callable[[Key], tuple[Ref, bytes]],
    *,
    durable: bool,
) -> Ref:
    taken: Key | None = None
    while (key := next_key(taken)) is not None:
        ref, data = encoded(key)
        # Last, so that a ref never names blobs that were not there.
        if refs.backend.write(ref_name(key), data, if_absent=True, durable=durable):
            return ref
        taken = key
    assert taken is not None
    stored = refs.read_or_warn(taken)
    if stored is not None:
        return stored.ref
    # Whoever took it let it go again, or it was damaged and is set aside now.
    return _write_ref(refs, next_key, encoded, durable=durable)


def _outlive_sweep(backend: Backend) -> None:
    """Return once no sweep is deleting that may not have seen a ref that is written by now."""
    since, seen = time.monotonic(), backend.read(SWEEPING)
    while seen is not None:
        time.sleep(0.02)
        now = backend.read(SWEEPING)
        if now != seen:
            since, seen = time.monotonic(), now
        elif time.monotonic() - since > _STALE_SECONDS:
            # It died: a live one writes again and again, and stops if its mark is gone.
            backend.delete([SWEEPING])
            return


def _whole_milliseconds(seconds: float) -> float:
    # As the index keeps them: a ref is the same wherever it was found.
    return round(seconds * 1000) / 1000
