"""Listings: the names in a folder, and those that match a pattern."""

from __future__ import annotations

import fnmatch
import os
from collections.abc import Iterator

_NOT_COUNTED = frozenset({"__pycache__", ".metaflow", ".git", ".ipynb_checkpoints"})
_MOST_NAMES = 1_000_000


def names_in(folder: str) -> list[str] | None:
    """Return the names in a folder, sorted; None if there is no such folder."""
    try:
        return sorted(name for name in os.listdir(folder) if name not in _NOT_COUNTED)
    except (OSError, ValueError):
        return None


def split(pattern: str) -> tuple[str, list[str]]:
    """Return the folder that a pattern starts from, and the parts that are patterns."""
    parts = pattern.split(os.sep)
    at = next((i for i, part in enumerate(parts) if is_magic(part)), len(parts))
    return os.sep.join(parts[:at]) or os.sep, parts[at:]


def is_magic(text: str) -> bool:
    """Return whether a text is a pattern of names."""
    return any(character in text for character in "*?[")


def is_match(name: str, pattern: str) -> bool:
    """Return whether the name of a file matches a pattern, where `**` is any number of folders."""
    pattern = os.path.normpath(pattern)
    return fnmatch.fnmatch(name, pattern) or fnmatch.fnmatch(name, pattern.replace("**/", ""))


def names_matching(pattern: str) -> list[str] | None:
    """Return the names below the folder of a pattern that match it, sorted.

    As wide as any of Python's ways to match: hidden names count, links are followed, and `**` is
    any number of folders. None if there is no such folder.
    """
    folder, parts = split(pattern)
    if not os.path.isdir(folder):
        return None
    return sorted(set(_matching(folder, "", parts, frozenset())))


def _matching(folder: str, within: str, parts: list[str], seen: frozenset[str]) -> Iterator[str]:
    if not parts:
        return
    first, *rest = parts
    if first == "**":
        real = os.path.realpath(os.path.join(folder, within))
        if real in seen:
            return
        yield from _matching(folder, within, rest or ["*"], seen)
        for name in _folders(os.path.join(folder, within)):
            yield from _matching(folder, os.path.join(within, name), parts, seen | {real})
        return
    for name in names_in(os.path.join(folder, within)) or ():
        if fnmatch.fnmatch(name, first) or name == first:
            inner = os.path.join(within, name)
            if not rest or rest == [""]:
                yield inner
            elif os.path.isdir(os.path.join(folder, inner)):
                yield from _matching(folder, inner, rest, seen)


def _folders(folder: str) -> list[str]:
    try:
        with os.scandir(folder) as entries:
            return sorted(
                each.name for each in entries if each.name not in _NOT_COUNTED and each.is_dir()
            )
    except OSError:
        return []
