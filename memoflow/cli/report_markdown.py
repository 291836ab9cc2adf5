"""Report as Markdown: a few lines and tables for a pull request, a chat or a CI job's summary."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from memoflow.cli.report_figures import SOON_DAYS, ReportFigures, rate
from memoflow.cli.table import count
from memoflow.page.markdown import code, table
from memoflow.units import age, readable, span

_MOST_ROWS = 10
_MOST_OF_A_STEP = 48
_MOST_OF_A_REASON = 80
_MOST_OF_A_STORE = 120


def markdown(figures: ReportFigures) -> str:
    """Return the report, in which the heading alone tells most."""
    parts = [_heading(figures), _summary(figures), _steps(figures), _reasons(figures)]
    parts.append(_expiring(figures))
    return "\n".join(part for part in parts if part)


def _heading(figures: ReportFigures) -> str:
    stats = figures.stats
    if not figures.tasks:
        return "### memoflow: no memoized task has run\n"
    hits = f"{stats.hits:,} of {_count(figures.tasks, 'hit')} ({rate(stats.hits, figures.tasks)})"
    return f"### memoflow: {span(stats.saved_s)} saved, {hits}\n"


def _summary(figures: ReportFigures) -> str:
    stats, within = figures.stats, _within(figures)
    sentences = []
    if stats.misses or figures.missed_s:
        misses = sum(each.misses for each in figures.reasons)
        ran = f"{_count(misses, 'miss', 'misses')} ran {span(figures.missed_s)}"
        sentences.append(f"{ran}{within}.")
    if stats.entries:
        size = readable(stats.stored_bytes)
        new = f", {readable(figures.new_bytes)} of them new{within}" if within else ""
        sentences.append(f"{_count(len(stats.entries), 'entry', 'entries')} hold {size}{new}.")
    else:
        sentences.append("The store is empty.")
    number, size_bytes = figures.due(SOON_DAYS[0])
    if number:
        soon = f"{number:,} have expired or will within {SOON_DAYS[0]} days"
        sentences.append(f"{soon} ({readable(size_bytes)}).")
    made = f"{figures.now:%Y-%m-%d %H:%M} UTC"
    sentences.append(f"Store {code(str(figures.store.backend), _MOST_OF_A_STORE)}, {made}.")
    return f"{' '.join(sentences)}\n"


def _within(figures: ReportFigures) -> str:
    if figures.since is None:
        return ""
    return f" in the last {age(figures.since.total_seconds())}"


def _steps(figures: ReportFigures) -> str:
    rows = []
    for each in sorted(figures.stats.tallies, key=lambda step: -(step.hits + step.misses)):
        place = each.flow, each.step
        miss = figures.last_misses.get(place)
        rows.append(
            (
                code("/".join(place), _MOST_OF_A_STEP, keep_end=True),
                f"{each.hits:,}",
                f"{each.misses:,}",
                span(each.saved_s),
                span(figures.run_s_by_step.get(place, 0.0)),
                "" if miss is None else code(miss.line, _MOST_OF_A_REASON),
            )
        )
    columns = ("step", "hits", "misses", "saved", "misses ran", "last miss")
    return _cut(columns, rows, right="hits misses saved", rest="step")


def _reasons(figures: ReportFigures) -> str:
    rows = [
        (
            each.words,
            f"{each.misses:,}",
            span(each.run_s),
            f"{code(each.step, _MOST_OF_A_STEP, keep_end=True)} {span(each.of_step_s)}",
        )
        for each in figures.reasons
    ]
    columns = ("misses by reason", "misses", "they ran", "most of it")
    return _cut(columns, rows, right="misses", rest="reason")


def _expiring(figures: ReportFigures) -> str:
    columns = ["what expires", "kind", "expired", *(f"by {days} days" for days in SOON_DAYS)]
    rows = [
        (
            code(each.where, _MOST_OF_A_STEP, keep_end=True),
            each.kind,
            *(f"{number:,} ({readable(size)})" if number else "" for number, size in each.due),
        )
        for each in figures.expiring
    ]
    return _cut(columns, rows, rest="step")


def _cut(
    columns: Sequence[str], rows: Iterable[Sequence[str]], *, rest: str, right: str = ""
) -> str:
    """Return a table of the first rows, and a line on the number of the others."""
    found = list(rows)
    if not found:
        return ""
    more = len(found) - _MOST_ROWS
    below = f"\nand {_count(more, rest)} more\n" if more > 0 else ""
    return table(columns, found[:_MOST_ROWS], right=right) + below


def _count(number: int, one: str, many: str = "") -> str:
    """Return a number of thousands with its noun: `1 hit`, `2,000 hits`."""
    return f"{number:,} {count(number, one, many).partition(' ')[2]}"
