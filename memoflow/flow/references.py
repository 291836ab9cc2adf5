"""References: saved things in a store by their references: described, loaded, deleted.

A reference dict has the keys that metaflow-checkpoint gave it, so that flows read it as before.
"""

from __future__ import annotations

from collections.abc import Hashable
from pathlib import Path
from typing import Any

from memoflow.errors import (
    IntegrityError,
    MemoflowError,
    NotFoundError,
    UnsignedError,
    UsageError,
)
from memoflow.flow.artifact_ref import Reference, is_key
from memoflow.flow.artifact_store import ArtifactStore
from memoflow.flow.spool import uploading
from memoflow.kinds import checkpoint, hub, legacy, model
from memoflow.kinds.about import About
from memoflow.kinds.checkpoint import SavedCheckpoint
from memoflow.kinds.hub import Snapshot
from memoflow.kinds.legacy_identity import pathspec_hash
from memoflow.kinds.model import Model
from memoflow.names import Key


def of_checkpoint(where: ArtifactStore, found: SavedCheckpoint) -> dict[str, Any]:
    """Return the reference dict of a checkpoint."""
    about, key = found.about, str(found.ref.key)
    return {
        "size": found.ref.size_bytes,
        "pathspec": about.task,
        "pathspec_hash": pathspec_hash(about.task),
        "attempt": about.attempt,
        "key": key,
        "type": checkpoint.KIND,
        "url": _url(where, key),
        "name": about.name,
        "created_on": found.created_on,
        "metadata": dict(about.metadata or {}),
        "storage_format": about.storage_format,
        "creation_context": "task",
        "version_id": found.number - 1,  # From 0, as metaflow-checkpoint counts.
    }


def of_model(where: ArtifactStore, found: Model) -> dict[str, Any]:
    """Return the reference dict of a model."""
    about, key = found.about, str(found.ref.key)
    return {
        "pathspec": about.task,
        "attempt": about.attempt,
        "key": key,
        "created_on": found.created_on,
        "type": model.KIND,
        "url": _url(where, key),
        "model_uuid": about.uuid,
        "metadata": dict(about.metadata or {}),
        "source": "task",
        "storage_format": about.storage_format,
        "serializer": about.storage_format,
        "label": about.label,
        "size": found.ref.size_bytes,
    }


def of_snapshot(where: ArtifactStore, found: Snapshot) -> dict[str, Any]:
    """Return the reference dict of a snapshot; its type is that of a checkpoint, as it ever was."""
    about, key = found.about, str(found.ref.key)
    return {
        "size": found.ref.size_bytes,
        "pathspec": about.task,
        "pathspec_hash": pathspec_hash(about.task),
        "attempt": about.attempt,
        "key": key,
        "type": checkpoint.KIND,
        "url": _url(where, key),
        "name": about.repo_id,
        "created_on": found.created_on,
        "metadata": metadata_of_snapshot(about),
        "storage_format": "files",
        "creation_context": "task",
        "version_id": 0,
    }


def metadata_of_snapshot(about: About) -> dict[str, Any]:
    """Return a snapshot's origin as plain JSON data."""
    return {
        "repo_id": about.repo_id,
        "registry": "huggingface",
        "repo_type": about.repo_type,
        "revision": about.revision,
        "commit": about.commit,
        "allow_patterns": None if about.allow is None else list(about.allow),
        "ignore_patterns": None if about.ignore is None else list(about.ignore),
    }


def key_of(reference: Any) -> str:
    """Return the key that a dict, key or object refers to; UsageError if it is none of them."""
    key = reference
    if isinstance(reference, Reference):
        key = reference.key
    elif isinstance(reference, dict):
        key = reference.get("key")
    elif not isinstance(reference, str):
        # An object of metaflow-checkpoint's own, out of an older run.
        key = getattr(reference, "key", None)
    if isinstance(key, str) and (is_key(key) or legacy.is_key(key)):
        return key
    raise UsageError(
        f"{_short(reference)} is no reference to a checkpoint, model or snapshot; pass the dict "
        "that `save` or `snapshot_download` returned, its 'key', or an object from `info`"
    )


def describe(where: ArtifactStore, reference: Any) -> dict[str, Any]:
    """Return the full reference dict; NotFoundError if the store has no such entry."""
    text = key_of(reference)
    if legacy.is_key(text):
        old = where.legacy.reference(text)
        if old is None:
            raise _gone(where, reference, text)
        return old
    key = Key.parse(text)
    _settle(where, key)
    if key.kind == checkpoint.KIND:
        saved = checkpoint.find(where.store, key)
        if saved is not None:
            return of_checkpoint(where, saved)
    elif key.kind == hub.KIND:
        snapshot = hub.find(where.store, key)
        if snapshot is not None:
            return of_snapshot(where, snapshot)
    else:
        stored = model.find(where.store, key)
        if stored is not None:
            return of_model(where, stored)
    raise _gone(where, reference, text)


def load(where: ArtifactStore, reference: Any, into: Path, *, writable: bool) -> None:
    """Write the files referred to into a directory, proven.

    Unless `writable`, those of a model or snapshot are read-only, and links into the store where
    they can be.
    """
    text = key_of(reference)
    if legacy.is_key(text):
        where.legacy.load(reference if isinstance(reference, dict) else text, into)
        return
    _settle(where, Key.parse(text))
    ref = where.store.find(Key.parse(text), even_expired=True)
    if ref is None:
        raise _gone(where, reference, text)
    linked = not writable and ref.key.kind in (model.KIND, hub.KIND)
    try:
        where.store.load(ref, into, linked=linked)
    except UnsignedError:
        raise  # Which says what to do, and of no damage.
    except IntegrityError as error:
        raise IntegrityError(
            f"{text} is damaged and was not loaded: {error}; load another one, or save it again"
        ) from error
    except NotFoundError as error:
        raise NotFoundError(
            f"{text} was not loaded, since not all of it is left: {error}; load another one, or "
            "save it again"
        ) from error


def files(where: ArtifactStore, reference: Any) -> list[str]:
    """Return the paths of the files that `load` writes; none for a save of metaflow-checkpoint."""
    text = key_of(reference)
    ref = None if legacy.is_key(text) else where.store.find(Key.parse(text), even_expired=True)
    return [] if ref is None else [file.path for file in where.store.manifest(ref).files]


def contents(where: ArtifactStore, reference: Any) -> dict[str, Hashable] | None:
    """Return the identity of the bytes of each file, by path; None without the entry."""
    text = key_of(reference)
    if legacy.is_key(text):
        return None
    _settle(where, Key.parse(text))
    ref = where.store.find(Key.parse(text), even_expired=True)
    if ref is None:
        return None
    return {
        file.path: (
            file.size_bytes,
            file.executable,
            file.inline,
            file.target,
            *((piece.length, piece.xxh3) for piece in file.pieces),
        )
        for file in where.store.manifest(ref).files
    }


# What two saves of the same content differ in: when, where and by whom.
_OF_ONE_SAVE = frozenset(
    {
        "attempt", "created_on", "creation_context", "key", "model_uuid", "pathspec",
        "pathspec_hash", "source", "url", "version_id",
    }
)  # fmt: skip
_DEEPEST = 8


def by_content(where: ArtifactStore, value: Any, *, depth: int = 0) -> Any:
    """Return a value with its references replaced by their content: files, label, metadata.

    So that what is saved again as it was is the same. A reference to what is gone stays as it is.
    """
    if depth > _DEEPEST:
        return value
    is_reference = isinstance(value, Reference) or (type(value) is dict and "key" in value)
    if is_reference or (isinstance(value, str) and is_key(value)):
        return _content(where, value)
    if type(value) is dict:
        return {key: by_content(where, each, depth=depth + 1) for key, each in value.items()}
    if type(value) in (list, tuple):
        return type(value)(by_content(where, each, depth=depth + 1) for each in value)
    return value


def _content(where: ArtifactStore, reference: Any) -> Any:
    try:
        files = contents(where, reference)
    except MemoflowError:
        return reference  # A dict of the user's own, with a key of its own.
    if files is None:
        return reference
    fields = reference if isinstance(reference, dict) else {}
    if isinstance(reference, Reference):
        fields = reference.to_dict()
    kept = {name: each for name, each in sorted(fields.items()) if name not in _OF_ONE_SAVE}
    return {**kept, "files": dict(sorted(files.items()))}


def delete(where: ArtifactStore, reference: Any) -> bool:
    """Forget a reference; False if the store has no such entry."""
    text = key_of(reference)
    if legacy.is_key(text):
        raise UsageError(
            f"{text} was saved by metaflow-checkpoint, which memoflow only reads from; delete it "
            "with that package, or its files"
        )
    key = Key.parse(text)
    _settle(where, key)
    there = where.store.find(key, even_expired=True) is not None
    where.store.forget(key)
    return there


def _settle(where: ArtifactStore, key: Key) -> None:
    """Wait for a checkpoint that was saved without waiting, if it is still on its way."""
    if checkpoint.is_save(key):
        series = Key.of(*key.parts[:-1])
        uploading.settle(where.store, series, lambda entry: entry.key == key)


def _url(where: ArtifactStore, key: str) -> str:
    return f"{where.folder}/refs/{key}"


def _gone(where: ArtifactStore, reference: Any, key: str) -> MemoflowError:
    url = reference.get("url") if isinstance(reference, dict) else None
    if isinstance(reference, Reference):
        url = reference.url
    hint = "it was deleted or evicted"
    if not legacy.is_key(key) and where.store.distrusts(Key.parse(key)):
        return UnsignedError(
            f"{key} is not signed with a key of METAFLOW_MEMOFLOW_SIGNING_KEY, so it is not used; "
            "add the key that it was signed with, or save it again"
        )
    if isinstance(url, str) and not url.startswith((where.folder, where.root)):
        hint = f"it is kept at {url}: load it within `with artifact_store_from(run=...)`"
    return NotFoundError(f"{key} is not in {where.folder}; {hint}")


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def is_there(where: ArtifactStore, key: str) -> bool:
    """Return whether a key can be loaded, judged without reading its files."""
    ref = where.store.find(Key.parse(key), even_expired=True)
    return ref is not None and where.store.is_there(ref)
