"""Report: what a store holds and what it saved, as one HTML file that needs nothing else.

Drawn by the charts (Vega) and components of Metaflow's cards, whose program is in the page.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import date, datetime, timedelta, timezone
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from metaflow.cards import BlankCard, Markdown, Table, ValueBox, VegaChart
from metaflow.plugins.cards.card_modules.basic import SectionComponent

from memoflow.cli.listing import Listed
from memoflow.cli.stats import Stats, collect
from memoflow.errors import UsageError
from memoflow.flow.cards.card_html import alone
from memoflow.flow.memo import last_misses
from memoflow.flow.memo.decision import Decision
from memoflow.index import Day, Tally
from memoflow.kinds import card
from memoflow.names import Ref
from memoflow.store import Store
from memoflow.units import iso, readable, span

_MOST_DAYS = 60
_MOST_STEPS = 20
_MOST_ENTRIES = 10
_MOST_CHARACTERS = 44
_MOST_OF_A_LABEL = 34
_MOST_OF_A_REASON = 80

_WHOLE, _NEW, _HIT, _MISS = "#9ecae1", "#08519c", "#2b8a3e", "#d9843b"
# "container" comes out as no width at all where the page is opened as a file.
_WIDTH_PX = 870
_LEFT_PX = 260
_NARROW_PX = 110
_BAR_PX = 26
_TEXT = {"labelColor": "#555555", "labelFontSize": 12, "labelLimit": _LEFT_PX - 10}
_AXIS = _TEXT | {"titleColor": "#555555", "titleFontSize": 12, "titleFontWeight": "normal"}
_CONFIG = {"view": {"stroke": None}, "axis": _AXIS, "legend": _TEXT, "background": None}
_GRID = {"grid": True, "gridColor": "#eeeeee", "domain": False, "ticks": False, "tickCount": 5}
_PLAIN = {"grid": False, "domain": False, "ticks": False, "labelPadding": 8, "title": None}
_BYTES = r"replace(format(datum.value, '.3~s'), /([kMGT]?)$/, ' $1B')"

_STYLE = """
td { white-space: nowrap; }
.value-box { white-space: normal; }
@media (prefers-color-scheme: dark) {
  html { background: #fff; filter: invert(0.9) hue-rotate(180deg); }
}
"""


def write_report(store: Store, path: Path) -> None:
    """Write the report of a store to a file, over what is there.

    UsageError if it cannot be written.
    """
    now = datetime.now(timezone.utc)
    html = page(collect(store), store.index.days(), store=store, now=now)
    try:
        path.write_text(html, encoding="utf-8")
    except OSError as error:
        raise UsageError(f"cannot write the report to {path}: {error.strerror}") from error


def page(figures: Stats, days: Sequence[Day], *, store: Store, now: datetime) -> str:
    """Return the page.

    Names and keys are users' text: they are put in cells of tables and in data of charts, which
    show text as it is, and not in Markdown.
    """
    facts = {"store": str(store.backend), "id": store.id, "made": _moment(now.timestamp())}
    parts: list[Any] = [
        Table([list(facts.values())], headers=list(facts)),
        Table([_sums(figures)]),
        Markdown("## Time saved by day"),
        *_by_day(days, now),
        Markdown("## Size by kind"),
        *_by_kind(figures),
        Markdown("## Hit rate by step"),
        *_by_step(figures.tallies, store),
        *_used(figures.entries),
        Markdown("Tasks and uses are those that this machine knows of; days and times are UTC."),
    ]
    blank = BlankCard(
        options={"title": "What memoflow holds and saved"},
        components=SectionComponent.render_subcomponents(parts),
    )
    return alone(str(blank.render(SimpleNamespace(pathspec="memoflow report"))), _STYLE)


def _sums(figures: Stats) -> list[ValueBox]:
    tasks = figures.hits + figures.misses
    entries = len(figures.entries)
    kinds = len({each.kind for each in figures.entries})
    boxes = [
        ("Entries", f"{entries:,}", f"of {kinds} kind{'s' * (kinds != 1)}"),
        ("Stored", readable(figures.stored_bytes), f"in blobs, of {readable(figures.size_bytes)}"),
        ("Hits", f"{figures.hits:,}", f"of {tasks:,} memoized task{'s' * (tasks != 1)}"),
        ("Time saved", span(figures.saved_s), "that hits took when they ran"),
    ]
    # A number and its unit stay together.
    return [
        ValueBox(title, value.replace(" ", "\N{NO-BREAK SPACE}"), what)
        for title, value, what in boxes
    ]


def _by_day(days: Sequence[Day], now: datetime) -> list[Any]:
    if not days:
        return [Markdown("No memoized task has run yet.")]
    known = {each.date: each for each in days}
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
            "axis": _GRID | {"title": unit, "minExtent": _NARROW_PX, "maxExtent": _NARROW_PX},
            "scale": {"domainMin": 0}
            | ({} if any(day.saved_s for day in shown) else {"domainMax": 1}),
        },
        "tooltip": _tooltip("day", "saved", "hits", "misses"),
    }
    mark = {"type": "bar", "color": _HIT, "cornerRadiusEnd": 2, "width": {"band": 0.7}}
    parts: list[Any] = [
        _chart(rows, {"mark": mark, "encoding": encoding}, height=200, left_px=_NARROW_PX)
    ]
    before = [each for each in days if _date(each.date) < first]
    if before:
        saved = span(sum(each.saved_s for each in before))
        since = min(_date(each.date) for each in before)
        parts.append(Markdown(f"The last {len(dates)} days; {saved} more since {since}."))
    return parts


def _by_kind(figures: Stats) -> list[Any]:
    if not figures.entries and not figures.others:
        return [Markdown("The store is empty.")]
    held: dict[str, list[Ref]] = {}
    for each in sorted(figures.entries, key=lambda each: each.kind):
        held.setdefault(each.kind, []).append(each.ref)
    for ref in sorted(figures.others, key=lambda ref: ref.key.kind != card.KIND):
        # Cards are the largest by far of what is no entry.
        name = "cards" if ref.key.kind == card.KIND else "(notes)"
        held.setdefault(name, []).append(ref)
    rows = []
    for kind, refs in held.items():
        logical = sum(ref.size_bytes for ref in refs)
        stored = sum(ref.new_bytes for ref in refs)
        shown = {"kind": kind, "entries": len(refs)}
        shown |= {"in all": readable(logical), "new when saved": readable(stored)}
        rows.append(shown | {"bytes": logical, "what": "in all"})
        rows.append(shown | {"bytes": stored, "what": "new when saved"})
    labels = {"in all": _WHOLE, "new when saved": _NEW}
    encoding = {
        "y": {
            "field": "kind",
            "type": "nominal",
            "sort": list(held),
            "axis": _PLAIN | {"minExtent": _NARROW_PX, "maxExtent": _NARROW_PX},
        },
        "yOffset": {"field": "what", "sort": list(labels)},
        "x": {
            "field": "bytes",
            "type": "quantitative",
            "axis": _GRID | {"title": None, "labelExpr": _BYTES},
        },
        "color": _color("what", labels),
        "tooltip": _tooltip("kind", "entries", *labels),
    }
    mark = {"type": "bar", "cornerRadiusEnd": 2}
    height = len(rows) * _BAR_PX
    return [_chart(rows, {"mark": mark, "encoding": encoding}, height=height, left_px=_NARROW_PX)]


def _by_step(steps: Sequence[Tally], store: Store) -> list[Any]:
    if not steps:
        return [Markdown("No memoized task has run yet.")]
    shown = sorted(steps, key=lambda step: -(step.hits + step.misses))[:_MOST_STEPS]
    labels = {"hits": _HIT, "misses": _MISS}
    missed = last_misses.recall(store.index, [(step.flow, step.step) for step in shown])
    rows = []
    for i, step in enumerate(shown):
        tasks = step.hits + step.misses
        facts = {
            # By its place, since two names cut short may be one.
            "place": i,
            "step": f"{step.flow}/{step.step}",
            "hits": step.hits,
            "misses": step.misses,
            "rate": _rate(step.hits, tasks),
            "time saved": span(step.saved_s),
            "last": _moment(step.last),
            "last miss": _last_miss(missed.get((step.flow, step.step))),
        }
        rows.append(facts | {"what": "hits", "share": step.hits / tasks})
        rows.append(facts | {"what": "misses", "share": step.misses / tasks})
    names = json.dumps([_short(str(row["step"]), _MOST_OF_A_LABEL) for row in rows[::2]])
    encoding = {
        "y": {
            "field": "place",
            "type": "ordinal",
            "axis": _PLAIN
            | {"minExtent": _LEFT_PX, "maxExtent": _LEFT_PX, "labelExpr": f"{names}[datum.value]"},
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
    columns = ["step", "hits", "misses", "rate", "time saved", "last", "last miss"]
    parts: list[Any] = [
        _chart(
            rows,
            {"mark": mark, "encoding": encoding},
            height=max(2, len(shown)) * _BAR_PX,
            left_px=_LEFT_PX,
        ),
        Table(
            [
                [*(_cell(row[column]) for column in columns[:-1]), str(row["last miss"])]
                for row in rows[::2]
            ],
            headers=columns,
        ),
    ]
    if len(shown) < len(steps):
        parts.insert(1, Markdown(f"The {len(shown)} steps with most tasks, of {len(steps)}."))
    return parts


def _last_miss(decision: Decision | None) -> str:
    """Return why a step ran last, cut at its end: what changed comes first."""
    line = "" if decision is None else decision.line
    return line if len(line) <= _MOST_OF_A_REASON else f"{line[: _MOST_OF_A_REASON - 1]}…"


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
                _cell(each.where),
                readable(each.ref.size_bytes),
                _moment(each.ref.created),
                _moment(each.entry.used),
            ]
            for each in shown
        ]
        columns = ["id", "kind", "step", "size", "created", "used"]
        parts += [Markdown(f"## {title}"), Table(rows, headers=columns)]
    return parts


def _chart(
    rows: list[dict[str, Any]], layer: Mapping[str, Any], *, height: int, left_px: int
) -> VegaChart:
    """Return a chart with so much room for the labels on its left."""
    return VegaChart(
        {
            "$schema": "https://vega.github.io/schema/vega-lite/v5.json",
            "width": _WIDTH_PX - left_px,
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


def _rate(hits: int, tasks: int) -> str:
    """Return a share that is none or all only if it is."""
    rounded = f"{hits / tasks:.0%}"
    if rounded == "0%" and hits:
        return "< 1%"
    return "> 99%" if rounded == "100%" and hits < tasks else rounded


def _date(text: str) -> date:
    return date.fromisoformat(text)


def _moment(seconds: float) -> str:
    """Return a time in UTC: others than this machine's owner may read it."""
    text = iso(seconds)
    return "out of range" if text is None else text[:16].replace("T", " ")


def _cell(value: object) -> str:
    return _short(str(value), _MOST_CHARACTERS)


def _short(text: str, most: int) -> str:
    """Return a text without its middle: the step is at the end of it."""
    if len(text) <= most:
        return text
    end = 2 * most // 3
    return f"{text[: most - end - 1]}…{text[-end:]}"
