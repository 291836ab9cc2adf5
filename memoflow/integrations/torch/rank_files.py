"""Rank files: the checkpoint that a StorageWriter saved."""

from __future__ import annotations

import io
import pickle
from collections.abc import Iterator
from typing import Any

from memoflow.integrations import needed
from memoflow.integrations.torch.stored import METADATA, StoredItem
from memoflow.objects import Manifest
from memoflow.store import Store

with needed("torch"):
    import torch
    from torch.distributed.checkpoint.planner import LoadItemType

_READ_BYTES = 256 << 20  # at once


class RankFiles:
    """The files of a checkpoint, as plans read them."""

    def __init__(self, store: Store, manifest: Manifest) -> None:
        self._store = store
        self._manifest = manifest

    def metadata(self) -> Any:
        return pickle.loads(self._store.read_file(self._manifest, METADATA))

    def read(self, items: list[Any], metadata: Any, planner: Any) -> None:
        places = metadata.storage_data
        wanted = [(_rows(StoredItem(*places[item.storage_index]), item), item) for item in items]
        wanted.sort(key=lambda each: each[0][:2])
        for batch in _batches(wanted):
            ranges = [(place.offset, place.length) for place, _ in batch]
            found = self._store.read_ranges(self._manifest, batch[0][0].file, ranges)
            for (place, item), data in zip(batch, found, strict=True):
                _deliver(place, item, data, planner)


def _rows(place: StoredItem, item: Any) -> StoredItem:
    """Return the place of the rows of a tensor that an item is in, as bytes in order."""
    if item.type == LoadItemType.BYTE_IO or not place.length or not place.sizes:
        return place
    row, count = place.length // place.sizes[0], item.lengths[0]
    offset = place.offset + item.storage_offsets[0] * row
    return place._replace(offset=offset, length=count * row, sizes=(count, *place.sizes[1:]))


def _batches(wanted: list[tuple[StoredItem, Any]]) -> Iterator[list[tuple[StoredItem, Any]]]:
    """Yield items of one file each, so many that they fit into memory beside the tensors."""
    batch: list[tuple[StoredItem, Any]] = []
    size = 0
    for place, item in wanted:
        if batch and (batch[0][0].file != place.file or size + place.length > _READ_BYTES):
            yield batch
            batch, size = [], 0
        batch.append((place, item))
        size += place.length
    if batch:
        yield batch


def _deliver(place: StoredItem, item: Any, data: memoryview, planner: Any) -> None:
    if item.type == LoadItemType.BYTE_IO:
        planner.load_bytes(item, io.BytesIO(data))
        return
    target = planner.resolve_tensor(item).detach()
    if data.nbytes:
        found = torch.frombuffer(data, dtype=place.dtype).view(place.sizes)
        for dim in range(1, found.dim()):
            found = found.narrow(dim, item.storage_offsets[dim], item.lengths[dim])
        target.copy_(found)
    planner.commit_tensor(item, target)
