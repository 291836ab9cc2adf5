"""Units: times, sizes and flags as people write and read them."""

from __future__ import annotations

import re
from datetime import datetime, timedelta, timezone
from functools import lru_cache
from typing import Any

from memoflow.errors import UsageError, usage_error

_TIMES = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_POWERS = {"": 0, "K": 1, "M": 2, "G": 3, "T": 4}
_AGES = ((86400.0, "day"), (3600.0, "hour"), (60.0, "minute"))


def duration(option: str, value: Any) -> timedelta:
    """Return a time span: `30d`, `12h`, `90m`, `45s`, `2w` or a positive timedelta."""
    if isinstance(value, timedelta):
        span = value
    else:
        match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([smhdw])\s*", str(value))
        if match is None or isinstance(value, bool):
            raise usage_error(value, str)(
                f"{option} is a time such as 30d, 12h, 90m or a timedelta, not {value!r}"
            )
        try:
            span = timedelta(**{_TIMES[match[2]]: float(match[1])})
        except OverflowError:
            raise UsageError(f"{option}={value!r} is longer than Python can count") from None
    if span <= timedelta(0):
        raise UsageError(f"{option} must be longer than no time at all, not {value!r}")
    return span


def size(option: str, value: Any) -> int:
    """Return a number of bytes: `50GB`, `500MB`, `1.5T`, `2GiB`, `900B`; never without a unit."""
    match = re.fullmatch(
        r"\s*(\d+(?:\.\d+)?)\s*(?:([KMGT])(i?)B?|B|)\s*", str(value), re.IGNORECASE
    )
    if match is None or isinstance(value, bool):
        raise usage_error(value, str, int)(
            f"{option} is a size such as 50GB or 500MB, not {value!r}"
        )
    number, power, binary = match.groups()
    if power is None and not str(value).strip().upper().endswith("B"):
        raise UsageError(
            f"{option} is {str(value).strip()} without a unit; say {number}B, {number}MB or "
            f"{number}GB"
        )
    try:
        return int(float(number) * (1024 if binary else 1000) ** _POWERS[(power or "").upper()])
    except OverflowError:
        raise UsageError(f"{option}={value!r:.60} is more than any disk holds") from None


def flag(option: str, value: Any) -> bool:
    """Return yes or no: a bool, or a text as a command line has it."""
    if isinstance(value, bool):
        return value
    text = str(value).strip().lower()
    if text in ("true", "1", "yes", "on"):
        return True
    if text in ("false", "0", "no", "off", "none"):
        return False
    raise usage_error(value, str, int)(f"{option} is True or False, not {value!r}")


def share(option: str, value: Any) -> float:
    """Return a share of a whole: a number from 0 to 1, or a text such as `0.05` or `5%`."""
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?|\.\d+)\s*(%?)\s*", str(value))
    found = float(match[1]) / (100 if match[2] else 1) if match is not None else -1.0
    if not 0 <= found <= 1:
        raise usage_error(value, str, int, float)(
            f"{option} is a share from 0 to 1 such as 0.05, not {value!r}"
        )
    return found


def span(seconds: float) -> str:
    """Return a time for people: `0.4 s`, `12 s`, `61 min`, `3.5 h`, `1,200 h`."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < 120:
        return f"{seconds:.0f} s"
    if seconds < 2 * 3600:
        return f"{seconds / 60:.0f} min"
    hours = seconds / 3600
    return f"{hours:.1f} h" if hours < 1000 else f"{hours:,.0f} h"


def age(seconds: float) -> str:
    """Return a duration in words: `41 days`, `1 hour`, `less than a minute`."""
    for length, unit in _AGES:
        number = int(seconds // length)
        if number:
            return f"{number:,} {unit}{'s' * (number != 1)}"
    return "less than a minute"


def ago(seconds: float, now: float) -> str:
    """Return a time as people say it: `2 min ago`, `yesterday`, `in 3 days`, or its date."""
    text, passed = moment(seconds), now - seconds
    if not text[:1].isdigit():
        return text
    if abs(passed) < 60:
        return "just now" if passed >= 0 else "in a minute"
    if day(seconds) == day(now - 86400) and passed > 6 * 3600:
        return "yesterday"
    length = abs(passed)
    for unit, size in (("weeks", 7 * 86400), ("days", 86400), ("h", 3600), ("min", 60)):
        number = int(length // size)
        if number > 1 or (number == 1 and unit in ("h", "min")):
            if unit == "weeks" and number > 8:
                return text.partition(" ")[0]
            return f"{number} {unit} ago" if passed > 0 else f"in {number} {unit}"
    return "1 day ago" if passed > 0 else "in 1 day"


def day(seconds: float) -> str:
    """Return a date in this machine's zone, given Unix seconds: `2026-03-01`."""
    text = moment(seconds)
    return text.partition(" ")[0] if text[:1].isdigit() else text


def moment(seconds: float) -> str:
    """Return a time of day in this machine's zone, given Unix seconds: `2026-03-01 14:05`."""
    return _minute(int(seconds // 60))


def iso(seconds: float) -> str | None:
    """Return a time in ISO 8601 and UTC, given Unix seconds; None if no calendar has it."""
    try:
        return datetime.fromtimestamp(seconds, timezone.utc).isoformat()
    except (OverflowError, ValueError, OSError):
        return None


@lru_cache(maxsize=4096)  # Of thousands of entries many have one in common.
def _minute(minutes: int) -> str:
    try:
        return datetime.fromtimestamp(minutes * 60).strftime("%Y-%m-%d %H:%M")
    except (OverflowError, ValueError, OSError):
        return "out of range"


def readable(size_bytes: int) -> str:
    """Return a size for people: `312 B`, `4.2 MB`."""
    value = float(size_bytes)
    for unit in ("B", "kB", "MB", "GB"):
        if value < 1000:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:.1f} TB"
