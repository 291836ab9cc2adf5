"""Mapping: a function over many items, in threads or processes, each kept as it finishes."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import (
    FIRST_COMPLETED,
    Executor,
    Future,
    ProcessPoolExecutor,
    ThreadPoolExecutor,
    wait,
)
from contextlib import contextmanager, suppress
from typing import Any

from memoflow.errors import WrongTypeError, usage_error
from memoflow.fingerprint.transparent import behind
from memoflow.functions.memoized import MemoizedFunction
from memoflow.log import log
from memoflow.units import span

_ON_ERROR = ("raise", "return")
_AHEAD = 4  # items submitted for each worker, before the first of them is done
_TELL_SECONDS = 60.0
_MOST_THREADS = 32


def map(
    function: Callable[[Any], Any],
    items: Iterable[Any],
    *,
    workers: int | None = None,
    processes: bool = False,
    progress: bool | None = None,
    on_error: str = "raise",
) -> list[Any]:
    """Return `[function(item) for item in items]`, by several workers at a time.

    What a memoized function returns is kept as soon as it is finished: after an error, Ctrl-C or a
    crash, only the items in hand run again. `workers` is the number of threads, or with `processes`
    of processes; None: one for each core, and four threads more. `progress` None shows a bar on a
    terminal, and else logs a line a minute; False shows nothing. An error ends the map once the
    items in hand are done, and is raised; with `on_error="return"` exceptions are in the places of
    their results.
    """
    if on_error not in _ON_ERROR:
        raise usage_error(on_error, str)(
            f'map(on_error=...) takes "raise" or "return", not {on_error!r:.100}'
        )
    if not callable(function):
        raise WrongTypeError(f"map takes a function, not {function!r:.100}")
    if workers is not None and (type(workers) is not int or workers < 1):
        raise usage_error(workers, int)(
            f"map(workers=...) takes a number from 1 on, or None, not {workers!r:.100}"
        )
    everything = list(items)
    results: list[Any] = [None] * len(everything)
    cores = os.cpu_count() or 1
    count = workers or (cores if processes else min(_MOST_THREADS, cores + 4))
    with (
        _progress(function, len(everything), progress) as advance,
        _executor(function, count, processes=processes) as (executor, work),
    ):
        for place, future in _in_turn(executor, count, work, everything):
            error = future.exception()
            if error is None:
                results[place] = _value(function, everything[place], future.result())
            elif on_error == "raise" or not isinstance(error, Exception):
                raise error
            else:
                results[place] = error
            advance()
    return results


def _in_turn(
    executor: Executor, count: int, work: Callable[[Any], Any], items: list[Any]
) -> Iterator[tuple[int, Future[Any]]]:
    """Yield the place and future of each item as it is done, with only some submitted ahead."""
    ahead = _AHEAD * count
    running: dict[Future[Any], int] = {}
    places = iter(range(len(items)))
    while True:
        for place in places:
            running[executor.submit(work, items[place])] = place
            if len(running) >= ahead:
                break
        if not running:
            return
        done, _ = wait(running, return_when=FIRST_COMPLETED)
        for future in done:
            yield running.pop(future), future


@contextmanager
def _executor(
    function: Callable[[Any], Any], workers: int, *, processes: bool
) -> Iterator[tuple[Executor, Callable[[Any], Any]]]:
    executor: Executor
    if processes:
        executor = ProcessPoolExecutor(workers, initializer=_take, initargs=(function,))
        work: Callable[[Any], Any] = _work
    else:
        executor, work = ThreadPoolExecutor(workers, thread_name_prefix="memoflow-map"), function
    try:
        yield executor, work
    finally:
        executor.shutdown(wait=True, cancel_futures=True)


_function: Callable[[Any], Any] = len  # of this worker


def _take(function: Callable[[Any], Any]) -> None:
    global _function
    _name_main()
    _function = function


def _name_main() -> None:
    """Name the script of a spawned process as in its parent.

    There the script is imported as `__mp_main__`, so its functions would have other keys.
    """
    main = sys.modules.get("__mp_main__")
    if main is None or main.__name__ != "__mp_main__":
        return
    main.__name__ = "__main__"
    for value in list(vars(main).values()):
        if getattr(value, "__module__", None) == "__mp_main__":
            for each in (value, behind(value)):
                with suppress(AttributeError, TypeError):
                    each.__module__ = "__main__"
                    # Not the dict of the module, which was filled from this one.
                    each.__globals__["__name__"] = "__main__"


class _IsStored:
    """A stand-in for a stored result."""


def _work(item: Any) -> Any:
    value = _function(item)
    is_stored = isinstance(_function, MemoizedFunction) and _function.is_stored(item)
    return _IsStored() if is_stored else value


def _value(function: Callable[[Any], Any], item: Any, result: Any) -> Any:
    return function(item) if isinstance(result, _IsStored) else result


@contextmanager
def _progress(
    function: Callable[[Any], Any], total: int, wanted: bool | None
) -> Iterator[Callable[[], None]]:
    """Yield the function to call for each finished item."""
    name = getattr(function, "__qualname__", "map")
    if wanted or (wanted is None and sys.stderr.isatty()):
        from rich.console import Console  # Here, as it takes a while to import.
        from rich.progress import MofNCompleteColumn, Progress

        columns = *Progress.get_default_columns(), MofNCompleteColumn()
        with Progress(*columns, console=Console(stderr=True)) as bar:
            task = bar.add_task(name, total=total)
            yield lambda: bar.advance(task)
    elif wanted is None:
        yield _Lines(name, total).advance
    else:
        yield lambda: None


class _Lines:
    """A line a minute for logs."""

    def __init__(self, name: str, total: int) -> None:
        self._name = name
        self._total = total
        self._done = 0
        self._began = self._told = time.monotonic()

    def advance(self) -> None:
        self._done += 1
        now = time.monotonic()
        if now - self._told >= _TELL_SECONDS:
            self._told = now
            left_s = (now - self._began) / self._done * (self._total - self._done)
            log.warning(
                "[map] %s: %d of %d items, about %s left",
                self._name, self._done, self._total, span(left_s),
            )  # fmt: skip
