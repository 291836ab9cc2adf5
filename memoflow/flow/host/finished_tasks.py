"""Finished tasks: their artifacts by name, while tasks that start from them are still to come.

The runtime opens each task that has finished, which takes several requests to a server.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from sys import intern
from typing import Any

from memoflow.flow.host.artifacts import TaskArtifacts
from memoflow.threads import for_each

_MOST_OPEN = 64
_AT_ONCE = 16


class FinishedTasks:
    """The finished tasks of a run, by their paths `run/step/task`, as `reader` opens them."""

    def __init__(self, reader: Any) -> None:
        self._reader = reader
        self._followed: dict[str, bool] = {}  # steps with followers, and whether it is just one
        self._kept: dict[str, tuple[dict[str, str], dict[str, Any]]] = {}
        self._open: OrderedDict[str, Any] = OrderedDict()
        self._infos: dict[str, dict[str, Any]] = {}  # by how they print

    def follow(self, graph: Any, step: str) -> None:
        """Keep the tasks from which tasks of a step start."""
        for each in graph[step].in_funcs:
            self._followed[each] = graph[each].type not in ("foreach", "split")

    def add(self, task: Any) -> None:
        """Keep a task of the runtime that has finished, if another will start from it."""
        if task.step in self._followed and task.path not in self._kept:
            self.settle(task, TaskArtifacts(task.results))

    def settle(self, task: Any, artifacts: TaskArtifacts) -> None:
        """Keep the artifacts of a task, and give them to the runtime, which looks no further.

        It asks for `_foreach_stack` and others again for each split of a foreach, and caches none.
        """
        # Ten thousand tasks have the same few names, types and sizes.
        sha1s = {intern(name): intern(sha1) for name, sha1 in artifacts.sha1s().items()}
        infos = {
            name: self._infos.setdefault(repr(info), info)
            for name, info in artifacts.infos().items()
        }
        task._results_ds = self._reopened(task.path, sha1s, infos)
        if task.step in self._followed:
            self._kept[task.path] = sha1s, infos

    def open(self, paths: Iterable[str]) -> list[Any]:
        """Return the datastores of the tasks from which one task starts."""
        wanted = list(paths)
        unknown = [path for path in wanted if path not in self._kept and path not in self._open]
        read = dict(zip(unknown, for_each(self._read, unknown, threads=_AT_ONCE), strict=True))
        return [self._opened(path, read) for path in wanted]

    def _read(self, path: str) -> Any:
        run, step, task_id, *attempt = path.split("/")
        number = int(attempt[0]) if attempt else None
        return self._reader.get_task_datastore(run, step, task_id, attempt=number)

    def _opened(self, path: str, read: dict[str, Any]) -> Any:
        if path in self._open:
            return self._open[path]
        found = read[path] if path in read else self._reopened(path, *self._kept[path])
        if self._followed.get(path.split("/")[1]):
            self._kept.pop(path, None)  # Nobody else starts from it.
        else:
            self._open[path] = found
            if len(self._open) > _MOST_OPEN:
                self._open.popitem(last=False)
        return found

    def _reopened(self, path: str, sha1s: dict[str, str], infos: dict[str, Any]) -> Any:
        run, step, task_id, *_ = path.split("/")
        return self._reader.get_task_datastore(
            run, step, task_id, data_metadata={"objects": sha1s, "info": infos}
        )
