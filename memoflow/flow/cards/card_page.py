"""Card page: the components that show what an attempt loaded and saved."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from itertools import pairwise
from typing import Any, TypeVar

from metaflow.cards import Markdown, MetaflowCardComponent, Table, ValueBox, VegaChart
from metaflow.plugins.cards.card_modules.basic import SectionComponent

from memoflow.flow.cards.journal import Act
from memoflow.units import readable, span

_T = TypeVar("_T")

# What is shown one by one, which a browser has to draw; the sums are of all.
_MOST_ACTS = 500
_MOST_CHARACTERS = 100

_WHOLE, _NEW, _LOADED = "#9ecae1", "#08519c", "#e6550d"
_GRID = {"grid": True, "gridColor": "#eeeeee", "domain": False, "ticks": False}
# "container" comes out as no width at all where a card is opened as a file.
_WIDTH_PX = 820
# As wide as the longest label, so that the two charts share their left edge.
_LEFT_PX = 70
_TEXT = {"labelColor": "#555555", "labelFontSize": 12}
_AXIS = _TEXT | {"titleColor": "#555555", "titleFontSize": 12, "titleFontWeight": "normal"}
_CONFIG = {"view": {"stroke": None}, "axis": _AXIS, "legend": _TEXT}


def page(
    acts: Sequence[Act], facts: Mapping[str, str], *, began: float, ended: float
) -> list[dict[str, Any]]:
    """Return the components of the card, rendered; times are in Unix seconds.

    Names, keys and metadata are users' text. They are put in cells of tables, values and tooltips,
    which show text as it is, and not in Markdown.
    """
    acts = sorted(acts, key=lambda act: act.began)
    saves = [act for act in acts if act.verb == "saved"]
    loads = [act for act in acts if act.verb == "loaded"]
    parts: list[Any] = [Table([list(facts.values())], headers=list(facts))]
    if saves:
        parts.append(_sums(saves))
    if acts:
        parts += [Markdown("## Timeline"), *_timeline(loads, saves, began=began, ended=ended)]
    else:
        parts.append(Markdown("Nothing was loaded or saved."))
    if loads:
        parts += _table("Loaded", loads, _LOADED_COLUMNS, began)
    if saves:
        parts += _table("Saved", saves, _SAVED_COLUMNS, began)
    rendered: list[dict[str, Any]] = SectionComponent.render_subcomponents(parts)
    return rendered


def _sums(saves: Sequence[Act]) -> Table:
    # Of what is not uploaded nobody knows yet how much was there already.
    logical = sum(act.size_bytes for act in saves if act.new_bytes is not None)
    stored = sum(act.new_bytes or 0 for act in saves)
    took = sum(act.took_s for act in saves)
    boxes = [
        ValueBox("Saved", str(len(saves)), f"in {_took(took)}"),
        ValueBox("In all", readable(logical), "as if each were kept whole"),
        ValueBox("Stored", readable(stored), "the rest was there already"),
        ValueBox("Ratio", _ratio(logical, stored), "all bytes to stored bytes"),
    ]
    return Table([boxes])  # A section of several columns shows them below each other.


def _ratio(logical: int, stored: int) -> str:
    return f"{logical / stored:.1f} : 1" if stored else "nothing new"


def _timeline(
    loads: Sequence[Act], saves: Sequence[Act], *, began: float, ended: float
) -> list[MetaflowCardComponent]:
    """Return a chart of each load and save, and one of the sums if there is a second save."""
    unit, scale = _unit_of_time(ended - began)
    x: dict[str, Any] = {
        "field": "at",
        "type": "quantitative",
        "title": f"{unit} since the attempt began",
        "scale": {"domain": [0, max((ended - began) / scale, 1e-3)], "nice": False, "padding": 8},
        "axis": _GRID | {"grid": False, "domain": True, "tickCount": 8},
    }
    loaded = [_row(act, began, scale) for act in _thinned(loads)]
    saved = [_row(act, began, scale) for act in _thinned(saves)]
    charts: list[MetaflowCardComponent] = [_chart_of_acts(loaded, saved, x)]
    if len(saves) > 1:
        charts.append(_chart_of_sums(saves, x, began, scale))
    if len(saved) < len(saves):
        charts.append(Markdown(f"{len(saved)} of the {len(saves)} saves are drawn."))
    return charts


def _thinned(acts: Sequence[_T]) -> Sequence[_T]:
    """Return no more than can be shown, evenly, and the last of them always."""
    every = -(-len(acts) // _MOST_ACTS) or 1
    return acts[::-every][::-1]


def _unit_of_time(seconds: float) -> tuple[str, float]:
    if seconds < 120:
        return "seconds", 1
    if seconds < 2 * 3600:
        return "minutes", 60
    return "hours", 3600


def _bar_px(saves: Sequence[Mapping[str, Any]], end: float) -> float:
    """Return how wide bars may be so that most do not touch."""
    gaps = sorted(after["at"] - before["at"] for before, after in pairwise(saves))
    usual = gaps[len(gaps) // 2] if gaps else end
    return float(min(14, max(1.5, 0.7 * _WIDTH_PX * usual / end)))


def _at(act: Act, began: float, scale: float) -> float:
    return max(0.0, (act.began - began) / scale)


def _row(act: Act, began: float, scale: float) -> dict[str, Any]:
    return {
        "at": _at(act, began, scale),
        "verb": act.verb,
        "size": act.size_bytes,
        "new": act.new_bytes or 0,
        "what": f"{act.verb} {act.kind} {_short(act.name)}",
        "key": act.key,
        "bytes": readable(act.size_bytes),
        "new bytes": "" if act.new_bytes is None else readable(act.new_bytes),
        "took": _took(act.took_s),
        "when": _when(act.began, began),
    }


def _bytes_axis(field: str, title: str) -> dict[str, Any]:
    return {
        "field": field,
        "type": "quantitative",
        "title": f"bytes {title}",
        "axis": _GRID
        | {
            "tickCount": 4,
            "minExtent": _LEFT_PX,
            "labelExpr": r"replace(format(datum.value, '.3~s'), /([kMGT]?)$/, ' $1B')",
        },
    }


def _color(label: str, labels: Mapping[str, str]) -> dict[str, Any]:
    return {
        "datum": label,
        "scale": {"domain": list(labels), "range": list(labels.values())},
        "legend": {"orient": "top", "title": None, "symbolType": "square"},
    }


def _chart_of_acts(
    loaded: list[dict[str, Any]], saved: list[dict[str, Any]], x: dict[str, Any]
) -> VegaChart:
    tooltip = [
        {"field": name, "type": "nominal"}
        for name in ("what", "key", "bytes", "new bytes", "took", "when")
    ]
    labels: dict[str, str] = {}
    if saved:
        labels |= {"size of a save": _WHOLE, "new bytes of it": _NEW}
    if loaded:
        labels |= {"load": _LOADED}
    width = _bar_px(saved, x["scale"]["domain"][1])
    bar = {"type": "bar", "width": width, "cornerRadiusEnd": min(2, width / 4)}
    rule = {"type": "rule", "strokeWidth": 1.5, "strokeDash": [4, 3]}
    point = {"type": "point", "shape": "diamond", "size": 110, "filled": True, "opacity": 1}
    layers = [
        {
            "transform": [{"filter": f"datum.verb == '{verb}'"}],
            "mark": mark,
            "encoding": {
                "y": _bytes_axis(field, "each") | {"stack": None},
                "color": _color(label, labels),
                "tooltip": tooltip,
            },
        }
        for verb, mark, field, label in (
            ("saved", bar, "size", "size of a save"),
            ("saved", bar, "new", "new bytes of it"),
            ("loaded", rule, "size", "load"),
            ("loaded", point, "size", "load"),
        )
        if label in labels
    ]
    return _chart(loaded + saved, x, layers, height=220)


def _chart_of_sums(
    saves: Sequence[Act], x: dict[str, Any], began: float, scale: float
) -> VegaChart:
    labels = {"all bytes so far": _WHOLE, "stored bytes so far": _NEW}
    logical = stored = 0
    rows = [{"at": 0.0, "logical": 0, "stored": 0}]
    for act in saves:
        logical += act.size_bytes
        stored += act.new_bytes or 0
        rows.append({"at": _at(act, began, scale), "logical": logical, "stored": stored})
    rows = [*_thinned(rows), rows[-1] | {"at": x["scale"]["domain"][1]}]
    layers = [
        {
            "mark": {"type": "area", "interpolate": "step-after", "opacity": 0.9},
            "encoding": {
                "y": _bytes_axis(field, "so far") | {"stack": None},
                "color": _color(label, labels),
            },
        }
        for field, label in zip(("logical", "stored"), labels, strict=True)
    ]
    return _chart(rows, x, layers, height=130)


def _chart(
    rows: list[dict[str, Any]], x: dict[str, Any], layers: list[dict[str, Any]], *, height: int
) -> VegaChart:
    return VegaChart(
        {
            "$schema": "https://vega.github.io/schema/vega-lite/v5.json",
            "width": _WIDTH_PX,
            "height": height,
            "config": _CONFIG,
            "data": {"values": rows},
            "encoding": {"x": x},
            "layer": layers,
        }
    )


_LOADED_COLUMNS = ["when", "name", "saved by", "size", "took", "how", "metadata", "key"]
_SAVED_COLUMNS = ["when", "name", "size", "new", "deduplicated", "took", "how", "metadata", "key"]


def _table(
    title: str, acts: Sequence[Act], columns: Sequence[str], began: float
) -> list[MetaflowCardComponent]:
    """Return the acts in a table, newest first, without columns that are empty."""
    shown = [_cells(act, began) for act in acts[: -_MOST_ACTS - 1 : -1]]
    used = [column for column in columns if any(cells[column] for cells in shown)]
    parts = [
        Markdown(f"## {title}"),
        Table([[cells[column] for column in used] for cells in shown], headers=used),
    ]
    if len(shown) < len(acts):
        parts.insert(1, Markdown(f"The last {len(shown)} of {len(acts)}; the sums are of all."))
    return parts


def _cells(act: Act, began: float) -> dict[str, str | Markdown]:
    new = act.new_bytes
    cells = {
        "when": _when(act.began, began),
        "name": _short(act.name),
        "saved by": act.origin,
        "size": readable(act.size_bytes),
        "new": "" if new is None else readable(new),
        "deduplicated": "" if new is None else readable(max(0, act.size_bytes - new)),
        "took": _took(act.took_s),
        "how": act.why or ("asked for" if act.verb == "loaded" else ""),
    }
    # A size and its unit stay together, while metadata may take several lines.
    unbroken = {name: text.replace(" ", "\N{NO-BREAK SPACE}") for name, text in cells.items()}
    items = (f"{name}={_plain(value)}" for name, value in act.metadata.items())
    return unbroken | {"metadata": _short(", ".join(items)), "key": _key(act.key)}


def _key(key: str) -> str | Markdown:
    """Return a key that takes several lines where one would be too wide for the page."""
    if re.search(r"[^\w./%-]|\b_|_\b", key):
        return key  # Markdown would not show it as it is.
    return Markdown(key.replace("/", "/<wbr>"))


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
