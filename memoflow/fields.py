"""Fields of JSON files, read by name, type and bounds.

Whoever may write to a store may write anything into it. ValueError, with the name of the field, is
for whatever cannot be there; what is read by these is safe to compute with, to show and to look up.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

# Times are Unix seconds up to the end of the year 9998: each can be shown in any time zone.
LATEST = 253370764800.0
LARGEST = (1 << 63) - 1  # what the index can hold
MOST_NESTED = 2_500_000  # lists and mappings, each of which takes 20 times what its text does

_NO_DEFAULT: Any = object()
HALF_CHARACTER = re.compile("[\ud800-\udfff]")


class Fields:
    """A mapping that came out of a file."""

    def __init__(self, value: Any) -> None:
        if not isinstance(value, Mapping):
            raise ValueError("it is no mapping")
        self._value = value

    def has(self, name: str) -> bool:
        """Tell whether there is anything but null by this name."""
        return self._value.get(name) is not None

    def text(self, name: str, default: str = _NO_DEFAULT, *, is_free: bool = False) -> str:
        """Return a text; all its characters are whole, unless a person may have written it."""
        return text(self._one(name, default), name, is_free=is_free)

    def whole(self, name: str, default: int = _NO_DEFAULT, *, most: int = LARGEST) -> int:
        """Return a whole number from 0 on."""
        value = self._one(name, default)
        if type(value) is not int or not 0 <= value <= most:
            raise ValueError(f"{name} is {value!r:.60}, and no number that can be here")
        return value

    def number(self, name: str, default: float = _NO_DEFAULT, *, most: float = LATEST) -> float:
        """Return a number from 0 on, whole or not; a time by default."""
        return number(self._one(name, default), name, most=most)

    def flag(self, name: str, default: bool = _NO_DEFAULT) -> bool:
        value = self._one(name, default)
        if type(value) is not bool:
            raise ValueError(f"{name} is {value!r:.60}, and not true or false")
        return value

    def texts(self, name: str, default: tuple[str, ...] = _NO_DEFAULT) -> tuple[str, ...]:
        """Return a list of texts."""
        return texts(self._one(name, default), name)

    def mapping(self, name: str, default: Mapping[str, Any] = _NO_DEFAULT) -> dict[str, Any]:
        """Return a field that is a mapping by name, of values of any type."""
        value = self._one(name, default)
        if not isinstance(value, Mapping):
            raise ValueError(f"{name} is {value!r:.60}, and no mapping")
        return dict(value)

    def rows(self, name: str, default: tuple[Any, ...] = _NO_DEFAULT) -> list[Any]:
        """Return a field that is a list, of values of any type."""
        value = self._one(name, default)
        if not isinstance(value, list | tuple):
            raise ValueError(f"{name} is {value!r:.60}, and no list")
        return list(value)

    def _one(self, name: str, default: Any) -> Any:
        if name in self._value:
            return self._value[name]
        if default is _NO_DEFAULT:
            raise ValueError(f"{name} is missing")
        return default


def text(value: Any, name: str, *, is_free: bool = False) -> str:
    """Return a value that is a text; see `Fields.text`."""
    if type(value) is not str:
        raise ValueError(f"{name} is {value!r:.60}, and no text")
    if not is_free and not value.isascii() and HALF_CHARACTER.search(value):
        raise ValueError(f"{name} has half a character in it")
    return value


def number(value: Any, name: str, *, most: float = LATEST) -> float:
    """Return a value that is a number; see `Fields.number`."""
    if type(value) not in (int, float) or not 0 <= value <= most:  # Which NaN is not.
        raise ValueError(f"{name} is {value!r:.60}, and no number that can be here")
    found: float = value
    return found


def texts(value: Any, name: str, *, is_free: bool = False) -> tuple[str, ...]:
    """Return a value that is a list of texts; see `Fields.text`."""
    if not isinstance(value, list | tuple):
        raise ValueError(f"{name} is {value!r:.60}, and no list")
    return tuple(text(each, name, is_free=is_free) for each in value)


def loaded(data: bytes | str) -> Any:
    """Return parsed JSON; ValueError if it is malformed, or nested too deeply or too often."""
    try:
        return json.loads(check_extent(data if isinstance(data, bytes) else data.encode()))
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def check_extent(data: bytes) -> bytes:
    """Return JSON text; ValueError if its content would take far more memory than the text."""
    if len(data) > MOST_NESTED and data.count(b"[") + data.count(b"{") > MOST_NESTED:
        raise ValueError("it holds more lists than it can")
    return data
