"""Schedule: one process at a time does the maintenance."""

from __future__ import annotations

from datetime import timedelta

from memoflow.backends import Backend
from memoflow.errors import BackendDeniedError, NoRoomError
from memoflow.store.marker_file import LARGEST_MARK_BYTES

FOLDER = "gc/housekeeping"


def claim(backend: Backend, *, every: timedelta, now: float) -> bool:
    """Tell whether maintenance is due, and claim it: True to one caller `every` so long."""
    seconds = every.total_seconds()
    mine = f"{FOLDER}/{int(now // seconds)}"
    try:
        claims = [file.name for file in backend.list(FOLDER)]
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
