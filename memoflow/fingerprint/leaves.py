"""Leaves: the parts that differ between two outlined values."""

from __future__ import annotations

from typing import NamedTuple

# path, text and mark of each part; see `outline`.
Outline = tuple[tuple[str, str, str], ...]

MAPPING, SEQUENCE = "{}", "[]"
MOST_LEAVES = 50


class Change(NamedTuple):
    """A part that differs; `change` is "changed", "new", "gone" or "moved"."""

    path: str
    change: str
    old: str
    new: str


def changes(was: Outline, now: Outline) -> list[Change]:
    """Return the differing parts of two outlines; [] if the outlines do not tell.

    Of sequences of different lengths only the length is told: what comes after an item that was
    put in differs all the same. Parts in another order are one change, "moved".
    """
    before = {path: (text, mark) for path, text, mark in was}
    after = {path: (text, mark) for path, text, mark in now}
    if not before or not after:
        return []
    hidden = [
        path
        for path in before.keys() & after.keys()
        if before[path] != after[path] and SEQUENCE in (before[path][1], after[path][1])
    ]
    found = []
    for path in dict.fromkeys([*before, *after]):
        if not any(_is_below(path, each) for each in hidden):
            found += _changed(path, before.get(path), after.get(path))
    kept = [each for each in found if not _is_told(each, found)]
    if not kept and was != now and sorted(was) == sorted(now):
        return [Change("", "moved", "", "")]
    return kept


def _is_told(change: Change, found: list[Change]) -> bool:
    """Tell whether other changes say more: parts of a changed value, the whole of a new one."""
    if change.change == "changed":
        return any(_is_below(other.path, change.path) for other in found)
    others = (other for other in found if other.change == change.change)
    return any(_is_below(change.path, other.path) for other in others)


def _changed(
    path: str, before: tuple[str, str] | None, after: tuple[str, str] | None
) -> list[Change]:
    if before == after:
        return []
    if before is None or after is None:
        change = "new" if before is None else "gone"
        return [Change(path, change, before[0] if before else "", after[0] if after else "")]
    nodes = {MAPPING, SEQUENCE}
    if (before[1] in nodes) != (after[1] in nodes) and before[0] == after[0]:
        return []  # One of them had no room for its parts.
    return [Change(path, "changed", before[0], after[0])]


def _is_below(path: str, other: str) -> bool:
    return path != other and path.startswith(other) and path[len(other)] in ".[{"


def equal_parts(was: Outline, now: Outline) -> bool:
    """Tell whether two values have a part in common, and not only that they are of one kind."""
    nodes = {MAPPING, SEQUENCE}
    return any(leaf in was for leaf in now if leaf[2] not in nodes)


def flat(leaves: Outline, most: int) -> str:
    """Return a value's parts as `lr=0.1 seed=7`, or a set's as `{1, 2}`; "" if they are longer."""
    if not leaves or leaves[0][2] != MAPPING:
        return ""
    shown: dict[str, str] = {}
    for path, text, mark in leaves[1:]:
        name = path.removeprefix(".")
        if name.endswith("}"):
            name, _, member = name[:-1].partition("{")
            shown[name] = f"{shown[name][:-1]}, {member}}}" if name in shown else f"{{{member}}}"
        elif mark not in (MAPPING, SEQUENCE):
            shown[name] = text
    text = " ".join(f"{name}={text}" if name else text for name, text in shown.items())
    return text if len(text) <= most else ""
