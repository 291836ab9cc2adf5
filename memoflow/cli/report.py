"""Report: what a store holds and what it saved, as one HTML file that needs nothing else.

Drawn by the charts (Vega) and components of Metaflow's cards, whose program is in the page.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta, timezone
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from metaflow.cards import BlankCard, Markdown, Table, ValueBox, VegaChart
from metaflow.plugins.cards.card_modules.basic import SectionComponent

from memoflow.cli.listing import Listed, listed
from memoflow.errors import RequestError
from memoflow.index import Day, Tally
from memoflow.store import Store
from memoflow.units import moment, readable, span

_MOST_DAYS = 60
_MOST_STEPS = 20
_MOST_ENTRIES = 10
_MOST_CHARACTERS = 90

_WHOLE, _NEW, _HIT, _MISS = "#9ecae1", "#08519c", "#2b8a3e", "#d9843b"
# "container" comes out as no width at all where the page is opened as a file.
_WIDTH_PX = 720
_LEFT_PX = 150
_BAR_PX = 26
_TEXT = {"labelColor": "#555555", "labelFontSize": 12, "labelLimit": _LEFT_PX - 20}
_AXIS = _TEXT | {"titleColor": "#555555", "titleFontSize": 12, "titleFontWeight": "normal"}
_CONFIG = {"view": {"stroke": None}, "axis": _AXIS, "legend": _TEXT, "background": None}
_GRID = {"grid": True, "gridColor": "#eeeeee", "domain": False, "ticks": False, "tickCount": 5}
_PLAIN = {"grid": False, "domain": False, "ticks": False, "labelPadding": 8, "title": None}
_BYTES = r"replace(format(datum.value, '.3~s'), /([kMGT]?)$/, ' $1B')"

# What comes with Metaflow's cards and asks a server for a typeface.
_FONT = re.compile(r"""@import\s*(url\([^)]*\)|"[^"]*"|'[^']*')\s*;?""")
_DARK = """
@media (prefers-color-scheme: dark) {
  html { background: #fff; filter: invert(0.9) hue-rotate(180deg); }
}
"""


def write_report(store: Store, path: Path) -> None:
    """Write the report of a store to a file, over what is there.

    RequestError if it cannot be written.
    """
    now = datetime.now(timezone.utc)
    html = page(listed(store), store.index.tally(), store.index.days(), store=store, now=now)
    try:
        path.write_text(html, encoding="utf-8")
    except OSError as error:
        raise RequestError(f"cannot write the report to {path}: {error.strerror}") from error


def page(
    entries: Sequence[Listed],
    steps: Sequence[Tally],
    days: Sequence[Day],
    *,
    store: Store,
    now: datetime,
) -> str:
    """Return the page.

    Names and keys are users' text: they are put in cells of tables and in data of charts, which
    show text as it is, and not in Markdown.
    """
    facts = {"store": repr(store.backend), "id": store.id, "made": f"{now:%Y-%m-%d %H:%M} UTC"}
    parts: list[Any] = [
        Table([list(facts.values())], headers=list(facts)),
        Table([_sums(entries, steps)]),
        Markdown("## Time saved by day"),
        *_by_day(days, now),
        Markdown("## Size by kind"),
        *_by_kind(entries),
        Markdown("## Hit rate by step"),
        *_by_step(steps),
        *_used(entries),
        Markdown("Tasks and uses are those that this machine knows of."),
    ]
    card = BlankCard(
        options={"title": "What memoflow holds and saved"},
        components=SectionComponent.render_subcomponents(parts),
    )
    html = str(card.render(SimpleNamespace(pathspec="memoflow report")))
    return _FONT.sub("", html).replace("</style>", f"{_DARK}</style>", 1)


def _sums(entries: Sequence[Listed], steps: Sequence[Tally]) -> list[ValueBox]:
    hits = sum(step.hits for step in steps)
    tasks = hits + sum(step.misses for step in steps)
    logical = sum(each.ref.size_bytes for each in entries)
    stored = sum(each.ref.new_bytes for each in entries)
    saved_s = sum(step.saved_s for step in steps)
    kinds = len({each.kind for each in entries})
    boxes = [
        ("Entries", f"{len(entries):,}", f"of {kinds} kind{'s' * (kinds != 1)}"),
        ("Stored", readable(stored), f"for {readable(logical)} in all"),
        ("Hits", f"{hits:,}", f"of {tasks:,} memoized task{'s' * (tasks != 1)}"),
        ("Time saved", span(saved_s), "that hits took when they ran"),
    ]
    # A number and its unit stay together.
    return [
        ValueBox(title, value.replace(" ", "\N{NO-BREAK SPACE}"), what)
        for title, value, what in boxes
    ]


def _by_day(days: Sequence[Day], now: datetime) -> list[Any]:
    if not days:
        return [Markdown("No memoized task has run yet.")]
    known = {day.date: day for day in days}
    today = now.date()
    first = max(min(map(_date, known)), today - timedelta(days=_MOST_DAYS - 1))
    # Five days at least, or one bar is as wide as the chart.
    first = min(first, today - timedelta(days=4))
    dates = [(first + timedelta(days=i)).isoformat() for i in range((today - first).days + 1)]
    shown = [known.get(date, Day(date, 0, 0, 0.0)) for date in dates]
    unit, scale = _unit(max(day.saved_s for day in shown))
    rows = [
        {
            "day": day.date,
            "at": day.saved_s / scale,
            "saved": span(day.saved_s),
            "hits": day.hits,
            "misses": day.misses,
        }
        for day in shown
    ]
    every = -(-len(dates) // 15)
    encoding = {
        "x": {
            "field": "day",
            "type": "ordinal",
            "axis": _PLAIN | {"values": dates[::-every], "labelAngle": -45},
        },
        "y": {
            "field": "at",
            "type": "quantitative",
            "axis": _GRID | {"title": unit, "minExtent": 60, "maxExtent": 60},
            "scale": {"domainMin": 0}
            | ({} if any(day.saved_s for day in shown) else {"domainMax": 1}),
        },
        "tooltip": _tooltip("day", "saved", "hits", "misses"),
    }
    mark = {"type": "bar", "color": _HIT, "cornerRadiusEnd": 2, "width": {"band": 0.7}}
    wide = {"width": _WIDTH_PX + _LEFT_PX - 80}
    return [_chart(rows, {"mark": mark, "encoding": encoding} | wide, height=200)]


def _by_kind(entries: Sequence[Listed]) -> list[Any]:
    if not entries:
        return [Markdown("The store is empty.")]
    rows = []
    for kind in sorted({each.kind for each in entries}):
        of_kind = [each.ref for each in entries if each.kind == kind]
        logical = sum(ref.size_bytes for ref in of_kind)
        stored = sum(ref.new_bytes for ref in of_kind)
        shown = {"kind": kind, "entries": len(of_kind)}
        shown |= {"in all": readable(logical), "stored": readable(stored)}
        rows.append(shown | {"bytes": logical, "what": "in all"})
        rows.append(shown | {"bytes": stored, "what": "stored"})
    labels = {"in all": _WHOLE, "stored": _NEW}
    encoding = {
        "y": {
            "field": "kind",
            "type": "nominal",
            "axis": _PLAIN | {"minExtent": _LEFT_PX, "maxExtent": _LEFT_PX},
        },
        "yOffset": {"field": "what", "sort": list(labels)},
        "x": {
            "field": "bytes",
            "type": "quantitative",
            "axis": _GRID | {"title": None, "labelExpr": _BYTES},
        },
        "color": _color("what", labels),
        "tooltip": _tooltip("kind", "entries", "in all", "stored"),
    }
    mark = {"type": "bar", "cornerRadiusEnd": 2}
    kinds = len(rows) // 2
    return [_chart(rows, {"mark": mark, "encoding": encoding}, height=kinds * 2 * _BAR_PX)]


def _by_step(steps: Sequence[Tally]) -> list[Any]:
    if not steps:
        return [Markdown("No memoized task has run yet.")]
    shown = sorted(steps, key=lambda step: -(step.hits + step.misses))[:_MOST_STEPS]
    labels = {"hits": _HIT, "misses": _MISS}
    rows = []
    for step in shown:
        tasks = step.hits + step.misses
        facts = {
            "step": _short(f"{step.flow}/{step.step}"),
            "hits": step.hits,
            "misses": step.misses,
            "rate": f"{step.hits / tasks:.0%}",
            "time saved": span(step.saved_s),
            "last": moment(step.last),
        }
        rows.append(facts | {"what": "hits", "share": step.hits / tasks})
        rows.append(facts | {"what": "misses", "share": step.misses / tasks})
    order = [row["step"] for row in rows[::2]]
    encoding = {
        "y": {
            "field": "step",
            "type": "nominal",
            "sort": order,
            "axis": _PLAIN | {"minExtent": _LEFT_PX, "maxExtent": _LEFT_PX},
        },
        "x": {
            "field": "share",
            "type": "quantitative",
            "axis": _GRID | {"title": None, "format": ".0%"},
            "scale": {"domain": [0, 1]},
        },
        "color": _color("what", labels),
        "order": {"field": "what"},
        "tooltip": _tooltip("step", "hits", "misses", "rate", "time saved", "last"),
    }
    mark = {"type": "bar", "height": {"band": 0.7}}
    columns = ["step", "hits", "misses", "rate", "time saved", "last"]
    parts: list[Any] = [
        _chart(rows, {"mark": mark, "encoding": encoding}, height=max(2, len(shown)) * _BAR_PX),
        Table([[str(row[column]) for column in columns] for row in rows[::2]], headers=columns),
    ]
    if len(shown) < len(steps):
        parts.insert(1, Markdown(f"The {len(shown)} steps with most tasks, of {len(steps)}."))
    return parts


def _used(entries: Sequence[Listed]) -> list[Any]:
    """Return the entries that were used last, and those that were not for longest."""
    if not entries:
        return []
    by_use = sorted(entries, key=lambda each: each.entry.used)
    parts: list[Any] = []
    shown_of = {"Hottest entries": by_use[: -_MOST_ENTRIES - 1 : -1]}
    if len(by_use) > _MOST_ENTRIES:
        shown_of["Coldest entries"] = by_use[:_MOST_ENTRIES]
    for title, shown in shown_of.items():
        rows = [
            [
                each.id,
                each.kind,
                _short("/".join(filter(None, (each.flow, each.step)))),
                readable(each.ref.size_bytes),
                moment(each.ref.created),
                moment(each.entry.used),
            ]
            for each in shown
        ]
        columns = ["id", "kind", "step", "size", "created", "used"]
        parts += [Markdown(f"## {title}"), Table(rows, headers=columns)]
    return parts


def _chart(rows: list[dict[str, Any]], layer: Mapping[str, Any], *, height: int) -> VegaChart:
    return VegaChart(
        {
            "$schema": "https://vega.github.io/schema/vega-lite/v5.json",
            "width": _WIDTH_PX,
            "height": height,
            "config": _CONFIG,
            "data": {"values": rows},
            **layer,
        }
    )


def _color(field: str, labels: Mapping[str, str]) -> dict[str, Any]:
    return {
        "field": field,
        "type": "nominal",
        "scale": {"domain": list(labels), "range": list(labels.values())},
        "legend": {"orient": "top", "title": None, "symbolType": "square"},
    }


def _tooltip(*fields: str) -> list[dict[str, str]]:
    return [{"field": field, "type": "nominal"} for field in fields]


def _unit(seconds: float) -> tuple[str, float]:
    if seconds < 120:
        return "seconds", 1
    return ("minutes", 60) if seconds < 2 * 3600 else ("hours", 3600)


def _date(text: str) -> Any:
    return datetime.fromisoformat(text).date()


def _short(text: str) -> str:
    return text if len(text) <= _MOST_CHARACTERS else f"{text[: _MOST_CHARACTERS - 1]}…"
