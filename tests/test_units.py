from __future__ import annotations

from datetime import timedelta

import pytest

from memoflow.errors import UsageError
from memoflow.units import age, duration, readable, size, span


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("30d", timedelta(days=30)),
        ("12h", timedelta(hours=12)),
        ("90m", timedelta(minutes=90)),
        ("1.5h", timedelta(minutes=90)),
        (" 2 w ", timedelta(weeks=2)),
        (timedelta(seconds=5), timedelta(seconds=5)),
    ],
)
def test_times_that_are_understood(text, expected):
    assert duration("ttl", text) == expected


@pytest.mark.parametrize(
    "text", ["", "soon", "30", 30, 0, True, None, "-1d", "1y", "0d", timedelta(0), "9" * 40 + "d"]
)
def test_times_that_are_none_are_named_in_the_error(text):
    with pytest.raises(UsageError, match="ttl"):
        duration("ttl", text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("50GB", 50 * 10**9),
        ("500MB", 5 * 10**8),
        ("1.5T", 15 * 10**11),
        ("0B", 0),
        ("7b", 7),
        (" 2 GiB ", 2 << 30),
        ("5k", 5000),
    ],
)
def test_sizes_that_are_understood(text, expected):
    assert size("--max-size", text) == expected


@pytest.mark.parametrize(
    "text", ["", "much", "-1", "5 parsecs", "GB", "5i", None, True, "9" * 400 + "GB"]
)
def test_sizes_that_are_none_are_named_in_the_error(text):
    with pytest.raises(UsageError, match="--max-size"):
        size("--max-size", text)


@pytest.mark.parametrize("text", ["50", "0", " 7 ", "1.5", 50, 0])
def test_a_size_without_a_unit_is_refused_with_what_to_say(text):
    number = str(text).strip()
    with pytest.raises(UsageError, match=f"say {number}B, {number}MB or {number}GB"):
        size("--max-size", text)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "less than a minute"), (60, "1 minute"), (7200, "2 hours"), (41.5 * 86400, "41 days")],
)
def test_ages_for_people(seconds, text):
    assert age(seconds) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.04, "0.0 s"),
        (9.94, "9.9 s"),
        (61, "61 s"),
        (3660, "61 min"),
        (12600, "3.5 h"),
        (4e6, "1,111 h"),
    ],
)
def test_times_for_people(seconds, text):
    assert span(seconds) == text


@pytest.mark.parametrize(
    ("size_bytes", "text"), [(0, "0 B"), (999, "999 B"), (4_200_000, "4.2 MB"), (3e12, "3.0 TB")]
)
def test_sizes_for_people(size_bytes, text):
    assert readable(size_bytes) == text
