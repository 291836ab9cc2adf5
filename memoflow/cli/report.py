"""report: the entries of a store and the time they saved, as one HTML file."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import date, datetime, timedelta, timezone
from pathlib import Path

import click

from memoflow.catalog.figures import Stats, collect, held
from memoflow.catalog.listed import Listed
from memoflow.cli.verb import Answer, CommandContext, Verb
from memoflow.errors import UsageError
from memoflow.index import Day, Tally
from memoflow.kinds import card
from memoflow.page import chart, parts
from memoflow.page.frame import page as framed
from memoflow.page.parts import Html
from memoflow.store import Store
from memoflow.units import iso, readable, span

_MOST_DAYS = 60
_MOST_STEPS = 20
_MOST_ENTRIES = 10
_MOST_CHARACTERS = 44
_MOST_OF_A_REASON = 80
# Of one table, whose rows are counted already.
_MOST_BYTES = 100_000


@click.command(
    cls=Verb,
    fields={"html": "path of the page"},
    examples=("memoflow report --html report.html",),
)
@click.option(
    "--html",
    type=click.Path(dir_okay=False, path_type=Path),
    required=True,
    help="The file to write; an existing file is replaced.",
)
@click.pass_obj
def report(asked: CommandContext, *, html: Path) -> Answer:
    """Write a page of charts: time saved by day, size by kind, hits by step.

    The page is one file and loads nothing from elsewhere.
    """
    write_report(asked.store, html)
    return Answer(lambda: {"html": str(html)}, lambda: click.echo(f"wrote {html}"))


def write_report(store: Store, path: Path) -> None:
    """Write the report of a store to a file, which is replaced; UsageError if it cannot be."""
    now = datetime.now(timezone.utc)
    html = page(collect(store), store.index.days(), store=store, now=now)
    try:
        path.write_text(html, encoding="utf-8")
    except OSError as error:
        raise UsageError(f"cannot write the report to {path}: {error.strerror}") from error


def page(figures: Stats, days: Sequence[Day], *, store: Store, now: datetime) -> str:
    """Return the page."""
    made = _moment(now.timestamp())
    shown = [
        parts.facts({"store": str(store.backend), "id": store.id, "made": made}),
        _figures(figures),
        parts.title("Time saved by day"),
        *_by_day(days, now),
        parts.title("Size by kind"),
        *_by_kind(figures),
        parts.title("Hit rate by step"),
        *_by_step(figures.tallies, store),
        *_used(figures.entries),
        parts.note(
            "Tasks, calls and uses are those that this machine knows of; days and times are UTC."
        ),
    ]
    return framed("What memoflow holds and saved", shown, subject="memoflow report")


def _figures(figures: Stats) -> Html:
    tasks = figures.hits + figures.misses
    kinds = len({each.kind for each in figures.entries})
    return parts.figures(
        [
            ("Entries", f"{len(figures.entries):,}", f"of {kinds} kind{'s' * (kinds != 1)}"),
            (
                "Stored",
                readable(figures.stored_bytes),
                f"in blobs, of {readable(figures.size_bytes)}",
            ),
            ("Hits", f"{figures.hits:,}", f"of {tasks:,} memoized tasks and calls"),
            ("Time saved", span(figures.saved_s), "that hits took when they ran"),
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


def _by_step(steps: Sequence[Tally], store: Store) -> list[Html]:
    if not steps:
        return [parts.note("No memoized task has run yet.")]
    # Here, since it imports Metaflow.
    from memoflow.kinds.decision import recall_missed

    shown = sorted(steps, key=lambda step: -(step.hits + step.misses))[:_MOST_STEPS]
    missed = recall_missed(store.index, [(step.flow, step.step) for step in shown])
    rows = []
    for step in shown:
        tasks = step.hits + step.misses
        miss = missed.get((step.flow, step.step))
        rows.append(
            [
                _cell(f"{step.flow}/{step.step}"),
                parts.bar({"hit": step.hits / tasks, "miss": step.misses / tasks}),
                _cell(step.hits),
                _cell(step.misses),
                _rate(step.hits, tasks),
                span(step.saved_s),
                _moment(step.last),
                # Cut at its end: the change comes first.
                "" if miss is None else _cut(miss.line, _MOST_OF_A_REASON),
            ]
        )
    columns = ("step", "tasks", "hits", "misses", "rate", "time saved", "last", "last miss")
    made = [parts.legend({"hits": "hit", "misses": "miss"}), _table("", columns, rows)]
    if len(shown) < len(steps):
        made.append(parts.note(f"The {len(shown)} steps with most tasks, of {len(steps)}."))
    return made


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


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}…"


def _table(heading: str, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> Html:
    return parts.table(columns, rows, heading=heading, most_bytes=_MOST_BYTES)


def _rate(hits: int, tasks: int) -> str:
    """Return a share that is none or all only if it is."""
    rounded = f"{hits / tasks:.0%}"
    if rounded == "0%" and hits:
        return "< 1%"
    return "> 99%" if rounded == "100%" and hits < tasks else rounded


def _moment(seconds: float) -> str:
    """Return a time in UTC: others than this machine's owner may read it."""
    text = iso(seconds)
    return "out of range" if text is None else text[:16].replace("T", " ")


def _cell(value: object) -> str:
    """Return a text without its middle: the step is at the end of it."""
    text = str(value)
    end = 2 * _MOST_CHARACTERS // 3
    is_short = len(text) <= _MOST_CHARACTERS
    return text if is_short else f"{text[: _MOST_CHARACTERS - end - 1]}…{text[-end:]}"
