"""Ranges: parts of a saved file in memory, of which only the pieces that hold them are read."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from functools import partial
from itertools import accumulate
from typing import NamedTuple

from memoflow.backends import Backend
from memoflow.errors import NotFoundError
from memoflow.memory import private_memory
from memoflow.objects.blobs import blob_name
from memoflow.objects.manifest import File, Piece
from memoflow.objects.unpacking import pieces_of
from memoflow.threads import for_each, stop_check

Range = tuple[int, int]  # offset and length

_THREADS = 4
_JOB_BYTES = 16 << 20
_MAPPED_BYTES = 1 << 20  # from here on memory is not filled with zeros first


class _Copy(NamedTuple):
    """A copy from within a piece to within a range."""

    start: int
    end: int
    target: memoryview


def read_ranges(backend: Backend, file: File, ranges: Sequence[Range]) -> list[memoryview]:
    """Return parts of a file, proven, each in writable memory of its own.

    ValueError for a range beyond the end of the file, DamagedBlobError or LostBlobError for bytes
    that are damaged or gone.
    """
    if any(not 0 <= offset <= offset + length <= file.size_bytes for offset, length in ranges):
        raise ValueError(f"{file.path!r} has {file.size_bytes} bytes, and a range goes beyond them")
    views = [_memory(length) for _, length in ranges]
    if file.target is not None:
        raise NotFoundError(f"{file.path!r} is a link to {file.target!r}; read that")
    if file.inline is not None:
        for (offset, length), view in zip(ranges, views, strict=True):
            view[:] = file.inline[offset : offset + length]
        return views
    wanted = _wanted(file, ranges, views)
    backend.prefetch(sorted({blob_name(piece.blob) for piece, _ in wanted}))
    for_each(partial(_fill, backend), _jobs(wanted), threads=_THREADS)
    return views


def _wanted(
    file: File, ranges: Sequence[Range], views: Sequence[memoryview]
) -> list[tuple[Piece, list[_Copy]]]:
    """Return the pieces of ranges, in order, and the copies to make of each."""
    starts = [0, *accumulate(piece.length for piece in file.pieces)]
    copies: dict[int, list[_Copy]] = {}
    for (offset, length), view in zip(ranges, views, strict=True):
        done = 0
        number = bisect_right(starts, offset) - 1
        while done < length:
            start = offset + done - starts[number]
            end = min(file.pieces[number].length, start + length - done)
            copy = _Copy(start, end, view[done : done + end - start])
            copies.setdefault(number, []).append(copy)
            done += end - start
            number += 1
    return [(file.pieces[number], copies[number]) for number in sorted(copies)]


def _jobs(wanted: list[tuple[Piece, list[_Copy]]]) -> list[list[tuple[Piece, list[_Copy]]]]:
    jobs: list[list[tuple[Piece, list[_Copy]]]] = []
    left = 0
    for each in wanted:
        if left <= 0:
            jobs.append([])
            left = _JOB_BYTES
        jobs[-1].append(each)
        left -= each[0].length
    return jobs


def _fill(backend: Backend, job: list[tuple[Piece, list[_Copy]]]) -> None:
    check = stop_check()
    views = pieces_of(backend, [piece for piece, _ in job])
    for view, (_, copies) in zip(views, job, strict=True):
        check()
        for copy in copies:
            copy.target[:] = view[copy.start : copy.end]


def _memory(length: int) -> memoryview:
    if length < _MAPPED_BYTES:
        return memoryview(bytearray(length))
    return memoryview(private_memory(length))
