"""Fitting: labels cut to a width so that they still differ, and columns to that of a terminal."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from memoflow.catalog.labels import Label, LabelField
from memoflow.cli import screen

GAP = "  "
_LIMITS = ((99, 32), (24, 20), (16, 14), (12, 10), (8, 8), (5, 6))  # of names and of values
_LEAST_SHARED = 4  # characters that a shorter form leaves out at an end that all values share

Row = tuple[LabelField, ...]


class Column(NamedTuple):
    """A column of a list: `least` is the width down to which it is cut, 0 if it never is.

    `spare` is its turn to be left out where there is no room, the lowest first; 0 if it stays.
    """

    name: str
    least: int = 0
    spare: int = 0
    right: bool = False


def widths(columns: Sequence[Column], natural: Sequence[int], most: int) -> dict[str, int]:
    """Return the widths of those columns that have room, by name."""
    needed = {
        column.name: min(wanted, column.least) if column.least else wanted
        for column, wanted in zip(columns, natural, strict=True)
    }
    for column in sorted(columns, key=lambda each: each.spare):
        if column.spare and _total(needed) > most:
            del needed[column.name]
    for name, least in (("name", 12), ("step", 8), ("name", 4), ("why", 8)):
        if name in needed:  # On a narrow terminal, where ids stay whole.
            excess = max(_total(needed) - most, 0)
            needed[name] = max(needed[name] - excess, min(least, needed[name]))
    room = most - _total(needed)
    by_name = dict(zip((each.name for each in columns), natural, strict=True))
    # What is left goes to the columns that were cut the least first: the ids are whole anyway.
    for name in sorted(needed, key=lambda name: by_name[name] - needed[name]):
        more = max(min(by_name[name] - needed[name], room), 0)
        needed[name] += more
        room -= more
    return needed


def _total(needed: dict[str, int]) -> int:
    return sum(needed.values()) + len(GAP) * (len(needed) - 1)


def fitted(labels: Sequence[Label], most: int) -> list[str]:
    """Return the texts of labels of one step in so many columns, unlike each other if it goes."""
    texts = [screen.shown(label.text) for label in labels]
    if all(screen.width(text) <= most for text in texts):
        return texts
    rows = [tuple(_shown(field) for field in label.fields) for label in labels]
    wanted = len(set(texts))
    best: list[str] = []
    for form in _forms(rows):
        forms = [" ".join(map(str, row)) for row in form]
        found = [screen.cut(text, most) for text in forms]
        if len(set(found)) > len(set(best)) or not best:
            best = found
        is_whole = all(screen.width(text) <= most for text in forms)
        if len(set(found)) == wanted and is_whole:
            return found
    return best


def _shown(field: LabelField) -> LabelField:
    return LabelField(screen.shown(field.name), screen.shown(field.text))


def _forms(rows: Sequence[Row]) -> Iterator[list[Row]]:
    """Yield ever shorter forms of rows; at last with the fields that differ most before others."""
    shorter = _without_shared(rows)
    for form in (_without_shared(rows, at_end=False), shorter):
        for name, text in _LIMITS[:2]:
            yield [_limited(row, name, text, screen.cut_middle) for row in form]
    for name, text in _LIMITS[2:]:
        yield [_limited(row, name, text, screen.cut_middle) for row in shorter]
    values: dict[str, set[str]] = {}
    for row in shorter:
        for field in row:
            values.setdefault(field.name, set()).add(field.text)
    for name, text in _LIMITS[2:]:
        yield [
            _limited(
                tuple(sorted(row, key=lambda field: -len(values[field.name]))),
                name,
                text,
                screen.cut_middle,
            )
            for row in shorter
        ]


def _limited(row: Row, name: int, text: int, cut: Callable[[str, int], str]) -> Row:
    return tuple(LabelField(cut(field.name, name), cut(field.text, text)) for field in row)


def _without_shared(rows: Sequence[Row], *, at_end: bool = True) -> list[Row]:
    """Return rows whose long values lack the beginning and the end that all of a name share."""
    by_name: dict[str, set[str]] = {}
    for row in rows:
        for field in row:
            by_name.setdefault(field.name, set()).add(field.text)
    ends = {
        name: _shared(sorted(values))
        for name, values in by_name.items()
        if name and len(values) > 1
    }
    gap = screen.ellipsis()

    def short(field: LabelField) -> LabelField:
        before, after = ends.get(field.name, (0, 0))
        after *= at_end
        text = field.text[before : len(field.text) - after]
        return LabelField(field.name, gap * bool(before) + text + gap * bool(after))

    return [tuple(map(short, row)) for row in rows]


def _shared(values: Sequence[str]) -> tuple[int, int]:
    """Return the lengths of the beginning and the end that sorted values share, if long."""
    before = _common(values[0], values[-1])
    rest = sorted(value[before:][::-1] for value in values)
    after = _common(rest[0], rest[-1])
    # The name of a file tells more than the letters in which it differs.
    folder = values[0].rfind("/", 0, before) + 1
    before = folder or before
    return before if before >= _LEAST_SHARED else 0, after if after >= _LEAST_SHARED else 0


def _common(one: str, other: str) -> int:
    pairs = zip(one, other, strict=False)
    alike = (at for at, (first, second) in enumerate(pairs) if first != second)
    return next(alike, min(len(one), len(other)))
