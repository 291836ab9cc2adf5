"""State files: the checkpoint of `save(state=...)`, as `torch.distributed.checkpoint` sees one."""

from __future__ import annotations

import glob
import io
from typing import Any

from memoflow.integrations import needed
from memoflow.kinds import gang
from memoflow.kinds import state as kinds_state
from memoflow.objects import Manifest
from memoflow.state import leaves
from memoflow.store import Store

with needed("torch"):
    import torch

    # As the planners of torch name what is in a state.
    from torch.distributed.checkpoint._nested_dict import flatten_state_dict
    from torch.distributed.checkpoint.metadata import (
        BytesStorageMetadata,
        ChunkStorageMetadata,
        Metadata,
        TensorProperties,
        TensorStorageMetadata,
    )
    from torch.distributed.checkpoint.planner import LoadItemType


class StateFiles:
    """The state of a checkpoint, or of a gang's the states of its nodes by their names."""

    def __init__(self, store: Store, manifest: Manifest, *, nodes: int) -> None:
        self._store = store
        self._manifest = manifest
        self._folders = {
            gang.folder_of(node).rstrip("/"): gang.folder_of(node) for node in range(nodes)
        }
        self._outlines = {
            folder: kinds_state.outline(store, manifest, folder=folder)
            for folder in self._folders.values() or ("",)
        }

    def metadata(self) -> Any:
        outline = {name: self._outlines[folder] for name, folder in self._folders.items()}
        flat, ways = flatten_state_dict(outline or self._outlines[""])
        described = {name: _described(value) for name, value in flat.items()}
        return Metadata(described, planner_data=ways, storage_data=ways)

    def read(self, items: list[Any], metadata: Any, planner: Any) -> None:
        by_folder: dict[str, list[tuple[tuple[str, ...], Any]]] = {}
        for item in items:
            way = tuple(map(str, metadata.storage_data[item.storage_index.fqn]))
            folder = self._folders.get(way[0], "")
            by_folder.setdefault(folder, []).append((way[1:] if folder else way, item))
        for folder, wanted in by_folder.items():
            state = kinds_state.load(
                self._store,
                self._manifest,
                folder=folder,
                only=_globs(self._outlines[folder], {way for way, _ in wanted}),
                map_location="cpu",
            )
            for way, item in wanted:
                _deliver_value(_value(state, way), item, planner)


def _described(value: Any) -> Any:
    if not isinstance(value, torch.Tensor):
        return BytesStorageMetadata()
    whole = ChunkStorageMetadata(torch.Size([0] * value.dim()), value.size())
    return TensorStorageMetadata(TensorProperties.create_from_tensor(value), value.size(), [whole])


def _globs(outline: Any, ways: set[tuple[str, ...]]) -> list[str]:
    """Return globs for the leaves at some ways into a state, and below them."""
    found = ((leaf.path, tuple(str(item.key) for item in leaf.way)) for leaf in leaves(outline))
    return [
        glob.escape(path)
        for path, way in found
        if any(way[:end] in ways for end in range(len(way) + 1))
    ]


def _value(state: Any, way: tuple[str, ...]) -> Any:
    """Return the value at the end of a way, of which torch has the keys as texts."""
    for text in way:
        items = state.items() if isinstance(state, dict) else enumerate(state)
        state = next(value for key, value in items if str(key) == text)
    return state


def _deliver_value(value: Any, item: Any, planner: Any) -> None:
    if item.type == LoadItemType.BYTE_IO:
        file = io.BytesIO()
        torch.save(value, file)
        file.seek(0)
        planner.load_bytes(item, file)
        return
    for dim in range(value.dim()):
        value = value.narrow(dim, item.storage_offsets[dim], item.lengths[dim])
    target = planner.resolve_tensor(item).detach()
    target.copy_(value.detach())
    planner.commit_tensor(item, target)
