"""Bar: the progress of long work on the error stream, if that is a terminal."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from typing import Any

from memoflow.progress import Advance, watched_by

_AFTER_SECONDS = 0.5  # since a bar that comes and goes says nothing


def shown(*, is_wanted: bool, after_s: float = _AFTER_SECONDS) -> AbstractContextManager[None]:
    """Show bars for the work in the block, if they are wanted and somebody sees them.

    Each comes after so many seconds of its work.
    """
    sees = sys.stderr is not None and sys.stderr.isatty()
    return watched_by(partial(_bar, after_s)) if is_wanted and sees else nullcontext()


@contextmanager
def _bar(after_s: float, label: str, total: int, in_bytes: bool) -> Iterator[Advance]:
    began, done, lock = time.monotonic(), 0, threading.Lock()
    progress: Any = None

    def advance(number: int) -> None:
        nonlocal done, progress
        with lock:
            done += number
            if progress is None and time.monotonic() - began >= after_s:
                progress = _progress(in_bytes)
                progress.start()
                progress.add_task(label, total=max(total, done), completed=done)
            elif progress is not None:
                (task,) = progress.tasks
                # What came meanwhile was not in the total.
                progress.update(task.id, completed=done, total=max(total, done))

    try:
        yield advance
    finally:
        if progress is not None:
            progress.stop()


def _progress(in_bytes: bool) -> Any:
    # Here, since it takes a while to import and most commands show no bar.
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    count = DownloadColumn() if in_bytes else MofNCompleteColumn()
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=None),
        count,
        TimeRemainingColumn(compact=True),
        console=Console(file=sys.stderr),
        transient=True,
        expand=True,
    )
