"""Parallel jobs in daemon threads; the first failure stops all of them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from queue import Empty, SimpleQueue
from typing import TypeVar

T = TypeVar("T")


def run_parallel(
    jobs: Sequence[Callable[[], T]], *, at_most: int, stopped: threading.Event
) -> list[T]:
    """Run jobs in at most this many threads and return their results in order.

    The first error, or a signal, is raised at once and sets `stopped`, which running jobs poll.
    They are not waited for, neither here nor when Python ends.
    """
    ahead: SimpleQueue[int] = SimpleQueue()
    done: SimpleQueue[tuple[int, T | BaseException, bool]] = SimpleQueue()
    for number in range(len(jobs)):
        ahead.put(number)

    def work() -> None:
        while not stopped.is_set():
            try:
                number = ahead.get_nowait()
            except Empty:
                return
            try:
                done.put((number, jobs[number](), True))
            except BaseException as error:
                done.put((number, error, False))

    found: dict[int, T] = {}
    try:
        # Not of an executor, whose threads Python waits for in the end.
        for _ in range(min(at_most, len(jobs))):
            threading.Thread(target=work, name="memoflow-hub", daemon=True).start()
        while len(found) < len(jobs):
            number, result, is_good = done.get()
            if not is_good:
                assert isinstance(result, BaseException)
                raise result
            found[number] = result  # type: ignore[assignment]
    except BaseException:
        stopped.set()
        raise
    return [found[number] for number in range(len(jobs))]
