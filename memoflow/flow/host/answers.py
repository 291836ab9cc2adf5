"""Answers: tasks that the scheduler settles by itself, without a worker.

The runtime starts a process for each task, reads what it prints, and waits for its end. Where a
task is answered, a thread that writes the task's record stands for that process. If that fails, the
runtime launches the same attempt again, by way of the decorators.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from typing import Any

from metaflow.runtime import NativeRuntime, Worker

from memoflow.flow.host.patches import wrap
from memoflow.threads import Pool

_PIPE_BYTES = 4096  # fit into any pipe that nobody reads from yet


class AnswerProcess:
    """The writing of a task's record, with the interface of a process.

    `write` returns the line for the task's log; `give_up` is told of its exception, and returns the
    line for people.
    """

    def __init__(self, write: Callable[[], str], give_up: Callable[[Exception], str]) -> None:
        self.pid = os.getpid()
        self.returncode: int | None = None
        self._write = write
        self._give_up = give_up
        self._ended = threading.Event()
        readers, self._writers = zip(os.pipe(), os.pipe(), strict=True)
        self.stdout, self.stderr = (open(each, "rb") for each in readers)  # noqa: SIM115

    def run(self) -> None:
        """Write the record, in any thread; the pipes end with it."""
        code = 1
        try:
            try:
                line = self._write()
                code = 0
            except Exception as error:  # Of a provider, of a server, or of a disk.
                line = self._give_up(error)
            if line:
                os.write(self._writers[0], f"{line}\n".encode(errors="replace")[-_PIPE_BYTES:])
        finally:
            self.returncode = code
            self._ended.set()
            for each in self._writers:
                os.close(each)

    def wait(self) -> int:
        """Return 0 once the record is written, 1 if it could not be."""
        self._ended.wait()
        return self.returncode or 0

    def poll(self) -> int | None:
        """Return the same, or None if it is not over."""
        return self.returncode

    def kill(self) -> None:
        """Do nothing: the record stays as far as it came when this process ends."""


class _AnsweredError(Exception):
    """A task has an answer, so that there is no command to run."""


def answer(cli_args: Any, answered: AnswerProcess, pool: Pool | None) -> None:
    """Have the runtime wait for an answer in place of a process of the task.

    A thread of the pool writes it; without a pool it is written at once. The rest of the command
    does not matter then: @kubernetes and @batch rewrite parts of it after us.
    """

    def get_args() -> list[str]:
        raise _AnsweredError

    cli_args.get_args = get_args
    cli_args.task.answer = answered
    if pool is None:
        answered.run()
    else:
        pool.submit(answered.run)


def is_answered(task: Any) -> bool:
    """Tell whether the scheduler has settled a task of the runtime's by itself."""
    return hasattr(task, "answer")


def filter_lines(task: Any, shows: Callable[[str], bool], then: Callable[[], None]) -> None:
    """Have only the lines of a task printed for which `shows` is true; its log keeps all.

    `then` is called after each line.
    """
    log = task.log

    def log_some(line: str, *arguments: Any, **options: Any) -> None:
        if shows(line):
            log(line, *arguments, **options)
        then()

    task.log = log_some


def on_finished(hook: Callable[[Any], None]) -> None:
    """Have `hook` called with each task of the runtime's that has finished well."""
    if hook not in _hooks:
        _hooks.append(hook)


_hooks: list[Callable[[Any], None]] = []


def _launch(original: Callable[[Any], Any], worker: Any) -> Any:
    try:
        return original(worker)
    except _AnsweredError:
        return worker.task.answer


def _terminate(original: Callable[[Any], int], worker: Any) -> int:
    task, answered = worker.task, worker._proc
    if not isinstance(answered, AnswerProcess):
        return original(worker)
    if answered.wait() == 0:
        task.save_logs = task.save_metadata = _nothing  # The record has them.
        return original(worker)
    for each in worker.fds():
        while worker.read_logline(each):
            pass
    task.retries -= 1  # It is the same attempt again that the runtime begins then.
    return 1


def _nothing(*_: Any) -> None:
    """Save nothing."""


def _queue_tasks(original: Callable[..., None], runtime: Any, finished: list[Any]) -> None:
    for task in finished:
        for hook in _hooks:
            hook(task)
    original(runtime, finished)


wrap(Worker, "_launch", _launch)
wrap(Worker, "terminate", _terminate)
wrap(NativeRuntime, "_queue_tasks", _queue_tasks)
