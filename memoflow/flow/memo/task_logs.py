"""Task logs: the output of tasks, kept with their results and given to hits.

A task's log is complete when its process has ended, and its result is recorded before that. So the
process that launches tasks keeps the log, of which it reads each line: the worker leaves word in
the index of the result that it recorded, or of the one that it used. A worker on another machine
does both by itself, from the files in which its output is collected.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from concurrent.futures import Future
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from metaflow import metaflow_config

from memoflow.errors import MemoflowError, UsageError
from memoflow.flow.host.log_files import LogFiles
from memoflow.flow.memo.flags import given
from memoflow.flow.memo.store_context import StoreContext
from memoflow.index import Index
from memoflow.kinds import task_log
from memoflow.kinds.task_log import Line, TaskLog
from memoflow.names import Digest, Key, Ref
from memoflow.threads import Pool
from memoflow.units import flag

if TYPE_CHECKING:
    from memoflow.flow.host.task_output import Add

_AT_ONCE = 8
_RECORDED, _USED = "recorded", "used"


def is_on() -> bool:
    """Tell whether logs are kept with results and given to hits: METAFLOW_MEMOFLOW_LOGS."""
    try:
        return flag("METAFLOW_MEMOFLOW_LOGS", metaflow_config.MEMOFLOW_LOGS)
    except UsageError:
        return False  # Whoever set it wants something else than usual.


class TaskLogs:
    """The logs of results, in the process that launches tasks."""

    def __init__(self, context: StoreContext) -> None:
        self._context = context
        self._saves: dict[Key, Future[None]] = {}
        self._threads: Pool | None = None

    def keep(self, result: Key, digest: Digest, log: TaskLog, expires: float | None) -> None:
        """Store the log of a result, in a thread where the store is slow."""
        store = self._context.store
        if store is None:
            return

        def save() -> None:
            try:
                task_log.keep(store, result, digest, log, expires=expires)
            except (MemoflowError, OSError) as error:
                self.give_up(error)

        if store.backend.takes_round_trips:
            self._threads = self._threads or Pool(_AT_ONCE)
            self._saves[result] = self._threads.submit(save)
        else:
            save()

    def find(self, result: Key, digest: Digest) -> list[Line]:
        """Return the lines of the log kept with a result; none if it has none."""
        store = self._context.store
        if store is None or not is_on():
            return []
        saving = self._saves.get(result)
        if saving is not None:
            saving.result()
        with suppress(MemoflowError, OSError):
            return task_log.find(store, result, digest)
        return []

    def give_up(self, error: Exception) -> None:
        """Say once that a log is not kept, and why."""
        self._context.say_once(f"logs are not kept with results: {error}")

    def wait(self) -> None:
        """Wait until each log is stored."""
        while self._saves:
            self._saves.popitem()[1].result()


class FollowedTask:
    """One attempt of a task that runs here: its log is kept with the result that it records.

    If its worker finds a result, the log of that is added to its own.
    """

    def __init__(self, task: Any, logs: TaskLogs, index: Index) -> None:
        self._name = _fact(f"{task.flow_name}/{task.run_id}/{task.step}/{task.task_id}")
        self._logs = logs
        self._index = index
        self._log = TaskLog()

    def add(self, stream: str, line: bytes) -> None:
        self._log.add(stream, line)

    def end(self, add: Add, *, is_ok: bool) -> None:
        """Keep the log, or add that of the result; a failure costs a line."""
        try:
            text = self._index.pop(self._name)
            if text is None or not is_ok:
                return
            verb, key, digest, expires = json.loads(text)
            result = Key.parse(key), Digest(digest)
            if verb == _RECORDED:
                self._logs.keep(*result, self._log, expires)
            else:
                add(self._logs.find(*result), is_printed=given["replay"])
        except Exception as error:
            self._logs.give_up(error)


class ReplayedTask:
    """A task that a result answered, and the lines of its log to be printed."""

    def __init__(self, lines: Iterable[Line]) -> None:
        self._lines = lines

    def add(self, stream: str, line: bytes) -> None:
        pass

    def end(self, add: Add, *, is_ok: bool) -> None:
        if is_ok:
            add(self._lines, is_printed=True)


class WorkerLog:
    """The log of the task that runs in this process."""

    def __init__(self, task: str, context: StoreContext, *, is_followed: bool) -> None:
        self._task = task
        self._context = context
        self._is_followed = is_followed and is_on()
        self._files = LogFiles.of(task) if is_on() else None

    def recorded(self, result: Ref) -> None:
        """Have the log kept with the result that the task has recorded."""
        store = self._context.store
        if store is None or self._files is None:
            self._tell(_RECORDED, result)
            return
        log = TaskLog()
        for stream, line in self._files.lines():
            log.add(stream, line)
        task_log.keep(store, result.key, result.digest, log, expires=result.expires)

    def used(self, result: Ref) -> None:
        """Have the log of a result that the task has used added to its own."""
        store = self._context.store
        if store is None or self._files is None:
            self._tell(_USED, result)
        else:
            self._files.append(task_log.find(store, result.key, result.digest))

    def _tell(self, verb: str, result: Ref) -> None:
        store = self._context.store
        if store is not None and self._is_followed:
            word = verb, str(result.key), str(result.digest), result.expires
            store.index.set({_fact(self._task): json.dumps(word)})


def _fact(task: str) -> str:
    return f"log of {task}"
