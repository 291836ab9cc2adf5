"""Marker files: small files under gc/ for others to see, such as the claim of a maintenance."""

from __future__ import annotations

import zlib
from datetime import timedelta

from memoflow.backends import Backend
from memoflow.errors import BackendDeniedError, NoRoomError

LARGEST_MARK_BYTES = 1 << 10  # of one that is a word or a number
_SEAL = b"\ncrc32:"
HOUSEKEEPING = "gc/housekeeping"


def sealed(data: bytes) -> bytes:
    """Return the bytes of a marker file: data with its checksum."""
    return b"%b%b%08x" % (data, _SEAL, zlib.crc32(data))


def content(mark: bytes) -> bytes:
    """Return a marker file's data; ValueError if it is damaged."""
    data, _, seal = mark.rpartition(_SEAL)
    if seal != b"%08x" % zlib.crc32(data):
        raise ValueError("its bytes do not have their checksum")
    return data


def claim(backend: Backend, *, every: timedelta, now: float) -> bool:
    """Tell whether maintenance is due, and claim it: True to one caller `every` so long."""
    seconds = every.total_seconds()
    mine = f"{HOUSEKEEPING}/{int(now // seconds)}"
    try:
        claims = [file.name for file in backend.list(HOUSEKEEPING)]
        if any(
            0 <= now - _seconds(backend.read(name, most_bytes=LARGEST_MARK_BYTES)) < seconds
            for name in claims
        ):
            return False
        # By time slots, so that of two callers at once only one can make the claim.
        backend.delete(claims)
        return backend.write(mine, repr(now).encode(), if_absent=True, durable=False)
    except BackendDeniedError:
        return False  # Whoever may write here will do it.
    except NoRoomError:
        return True  # There is no time to lose, and no harm in two.


def _seconds(stamp: bytes | None) -> float:
    try:
        return float(stamp or b"-inf")
    except ValueError:
        return float("-inf")
