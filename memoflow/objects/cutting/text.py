"""Text: cuts at ends of lines that the lines themselves choose, so that they move along.

In a window behind each cut the line of the least CRC-32 ends the next piece. Two copies of a text
that are shifted against each other soon agree on a line, and from there on all pieces are equal.
"""

from __future__ import annotations

import zlib

SHORTEST_BYTES = 192 << 10
LONGEST_BYTES = 320 << 10
_CONTROLS = bytes(set(range(32)) - set(b"\t\n\r\f\x1b"))


def is_text(probe: bytes) -> bool:
    """Tell whether a sample of a file looks like lines of text."""
    if b"\0" in probe or probe.count(b"\n") * 1024 < len(probe):
        return False
    odd = len(probe) - len(probe.translate(None, _CONTROLS))
    return odd * 100 <= len(probe)


def cut(data: memoryview, *, is_end: bool) -> list[int]:
    """Return the lengths of the pieces that data begins with.

    What is left over must come again with what follows it; nothing is left if it `is_end`.
    """
    lengths: list[int] = []
    at = 0
    while len(data) - at > LONGEST_BYTES:
        window = bytes(data[at + SHORTEST_BYTES : at + LONGEST_BYTES])
        length = SHORTEST_BYTES + _choose(window)
        lengths.append(length)
        at += length
    if is_end and at < len(data):
        lengths.append(len(data) - at)
    return lengths


def _choose(window: bytes) -> int:
    """Return the offset in the window at which to cut."""
    lines = window.split(b"\n")
    # The first may have begun before the window, and the last is not at its end.
    sums = list(map(zlib.crc32, lines[1:-1]))
    if not sums:
        return len(window)
    chosen = 1 + sums.index(min(sums))
    return sum(map(len, lines[: chosen + 1])) + chosen + 1
