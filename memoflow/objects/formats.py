"""Formats: the offsets of a safetensors file's tensors and of a zip archive's members.

A zip archive is what `torch.save` and `numpy.savez` write, too. Only the directory is read, never
a body. Whatever is not as its format says is no such file: then these return None.

Sources: the safetensors README (huggingface/safetensors, "Format"), and PKWARE's APPNOTE 4.3.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Iterator

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


def safetensors(read: Read, size_bytes: int) -> list[int] | None:
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


def zipped(read: Read, size_bytes: int) -> list[int] | None:
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
