"""A training of a small network by torch, which goes on from its last checkpoint.

python -m tests.training FOLDER ATTEMPT
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from memoflow.flow import references
from memoflow.store import open_store
from tests.spooling import Task, task_of

STEPS = 50


def trained(folder: Path, attempt: int) -> dict[str, Any]:
    """Train to the end, saving each step, and return the weights."""
    work = folder / "work"
    work.mkdir(parents=True, exist_ok=True)
    one = task_of(open_store(folder / "store", cache_dir=folder / "cache"), work, attempt=attempt)
    torch.manual_seed(5)
    net = torch.nn.Sequential(torch.nn.Linear(32, 64), torch.nn.Tanh(), torch.nn.Linear(64, 4))
    optimizer = torch.optim.Adam(net.parameters(), lr=0.01)
    state = _last(one)
    done = 0
    if state is not None:
        net.load_state_dict(state["net"])
        optimizer.load_state_dict(state["optimizer"])
        torch.set_rng_state(state["chance"])
        done = state["step"]
    (folder / f"began-{attempt}").write_text(str(done))
    for step in range(done, STEPS):
        inputs = torch.randn(16, 32)
        loss = (net(inputs) - inputs[:, :4]).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        one.checkpointer.save(
            None,
            state={
                "net": net.state_dict(),
                "optimizer": optimizer.state_dict(),
                "chance": torch.get_rng_state(),
                "step": step + 1,
            },
            name="c",
            metadata={"loss": loss.item()},
            latest=True,
            storage_format="files",
            wait=step % 7 == 0,
        )
    one.checkpointer.finish()
    return net.state_dict()


def _last(one: Task) -> Any:
    for saved in one.checkpointer.of_task():
        return references.load_state(one.checkpointer.where, str(saved.ref.key))
    return None


def run(folder: Path, attempt: int) -> None:
    """Train, and save the weights by torch."""
    torch.set_num_threads(1)
    torch.save(trained(folder, attempt), folder / "weights.pt")
