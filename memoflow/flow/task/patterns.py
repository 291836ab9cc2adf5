"""The option `ignore_patterns=` of saves."""

from __future__ import annotations

from typing import Any

from memoflow.errors import UsageError


def ignored(patterns: Any) -> tuple[str, ...]:
    """Return the shell patterns of an option as a tuple; UsageError for any other value."""
    if patterns is None:
        return ()
    if not isinstance(patterns, (list, tuple)):
        raise UsageError(
            f'ignore_patterns is a list of shell patterns, such as ["*.tmp"], not {patterns!r}'
        )
    for each in patterns:
        if not isinstance(each, str) or not each.strip("/"):
            raise UsageError(f"ignore_patterns has {each!r}, which is no shell pattern")
    return tuple(each.rstrip("/").removeprefix("./") for each in patterns)
