"""Card page: the loads and saves of one attempt, as a page."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from itertools import accumulate, pairwise
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TypeVar

from memoflow.flow.cards.curves import best_of, curves
from memoflow.flow.cards.journal import Act
from memoflow.page import chart, parts
from memoflow.page.frame import page as framed
from memoflow.page.frame import room_left
from memoflow.page.parts import Html
from memoflow.units import readable, span

if TYPE_CHECKING:
    from memoflow.kinds.checkpoint import Best

_T = TypeVar("_T")

# The sums are of all acts.
_MOST_DRAWN = 100  # saves, and as many loads
# A text for the pointer on each mark is most of a chart's bytes.
_MOST_TIPS = 30
_MOST_CHARACTERS = 100
_MOST_OF_A_TIP = 40
_PARTS_OF_TIME = 4
_STATE = "state"

_LOADED = ["when", "name", "form", "saved by", "size", "took", "how", "metadata", "key"]
_SAVED = [
    "when",
    "name",
    "mark",
    "form",
    "size",
    "new",
    "deduplicated",
    "took",
    "how",
    "metadata",
    "key",
]


def page(
    acts: Sequence[Act],
    facts: Mapping[str, str],
    *,
    began: float,
    ended: float,
    script: str = "",
    best: Best | None = None,
) -> str:
    """Return the page of an attempt; times are in Unix seconds, `best` ranks the checkpoints."""
    acts = sorted(acts, key=lambda act: act.began)
    saves = [act for act in acts if act.verb == "saved"]
    loads = [act for act in acts if act.verb == "loaded"]
    checkpoints = [act for act in saves if act.kind == "checkpoint"]
    marks = _marks(checkpoints, best)
    keys = {
        f"{marks[act.key]} save": parts.whole(act.key)
        for act in checkpoints
        if act.key in marks and act.name == checkpoints[-1].name
    }
    shown = [parts.facts({**facts, **keys})]
    if saves:
        shown.append(_figures(saves))
    drawn = curves(checkpoints, best)
    if drawn:
        shown += [parts.title("Curves"), drawn]
    if acts:
        shown += [parts.title("Timeline"), *_timeline(loads, saves, began, ended)]
    else:
        shown.append(parts.note("Nothing was loaded or saved."))
    left = room_left(shown)
    shown.append(_table("Loaded", loads, _LOADED, began, left // 3 if saves else left))
    left -= len(shown[-1].encode())
    shown.append(_table("Saved", saves, _SAVED, began, left, marks=marks))
    subject = facts.get("task", "")
    return framed("Checkpoints and models", shown, subject=subject, script=script)


def _marks(saves: Sequence[Act], best: Best | None) -> dict[str, str]:
    """Return the marks of saves by their keys: the best by `keep_best`, and the last one."""
    marks = {act.key: "best" for act in best_of(saves, best)}
    for act in saves[-1:]:
        marks[act.key] = "best, last" if act.key in marks else "last"
    return marks


def _figures(saves: Sequence[Act]) -> Html:
    # Before its upload ends nobody knows how much of a save was stored already.
    logical = sum(act.size_bytes for act in saves if act.new_bytes is not None)
    stored = sum(act.new_bytes or 0 for act in saves)
    took = sum(act.took_s for act in saves)
    ratio = f"{logical / stored:.1f} : 1" if stored else "nothing new"
    return parts.figures(
        [
            ("Saved", str(len(saves)), f"in {_took(took)}" if took else ""),
            ("In all", readable(logical), "as if each were kept whole"),
            ("Stored", readable(stored), "the rest was there already"),
            ("Ratio", ratio, "all bytes to stored bytes"),
        ]
    )


def _timeline(loads: Sequence[Act], saves: Sequence[Act], began: float, ended: float) -> list[Html]:
    """Return a chart of each load and save, and one of the sums if there is a second save."""
    time_s = max(ended - began, 1e-3)
    charts = [_chart_of_acts(loads, saves, began, time_s)]
    if len(saves) > 1:
        charts.append(_chart_of_sums(saves, began, time_s))
    for acts, noun in ((loads, "loads"), (saves, "saves")):
        drawn = len(_thinned(acts))
        if drawn < len(acts):
            charts.append(parts.note(f"{drawn} of the {len(acts)} {noun} are drawn."))
    return charts


def _place(act: Act, began: float, time_s: float) -> float:
    return chart.WIDTH * min(1.0, max(0.0, (act.began - began) / time_s))


def _thinned(values: Sequence[_T]) -> Sequence[_T]:
    """Return as many as are drawn, evenly, and the last of them always."""
    every = -(-len(values) // _MOST_DRAWN) or 1
    return values[::-every][::-1]


def _chart_of_acts(loads: Sequence[Act], saves: Sequence[Act], began: float, time_s: float) -> Html:
    top = max(act.size_bytes for act in (*loads, *saves)) or 1
    saved = [(act, _place(act, began, time_s)) for act in _thinned(saves)]
    loaded = [(act, _place(act, began, time_s)) for act in _thinned(loads)]
    # Columns of a width at which most do not touch.
    gaps = sorted(after - before for (_, before), (_, after) in pairwise(saved))
    width = min(16.0, max(2.0, 0.7 * (gaps[len(gaps) // 2] if gaps else chart.WIDTH)))
    marks = []
    for act, x in saved:
        paths = {"whole": chart.column(x, width, chart.HEIGHT * act.size_bytes / top)}
        if act.new_bytes:
            new = min(act.new_bytes, act.size_bytes)
            paths["new"] = chart.column(x, width, chart.HEIGHT * new / top)
        marks.append(chart.Mark(paths, _tip(act, began)))
    for act, x in loaded:
        height = chart.HEIGHT * act.size_bytes / top
        paths = {"load": chart.line(x, height), "dot": chart.dot(x, height)}
        marks.append(chart.Mark(paths, _tip(act, began)))
    colours = {"size of a save": "whole", "new bytes of it": "new"} if saves else {}
    return _over_time(
        chart.drawn(marks, most_tips=_MOST_TIPS),
        "Loads and saves by time and size; the tables below hold the same.",
        colours | ({"load": "load"} if loads else {}),
        top=top,
        time_s=time_s,
    )


def _chart_of_sums(saves: Sequence[Act], began: float, time_s: float) -> Html:
    logical = list(accumulate(act.size_bytes for act in saves))
    stored = list(accumulate(act.new_bytes or 0 for act in saves))
    top = max(logical[-1], stored[-1]) or 1
    places = [_place(act, began, time_s) for act in saves]

    def area(sums: Sequence[int]) -> str:
        heights = (chart.HEIGHT * each / top for each in sums)
        return chart.steps(_thinned(list(zip(places, heights, strict=True))))

    areas = chart.Mark({"whole": area(logical), "new": area(stored)})
    return _over_time(
        chart.drawn([areas], most_tips=0),
        f"The sums over time, to {readable(logical[-1])} saved, {readable(stored[-1])} new.",
        {"all bytes so far": "whole", "stored bytes so far": "new"},
        top=top,
        time_s=time_s,
    )


def _over_time(
    marks: Html, label: str, colours: Mapping[str, str], *, top: int, time_s: float
) -> Html:
    """Return a chart of sizes, the largest of which is `top`, over the time of the attempt."""
    unit, scale = _unit(time_s)
    times = (time_s / scale * i / _PARTS_OF_TIME for i in range(_PARTS_OF_TIME + 1))
    return chart.chart(
        marks,
        label=label,
        colours=colours,
        up=[readable(top), readable(top // 2), "0"] if top > 1 else [],
        along=[f"{time:.3g}" for time in times],
        below=f"{unit} since the attempt began",
    )


def _unit(time_s: float) -> tuple[str, float]:
    if time_s < 120:
        return ("seconds", 1) if time_s >= 1 else ("milliseconds", 0.001)
    return ("minutes", 60) if time_s < 2 * 3600 else ("hours", 3600)


def _tip(act: Act, began: float) -> str:
    new = "" if act.new_bytes is None else f", {readable(act.new_bytes)} new"
    name = act.name if len(act.name) <= _MOST_OF_A_TIP else f"{act.name[: _MOST_OF_A_TIP - 1]}…"
    return (
        f"{_when(act.began, began)}: {act.verb} {act.kind} {name}, {readable(act.size_bytes)}{new}"
    )


def _table(
    heading: str,
    acts: Sequence[Act],
    columns: Sequence[str],
    began: float,
    most_bytes: int,
    *,
    marks: Mapping[str, str] = MappingProxyType({}),
) -> Html:
    """Return the acts in a table, newest first."""
    shown = (_cells(act, began) | {"mark": marks.get(act.key, "")} for act in reversed(acts))
    return parts.table(
        columns,
        [[cells[column] for column in columns] for cells in shown],
        heading=heading,
        most_bytes=most_bytes,
        rest="and {:,} before; the sums are of all",
    )


def _cells(act: Act, began: float) -> dict[str, str]:
    new = act.new_bytes
    items = (f"{name}={_plain(value)}" for name, value in act.metadata.items())
    return {
        "when": _when(act.began, began),
        "name": _short(act.name),
        "form": act.storage_format if act.storage_format == _STATE else "",
        "saved by": act.origin,
        "size": readable(act.size_bytes),
        "new": "" if new is None else readable(new),
        "deduplicated": "" if new is None else readable(max(0, act.size_bytes - new)),
        "took": _took(act.took_s),
        "how": act.why or ("asked for" if act.verb == "loaded" else ""),
        "metadata": _short(", ".join(items)),
        "key": parts.whole(act.key),
    }


def _plain(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.6g}"
    return value if isinstance(value, str) else json.dumps(value, default=str)


def _short(text: str) -> str:
    return text if len(text) <= _MOST_CHARACTERS else f"{text[: _MOST_CHARACTERS - 1]}…"


def _took(seconds: float) -> str:
    if seconds == 0:
        return ""  # Nobody was there to measure it.
    return f"{1000 * seconds:.0f} ms" if seconds < 1 else span(seconds)


def _when(at: float, began: float) -> str:
    return f"{datetime.fromtimestamp(at, timezone.utc):%H:%M:%S} (+{span(max(0.0, at - began))})"
