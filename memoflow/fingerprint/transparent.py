"""Transparent objects: they stand for a function that they wrap."""

from __future__ import annotations

from typing import Any


class Transparent:
    """A base of objects that count as the function in `__wrapped__`, wherever code names them.

    What else they hold, such as a store, decides on no result.
    """

    __wrapped__: Any
    __qualname__: str
    version = ""  # of its results, as people count them


def behind(value: Any) -> Any:
    """Return the function that a transparent object stands for, or the value itself."""
    while isinstance(value, Transparent):
        value = value.__wrapped__
    return value
