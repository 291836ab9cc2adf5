"""Reading: checkpoints by any number of ranks, each of only the parts in its plan."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from memoflow.errors import UsageError
from memoflow.flow import references
from memoflow.flow.artifact_store import current_store
from memoflow.flow.checkpoint.checkpoint import CheckpointException
from memoflow.flow.lifecycle import translated_errors
from memoflow.integrations import needed
from memoflow.integrations.torch.rank_files import RankFiles
from memoflow.integrations.torch.state_files import StateFiles
from memoflow.kinds import ranks, state

with needed("torch"):
    from torch.distributed import checkpoint as dcp
    from torch.futures import Future


class StorageReader(dcp.StorageReader):
    """The source of `torch.distributed.checkpoint.load`: the checkpoint of a reference.

        dcp.load(state_dict, storage_reader=StorageReader(current.checkpoint.info))

    By any number of ranks, each of which reads what it needs. It is an error if they were given
    different checkpoints. One of `save(state=...)` has its tensors and other values under their
    own names, and one that a gang saved has the state of each node as "node-0", "node-1" and so on.
    """

    def __init__(self, reference: Any) -> None:
        self.reset(reference)

    def reset(self, checkpoint_id: Any = None) -> None:
        if checkpoint_id is None:
            return
        with translated_errors(CheckpointException):
            where = current_store()
            found = references.find_checkpoint(where, checkpoint_id)
            self._key = references.key_of(checkpoint_id)
            stored_as = None if found is None else found.about.storage_format
            if found is None or stored_as not in (ranks.FORMAT, state.FORMAT):
                raise UsageError(f"{self._key} is a checkpoint of files; load it by `load`")
            manifest = where.store.manifest(found.ref)
            self._source: RankFiles | StateFiles
            if stored_as == ranks.FORMAT:
                self._source = RankFiles(where.store, manifest)
            else:
                self._source = StateFiles(where.store, manifest, nodes=found.about.nodes)

    def read_metadata(self) -> Any:
        with translated_errors(CheckpointException):
            return self._source.metadata()

    def set_up_storage_reader(self, metadata: Any, is_coordinator: bool) -> None:
        self._metadata = metadata

    def prepare_local_plan(self, plan: Any) -> Any:
        return replace(plan, storage_data=self._key)

    def prepare_global_plan(self, plans: list[Any]) -> list[Any]:
        keys = sorted({plan.storage_data for plan in plans})
        if len(keys) > 1:
            raise CheckpointException(f"all ranks load one checkpoint, not {' and '.join(keys)}")
        return plans

    def read_data(self, plan: Any, planner: Any) -> Any:
        with translated_errors(CheckpointException):
            self._source.read(plan.items, self._metadata, planner)
        done: Any = Future()
        done.set_result(None)
        return done

    @classmethod
    def validate_checkpoint_id(cls, checkpoint_id: Any) -> bool:
        return False  # A path is for torch's own.
