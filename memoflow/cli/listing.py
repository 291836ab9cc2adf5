"""Listing: rows and fields of entries, as tables for people and for programs."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby

import click

from memoflow.catalog.labels import Label, labels
from memoflow.catalog.listed import Listed
from memoflow.cli import screen
from memoflow.cli.fitting import GAP, Column, fitted, widths
from memoflow.display import printable
from memoflow.store import Store
from memoflow.units import ago, moment, readable

COLUMNS = ("id", "kind", "step", "size", "created", "used", "expires", "key", "run", "name")
FIELDS = {
    "id": "beginning of the entry's digest, long enough to name the entry",
    "key": "the entry's full name in the store",
    "kind": "`memo`, `checkpoint`, `model` or `hub`",
    "flow, step": "flow and step of the entry, or module and function; null for entries that all "
    "flows or steps share",
    "size_bytes": "size of the entry when loaded",
    "new_bytes": "bytes of these that were new to the store at the save",
    "created, expires": "ISO 8601 in UTC; null for entries that never expire",
    "used": "last use by this machine",
}
_SHORT = (
    Column("id"),
    Column("kind", spare=2),
    Column("step", least=12),
    Column("name", least=36),
    Column("run", least=9, spare=4),
    Column("size", spare=3, right=True),
    Column("used", spare=1),
)
_WIDE = tuple(map(Column, ("id", "kind", "step", "name", "run", "size", "created", "used")))
_WIDE = (*_WIDE, Column("expires"), Column("key"))
_WITH_REASON = (
    Column("id"),
    Column("kind", spare=1),
    Column("step", least=9, spare=4),
    Column("name", least=16, spare=3),
    Column("size", spare=2, right=True),
    Column("why", least=28),
)
_STYLES = {"id": screen.CYAN, "used": screen.DIM, "created": screen.DIM, "key": screen.DIM}


def show_entries(
    store: Store,
    shown: Sequence[Listed],
    *,
    reasons: Sequence[str] = (),
    wide: bool = False,
    title: str = "",
) -> None:
    """Print entries: a line each on a terminal, all columns separated by tabs elsewhere."""
    named = labels(store, shown)
    if not screen.is_terminal():
        _show_tabs(shown, named, reasons, title)
        return
    now = time.time()
    names = _WITH_REASON if reasons else _WIDE if wide else _SHORT
    rows = [_cells(each, named[each.key], now) for each in shown]
    for row, reason in zip(rows, reasons, strict=False):
        row["why"] = screen.shown(reason)
    natural = [
        max(len(column.name), *(screen.width(row[column.name]) for row in rows)) for column in names
    ]
    fitting = widths(names, natural, sum(natural) * 2 + 99 if wide else screen.columns())
    if fitting.get("name", 0) < natural[[column.name for column in names].index("name")]:
        _fit_names(shown, rows, named, fitting.get("name", 0))
    _print([column for column in names if column.name in fitting], rows, fitting, title)


def _fit_names(
    shown: Sequence[Listed], rows: Sequence[dict[str, str]], named: dict[str, Label], most: int
) -> None:
    """Cut the names of each step so that they differ still."""
    places = sorted(range(len(shown)), key=lambda i: (shown[i].kind, shown[i].where))
    for _, group in groupby(places, key=lambda i: (shown[i].kind, shown[i].where)):
        these = list(group)
        texts = fitted([named[shown[i].key] for i in these], most)
        for i, text in zip(these, texts, strict=True):
            rows[i]["name"] = text


def _cells(entry: Listed, label: Label, now: float) -> dict[str, str]:
    ref = entry.ref
    flow, _, run = label.run.partition("/")
    cells = {
        "id": entry.id,
        "kind": entry.kind,
        "step": entry.where,
        "name": label.text,
        "run": run if flow == entry.flow else label.run,
        "size": readable(ref.size_bytes),
        "created": ago(ref.created, now),
        "used": ago(entry.entry.used, now),
        "expires": "" if ref.expires is None else ago(ref.expires, now),
        "key": entry.key,
    }
    return {name: screen.shown(cell) for name, cell in cells.items()}


def _print(
    columns: Sequence[Column], rows: Sequence[dict[str, str]], fitting: dict[str, int], title: str
) -> None:
    sizes = [fitting[column.name] for column in columns]
    head = (
        screen.padded(screen.cut(column.name, size), size, right=column.right)
        for column, size in zip(columns, sizes, strict=True)
    )
    lines = [screen.styled(title, screen.BOLD)] * bool(title)
    lines += [screen.styled(GAP.join(head).rstrip(), screen.BOLD), screen.rule(sizes, GAP)]
    for row in rows:
        lines.append("".join(_line(row, columns, sizes)).rstrip())
    click.echo("\n".join(lines), color=screen.is_coloured() or None)


def _line(row: dict[str, str], columns: Sequence[Column], sizes: Sequence[int]) -> Iterator[str]:
    for at, (column, size) in enumerate(zip(columns, sizes, strict=True)):
        # The runs of one flow begin alike.
        cut = screen.cut_start if column.name == "run" else screen.cut
        text = screen.padded(cut(row[column.name], size), size, right=column.right)
        if at + 1 == len(columns) and not column.right:
            text = text.rstrip()
        yield GAP * bool(at) + screen.styled(text, _STYLES.get(column.name, ""))


def _show_tabs(
    shown: Sequence[Listed], named: dict[str, Label], reasons: Sequence[str], title: str
) -> None:
    if reasons:
        head: Sequence[str] = ("id", "kind", "step", "size", "why", "key", "run", "name")
    else:
        head = COLUMNS
    lines = [[title]] * bool(title) + [[name.upper() for name in head]]
    for at, each in enumerate(shown):
        cells = _tabbed(each, named[each.key])
        cells["why"] = reasons[at] if reasons else ""
        lines.append([cells[name] for name in head])
    click.echo("\n".join(map("\t".join, map(_clean, lines))))


def _tabbed(entry: Listed, label: Label) -> dict[str, str]:
    ref = entry.ref
    return {
        "id": entry.id,
        "kind": entry.kind,
        "step": entry.where,
        "size": readable(ref.size_bytes),
        "created": moment(ref.created),
        "used": moment(entry.entry.used),
        "expires": "" if ref.expires is None else moment(ref.expires),
        "key": entry.key,
        "run": label.run,
        "name": label.text,
    }


def _clean(row: Iterable[str]) -> list[str]:
    return [cell if cell.isprintable() else printable(cell) for cell in row]


def to_json(store: Store, shown: Sequence[Listed]) -> list[dict[str, object]]:
    """Return entries with their names and runs, for programs."""
    named = labels(store, shown)
    return [
        {
            **each.to_json(),
            "run": named[each.key].run or None,
            "name": printable(named[each.key].text),
        }
        for each in shown
    ]
