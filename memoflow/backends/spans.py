"""Spans: large things cut into pieces of one size, of which several are under way at a time."""

from __future__ import annotations

import io
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from typing import Any

from memoflow.threads import Pool

PART_BYTES = 16 << 20
SPAN_BYTES = 4 << 20
THREADS = 8
_SPANS_AHEAD = 8


class Spans(io.RawIOBase):
    """A reader by spans; once it reads in order, a few are on their way before it asks.

    `read_span` returns the span that begins somewhere; `first` is the one at the beginning.
    """

    def __init__(self, read_span: Callable[[int], bytes], first: bytes, size_bytes: int) -> None:
        self._read_span = read_span
        self._size_bytes = size_bytes
        self._at = 0
        self._span = (0, first)  # the one that was read last, and where it begins
        self._ahead: dict[int, Future[bytes]] = {}
        self._pool: Pool | None = None

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size_bytes}[whence]
        self._at = max(0, start + offset)
        return self._at

    def readinto(self, buffer: Any) -> int:
        view = memoryview(buffer).cast("B")
        if self._at >= self._size_bytes:
            return 0
        within = self._at % SPAN_BYTES
        data = memoryview(self._read(self._at - within))[within:][: len(view)]
        view[: len(data)] = data
        self._at += len(data)
        return len(data)

    def close(self) -> None:
        if self._pool is not None:
            for awaited in self._ahead.values():
                awaited.cancel()
            self._pool.shutdown(wait=False)
        self._ahead.clear()
        super().close()

    def _read(self, start: int) -> bytes:
        last, data = self._span
        if start == last:
            return data
        if start == last + SPAN_BYTES:
            self._look_ahead(start)
        awaited = self._ahead.pop(start, None)
        data = self._read_span(start) if awaited is None else awaited.result()
        self._span = start, data
        return data

    def _look_ahead(self, start: int) -> None:
        if self._pool is None:
            self._pool = Pool(THREADS)
        end = min(start + _SPANS_AHEAD * SPAN_BYTES, self._size_bytes)
        wanted = range(start, end, SPAN_BYTES)
        for old in self._ahead.keys() - set(wanted):
            self._ahead.pop(old).cancel()
        for each in wanted:
            if each not in self._ahead:
                self._ahead[each] = self._pool.submit(self._read_span, each)


def parts_of(chunks: Iterable[bytes | memoryview]) -> Iterator[bytearray]:
    """Cut chunks into parts of one size; the last may be smaller."""
    part = bytearray()
    for chunk in chunks:
        view = memoryview(chunk)
        while view:
            taken = view[: PART_BYTES - len(part)]
            part += taken
            view = view[len(taken) :]
            if len(part) == PART_BYTES:
                yield part
                part = bytearray()
    if part:
        yield part


def send_all(parts: Iterable[bytearray], send: Callable[[int, bytearray], Any]) -> list[Any]:
    """Send each part with its number, from 1 on; return the results in order.

    No more parts are taken than can be under way; the first failure ends it.
    """
    sent: list[Future[Any]] = []
    room = threading.Semaphore(THREADS + 1)
    with Pool(THREADS) as threads:
        try:
            for part in parts:
                room.acquire()
                one = threads.submit(send, len(sent) + 1, part)
                one.add_done_callback(lambda _: room.release())
                sent.append(one)
                for done in sent:
                    if done.done():
                        done.result()
            return [one.result() for one in sent]
        except BaseException:
            for one in sent:
                one.cancel()
            raise
