"""lightning: the CheckpointIO of a Trainer, which saves checkpoints of the task.

Lightning asks the file system for the checkpoints that it has: whether one exists, and which is
the last. So at the path of each there is a small file with its key.
"""

from __future__ import annotations

import json
import os
from contextlib import suppress
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any

from memoflow.errors import UsageError
from memoflow.flow.checkpoint.checkpoint import CheckpointException
from memoflow.flow.checkpoint.current_checkpoint import CurrentCheckpoint
from memoflow.flow.lifecycle import translated_errors
from memoflow.flow.spool import uploading
from memoflow.flow.standalone import Checkpoint, delete_model
from memoflow.integrations import needed
from memoflow.kinds import state

with needed("lightning"):
    from lightning.pytorch.plugins.io import TorchCheckpointIO

_KEY = "memoflow"
_LARGEST_NOTE = 4096


class CheckpointIO(TorchCheckpointIO):
    """Saves the checkpoints of a Trainer as states, each under the name of its file.

        io = CheckpointIO(current.checkpoint)
        Trainer(..., plugins=[io]).fit(module, ckpt_path=io.ckpt_path)

    `checkpoint` None is that of the task that started this process. The metadata are the path,
    epoch, step and the monitored value. What Lightning overwrites or removes is deleted at its next
    save, or at its end: when all that it saved before is stored. With `wait` False the training
    goes on once a state is copied.
    """

    def __init__(self, checkpoint: Any = None, *, wait: bool = True) -> None:
        super().__init__()
        self._checkpoint = Checkpoint(init_dir=True) if checkpoint is None else checkpoint
        self._wait = wait
        self._gone: list[str] = []
        noted: set[str] = set()
        for reference in self._checkpoint.list():
            path = reference["metadata"].get("path")
            if reference["storage_format"] == state.FORMAT and path and path not in noted:
                noted.add(path)
                with suppress(OSError):  # The folders of another machine.
                    _note(Path(path), reference)

    @cached_property
    def ckpt_path(self) -> str | None:
        """A path for the checkpoint that the load policy found; None if it found none.

        With a `memoflow.Checkpoint` for the last one that the task saved.
        """
        one = self._checkpoint
        if isinstance(one, CurrentCheckpoint):
            found = [] if one.info is None else [one.info.to_dict()]
        else:
            found = one.list()[:1]
        folder = Path(str(one.directory))
        return next((str(_note(folder / each["name"], each)) for each in found), None)

    def save_checkpoint(self, checkpoint: Any, path: Any, storage_options: Any = None) -> None:
        file = Path(os.path.abspath(path))
        with translated_errors(CheckpointException):
            if "://" in str(path) or storage_options is not None:
                raise UsageError(f"{path}: name a folder of this machine; the bytes are stored")
            self._delete_gone()
        self._gone += filter(None, [_noted_key(file)])
        reference = self._checkpoint.save(
            state=checkpoint,
            name=file.name,
            metadata={"path": str(file), **_described(checkpoint)},
            wait=self._wait,
        )
        _note(file, reference)

    def load_checkpoint(
        self, path: Any, map_location: Any = None, weights_only: bool | None = None
    ) -> Any:
        key = _noted_key(Path(path))
        if key is not None:
            return self._checkpoint.load_state(key, map_location=map_location or "cpu")
        options = {} if weights_only is None else {"weights_only": weights_only}
        return super().load_checkpoint(path, map_location, **options)

    def remove_checkpoint(self, path: Any) -> None:
        key = _noted_key(Path(path))
        if key is None:
            super().remove_checkpoint(path)
        else:
            Path(path).unlink(missing_ok=True)
            self._gone.append(key)

    def teardown(self) -> None:
        with translated_errors(CheckpointException):
            self._delete_gone()

    def _delete_gone(self) -> None:
        if self._gone:
            uploading.drain()  # Nothing goes before what came after it is stored.
        while self._gone:
            delete_model(self._gone.pop(0))


def _note(file: Path, reference: dict[str, Any]) -> Path:
    """Write the file at the path of a checkpoint, as old as that; another's file there stays."""
    if file.exists() and _noted_key(file) is None:
        return file
    file.parent.mkdir(parents=True, exist_ok=True)
    made = file.with_name(f".{file.name}.{os.getpid()}")
    made.write_text(json.dumps({_KEY: reference["key"]}))
    created = datetime.fromisoformat(reference["created_on"]).timestamp()
    os.utime(made, (created, created))
    return made.replace(file)


def _noted_key(file: Path) -> str | None:
    """Return the key in the file at a checkpoint's path; None if it is not one of ours."""
    try:
        if file.is_file() and file.stat().st_size < _LARGEST_NOTE:
            return str(json.loads(file.read_bytes())[_KEY])
    except (ValueError, TypeError, KeyError):
        pass  # A file of torch's.
    return None


def _described(checkpoint: dict[str, Any]) -> dict[str, Any]:
    found = {"epoch": checkpoint.get("epoch"), "step": checkpoint.get("global_step")}
    for callback in checkpoint.get("callbacks", {}).values():
        if callback.get("monitor") and callback.get("current_score") is not None:
            found[callback["monitor"]] = float(callback["current_score"])
    return found
