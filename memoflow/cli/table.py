"""Table: rows for people: aligned on a terminal, separated by tabs where a program reads them."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence

import click

from memoflow.display import printable

_LEAST_LAST = 12  # cells; the last column goes on in the line below
_ENDLESS = 1 << 20


def show_table(
    columns: Sequence[str], rows: Iterable[Sequence[str]], *, title: str = "", right: str = ""
) -> None:
    """Print rows; the columns that `right` names, separated by spaces, hold numbers."""
    clean = [_clean(row) for row in rows]
    if not sys.stdout.isatty():
        lines = [[title]] * bool(title) + [[name.upper() for name in columns], *clean]
        click.echo("\n".join(map("\t".join, lines)))
        return
    # Here, since it takes a while to import and programs do not need it.
    from rich.box import SIMPLE_HEAD
    from rich.console import Console, JustifyMethod
    from rich.measure import Measurement
    from rich.table import Table
    from rich.text import Text

    table = Table(
        title=Text(title) if title else None,
        title_justify="left",
        title_style="bold",
        box=SIMPLE_HEAD,
        pad_edge=False,
    )
    numbers = right.split()
    for name in columns:
        # Only the last column wraps.
        justify: JustifyMethod = "right" if name in numbers else "left"
        is_last = name == columns[-1]
        table.add_column(
            name,
            justify=justify,
            overflow="fold",
            no_wrap=not is_last,
            min_width=_LEAST_LAST if is_last else None,
        )
    for row in clean:
        table.add_row(*map(Text, row))
    console = Console()
    # Where all but the last do not fit, the terminal breaks the lines: the beginning of an id, say,
    # would name nothing.
    endless = console.options.update(max_width=_ENDLESS)
    least = Measurement.get(console, endless, table).minimum
    console.width = max(console.width, least)
    console.print(table)


def show_facts(facts: Iterable[tuple[str, str]]) -> None:
    """Print names and values, a line each."""
    pairs = [(name, printable(value)) for name, value in facts if value]
    width = max((len(name) for name, _ in pairs), default=0)
    for name, value in pairs:
        if sys.stdout.isatty():
            click.echo(f"{click.style(name.ljust(width), bold=True)}  {value}")
        else:
            click.echo(f"{name}\t{value}")


def _clean(row: Sequence[str]) -> Sequence[str]:
    return row if "".join(row).isprintable() else [printable(cell) for cell in row]


def first(lines: Sequence[str], most: int) -> str:
    """Return the first of some lines, indented, and the number of the others."""
    more = [f"and {len(lines) - most} more"] if len(lines) > most else []
    return "\n".join(f"  {line}" for line in [*lines[:most], *more])


def count(number: int, one: str, many: str = "") -> str:
    """Return a number with its noun: `1 entry`, `2 entries`."""
    return f"{number} {one if number == 1 else many or f'{one}s'}"
