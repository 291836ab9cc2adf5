"""Checkpoints and models in scripts, notebooks and subprocesses of tasks.

Imported whenever Metaflow is, so nothing here imports the store until it is used; and then in a
thread of its own, since the handler of a signal may come in the middle of that and want the same.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from memoflow.flow.checkpoint.checkpoint import CheckpointException
from memoflow.flow.lifecycle import translated_errors
from memoflow.flow.model.model import ModelException
from memoflow.flow.task.process import UID
from memoflow.threads import apart

if TYPE_CHECKING:
    from memoflow.flow.checkpoint.checkpointer import Checkpointer
    from memoflow.owned import Directory

T = TypeVar("T")


class Checkpoint:
    """Checkpoints outside of `current.checkpoint`.

    In a subprocess of a task with `@checkpoint` it saves for that task; elsewhere it lists and
    loads. As a context manager it has a `directory`, which is removed on leaving.
    """

    def __init__(self, temp_dir_root: str | None = None, init_dir: bool = False) -> None:
        self._temp_dir_root = temp_dir_root
        self._temporary: Directory | None = None
        if init_dir:
            self._make_directory()
        if UID in os.environ:
            _saved(lambda saved: saved.references.get_ready(saved.current_store()))

    @property
    def directory(self) -> str | None:
        """The directory to load to and save from; None outside of a `with` block."""
        return None if self._temporary is None else self._temporary.name

    def __enter__(self) -> Checkpoint:
        if self._temporary is None:
            self._make_directory()
        return self

    def __exit__(self, *exception: object) -> None:
        if self._temporary is not None:
            self._temporary.cleanup()
            self._temporary = None

    def save(
        self,
        path: str | os.PathLike[str] | None = None,
        metadata: Mapping[str, Any] | None = None,
        latest: bool = True,
        name: str = "mfchckpt",
        storage_format: str = "files",
        *,
        state: Any = None,
        wait: bool = True,
        ignore_patterns: Sequence[str] | None = None,
    ) -> dict[str, Any]:
        """Save for the task that started this process; see `current.checkpoint.save`.

        Raises CheckpointException where no task did. Processes that save at the same time each
        keep all that they saved. With `wait` False what is not uploaded when this process ends is
        uploaded then, or when its task does.
        """
        with translated_errors(CheckpointException):
            return self._checkpointer().save(
                self._path(path) if state is None else path,
                state=state,
                name=name,
                metadata=metadata,
                latest=latest,
                storage_format=storage_format,
                wait=wait,
                ignore_patterns=ignore_patterns,
            )

    def load(self, reference: Any, path: str | os.PathLike[str] | None = None) -> None:
        """Load a checkpoint by its dict, key or info object, proven, into a directory."""
        with translated_errors(CheckpointException):
            _load(reference, self._path(path), writable=True)

    def load_state(
        self,
        reference: Any,
        *,
        only: str | Sequence[str] | None = None,
        map_location: Any = None,
    ) -> Any:
        """Return the state of a checkpoint, by its dict, key or info object.

        See `current.checkpoint.load_state`.
        """
        with translated_errors(CheckpointException):
            return _load_state(reference, only, map_location)

    def list(
        self,
        name: str | None = None,
        task: Any = None,
        attempt: int | None = None,
        full_namespace: bool = False,
        as_dict: bool = True,
        metadata: Mapping[str, Any] | None = None,
        within_task: bool = True,
    ) -> list[Any]:
        """Return references, newest first, as dicts or as objects; see `current.checkpoint.list`.

        Outside of a task `task` is needed, a Task or its pathspec.
        """
        with translated_errors(CheckpointException):
            everywhere = full_namespace or not within_task
            wanted = {"name": name, "attempt": attempt, "metadata": metadata}
            return _saved(lambda saved: saved.listed(task, everywhere, as_dict, **wanted))

    def generate_key(self, name: str, version_id: int | None = None) -> str:
        """Return the key of a save, by default that of the next one if nobody else saves first."""
        with translated_errors(CheckpointException):
            number = None if version_id is None else version_id + 1
            return self._checkpointer().key(number)

    def _checkpointer(self) -> Checkpointer:
        mine: Checkpointer = _saved(lambda saved: saved.checkpointer())
        return mine

    def _path(self, path: str | os.PathLike[str] | None) -> str | os.PathLike[str]:
        found = self.directory if path is None else path
        if found is None:
            raise ValueError(
                "name a path, or use `with Checkpoint() as ...`, which has a directory"
            )
        return found

    def _make_directory(self) -> None:
        self._temporary = _saved(lambda saved: saved.temporary(self._temp_dir_root))


def load_state(
    reference: Any, *, only: str | Sequence[str] | None = None, map_location: Any = None
) -> Any:
    """Return the state of a checkpoint, by its dict, key or info object, anywhere.

    See `current.checkpoint.load_state`; CheckpointException if it cannot be loaded.
    """
    if reference is None:
        raise ValueError("load_state needs a reference")
    with translated_errors(CheckpointException):
        return _load_state(reference, only, map_location)


def load_model(reference: Any, path: str | os.PathLike[str] | None, writable: bool = False) -> None:
    """Load a model or checkpoint by its dict, key or info object, proven, into a directory.

    The files of a model are read-only, and links into the store where the file system can;
    `writable` makes copies. Raises ModelException if it cannot be loaded whole, ValueError for a
    reference or path of None.
    """
    if reference is None or path is None:
        raise ValueError("load_model needs a reference, and a path to load it to")
    with translated_errors(ModelException):
        _load(reference, path, writable=writable)


def delete_model(reference: Any) -> bool:
    """Delete a model or checkpoint; True if it was there.

    Its bytes are freed when memoflow next tidies up. ValueError for a reference of None.
    """
    if reference is None:
        raise ValueError("delete_model needs a reference")
    with translated_errors(ModelException):
        return _saved(lambda saved: bool(saved.references.delete(saved.current_store(), reference)))


def _load_state(reference: Any, only: str | Sequence[str] | None, map_location: Any) -> Any:
    return _saved(
        lambda saved: saved.references.load_state(
            saved.current_store(), reference, only=only, map_location=map_location
        )
    )


def _load(reference: Any, path: str | os.PathLike[str], *, writable: bool) -> None:
    _saved(
        lambda saved: saved.references.load(
            saved.current_store(), reference, Path(path), writable=writable
        )
    )


@apart
def _saved(do: Callable[[Any], T]) -> T:
    """Return the result of `do`, called with the module that works with the store."""
    from memoflow.flow import saved  # Here, since Metaflow imports this module at each start.

    return do(saved)
