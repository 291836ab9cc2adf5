"""References: the saves that they name, described, loaded and deleted.

A reference dict has the keys that metaflow-checkpoint gave it, so that flows read it as before.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Any

from memoflow import owned
from memoflow.errors import (
    IntegrityError,
    MemoflowError,
    NotFoundError,
    UnsignedError,
    UsageError,
    usage_error,
)
from memoflow.flow.artifact_ref import Reference, is_key
from memoflow.flow.artifact_store import ArtifactStore
from memoflow.flow.spool import uploading
from memoflow.kinds import checkpoint, gang, hub, legacy, model, state
from memoflow.kinds.about import About, Saves
from memoflow.kinds.checkpoint import SavedCheckpoint
from memoflow.kinds.hub import Snapshot
from memoflow.kinds.legacy_identity import pathspec_hash
from memoflow.kinds.model import Model
from memoflow.names import Key, Ref
from memoflow.store import Store

# The modules that saves import when they begin. The handler of a signal may come in the middle of
# an import, and would find modules half made, or wait for the import that it has interrupted.
_OF_SAVES = ("memoflow.objects.packing", "memoflow.store.gc.sweeping")


def get_ready(where: ArtifactStore) -> None:
    """Import the modules of saves before the user's code runs, and open the store if possible."""
    for name in _OF_SAVES:
        import_module(name)
    with suppress(MemoflowError):  # Whoever asks something of it is told.
        where.store.latest  # noqa: B018


def of_checkpoint(where: ArtifactStore, found: SavedCheckpoint) -> dict[str, Any]:
    """Return the reference dict of a checkpoint."""
    return _of_files(
        where,
        found,
        name=found.about.name,
        metadata=dict(found.about.metadata or {}),
        storage_format=found.about.storage_format,
        version_id=found.number - 1,  # From 0, as metaflow-checkpoint counts.
    )


def of_snapshot(where: ArtifactStore, found: Snapshot) -> dict[str, Any]:
    """Return the reference dict of a snapshot; its type is that of a checkpoint, as it ever was."""
    name, metadata = found.about.repo_id, metadata_of_snapshot(found.about)
    return _of_files(where, found, name, metadata, storage_format="files", version_id=0)


def _of_files(
    where: ArtifactStore,
    found: SavedCheckpoint | Snapshot,
    name: str,
    metadata: dict[str, Any],
    *,
    storage_format: str,
    version_id: int,
) -> dict[str, Any]:
    about, key = found.about, str(found.ref.key)
    return {
        "size": found.ref.size_bytes,
        "pathspec": about.task,
        "pathspec_hash": pathspec_hash(about.task),
        "attempt": about.attempt,
        "key": key,
        "type": checkpoint.KIND,
        "url": _url(where, key),
        "name": name,
        "created_on": found.created_on,
        "metadata": metadata,
        "storage_format": storage_format,
        "creation_context": "task",
        "version_id": version_id,
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


def metadata_of_snapshot(about: About) -> dict[str, Any]:
    """Return the recorded origin of a snapshot, as plain JSON data."""
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
    text = repr(reference)
    text = text if len(text) <= 80 else f"{text[:77]}..."
    raise usage_error(reference, str, dict, Reference)(
        f"{text} is no reference to a checkpoint, model or snapshot; pass the dict "
        "that `save` or `snapshot_download` returned, its 'key', or an object from `info`"
    )


_KINDS: dict[str, tuple[Callable[..., Any], Callable[..., dict[str, Any]]]] = {
    checkpoint.KIND: (checkpoint.find, of_checkpoint),
    hub.KIND: (hub.find, of_snapshot),
    model.KIND: (model.find, of_model),
}


class StoreSaves(Saves):
    """The checkpoints, models and snapshots in a store of ours."""

    def __init__(self, where: ArtifactStore) -> None:
        self._where = where

    def reference(self, key: str) -> dict[str, Any] | None:
        parsed = self._settled(key)
        find, dict_of = _KINDS[parsed.kind]
        found = find(self._where.store, parsed)
        if found is None:
            self._check_signed(parsed)
        return None if found is None else dict_of(self._where, found)

    def load(self, reference: dict[str, Any] | str, into: Path, *, writable: bool = True) -> Path:
        text = key_of(reference)
        ref = self._find(text)
        if ref is None:
            self._check_signed(Key.parse(text))
            raise _gone(self._where, reference, text)
        linked = not writable and ref.key.kind in (model.KIND, hub.KIND)
        try:
            self._where.store.load(ref, into, linked=linked)
        except UnsignedError:
            raise  # Which says what to do, and of no damage.
        except IntegrityError as error:
            raise IntegrityError(
                f"{text} is damaged and was not loaded: {error}; load another one, or save it again"
            ) from error
        except NotFoundError as error:
            raise NotFoundError(
                f"{text} was not loaded, since parts of it are missing: {error}; load another one, "
                "or save it again"
            ) from error
        return into

    def find(self, key: str) -> SavedCheckpoint | None:
        """Return the checkpoint of a key; None without one. UsageError for a model or snapshot."""
        parsed = self._settled(key)
        if parsed.kind != checkpoint.KIND:
            raise UsageError(f"{key} is no checkpoint, so it has no state; use load_model")
        found = checkpoint.find(self._where.store, parsed)
        if found is None:
            self._check_signed(parsed)
        return found

    def contents(self, key: str) -> dict[str, Hashable] | None:
        ref = self._find(key)
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
            for file in self._where.store.manifest(ref).files
        }

    def delete(self, key: str) -> bool:
        there = self._find(key) is not None
        self._where.store.forget(Key.parse(key))
        return there

    def of_scope(
        self, flow: str, step: str, scope: str, identifier: str, *, task: str | None = None
    ) -> list[dict[str, Any]]:
        store, series = self._where.store, checkpoint.series(flow, step, scope, identifier)
        uploading.settle(store, series, lambda entry: True)
        found = checkpoint.newest_first(store, series)
        return [of_checkpoint(self._where, one) for one in found if task in (None, one.about.task)]

    def of_task(self, task: str) -> list[dict[str, Any]]:
        store, (flow, _, step, _) = self._where.store, task.split("/")
        uploading.settle(store, None, lambda entry: task in (entry.about.task, entry.about.own))
        found = checkpoint.of_task(store, flow, step, task)
        return [of_checkpoint(self._where, one) for one in found]

    def _find(self, key: str) -> Ref | None:
        return self._where.store.lookup(self._settled(key))

    def _check_signed(self, key: Key) -> None:
        if self._where.store.distrusts(key):
            raise UnsignedError(
                f"{key} is not signed with a key of METAFLOW_MEMOFLOW_SIGNING_KEY, so it is not "
                "used; add the key that it was signed with, or save it again"
            )

    def _settled(self, text: str) -> Key:
        """Return a key, once a save without waiting is no longer on its way under it."""
        key = Key.parse(text)
        if checkpoint.is_save(key):
            series = Key.of(*key.parts[:-1])
            uploading.settle(self._where.store, series, lambda entry: entry.key == key)
        return key


def sources(where: ArtifactStore) -> tuple[Saves, ...]:
    """Return all saves in a datastore: ours first."""
    return StoreSaves(where), where.legacy


def _saves_of(where: ArtifactStore, key: str) -> Saves:
    return where.legacy if legacy.is_key(key) else StoreSaves(where)


def describe(where: ArtifactStore, reference: Any) -> dict[str, Any]:
    """Return the full reference dict of a save; NotFoundError if it is not there."""
    key = key_of(reference)
    found = _saves_of(where, key).reference(key)
    if found is None:
        raise _gone(where, reference, key)
    return found


def load(where: ArtifactStore, reference: Any, into: Path, *, writable: bool) -> None:
    """Write the files of a save into a directory, proven.

    Unless `writable`, those of a model or snapshot are read-only, and links into the store where
    they can be.
    """
    key = key_of(reference)
    _saves_of(where, key).load(_fields(reference) or key, into, writable=writable)


def contents(where: ArtifactStore, reference: Any) -> dict[str, Hashable] | None:
    """Return a value for the bytes of each file of a save, by path; None if it is not there.

    None for the saves of metaflow-checkpoint, too: it noted no digests.
    """
    key = key_of(reference)
    return _saves_of(where, key).contents(key)


def find_checkpoint(where: ArtifactStore, reference: Any) -> SavedCheckpoint | None:
    """Return the checkpoint of a reference; None for one of metaflow-checkpoint's.

    NotFoundError if it is gone, UsageError if it is none.
    """
    key = key_of(reference)
    if legacy.is_key(key):
        return None
    found = StoreSaves(where).find(key)
    if found is None:
        raise _gone(where, reference, key)
    return found


def load_state(
    where: ArtifactStore,
    reference: Any,
    *,
    node: int = 0,
    nodes: int = 1,
    only: str | Sequence[str] | None = None,
    map_location: Any = None,
) -> Any:
    """Return the state of a checkpoint, or some paths of it; see `current.checkpoint.load_state`.

    Of one of a gang the part of this node, of so many.
    """
    found = find_checkpoint(where, reference)
    if found is None or found.about.storage_format != state.FORMAT:
        raise UsageError(f"{key_of(reference)} is a checkpoint of files, not of a state; use load")
    folder = gang.folder_of(_node(found, node, nodes)) if found.about.nodes else ""
    manifest = where.store.manifest(found.ref)
    return state.load(where.store, manifest, folder=folder, only=only, map_location=map_location)


def load_part(store: Store, one: SavedCheckpoint, node: int, nodes: int, into: Path) -> None:
    """Write the files of a node's part of a gang's checkpoint into a directory."""
    folder = gang.folder_of(_node(one, node, nodes))
    manifest = store.manifest(one.ref)
    files = {file.path for file in manifest.files if file.path.startswith(folder)}
    with owned.Directory(".memoflow-", into) as made:
        store.load(one.ref, Path(made), only=files.__contains__)
        for each in Path(made, folder).iterdir():
            each.rename(into / each.name)


def _node(one: SavedCheckpoint, node: int, nodes: int) -> int:
    if one.about.nodes != nodes:
        raise UsageError(
            f"{one.ref.key} was saved by {one.about.nodes} nodes, and {nodes} would load it; run "
            f"with num_parallel={one.about.nodes}, or load it by "
            "memoflow.integrations.torch.StorageReader, for other numbers of nodes"
        )
    return node


def delete(where: ArtifactStore, reference: Any) -> bool:
    """Forget a save; False if it was not there."""
    key = key_of(reference)
    return _saves_of(where, key).delete(key)


# What two saves of the same content differ in: when, where and by whom.
_OF_ONE_SAVE = frozenset(
    {
        "attempt", "created_on", "creation_context", "key", "model_uuid", "pathspec",
        "pathspec_hash", "source", "url", "version_id",
    }
)  # fmt: skip
_DEEPEST = 8


def by_content(where: ArtifactStore, value: Any, *, depth: int = 0) -> Any:
    """Return a value in which the files, label and metadata of its save replace each reference.

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
    fields = sorted(_fields(reference).items())
    kept = {name: each for name, each in fields if name not in _OF_ONE_SAVE}
    return {**kept, "files": dict(sorted(files.items()))}


def _fields(reference: Any) -> dict[str, Any]:
    """Return the items of a reference; none of a key or another object."""
    if isinstance(reference, Reference):
        return reference.to_dict()
    return reference if isinstance(reference, dict) else {}


def _url(where: ArtifactStore, key: str) -> str:
    return f"{where.folder}/refs/{key}"


def _gone(where: ArtifactStore, reference: Any, key: str) -> NotFoundError:
    url = _fields(reference).get("url")
    hint = "it was deleted or evicted"
    if isinstance(url, str) and not url.startswith((where.folder, where.root)):
        hint = f"it is kept at {url}: load it within `with artifact_store_from(run=...)`"
    return NotFoundError(f"{key} is not in {where.folder}; {hint}")


def is_there(where: ArtifactStore, key: str) -> bool:
    """Tell whether the save of a key can be loaded, as far as that shows without reading it."""
    ref = where.store.lookup(Key.parse(key))
    return ref is not None and where.store.is_there(ref)
