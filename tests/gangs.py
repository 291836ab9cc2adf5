"""Gangs: the nodes of an attempt, each with a checkpointer of its own on one store."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import numpy as np

from memoflow.flow.cards.journal import Journal
from memoflow.flow.checkpoint.checkpointer import Checkpointer, CheckpointOptions
from memoflow.flow.checkpoint.current_checkpoint import CurrentCheckpoint
from memoflow.flow.spool import uploading
from memoflow.flow.task.identity import Identity
from memoflow.flow.task.scratch import Scratch
from memoflow.kinds import checkpoint
from memoflow.store import open_store
from tests.spooling import Elsewhere

TASK = "Train/1/fit/2"
SERIES = checkpoint.series("Train", "fit", "user:me", "0123456789ab")


def node_of(
    folder: Path, node: int, nodes: int = 3, *, attempt: int = 0, **options: Any
) -> CurrentCheckpoint:
    """Make the `current.checkpoint` of one node of a gang; its store is in the folder."""
    store = open_store(folder / "store", cache_dir=folder / f"cache-{node}")
    where: Any = Elsewhere(store, str(folder), f"{folder}/store")
    own = TASK if node == 0 else f"{TASK}_node_{node}"
    _, step, scope, identifier = SERIES.parts[1:]
    identity = Identity(
        "Train", step, scope, identifier, TASK, own, attempt,
        is_gang=True, node=node, nodes=nodes,
    )  # fmt: skip
    work = folder / f"work-{node}-{attempt}"
    work.mkdir(exist_ok=True)
    return CurrentCheckpoint(
        Checkpointer(where, identity, CheckpointOptions(**options), Journal()),
        scratch=Scratch(checkpoint.KIND, own, attempt, str(work)),
        code=None,
        say=lambda line: None,
        noticed=lambda: None,
    )


def state_of(node: int, round: int) -> dict[str, Any]:
    return {"node": node, "round": round, "w": np.full(20_000, 1000 * node + round)}


def is_state(state: Any, node: int) -> bool:
    wanted = state_of(node, state["round"])
    return state["node"] == node and np.array_equal(state["w"], wanted["w"])


def round_of(checkpoint: CurrentCheckpoint, node: int) -> int:
    """Return the round that a node begins from, and check that all of it is its own."""
    checkpoint.load_latest("fresh", "warn")
    state = checkpoint.state
    if state is None:
        return 0
    assert is_state(state, node)
    return int(state["round"])


def _work(folder: Path, node: int, attempt: int, wait: bool) -> None:
    """Go on from the last round, and save each next one, until killed."""
    mine = node_of(folder, node, attempt=attempt)
    began = round_of(mine, node)
    (folder / f"began-{attempt}-{node}").write_text(str(began))
    for number in range(began + 1, began + 1000):
        mine.save(state=state_of(node, number), wait=wait, gang=True)
        (folder / f"saved-{attempt}-{node}").write_text(str(number))
    uploading.drain()


if __name__ == "__main__":
    os.chdir(sys.argv[1])
    _work(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), sys.argv[4] == "wait")
