"""transformers: the checkpoint folders of a Trainer, each as a checkpoint of the task."""

from __future__ import annotations

import json
import os
from functools import cached_property
from numbers import Real
from pathlib import Path
from typing import Any

from memoflow.flow.checkpoint.checkpointer import DEFAULT_NAME
from memoflow.flow.checkpoint.current_checkpoint import CurrentCheckpoint
from memoflow.integrations import needed

with needed("transformers[torch]"):
    from torch import distributed
    from transformers import TrainerCallback


class FolderCallback(TrainerCallback):
    """Stores each checkpoint that a Trainer saves; imported as `Callback`.

        callback = Callback(current.checkpoint)
        Trainer(..., callbacks=[callback]).train(
            resume_from_checkpoint=callback.resume_from_checkpoint
        )

    `checkpoint` is `current.checkpoint`, or a `memoflow.Checkpoint` with a directory in a process
    that torchrun starts. The metadata of a save are its step and epoch and the numbers that were
    logged at that step, so `keep_best=("eval_loss", 1, "min")` works. With `wait` False the
    training goes on once the folder is copied.
    """

    def __init__(self, checkpoint: Any, *, name: str = DEFAULT_NAME, wait: bool = False) -> None:
        self._checkpoint = checkpoint
        self._name = name
        self._wait = wait

    @cached_property
    def resume_from_checkpoint(self) -> str | None:
        """The folder of the checkpoint that the load policy found; None if it found none.

        With a `memoflow.Checkpoint` the last one that the task saved.
        """
        one = self._checkpoint
        if isinstance(one, CurrentCheckpoint):
            folder = one.directory if one.is_loaded else None
        else:
            found = one.list(name=self._name)[:1]
            for reference in found:
                one.load(reference)
            folder = one.directory if found else None
        if folder is not None:
            self._put_best_back(Path(folder))
        return folder

    def _put_best_back(self, folder: Path) -> None:
        """Load the best model so far, of which the Trainer's state has a path in `output_dir`."""
        file = folder / "trainer_state.json"
        state = json.loads(file.read_text())
        best = Path(state.get("best_model_checkpoint") or folder)
        if best.exists():
            return
        step = int(best.name.rpartition("-")[2])
        for reference in self._checkpoint.list(name=self._name, metadata={"step": step})[:1]:
            self._checkpoint.load(reference, folder / best.name)
            file.write_text(json.dumps({**state, "best_model_checkpoint": f"{folder / best.name}"}))

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if distributed.is_available() and distributed.is_initialized():
            distributed.barrier()  # Each rank writes a file of its own into the folder.
        if not state.is_world_process_zero:
            return
        step = state.global_step
        metadata = {
            name: value
            for entry in state.log_history
            if entry.get("step") == step
            for name, value in entry.items()
            if isinstance(value, Real)
        }
        self._checkpoint.save(
            os.path.join(args.output_dir, f"checkpoint-{step}"),
            name=self._name,
            metadata={**metadata, "step": step, "epoch": state.epoch},
            wait=self._wait,
        )


Callback = FolderCallback
