"""Units: times, sizes and flags as people write and read them."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

from memoflow.errors import RequestError

_TIMES = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_SIZES = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}


def duration(option: str, value: Any) -> timedelta:
    """Return a time span: `30d`, `12h`, `90m`, `45s`, `2w` or a positive timedelta."""
    if isinstance(value, timedelta):
        span = value
    else:
        match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([smhdw])\s*", str(value))
        if match is None or isinstance(value, bool):
            raise RequestError(
                f"{option} is a time such as 30d, 12h, 90m or a timedelta, not {value!r}"
            )
        try:
            span = timedelta(**{_TIMES[match[2]]: float(match[1])})
        except OverflowError:
            raise RequestError(f"{option}={value!r} is longer than Python can count") from None
    if span <= timedelta(0):
        raise RequestError(f"{option} must be longer than no time at all, not {value!r}")
    return span


def size(option: str, value: Any) -> int:
    """Return a number of bytes: `50GB`, `500MB`, `1.5T` or plain bytes."""
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([KMGT]?)i?B?\s*", str(value), re.IGNORECASE)
    if match is None:
        raise RequestError(f"{option} is a size such as 50GB or 500MB, not {value!r}")
    return int(float(match[1]) * _SIZES[match[2].upper()])


def flag(option: str, value: Any) -> bool:
    """Return yes or no: a bool, or a text as a command line has it."""
    if isinstance(value, bool):
        return value
    text = str(value).strip().lower()
    if text in ("true", "1", "yes", "on"):
        return True
    if text in ("false", "0", "no", "off", "none"):
        return False
    raise RequestError(f"{option} is True or False, not {value!r}")


def span(seconds: float) -> str:
    """Return a time for people: `0.4 s`, `12 s`, `61 min`, `3.5 h`."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < 120:
        return f"{seconds:.0f} s"
    if seconds < 2 * 3600:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"


def readable(size_bytes: int) -> str:
    """Return a size for people: `312 B`, `4.2 MB`."""
    value = float(size_bytes)
    for unit in ("B", "kB", "MB", "GB"):
        if value < 1000:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:.1f} TB"
