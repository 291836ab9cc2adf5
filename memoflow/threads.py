"""Threads: work that can be started and waited for in the middle of anything else.

The handler of a signal runs in the main thread, between two instructions of whatever that is doing.
A lock that was held there stays held until the handler returns. So what a handler may ask for is
done in threads of its own, and neither starting them nor handing them work takes a lock that other
code shares, as those of `threading.Thread.start` and of ThreadPoolExecutor are.
"""

from __future__ import annotations

import functools
import os
import sys
import threading
import time
from _thread import allocate_lock, get_ident, get_native_id, start_new_thread
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from contextlib import suppress
from contextvars import ContextVar, copy_context
from datetime import timedelta
from functools import partial
from queue import SimpleQueue
from typing import Any, Generic, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")
U = TypeVar("U")

# A signal that another thread was sent is handled only between two steps of a wait.
_STEP_S = 0.1
_LOW_PRIORITY = 10  # Lower, it would starve beside busy processes: see nice(1)
_PATIENCE = timedelta(seconds=10)


class StoppedError(Exception):
    """The waiting thread has given up on this work."""


class _Stop:
    """A flag that tells a piece of work to stop."""

    asked = False

    def check(self) -> None:
        if self.asked:
            raise StoppedError


_stop: ContextVar[_Stop | None] = ContextVar("stop", default=None)


def stop_check() -> Callable[[], None]:
    """Return a function for any thread that raises StoppedError once this work is told to stop."""
    stop = _stop.get()
    return (lambda: None) if stop is None else stop.check


def apart(function: Callable[P, T]) -> Callable[P, T]:
    """Have a function's calls in the main thread done by a thread of their own each.

    The main thread waits, and handlers of signals run meanwhile: they may call such functions,
    too. When one raises, the call is told to stop, and is waited for ten seconds at most.
    """

    @functools.wraps(function)
    def call(*arguments: P.args, **options: P.kwargs) -> T:
        if get_ident() != threading.main_thread().ident:
            return function(*arguments, **options)
        return _Call(partial(function, *arguments, **options)).result()

    return call


class _Call(Generic[T]):
    def __init__(self, act: Callable[[], T]) -> None:
        self._act = act
        self._context = copy_context()
        self._stop = _Stop()
        # Taken by the thread when it begins, or by who waits: then it never does.
        self._claim = allocate_lock()
        self._ended = allocate_lock()
        self._ended.acquire()
        self._has_ended = False
        self._values: list[T] = []
        self._error: BaseException | None = None

    def result(self) -> T:
        try:
            try:
                start(self._run)
            except RuntimeError:  # There are as many as there may be, or the process ends.
                self._run()
            while not self._has_ended:
                self._ended.acquire(timeout=_STEP_S)
        except BaseException:  # Of a signal's handler.
            self._give_up()
            raise
        try:
            if self._error is not None:
                raise self._error
            return self._values[0]
        finally:
            self._error = None  # Its traceback leads to this frame.

    def _run(self) -> None:
        if not self._claim.acquire(blocking=False):
            return
        try:
            self._context.run(_stop.set, self._stop)
            self._values.append(self._context.run(self._act))
        except BaseException as error:
            self._error = error
        finally:
            self._has_ended = True
            self._ended.release()

    def _give_up(self) -> None:
        self._stop.asked = True
        if self._claim.acquire(blocking=False):
            return
        until = time.monotonic() + _PATIENCE.total_seconds()
        while not self._has_ended and time.monotonic() < until:
            self._ended.acquire(timeout=_STEP_S)


def start(act: Callable[[], None]) -> None:
    """Run a function in a thread that a process does not wait for when it ends."""
    start_new_thread(_bootstrap, (act,))


def lower_priority() -> None:
    """Let other threads go before this one, and before those that it starts; where that can be."""
    if sys.platform == "linux":  # Whose threads have priorities of their own.
        with suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, get_native_id(), _LOW_PRIORITY)


def _bootstrap(act: Callable[[], None]) -> None:
    # As `threading` does it for its own, for the sake of debuggers and coverage.
    trace, profile = threading.gettrace(), threading.getprofile()
    if trace is not None:
        sys.settrace(trace)
    if profile is not None:
        sys.setprofile(profile)
    act()


def for_each(act: Callable[[U], T], each: Iterable[U], *, threads: int) -> list[T]:
    """Return the results for each, made in threads unless it is one; an error ends it."""
    several = list(each)
    if len(several) < 2:
        return list(map(act, several))
    with Pool(threads) as pool:
        return list(pool.map(act, several))


def within(seconds: float, act: Callable[[], T]) -> T:
    """Return the result of a function that a thread calls; TimeoutError after so many seconds.

    The thread may go on after that, and the process does not wait for it when it ends.
    """
    pool = Pool(1)
    future = pool.submit(act)
    pool.shutdown(wait=False)
    try:
        return future.result(seconds)
    except FutureTimeoutError as error:
        if future.done():
            raise
        raise TimeoutError(f"no answer within {seconds:g} s") from error


class Pool:
    """A few threads for submitted work; the end of the `with` block waits for all of it."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._work: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._gone: SimpleQueue[None] = SimpleQueue()
        self._lock = allocate_lock()
        self._started = 0
        self._open = 0  # of what was submitted

    def __enter__(self) -> Pool:
        return self

    def __exit__(self, *raised: object) -> None:
        self.shutdown()

    def submit(self, act: Callable[..., T], *arguments: Any) -> Future[T]:
        """Have a function called; threads are started as they are needed."""
        future: Future[T] = Future()
        task = partial(self._run_one, future, partial(act, *arguments))
        with self._lock:
            self._open += 1
            if self._started < min(self._open, self._most):
                # There may be as many threads as there can be, or the process ends.
                with suppress(RuntimeError):
                    start(self._run)
                    self._started += 1
            has_threads = self._started > 0
        if has_threads:
            self._work.put(task)
        else:
            task()
        return future

    def map(self, act: Callable[[U], T], each: Iterable[U]) -> Iterator[T]:
        """Yield the results in order; after an error no further call begins."""
        futures = [self.submit(act, one) for one in each]

        def results() -> Iterator[T]:
            try:
                for future in futures:
                    yield future.result()
            finally:
                for future in futures:
                    future.cancel()

        return results()

    def shutdown(self, *, wait: bool = True) -> None:
        """End the threads once all submitted calls are done."""
        for _ in range(self._started):
            self._work.put(None)
        for _ in range(self._started if wait else 0):
            self._gone.get()
        self._started = 0

    def _run(self) -> None:
        while (task := self._work.get()) is not None:
            task()
            del task  # What it was given may be large.
        self._gone.put(None)

    def _run_one(self, future: Future[T], act: Callable[[], T]) -> None:
        if future.set_running_or_notify_cancel():
            try:
                result = act()
            except BaseException as error:
                future.set_exception(error)
            else:
                future.set_result(result)
        with self._lock:
            self._open -= 1
