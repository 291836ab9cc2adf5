"""Curves: the numbers in the metadata of saves, a small chart each."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

from memoflow.flow.cards.journal import Act
from memoflow.page import chart, parts
from memoflow.page.parts import Html

if TYPE_CHECKING:
    from memoflow.kinds.checkpoint import Best

_TIMES = ("epoch", "step")  # fields that saves go along by
_MOST_CHARTS = 6
_MOST_POINTS = 100  # of one curve
_MOST_CHARACTERS = 40


class _Point(NamedTuple):
    """The value of a field in one save, and the place of the save along the chart."""

    x: float
    value: float
    save: Act


class _Range(NamedTuple):
    """The values from one side of a chart to the other."""

    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> _Range:
        return cls(min(values, default=0.0), max(values, default=0.0))

    @property
    def middle(self) -> float:
        return self.low / 2 + self.high / 2

    def share(self, value: float) -> float:
        """Return the place of a value, from 0 to 1."""
        if self.low == self.high:
            return 0.5
        # Of halves, as the difference itself may be too large for a float.
        return (value / 2 - self.low / 2) / (self.high / 2 - self.low / 2)


def best_of(saves: Sequence[Act], best: Best | None) -> list[Act]:
    """Return the best save of each name; of equal ones the newer."""
    found: dict[str, tuple[float, Act]] = {}
    for save in saves if best is not None else ():
        rank = None if best is None else best.rank(save.metadata)
        if rank is not None and (save.name not in found or rank <= found[save.name][0]):
            found[save.name] = rank, save
    return [save for _, save in found.values()]


def curves(saves: Sequence[Act], best: Best | None) -> Html:
    """Return a chart for each number in the metadata of the saves of a name."""
    fields = {
        (save.name, field): None
        for save in saves
        for field, value in save.metadata.items()
        if field not in _TIMES and _number(value) is not None
    }
    if not fields:
        return Html("")
    # If only some are drawn, those that decide.
    ordered = sorted(fields, key=lambda each: best is None or each[1] != best.field)
    has_names = len({name for name, _ in fields}) > 1
    charts = [
        _chart(
            [save for save in saves if save.name == name],
            field,
            f"{_cut(field)} of {_cut(name)}" if has_names else _cut(field),
            best if best is not None and best.field == field else None,
        )
        for name, field in ordered[:_MOST_CHARTS]
    ]
    left = len(ordered) - len(charts)
    rest = (
        parts.note(f"{left} more of the numbers in the metadata are not drawn.")
        if left
        else Html("")
    )
    return Html(f'<div class="curves">{parts.joined(charts)}</div>\n{rest}')


def _chart(saves: Sequence[Act], field: str, title: str, best: Best | None) -> Html:
    by, places = _places(saves)
    points = [
        _Point(x, value, save)
        for x, save in zip(places, saves, strict=True)
        if (value := _number(save.metadata.get(field))) is not None
    ]
    finite = [point for point in points if math.isfinite(point.value)]
    along, up = _Range.of(places), _Range.of([point.value for point in finite])

    def place(point: _Point) -> tuple[float, float]:
        return chart.WIDTH * along.share(point.x), chart.HEIGHT * up.share(point.value)

    runs = [[place(point) for point in run] for run in _runs(points)]
    paths = {
        "curve": "".join(chart.curve(run) for run in runs if len(run) > 1),
        "point": "".join(chart.dot(*run[0]) for run in runs if len(run) == 1),
    }
    drawn = chart.drawn([chart.Mark({c: path for c, path in paths.items() if path})], most_tips=0)
    marks, colours = [], {}
    for label, acts in (("best", best_of(saves, best)), ("last", saves[-1:])):
        for point in finite:
            if any(point.save is act for act in acts):
                tip = f"{label}: {title} {point.value:.4g}, {by} {point.x:g}"
                marks.append(chart.Mark({label: chart.dot(*place(point))}, tip))
                colours[label] = label
    lost = len(points) - len(finite)
    return chart.chart(
        parts.joined([drawn, chart.drawn(marks, most_tips=len(marks))]),
        label=f"{title} by {by}; the table of saves holds the same.",
        title=title,
        colours=colours,
        up=_labels(up, ".3g")[::-1] if finite else [],
        along=_labels(along, "g"),
        below=f"{by}; {lost} not finite" if lost else by,
    )


def _labels(values: _Range, form: str) -> list[str]:
    low, middle, high = (f"{value:{form}}" for value in (values.low, values.middle, values.high))
    return [low, middle, high] if values.low < values.high else ["", middle, ""]


def _places(saves: Sequence[Act]) -> tuple[str, list[float]]:
    """Return the field along the chart, if one rises, and its values; else the numbers of saves."""
    for field in _TIMES:
        values = [_number(save.metadata.get(field)) for save in saves]
        found = [value for value in values if value is not None and math.isfinite(value)]
        if len(found) == len(saves) and all(one < other for one, other in pairwise(found)):
            return field, found
    return "save", [float(number) for number in range(1, len(saves) + 1)]


def _runs(points: Sequence[_Point]) -> Iterator[list[_Point]]:
    """Yield the points between those that are not finite."""
    run: list[_Point] = []
    for point in _thinned(points):
        if math.isfinite(point.value):
            run.append(point)
        elif run:
            yield run
            run = []
    if run:
        yield run


def _thinned(points: Sequence[_Point]) -> list[_Point]:
    """Return all points, or of each stretch the least, the greatest and one that is not finite."""
    if len(points) <= _MOST_POINTS:
        return list(points)
    length = -(-3 * len(points) // _MOST_POINTS)
    kept: set[int] = set()
    for begin in range(0, len(points), length):
        stretch = range(begin, min(begin + length, len(points)))
        finite = [i for i in stretch if math.isfinite(points[i].value)]
        kept.update([i for i in stretch if i not in finite][:1])
        if finite:
            kept.add(min(finite, key=lambda i: points[i].value))
            kept.add(max(finite, key=lambda i: points[i].value))
    return [points[i] for i in sorted(kept)]


def _number(value: Any) -> float | None:
    """Return a number as it is drawn; None for all else."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    try:
        return float(value)
    except OverflowError:
        return math.inf


def _cut(text: str) -> str:
    return text if len(text) <= _MOST_CHARACTERS else f"{text[: _MOST_CHARACTERS - 1]}…"
