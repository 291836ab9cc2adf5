"""Writing: the files of ranks, and the checkpoint of all."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from itertools import accumulate
from typing import Any

from memoflow.flow import saved
from memoflow.flow.checkpoint.checkpoint import CheckpointException
from memoflow.flow.checkpoint.checkpointer import DEFAULT_NAME, Checkpointer
from memoflow.flow.checkpoint.current_checkpoint import CurrentCheckpoint
from memoflow.flow.lifecycle import translated_errors
from memoflow.integrations import needed
from memoflow.integrations.torch.stored import METADATA, StoredItem
from memoflow.pickling.storages import bytes_of
from memoflow.state import Leaf, StateSnapshot, dtypes, safetensors_parts

with needed("torch"):
    import torch
    from torch import distributed
    from torch.distributed import checkpoint as dcp
    from torch.distributed.checkpoint.storage import WriteResult
    from torch.futures import Future


class StorageWriter(dcp.StorageWriter):
    """The target of `torch.distributed.checkpoint.save`: one checkpoint of all ranks.

        writer = StorageWriter(current.checkpoint, metadata={"epoch": 3})
        dcp.save(state_dict, storage_writer=writer)

    `checkpoint` None is that of the task that started this process, as by torchrun. Afterwards
    `reference` is the checkpoint's, on the coordinator; until then there is no checkpoint. A
    `checkpoint_id` of torch is the name. Tensors of other devices are copied to the CPU first, all
    that a rank stores.
    """

    def __init__(
        self,
        checkpoint: Any = None,
        *,
        name: str = DEFAULT_NAME,
        metadata: Mapping[str, Any] | None = None,
        latest: bool = True,
    ) -> None:
        self.reference: dict[str, Any] | None = None
        self._checkpointer = _checkpointer_of(checkpoint)
        self._name = name
        self._metadata = metadata
        self._latest = latest

    def reset(self, checkpoint_id: Any = None) -> None:
        self.reference = None
        self._name = self._name if checkpoint_id is None else str(checkpoint_id)

    def set_up_storage_writer(self, is_coordinator: bool, *args: Any, **kwargs: Any) -> None:
        if not kwargs.get("use_collectives", True):
            raise CheckpointException("one checkpoint of all ranks needs use_collectives=True")

    def prepare_local_plan(self, plan: Any) -> Any:
        return plan

    def prepare_global_plan(self, plans: list[Any]) -> list[Any]:
        return plans

    def write_data(self, plan: Any, planner: Any) -> Any:
        rank = distributed.get_rank() if distributed.is_initialized() else 0
        file = f"rank-{rank:05d}.safetensors"
        leaves = [_leaf(item, planner.resolve_data(item)) for item in plan.items]
        head, *buffers = safetensors_parts(StateSnapshot(b"", tuple(leaves), {}))
        lengths = [leaf.buffer.nbytes for leaf in leaves]
        with translated_errors(CheckpointException):
            part = self._checkpointer.save_part({file: [head, *buffers]}) if leaves else ""
        written: Any = Future()
        written.set_result(
            [
                WriteResult(item.index, length, (part, *_place(item, file, offset, length)))
                for item, offset, length in zip(
                    plan.items, accumulate(lengths, initial=len(head)), lengths, strict=False
                )
            ]
        )
        return written

    def finish(self, metadata: Any, results: list[list[Any]]) -> None:
        written = [each for of_rank in results for each in of_rank]
        metadata.storage_data = {each.index: each.storage_data[1:] for each in written}
        with translated_errors(CheckpointException):
            self.reference = self._checkpointer.save_parts(
                dict.fromkeys(each.storage_data[0] for each in written),
                {METADATA: pickle.dumps(metadata)},
                name=self._name,
                metadata=self._metadata,
                latest=self._latest,
            )

    @classmethod
    def validate_checkpoint_id(cls, checkpoint_id: Any) -> bool:
        return False  # A path is for torch's own.


def _checkpointer_of(checkpoint: Any) -> Checkpointer:
    if isinstance(checkpoint, CurrentCheckpoint):
        return checkpoint._checkpointer
    with translated_errors(CheckpointException):
        return saved.checkpointer()


def _leaf(item: Any, value: Any) -> Leaf:
    """Return the elements of a tensor in order, or the bytes of another item."""
    name = item.index.fqn
    if item.tensor_data is None:
        buffer = value.getbuffer()
        return Leaf(name, dtypes.BYTES, (buffer.nbytes,), buffer)
    if any(item.index.offset):
        name += f"@{','.join(map(str, item.index.offset))}"
    if value.layout is not torch.strided or value.is_quantized:
        raise CheckpointException(f"{name} is sparse or quantized: save what it is made of")
    tensor = value.detach().cpu().resolve_conj().resolve_neg().contiguous()
    start, size = tensor.storage_offset() * tensor.element_size(), tensor.nbytes
    buffer = bytes_of(tensor.untyped_storage())[start : start + size]
    dtype = dtypes.name_of(tensor.dtype)
    is_named = dtypes.SIZES[dtype] == tensor.element_size()
    return Leaf(name, dtype, tuple(tensor.shape) if is_named else (size,), buffer)


def _place(item: Any, file: str, offset: int, length: int) -> StoredItem:
    tensor = item.tensor_data
    if tensor is None:
        return StoredItem(file, offset, length, None, None)
    return StoredItem(file, offset, length, tensor.properties.dtype, tuple(tensor.chunk.sizes))
