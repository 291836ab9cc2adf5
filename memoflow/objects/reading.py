"""Reading: sources as they were when they were surveyed, or an error."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from types import TracebackType

from memoflow.errors import RequestError
from memoflow.objects.blobs import xxh3_of
from memoflow.objects.tree import Source


class Reader:
    """Read a source; RequestError if it has become shorter or cannot be read."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._file = -1
        if not isinstance(source.content, bytes):
            try:
                # Not blocking, should a fifo have taken the file's place.
                flags = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC
                self._file = os.open(source.content, flags)
            except OSError as error:
                raise self._unreadable(error) from error

    def __enter__(self) -> Reader:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._file >= 0:
            os.close(self._file)

    def peek(self, offset: int, length: int) -> bytes:
        """Return what is there, which is less at the end of the source."""
        if isinstance(self._source.content, bytes):
            return self._source.content[offset : offset + length]
        try:
            return os.pread(self._file, length, offset)
        except (OSError, OverflowError) as error:
            raise self._unreadable(error) from error

    def read(self, offset: int, length: int) -> bytes:
        data = bytearray(length)
        self.read_into(memoryview(data), offset)
        return bytes(data)

    def read_into(self, view: memoryview, offset: int) -> None:
        """Fill the memory with what begins at the offset."""
        content = self._source.content
        if isinstance(content, bytes):
            view[:] = content[offset : offset + len(view)]
            return
        while view:
            try:
                count = os.preadv(self._file, [view], offset)
            except OSError as error:
                raise self._unreadable(error) from error
            if not count:
                raise changed(self._source)
            view = view[count:]
            offset += count

    def chunks(self, size_bytes: int) -> Iterator[memoryview]:
        """Yield all of it, each time in the same memory."""
        memory = memoryview(bytearray(min(size_bytes, self._source.size_bytes)))
        for offset in range(0, self._source.size_bytes, size_bytes):
            view = memory[: self._source.size_bytes - offset]
            self.read_into(view, offset)
            yield view

    def proven_chunks(self, size_bytes: int, xxh3s: Sequence[str]) -> Iterator[memoryview]:
        """Yield the same again, as their XXH3-128 say."""
        for xxh3, view in zip(xxh3s, self.chunks(size_bytes), strict=True):
            if xxh3_of(view) != xxh3:
                raise changed(self._source)
            yield view

    def _unreadable(self, error: Exception) -> RequestError:
        reason = getattr(error, "strerror", None) or error
        return RequestError(f"cannot save {self._source.path}: {reason}")


def changed(source: Source) -> RequestError:
    """Return the error that says that a source did not hold still."""
    return RequestError(
        f"{source.path} changed while it was being saved; save when nothing writes to it"
    )
