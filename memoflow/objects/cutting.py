"""Cutting: where a file is cut into pieces, so that what did not change is found again."""

from __future__ import annotations

from collections.abc import Iterator

PIECE_BYTES = 4 << 20


def cut(size_bytes: int) -> Iterator[int]:
    """Yield the lengths of the pieces of a file, in order; none for an empty one."""
    while size_bytes > 0:
        yield min(PIECE_BYTES, size_bytes)
        size_bytes -= PIECE_BYTES
