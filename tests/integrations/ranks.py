"""Ranks: saves or loads a state that is spread over them, as torchrun starts it.

torchrun --nproc-per-node N ranks.py save | load KEY
"""

from __future__ import annotations

import os
import signal
import sys
from typing import Any

import torch
from torch import distributed
from torch.distributed import checkpoint as dcp
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import DTensor, Shard, distribute_tensor

from memoflow.integrations.torch import StorageReader, StorageWriter
from memoflow.store.open import CACHE_VARIABLE
from tests.waiting import until

ROWS = 7  # which no number of ranks divides


def state_of(seed: int, ranks: int) -> dict:
    """Return a state with a tensor of each kind: spread by rows or columns, whole, and none."""
    torch.manual_seed(seed)
    mesh = init_device_mesh("cpu", (ranks,))
    return {
        "rows": distribute_tensor(torch.randn(ROWS, 50_000), mesh, [Shard(0)]),
        "columns": distribute_tensor(torch.randn(300, ROWS), mesh, [Shard(1)]),
        "whole": torch.randn(30, 40).to(torch.bfloat16),
        "step": torch.tensor(seed),
        "empty": torch.empty(0, 3),
        "epoch": seed,
    }


def here(value: Any) -> Any:
    """Return the part of a tensor that this rank has."""
    return value.to_local() if isinstance(value, DTensor) else value


def is_same(one: dict, other: dict) -> bool:
    return all(
        torch.equal(here(value), here(other[name]))
        if isinstance(value, torch.Tensor)
        else value == other[name]
        for name, value in one.items()
    )


class Dying(StorageWriter):
    """A rank that is killed in a save, once all others have stored their parts."""

    def write_data(self, plan: Any, planner: Any) -> Any:
        others = distributed.get_world_size() - 1
        if distributed.get_rank() == others:
            where, series = self._checkpointer.where, self._checkpointer.series
            until(lambda: len(where.store.keys(series / "ranks")) == others)
            os.kill(os.getpid(), signal.SIGKILL)
        return super().write_data(plan, planner)


def main(act: str, key: str = "") -> None:
    distributed.init_process_group("gloo")
    os.environ[CACHE_VARIABLE] += f"-{distributed.get_rank()}"  # A machine of its own.
    ranks = distributed.get_world_size()
    if act == "load":
        state = state_of(0, ranks)
        dcp.load(state, storage_reader=StorageReader(key))
        assert is_same(state, state_of(3, ranks))
    else:
        writer = (Dying if act == "die" else StorageWriter)(metadata={"epoch": 3})
        dcp.save(state_of(3, ranks), storage_writer=writer)
        assert (writer.reference is None) == (distributed.get_rank() > 0)
    distributed.destroy_process_group()


if __name__ == "__main__":
    main(*sys.argv[1:])
