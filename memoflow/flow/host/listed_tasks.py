"""Listed tasks: finished tasks found by the names of their files, and opened by one file each."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

from metaflow.datastore.task_datastore import TaskDataStore

from memoflow.flow.host.storage import storage_of
from memoflow.flow.host.task_rows import in_order


class ListedTask(NamedTuple):
    """A task of a run whose latest attempt has finished."""

    step: str
    task: str
    attempt: int


class AttemptFiles:
    """The files by which Metaflow tells attempts that began from those that finished.

    Asked for without an attempt, Metaflow tries three files for each of six attempts of a task.
    """

    def __init__(self) -> None:
        self.began: dict[tuple[str, str], int] = {}  # the latest of each task
        self._done: set[ListedTask] = set()

    def add(self, name: str) -> None:
        """Add a file of a run: `step/task/0.DONE.lock`; others are passed over."""
        step, _, rest = name.partition("/")
        task, _, file = rest.partition("/")
        number, _, suffix = file.partition(".")
        if not number.isdigit():
            return
        if suffix == TaskDataStore.METADATA_ATTEMPT_SUFFIX:
            self.began[step, task] = max(self.began.get((step, task), 0), int(number))
        elif suffix == TaskDataStore.METADATA_DONE_SUFFIX:
            self._done.add(ListedTask(step, task, int(number)))

    def finished(self) -> list[ListedTask]:
        """Return the tasks whose latest attempt has finished, in order of their numbers."""
        latest = {ListedTask(*task, attempt) for task, attempt in self.began.items()}
        return sorted(latest & self._done, key=lambda each: (each.step, in_order(each.task)))


def opened(reader: Any, run: str, tasks: Iterable[ListedTask]) -> list[Any]:
    """Return the datastores of tasks for reading; without those that were removed meanwhile."""
    storage = storage_of(reader)
    names = {
        storage.path_join(
            reader.flow_name,
            run,
            each.step,
            each.task,
            TaskDataStore.metadata_name_for_attempt(
                TaskDataStore.METADATA_DATA_SUFFIX, each.attempt
            ),
        ): each
        for each in tasks
    }
    found = {}
    with storage.load_bytes(list(names)) as loaded:
        for name, path, _ in loaded:
            if path is not None:
                found[name] = json.loads(Path(path).read_text(encoding="utf-8"))
    return [
        reader.get_task_datastore(
            run, each.step, each.task, attempt=each.attempt, data_metadata=found[name]
        )
        for name, each in names.items()
        if name in found
    ]
