"""Report as a page: charts and tables of time saved, misses, growth and expiry."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import date, datetime, timedelta

from memoflow.catalog.figures import Stats, held
from memoflow.catalog.listed import Listed
from memoflow.cli.report_figures import SOON_DAYS, ReportFigures, rate
from memoflow.index import Day
from memoflow.kinds import card
from memoflow.page import chart, parts
from memoflow.page.frame import page as framed
from memoflow.page.markdown import shortened
from memoflow.page.parts import Html
from memoflow.units import iso, readable, span

_MOST_DAYS = 60
_MOST_STEPS = 20
_MOST_ENTRIES = 10
_MOST_CHARACTERS = 44
_MOST_OF_A_REASON = 80
# Of one table, whose rows are counted already.
_MOST_BYTES = 100_000


def page(figures: ReportFigures) -> str:
    """Return the page."""
    store, made = figures.store, _moment(figures.now.timestamp())
    facts = {"store": str(store.backend), "id": store.id, "made": made}
    if figures.since is not None:
        facts["since"] = _moment(figures.began)
    shown = [
        parts.facts(facts),
        _figures(figures),
        parts.title("Time saved by day"),
        *_by_day(figures.days, figures.now),
        parts.title("Misses by reason"),
        *_by_reason(figures),
        parts.title("Hit rate by step"),
        *_by_step(figures),
        parts.title("Growth"),
        *_growth(figures),
        parts.title("Size by kind"),
        *_by_kind(figures.stats),
        *_expiring(figures),
        *_used(figures.stats.entries),
        parts.note(
            "Tasks, calls and uses are those that this machine knows of; days and times are UTC."
        ),
    ]
    return framed("What memoflow holds and saved", shown, subject="memoflow report")


def _figures(figures: ReportFigures) -> Html:
    stats = figures.stats
    kinds = len({each.kind for each in stats.entries})
    missed = sum(each.misses for each in figures.reasons)
    return parts.figures(
        [
            ("Time saved", span(stats.saved_s), "that hits took when they ran"),
            ("Hits", f"{stats.hits:,}", f"of {figures.tasks:,} memoized tasks and calls"),
            ("Misses ran", span(figures.missed_s), f"in {missed:,} tasks and calls"),
            ("Stored", readable(stats.stored_bytes), f"in blobs, of {readable(stats.size_bytes)}"),
            ("Entries", f"{len(stats.entries):,}", f"of {kinds} kind{'s' * (kinds != 1)}"),
        ]
    )


def _by_day(days: Sequence[Day], now: datetime) -> list[Html]:
    if not days:
        return [parts.note("No memoized task has run yet.")]
    known = {each.date: each for each in days}
    today = now.date()
    first = max(min(map(date.fromisoformat, known)), today - timedelta(days=_MOST_DAYS - 1))
    # Five days at least, or one column is as wide as the chart.
    first = min(first, today - timedelta(days=4))
    dates = [(first + timedelta(days=i)).isoformat() for i in range((today - first).days + 1)]
    shown = [known.get(date, Day(date, 0, 0, 0.0)) for date in dates]
    rows = [[day.date, span(day.saved_s), str(day.hits), str(day.misses)] for day in shown]
    made = [
        _chart_of_days(shown),
        parts.folded(
            "The same as a table",
            _table("", ("day", "time saved", "hits", "misses"), reversed(rows)),
        ),
    ]
    before = [each for each in days if date.fromisoformat(each.date) < first]
    if before:
        saved = span(sum(each.saved_s for each in before))
        since = min(date.fromisoformat(each.date) for each in before)
        made.insert(1, parts.note(f"The last {len(dates)} days; {saved} more since {since}."))
    return made


def _chart_of_days(days: Sequence[Day]) -> Html:
    top = max(day.saved_s for day in days)
    band = chart.WIDTH / len(days)
    marks = [
        chart.Mark(
            {"hit": chart.column((i + 0.5) * band, 0.7 * band, chart.HEIGHT * day.saved_s / top)}
            if day.saved_s
            else {},
            f"{day.date}: {span(day.saved_s)} saved, {day.hits} hits, {day.misses} misses",
        )
        for i, day in enumerate(days)
    ]
    return chart.chart(
        chart.drawn(marks, most_tips=_MOST_DAYS),
        label="Time saved on each day; the table below holds the same.",
        colours={},
        up=[span(top), span(top / 2), "0"] if top else [],
        along=[days[0].date, days[len(days) // 2].date, days[-1].date],
    )


def _by_kind(figures: Stats) -> list[Html]:
    if not figures.entries and not figures.others:
        return [parts.note("The store is empty.")]
    # Cards are the largest by far of all that is no entry.
    others = [("cards" if ref.key.kind == card.KIND else "(notes)", ref) for ref in figures.others]
    found = held((each.kind, each.ref) for each in figures.entries) + held(others)[::-1]
    top = max(each.size_bytes for each in found) or 1
    rows = []
    for each in found:
        new = min(each.new_bytes, each.size_bytes)
        bar = parts.bar({"new": new / top, "whole": (each.size_bytes - new) / top})
        sizes = readable(each.size_bytes), readable(each.new_bytes)
        rows.append([each.name, bar, f"{each.entries:,}", *sizes])
    return [
        parts.legend({"new when saved": "new", "in all": "whole"}),
        _table("", ("kind", "size", "entries", "in all", "new when saved"), rows),
    ]


def _by_reason(figures: ReportFigures) -> list[Html]:
    if not figures.reasons:
        return [parts.note("No memoized task has missed.")]
    top = figures.missed_s or 1.0
    rows = [
        [
            each.words,
            parts.bar({"miss": each.run_s / top}),
            f"{each.misses:,}",
            span(each.run_s),
            f"{_cell(each.step)}, {span(each.of_step_s)}",
        ]
        for each in figures.reasons
    ]
    columns = ("reason", "share of run time", "misses", "run time", "most of it")
    return [_table("", columns, rows)]


def _by_step(figures: ReportFigures) -> list[Html]:
    steps = figures.stats.tallies
    if not steps:
        return [parts.note("No memoized task has run yet.")]
    shown = sorted(steps, key=lambda step: -(step.hits + step.misses))[:_MOST_STEPS]
    rows = []
    for step in shown:
        tasks = step.hits + step.misses
        miss = figures.last_misses.get((step.flow, step.step))
        rows.append(
            [
                _cell(f"{step.flow}/{step.step}"),
                parts.bar({"hit": step.hits / tasks, "miss": step.misses / tasks}),
                f"{step.hits:,}",
                f"{step.misses:,}",
                rate(step.hits, tasks),
                span(step.saved_s),
                span(figures.run_s_by_step.get((step.flow, step.step), 0.0)),
                _moment(step.last),
                # Cut at its end: the change comes first.
                "" if miss is None else shortened(miss.line, _MOST_OF_A_REASON, keep_end=False),
            ]
        )
    columns = ("step", "tasks", "hits", "misses", "rate", "time saved", "misses ran", "last")
    made = [
        parts.legend({"hits": "hit", "misses": "miss"}),
        _table("", (*columns, "last miss"), rows),
    ]
    if len(shown) < len(steps):
        made.append(parts.note(f"The {len(shown)} steps with most tasks, of {len(steps)}."))
    return made


def _growth(figures: ReportFigures) -> list[Html]:
    """Return the stored bytes by day or week, as a chart and a table."""
    periods, width = figures.growth
    if not periods:
        return [parts.note("Nothing is stored.")]
    top = max(each.before_bytes + each.new_bytes for each in periods) or 1
    band = chart.WIDTH / len(periods)
    marks, rows = [], []
    for i, each in enumerate(periods):
        total, place = each.before_bytes + each.new_bytes, ((i + 0.5) * band, 0.7 * band)
        paths = {}
        if each.new_bytes:
            paths["new"] = chart.column(*place, chart.HEIGHT * total / top)
        if each.before_bytes:  # In front of the other.
            paths["whole"] = chart.column(*place, chart.HEIGHT * each.before_bytes / top)
        new, whole = readable(each.new_bytes), readable(total)
        marks.append(chart.Mark(paths, f"{each.first}: {new} new, {whole} in all"))
        rows.append([f"{each.first}", new, f"{each.saves:,}", whole])
    period = "week, by its Monday," if width == 7 else "day"
    drawn = chart.chart(
        chart.drawn(marks, most_tips=len(marks)),
        label=f"Stored bytes on each {period}; the table below holds the same.".replace(",;", ";"),
        colours={"stored before": "whole", "new": "new"},
        up=[readable(top), readable(top // 2), "0"],
        along=[f"{periods[i].first}" for i in (0, len(periods) // 2, -1)],
    )
    first = "week from" if width == 7 else "day"
    return [
        drawn,
        parts.folded(
            "The same as a table",
            _table("", (first, "new", "saves", "in all"), reversed(rows)),
        ),
        parts.note("Counted are the bytes of entries that are still there."),
    ]


def _expiring(figures: ReportFigures) -> list[Html]:
    """Return the table of entries that expire soon; a note where there are none."""
    if not figures.stats.entries:
        return []
    columns = ("step", "kind", "expired", *(f"within {days} days" for days in SOON_DAYS))
    rows = [
        [
            _cell(each.where),
            each.kind,
            *(f"{number:,}, {readable(size)}" if number else "" for number, size in each.due),
        ]
        for each in figures.expiring
    ]
    if not rows:
        never = f"No entry expires within {SOON_DAYS[-1]} days."
        return [parts.title("What expires"), parts.note(never)]
    return [
        parts.title("What expires"),
        _table("", columns, rows),
        parts.note("Expired entries are not used any more; memoflow gc removes them."),
    ]


def _used(entries: Sequence[Listed]) -> list[Html]:
    """Return the entries that were used last, and those that were not for longest."""
    by_use = sorted(entries, key=lambda each: each.entry.used)
    shown_of = {"Hottest entries": by_use[: -_MOST_ENTRIES - 1 : -1]}
    if len(by_use) > _MOST_ENTRIES:
        shown_of["Coldest entries"] = by_use[:_MOST_ENTRIES]
    columns = ("id", "kind", "step", "size", "created", "used")
    tables = []
    for heading, shown in shown_of.items():
        rows = []
        for each in shown:
            times = _moment(each.ref.created), _moment(each.entry.used)
            size = readable(each.ref.size_bytes)
            rows.append([each.id, each.kind, _cell(each.where), size, *times])
        tables.append(_table(heading, columns, rows))
    return tables


def _table(heading: str, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> Html:
    return parts.table(columns, rows, heading=heading, most_bytes=_MOST_BYTES)


def _moment(seconds: float) -> str:
    """Return a time in UTC: others than this machine's owner may read it."""
    text = iso(seconds)
    return "out of range" if text is None else text[:16].replace("T", " ")


def _cell(text: str) -> str:
    """Return a text without its middle: the step is at the end of it."""
    return shortened(text, _MOST_CHARACTERS, keep_end=True)
