"""Marker files: small files under gc/ for others to see, with a checksum in the last line."""

from __future__ import annotations

import zlib

LARGEST_MARK_BYTES = 1 << 10  # of one that is a word or a number
_SEAL = b"\ncrc32:"


def sealed(data: bytes) -> bytes:
    """Return the bytes of a marker file: data with its checksum."""
    return b"%b%b%08x" % (data, _SEAL, zlib.crc32(data))


def content(mark: bytes) -> bytes:
    """Return a marker file's data; ValueError if it is damaged."""
    data, _, seal = mark.rpartition(_SEAL)
    if seal != b"%08x" % zlib.crc32(data):
        raise ValueError("its bytes do not have their checksum")
    return data
