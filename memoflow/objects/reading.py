"""Reading of sources as surveyed; files removed since are reported."""

from __future__ import annotations

import errno
import os
from bisect import bisect
from collections.abc import Callable, Iterator, Sequence
from itertools import accumulate
from pathlib import Path

from memoflow.errors import UsageError
from memoflow.objects.blobs import xxh3_of
from memoflow.objects.growing import ChangedError
from memoflow.objects.tree import Source

# What is in the place of a file that was removed or replaced while it was to be opened.
_GONE = {errno.ENOENT, errno.ESTALE, errno.ENOTDIR, errno.ELOOP, errno.ENXIO}
_COPIED_BYTES = 1 << 20


class Reader:
    """Read a source; UsageError if it cannot be read.

    Of one that was removed or has become shorter zeros are read, and it is noted to be `gone`:
    whoever reads goes on with the others.
    """

    def __init__(self, source: Source) -> None:
        self._source = source
        self._file = -1
        self._is_sparse = False
        if isinstance(source.content, str):
            try:
                # Not blocking, should a fifo have taken the file's place.
                flags = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC
                self._file = os.open(source.content, flags)
                info = os.fstat(self._file)
                self._is_sparse = info.st_blocks * 512 < info.st_size and hasattr(os, "SEEK_DATA")
            except OSError as error:
                if error.errno not in _GONE:
                    raise self._unreadable(error) from error
                source.gone.append(True)
        else:
            self._ends = list(accumulate(map(len, source.content)))

    def __enter__(self) -> Reader:
        return self

    def __exit__(self, *raised: object) -> None:
        if self._file >= 0:
            os.close(self._file)

    def peek(self, offset: int, length: int) -> bytes:
        """Return the next bytes, fewer at the end of the source."""
        if not isinstance(self._source.content, str):
            return self.read(offset, max(0, min(length, self._source.size_bytes - offset)))
        if self._file < 0:
            return b""
        try:
            return os.pread(self._file, length, offset)
        except (OSError, OverflowError) as error:
            raise self._unreadable(error) from error

    def read(self, offset: int, length: int) -> bytes:
        data = bytearray(length)
        self.read_into(memoryview(data), offset)
        return bytes(data)

    def read_into(self, view: memoryview, offset: int) -> None:
        """Fill the memory with bytes from the offset on."""
        if not isinstance(self._source.content, str):
            self._copy_into(view, offset, self._source.content)
            return
        if self._is_hole(offset, len(view)):
            view[:] = bytes(len(view))
            return
        while view:
            try:
                count = os.preadv(self._file, [view], offset) if self._file >= 0 else 0
            except OSError as error:
                if error.errno not in _GONE:
                    raise self._unreadable(error) from error
                count = 0
            if not count:
                self._source.gone.append(True)
                view[:] = bytes(len(view))
                return
            view = view[count:]
            offset += count

    def view(self, offset: int, memory: memoryview) -> memoryview:
        """Return as many bytes as the memory has: in place, if they lie in one, else in there."""
        content = self._source.content
        if not isinstance(content, str):
            number = bisect(self._ends, offset)
            if number < len(content):
                begin = offset - (self._ends[number] - len(content[number]))
                part = content[number][begin : begin + len(memory)]
                if len(part) == len(memory):
                    return part
        self.read_into(memory, offset)
        return memory

    def _copy_into(self, view: memoryview, offset: int, buffers: Sequence[memoryview]) -> None:
        for i in range(bisect(self._ends, offset), len(buffers)):
            if not view:
                return
            part = buffers[i][offset - self._ends[i] :][: len(view)]
            view[: len(part)] = part
            view = view[len(part) :]
            offset += len(part)

    def _is_hole(self, offset: int, length: int) -> bool:
        """Tell whether nothing was ever written here, so that it need not be read."""
        if not self._is_sparse:
            return False
        try:
            return os.lseek(self._file, offset, os.SEEK_DATA) >= offset + length
        except OSError as error:
            # Nothing but a hole up to the end; or the file system does not tell.
            return error.errno == errno.ENXIO and os.fstat(self._file).st_size >= offset + length

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
                raise ChangedError(self._source.path)
            yield view

    def _unreadable(self, error: Exception) -> UsageError:
        reason = getattr(error, "strerror", None) or error
        return UsageError(f"cannot save {self._source.path}: {reason}")


def has_bytes(
    source: Source, content: bytes | Sequence[tuple[int, str]], beat: Callable[[], None]
) -> bool:
    """Tell whether a source begins with these bytes, or pieces by length and XXH3-128.

    `beat` is called for each piece.
    """
    now = Source(source.path, source.content, source.size_bytes)
    with Reader(now) as reader:
        if isinstance(content, bytes):
            return reader.read(0, len(content)) == content and not now.gone
        memory = memoryview(bytearray(max((length for length, _ in content), default=0)))
        at = 0
        for length, xxh3 in content:
            beat()
            if xxh3_of(reader.view(at, memory[:length])) != xxh3 or now.gone:
                return False
            at += length
    return True


def is_copy(source: Source, copy: Path, beat: Callable[[], None]) -> bool:
    """Tell whether a file begins with the source's content up to its surveyed size.

    `beat` is called for each of its megabytes or so.
    """
    now = Source(source.path, source.content, source.size_bytes)
    with Reader(now) as reader, open(copy, "rb") as file:
        for view in reader.chunks(_COPIED_BYTES):
            beat()
            if bytearray(file.read(len(view))) != view:
                return False
        return not now.gone and not file.read(1)
