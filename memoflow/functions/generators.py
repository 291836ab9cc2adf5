"""Generators: items that are stored once all were yielded, and replayed one by one."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator, Callable, Generator
from functools import partial
from typing import Any

from memoflow.functions.run import CallRun
from memoflow.functions.values import Items
from memoflow.pickling import UnpicklableError, dump, load
from memoflow.pickling.pickled import IN_BAND


class Recording:
    """The items of a generator, as they were when it yielded them; None for `run` stores nothing.

    Nor is anything stored of a generator that is sent anything, or is not exhausted.
    """

    def __init__(
        self, generator: Any, run: CallRun | None, codec: str, say: Callable[[str], None]
    ) -> None:
        self.generator = generator
        self.is_kept = run is not None
        self._run = run
        self._codec = codec
        self._say = say
        self._items: list[bytes] = []

    def part(self) -> contextlib.AbstractContextManager[None]:
        """Track the block, in which the generator goes on."""
        return contextlib.nullcontext() if self._run is None else self._run.part()

    def add(self, item: Any) -> None:
        if self.is_kept:
            self._items += self._dumped(item, "an item that it yields")

    def end(self, returned: Any = None) -> None:
        """Store the items, at the end of the generator."""
        dumped = self._dumped(returned, "the value that it returns") if self.is_kept else []
        if self._run is not None and self.is_kept:
            self._run.value = Items(tuple(self._items), *dumped)
            self._run.keep()

    def stop(self) -> None:
        """Leave the generator, at its end or before."""
        if self._run is not None:
            self._run.stop()

    def _dumped(self, value: Any, what: str) -> list[bytes]:
        try:
            return [dump(value, self._codec, least_bytes=IN_BAND).stream]
        except UnpicklableError as error:
            self._say(f"not stored: {what} cannot be pickled ({error})")
            self.is_kept = False
            return []


def generate(begin: Callable[[], Items | Recording]) -> Generator[Any, Any, Any]:
    """Yield the stored items, or those of the function, which begins with the first."""
    source = begin()
    if isinstance(source, Items):
        for each in source.items:
            yield load(each)
        return load(source.returned)
    inner = source.generator
    go_on = partial(inner.send, None)
    try:
        while True:
            try:
                with source.part():
                    item = go_on()
            except StopIteration as stop:
                source.end(stop.value)
                return stop.value
            source.add(item)
            try:
                sent = yield item
            except GeneratorExit:
                inner.close()
                raise
            except BaseException as error:
                source.is_kept, go_on = False, partial(inner.throw, error)
            else:
                source.is_kept &= sent is None
                go_on = partial(inner.send, sent)
    finally:
        source.stop()


async def generate_async(begin: Callable[[], Items | Recording]) -> AsyncGenerator[Any, Any]:
    """Yield as `generate` does, of an asynchronous generator."""
    source = begin()
    if isinstance(source, Items):
        for each in source.items:
            yield load(each)
        return
    inner = source.generator
    go_on = partial(inner.asend, None)
    try:
        while True:
            try:
                with source.part():
                    item = await go_on()
            except StopAsyncIteration:
                source.end()
                return
            source.add(item)
            try:
                sent = yield item
            except GeneratorExit:
                await inner.aclose()
                raise
            except BaseException as error:
                source.is_kept, go_on = False, partial(inner.athrow, error)
            else:
                source.is_kept &= sent is None
                go_on = partial(inner.asend, sent)
    finally:
        source.stop()
