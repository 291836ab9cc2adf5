"""Flights: of equal calls in one process one runs, and the others wait for it."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextvars import copy_context
from typing import Any

from memoflow.functions.run import inside
from memoflow.functions.tallies import CallId


class Flights:
    """The running calls of one function; unless it `is_on`, none waits for another."""

    def __init__(self, *, is_on: bool) -> None:
        self._is_on = is_on
        self.begin()

    def begin(self) -> None:
        """Begin in a process: calls of other threads of its parent go on there alone."""
        self._running: dict[CallId, Future[None]] = {}
        self._lock = threading.Lock()

    def join(self, call: CallId) -> Future[None] | None:
        """Return the running call of the same id; None for the first, which runs from now on."""
        if not self._is_on or call in inside():
            return None
        with self._lock:
            flight = self._running.get(call)
            if flight is None:
                self._running[call] = Future()
            return flight

    @contextlib.contextmanager
    def landing(self, call: CallId) -> Iterator[None]:
        """Release waiting calls at the end of the block."""
        is_ours = call not in inside()
        try:
            yield
        finally:
            if is_ours:
                with self._lock:
                    flight = self._running.pop(call, None)
                if flight is not None and not flight.done():
                    flight.set_result(None)


def apart(act: Callable[..., Any], *arguments: Any) -> Future[Any]:
    """Call a function in a thread of its own, and in the context of the caller."""
    future: Future[Any] = Future()
    future.set_running_or_notify_cancel()  # It cannot be cancelled from now on.
    context = copy_context()

    def work() -> None:
        try:
            future.set_result(context.run(act, *arguments))
        except BaseException as error:
            future.set_exception(error)

    threading.Thread(target=work, name="memoflow-wait", daemon=True).start()
    return future
