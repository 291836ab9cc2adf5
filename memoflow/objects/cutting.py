"""Cutting: boundaries of pieces chosen so that unchanged content is found again.

Text is cut at ends of lines that the lines themselves choose, so that they move along: in a window
behind each cut the line of the least CRC-32 ends the next piece. Two copies of a text that are
shifted against each other soon agree on a line, and from there on all pieces are equal.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator

from memoflow.dataclass import dataclass
from memoflow.objects.formats import Read, safetensors, zipped

PIECE_BYTES = 256 << 10
# Where a boundary is worth a piece of its own; between smaller things it is not.
_LARGE_BYTES = 64 << 10
# Of one save: a manifest of more is slow to read, so larger saves have larger pieces.
_MANY_PIECES = 1 << 18
_LARGEST_PIECE_BYTES = 8 << 20
# Of pieces of text.
_SHORTEST_TEXT_BYTES = 192 << 10
LONGEST_TEXT_BYTES = 320 << 10
_CONTROLS = bytes(set(range(32)) - set(b"\t\n\r\f\x1b"))
_PROBE_BYTES = 4 << 10


@dataclass(frozen=True, slots=True)
class Region:
    """Bytes of a file that are cut every so many, or, being `text`, at ends of lines."""

    start: int
    end: int
    text: bool = False

    def most_pieces(self, length: int) -> int:
        """Return an upper bound of the region's pieces; pieces of other than text are that long."""
        return -(-(self.end - self.start) // (_SHORTEST_TEXT_BYTES if self.text else length))

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


def regions(read: Read, size_bytes: int) -> list[Region]:
    """Return the regions of a file, in order and without gaps, as its format suggests.

    `read` may be asked for any part of it. Regions are never wrong, only more or less useful:
    their bytes are saved as they are, whatever they mean.
    """
    for find in (zipped, safetensors):
        bounds = find(read, size_bytes)
        if bounds is not None:
            return _between(bounds, size_bytes)
    probes = [read(offset, _PROBE_BYTES) for offset in (0, size_bytes // 2)]
    whole = Region(0, size_bytes, text=all(map(_is_text, probes)))
    return [whole] if size_bytes else []


def _between(bounds: Iterable[int], size_bytes: int) -> list[Region]:
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


def _is_text(probe: bytes) -> bool:
    """Tell whether a sample of a file looks like lines of text."""
    if b"\0" in probe or probe.count(b"\n") * 1024 < len(probe):
        return False
    odd = len(probe) - len(probe.translate(None, _CONTROLS))
    return odd * 100 <= len(probe)


def cut_text(data: memoryview, *, is_end: bool) -> list[int]:
    """Return the lengths of the pieces that data begins with.

    What is left over must come again with what follows it; nothing is left if it `is_end`.
    """
    lengths: list[int] = []
    at = 0
    while len(data) - at > LONGEST_TEXT_BYTES:
        window = bytes(data[at + _SHORTEST_TEXT_BYTES : at + LONGEST_TEXT_BYTES])
        length = _SHORTEST_TEXT_BYTES + _end_of_piece(window)
        lengths.append(length)
        at += length
    if is_end and at < len(data):
        lengths.append(len(data) - at)
    return lengths


def _end_of_piece(window: bytes) -> int:
    """Return the offset in the window at which to cut."""
    lines = window.split(b"\n")
    # The first may have begun before the window, and the last is not at its end.
    sums = list(map(zlib.crc32, lines[1:-1]))
    if not sums:
        return len(window)
    chosen = 1 + sums.index(min(sums))
    return sum(map(len, lines[: chosen + 1])) + chosen + 1
