"""Cutting: boundaries of pieces chosen so that unchanged content is found again."""

from __future__ import annotations

from memoflow.objects.cutting import formats, text
from memoflow.objects.cutting.formats import Read
from memoflow.objects.cutting.regions import PIECE_BYTES, Region, between, piece_bytes

__all__ = ["PIECE_BYTES", "Read", "Region", "piece_bytes", "regions"]

_PROBE_BYTES = 4 << 10


def regions(read: Read, size_bytes: int) -> list[Region]:
    """Return the regions of a file, in order and without gaps, as its format suggests.

    `read` may be asked for any part of it. Regions are never wrong, only more or less useful:
    their bytes are saved as they are, whatever they mean.
    """
    for find in (formats.zipped, formats.safetensors):
        bounds = find(read, size_bytes)
        if bounds is not None:
            return between(bounds, size_bytes)
    probes = [read(offset, _PROBE_BYTES) for offset in (0, size_bytes // 2)]
    whole = Region(0, size_bytes, text=all(map(text.is_text, probes)))
    return [whole] if size_bytes else []
