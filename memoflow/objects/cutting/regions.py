"""Regions: the parts of a file that are cut by themselves, so that one can move or grow alone."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from memoflow.dataclass import dataclass
from memoflow.objects.cutting.text import SHORTEST_BYTES

PIECE_BYTES = 256 << 10
# Where a boundary is worth a piece of its own; between smaller things it is not.
_LARGE_BYTES = 64 << 10
# Of one save: a manifest of more is slow to read, so larger saves have larger pieces.
_MANY_PIECES = 1 << 18
_LARGEST_PIECE_BYTES = 8 << 20


@dataclass(frozen=True, slots=True)
class Region:
    """Bytes of a file that are cut every so many, or, being `text`, at ends of lines."""

    start: int
    end: int
    text: bool = False

    def most_pieces(self, length: int) -> int:
        """Return an upper bound of the region's pieces; pieces of other than text are that long."""
        return -(-(self.end - self.start) // (SHORTEST_BYTES if self.text else length))

    def split(self, size_bytes: int) -> Iterator[Region]:
        """Yield parts of this size, and the remainder."""
        for start in range(self.start, self.end, size_bytes):
            yield Region(start, min(start + size_bytes, self.end), self.text)


def piece_bytes(total_bytes: int) -> int:
    """Return the length of the pieces in a save of `total_bytes`."""
    length = PIECE_BYTES
    while total_bytes > length * _MANY_PIECES and length < _LARGEST_PIECE_BYTES:
        length *= 2
    return length


def between(bounds: Iterable[int], size_bytes: int) -> list[Region]:
    """Return the regions that ascending bounds make of a file.

    What is small is joined with its small neighbours; what is large is by itself, so that it is
    found again wherever it moves.
    """
    regions: list[Region] = []
    start = joined = 0
    for bound in (*bounds, size_bytes):
        if bound - joined >= _LARGE_BYTES:
            if joined > start:
                regions.append(Region(start, joined))
            regions.append(Region(joined, bound))
            start = bound
        elif bound - start >= PIECE_BYTES:
            regions.append(Region(start, bound))
            start = bound
        joined = bound
    if size_bytes > start:
        regions.append(Region(start, size_bytes))
    return regions
