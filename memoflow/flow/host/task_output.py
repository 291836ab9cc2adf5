"""Task output: the lines of a task's process as the runtime reads them, and lines added to them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any, Protocol

from metaflow.mflog import mflog
from metaflow.runtime import Worker

from memoflow.flow.host.log_files import Line, decorated
from memoflow.flow.host.patches import wrap

_FOLLOWER = "memoflow_follower"  # an attribute of the runtime's task


class Add(Protocol):
    """The way to add lines to the log of a task."""

    def __call__(self, lines: Iterable[Line], *, is_printed: bool) -> None:
        """Add lines to the log, and to the terminal as if the process had printed them."""


class Follower(Protocol):
    """The one that is told of the lines of one attempt, and may add some at its end."""

    def add(self, stream: str, line: bytes) -> None:
        """Take note of one line."""

    def end(self, add: Add, *, is_ok: bool) -> None:
        """Add lines: the process has ended, and its output was read to the end."""


def follow(task: Any, follower: Follower) -> None:
    """Have a follower told of the output of the attempt that the runtime is about to launch."""
    setattr(task, _FOLLOWER, follower)


def _emit_log(
    original: Callable[..., None], worker: Any, line: bytes, buffer: Any, system_msg: bool = False
) -> None:
    follower: Follower | None = getattr(worker.task, _FOLLOWER, None)
    # What has Metaflow's form already was stored by the machine that it came from.
    if follower is not None and not system_msg and not mflog.is_structured(line):
        follower.add(buffer.name, line)
    original(worker, line, buffer, system_msg)


def _terminate(original: Callable[[Any], int], worker: Any) -> int:
    follower: Follower | None = getattr(worker.task, _FOLLOWER, None)
    if follower is not None:
        is_ok = worker._proc.wait() == 0
        # As the runtime does, which comes to it after this: another process may hold the pipes.
        for each in worker.fds():
            os.set_blocking(each, False)
            with suppress(Exception):
                while worker.read_logline(each):
                    pass
        delattr(worker.task, _FOLLOWER)  # Of what is added nobody is told.
        buffers = {buffer.name: buffer for _, buffer in worker._logs.values()}

        def add(lines: Iterable[Line], *, is_printed: bool) -> None:
            for buffer in buffers.values():
                if buffer.get_bytes()[-1:] not in (b"\n", b""):
                    buffer.write(b"\n")  # The last line of the process has no end.
            for stream, line in lines if is_printed else decorated(lines):
                if is_printed:
                    worker.emit_log(line, buffers[stream])
                else:
                    buffers[stream].write(line)

        follower.end(add, is_ok=is_ok)
    return original(worker)


wrap(Worker, "emit_log", _emit_log)
wrap(Worker, "terminate", _terminate)
