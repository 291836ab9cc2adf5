"""Strings: the paths that values name."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from pathlib import PurePath
from typing import Any

_MOST_VALUES = 1000
_LONGEST = 1024  # characters of a path
_CONTAINERS = (list, tuple, set, frozenset)


def paths_in(value: Any) -> Iterator[str]:
    """Yield the absolute paths that texts and paths in a value may name, files or not.

    A text is one if it has a slash, or a file of that name is here. Of containers, however deep,
    only some of what they hold is looked at.
    """
    ahead = [value]
    for _ in range(_MOST_VALUES):
        if not ahead:
            return
        each = ahead.pop()
        kind = type(each)
        if issubclass(kind, (str, PurePath)):
            # Not by a method of the user's, which a class that derives from `str` may have.
            text = str.__str__(each) if issubclass(kind, str) else os.fspath(each)
            if _may_be_path(text):
                yield os.path.abspath(os.path.expanduser(text))
        elif kind is dict:
            ahead += itertools.islice(each.values(), _MOST_VALUES)
        elif kind in _CONTAINERS:
            ahead += itertools.islice(each, _MOST_VALUES)


def _may_be_path(text: str) -> bool:
    if not 0 < len(text) <= _LONGEST or "\0" in text or "\n" in text or "://" in text:
        return False
    return os.sep in text or ("." in text and os.path.exists(text))
