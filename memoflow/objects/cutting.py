"""Cutting: boundaries of pieces chosen so that unchanged content is found again.

Text is cut at ends of lines that the lines themselves choose, so that they move along: in a window
behind each cut the line of the least CRC-32 ends the next piece. Two copies of a text that are
shifted against each other soon agree on a line, and from there on all pieces are equal.

The tensors of a safetensors file, and the members of a zip archive, which `torch.save` and
`numpy.savez` write, too, are cut apart by their directories; no body is read for that. Sources: the
safetensors README (huggingface/safetensors, "Format"), and PKWARE's APPNOTE 4.3.
"""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Callable, Iterable, Iterator

from memoflow.dataclass import dataclass

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

# Return the bytes from an offset on; fewer at the end of the file.
Read = Callable[[int, int], bytes]

_LARGEST_DIRECTORY = 4 << 20
_MOST_PARTS = 100_000
_END = struct.Struct("<4s4H2LH")
_END_64 = struct.Struct("<4sQ2H2L4Q")
_LOCATOR_64 = struct.Struct("<4sLQL")
_ENTRY = struct.Struct("<4s6H3L5H2L")
_LOCAL = struct.Struct("<4s5H3L2H")
_LONGEST_COMMENT = 0xFFFF


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
    for find in (_zipped, _safetensors):
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


def _safetensors(read: Read, size_bytes: int) -> list[int] | None:
    """Return the offsets at which tensors begin and end, in order; None for another format."""
    start = read(0, 9)
    if len(start) < 9 or start[8:] != b"{":
        return None
    (length,) = struct.unpack("<Q", start[:8])
    body = 8 + length
    if not 2 <= length <= min(_LARGEST_DIRECTORY, size_bytes - 8):
        return None
    try:
        tensors = json.loads(read(8, length))
        spans = [
            tuple(tensor["data_offsets"])
            for name, tensor in tensors.items()
            if name != "__metadata__"
        ]
        return _bounds([(body + begin, body + end) for begin, end in spans], size_bytes)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return None


def _zipped(read: Read, size_bytes: int) -> list[int] | None:
    """Return the offsets at which members' bodies begin and end, in order; None if no zip."""
    if read(0, 4) != b"PK\3\4":
        return None
    try:
        offset, length, entries = _find_directory(read, size_bytes)
        if length > _LARGEST_DIRECTORY or entries > _MOST_PARTS:
            return None
        return _bounds(list(_members(read, read(offset, length), entries)), size_bytes)
    except (ValueError, struct.error):
        return None


def _find_directory(read: Read, size_bytes: int) -> tuple[int, int, int]:
    """Return offset and length of the central directory, and how many entries it has."""
    start = max(0, size_bytes - _END.size - _LONGEST_COMMENT)
    tail = read(start, size_bytes - start)
    at = tail.rfind(b"PK\5\6")
    if at < 0:
        raise ValueError("no end of a central directory")
    _, _, _, _, entries, length, offset, _ = _END.unpack_from(tail, at)
    if 0xFFFFFFFF not in (offset, length) and entries != 0xFFFF:
        return offset, length, entries
    locator = _LOCATOR_64.unpack(read(start + at - _LOCATOR_64.size, _LOCATOR_64.size))
    fields = _END_64.unpack(read(min(locator[2], size_bytes), _END_64.size))
    if (locator[0], fields[0]) != (b"PK\6\7", b"PK\6\6"):
        raise ValueError("no end of a large central directory")
    return fields[9], fields[8], fields[7]


def _members(read: Read, directory: bytes, entries: int) -> Iterator[tuple[int, int]]:
    """Yield the offsets at which the body of each member begins and ends."""
    at = 0
    for _ in range(entries):
        fields = _ENTRY.unpack_from(directory, at)
        packed, unpacked, name, extra, comment, offset = (
            fields[8], fields[9], fields[10], fields[11], fields[12], fields[16]
        )  # fmt: skip
        start = at + _ENTRY.size + name
        packed, offset = _widened(directory[start : start + extra], packed, unpacked, offset)
        local = _LOCAL.unpack(read(offset, _LOCAL.size))
        if (fields[0], local[0]) != (b"PK\1\2", b"PK\3\4"):
            raise ValueError("no member where one should be")
        # The name and the padding of the local header are not those of the directory.
        begin = offset + _LOCAL.size + local[9] + local[10]
        yield begin, begin + packed
        at = start + extra + comment


def _widened(extra: bytes, packed: int, unpacked: int, offset: int) -> tuple[int, int]:
    """Return packed size and offset, from the extra field if they need 64 bits."""
    if 0xFFFFFFFF not in (packed, unpacked, offset):
        return packed, offset
    at = 0
    while at + 4 <= len(extra):
        kind, length = struct.unpack_from("<2H", extra, at)
        if kind == 1:
            wide = iter(struct.unpack_from(f"<{length // 8}Q", extra, at + 4))
            values = [
                next(wide, value) if value == 0xFFFFFFFF else value
                for value in (unpacked, packed, offset)
            ]
            return values[1], values[2]
        at += 4 + length
    raise ValueError("a large member without its size")


def _bounds(spans: list[tuple[int, int]], size_bytes: int) -> list[int] | None:
    """Return all ends of the spans, in order; None if they overlap or leave the file."""
    if len(spans) > _MOST_PARTS:
        return None
    bounds: list[int] = []
    end = 0
    for span in sorted(spans):
        if not all(type(bound) is int for bound in span) or not end <= span[0] <= span[1]:
            return None
        bounds += span
        end = span[1]
    return bounds if end <= size_bytes else None
