"""Task ids: tasks to come, made known to Metaflow by threads before the scheduler begins them.

For each task the runtime asks the metadata service three times and the datastore once, one after
the other. Of the splits of one foreach it does not matter which has which id.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections import Counter, deque
from concurrent.futures import Future
from typing import Any

from metaflow.metaflow_config import FEAT_ALWAYS_UPLOAD_CODE_PACKAGE
from metaflow.runtime import Task

from memoflow.flow.host.patches import wrap
from memoflow.threads import Pool

_Step = tuple[str, str]  # run and name
_MOST = 16  # as the usual width of a run: if it fails, no more than these have not begun
_begun: set[str] = set()  # the paths of tasks whose first attempt the datastore has


class TaskIds:
    """The ids of tasks that are sure to come, of a provider of metadata."""

    def __init__(self, metadata: Any, flow_datastore: Any, pool: Pool) -> None:
        self._make = metadata.new_task_id
        # The local provider counts without a lock.
        self._counting = threading.Lock() if metadata.TYPE == "local" else contextlib.nullcontext()
        self._flow_datastore = flow_datastore
        self._pool = pool
        self._ahead: dict[_Step, deque[Future[str]]] = {}
        self._to_come: Counter[_Step] = Counter()
        metadata.new_task_id = self._next

    def expect(self, run_id: str, step: str, *, at_least: int = 0, more: int = 0) -> None:
        """Expect tasks of a step: so many at least, or so many more than before."""
        key = run_id, step
        self._to_come[key] = max(self._to_come[key] + more, at_least)
        self._make_more(key)

    def _make_more(self, key: _Step) -> None:
        if FEAT_ALWAYS_UPLOAD_CODE_PACKAGE and "METAFLOW_CODE_SHA" not in os.environ:
            return  # The metadata of a task would lack the package, which is on its way.
        ahead = self._ahead.setdefault(key, deque())
        for _ in range(min(self._to_come[key], _MOST) - len(ahead)):
            ahead.append(self._pool.submit(self._begin, *key))

    def _next(self, run_id: str, step_name: str, tags: Any = None, sys_tags: Any = None) -> str:
        key = run_id, step_name
        if tags or sys_tags or not self._ahead.get(key):
            return self._made(run_id, step_name, tags=tags, sys_tags=sys_tags)
        made = self._ahead[key].popleft()
        self._to_come[key] -= 1
        self._make_more(key)
        return made.result()

    def _made(self, run_id: str, step: str, **tags: Any) -> str:
        with self._counting:
            return str(self._make(run_id, step, **tags))

    def _begin(self, run_id: str, step: str) -> str:
        task_id = self._made(run_id, step)
        begun = self._flow_datastore.get_task_datastore(run_id, step, task_id, attempt=0, mode="w")
        begun.init_task()
        _begun.add(f"{run_id}/{step}/{task_id}")
        return task_id


def _new_attempt(original: Any, task: Any) -> None:
    if task.path not in _begun:
        original(task)
        return
    _begun.discard(task.path)
    task._ds = task._flow_datastore.get_task_datastore(
        task.run_id, task.step, task.task_id, attempt=task.retries, mode="w"
    )


wrap(Task, "new_attempt", _new_attempt)
