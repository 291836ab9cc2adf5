"""ls: a list of the entries."""

from __future__ import annotations

import sys
from typing import Any

import click

from memoflow.catalog.listed import listed
from memoflow.catalog.naming import matching
from memoflow.cli.listing import COLUMNS, FIELDS, SHORT_COLUMNS, complete, row, short_row
from memoflow.cli.table import count, show_table
from memoflow.cli.verb import Answer, CommandContext, Verb
from memoflow.kinds import retention
from memoflow.units import readable

_ORDERS = {
    "key": lambda each: each.key,
    "size": lambda each: -each.ref.size_bytes,
    "created": lambda each: -each.ref.created,
    "used": lambda each: -each.entry.used,
}
_SCREENFUL = 200


@click.command(
    cls=Verb,
    fields={
        "entries": f"a list of objects: {', '.join(FIELDS)}; see `show`",
        "total": "number of entries, listed or not",
        "size_bytes": "total size of the entries when loaded",
    },
    examples=(
        "memoflow ls",
        "memoflow ls Sweep/fit",
        "memoflow ls --kind checkpoint --sort size --limit 10",
    ),
)
@click.argument("names", shell_complete=complete, nargs=-1, metavar="[NAME]...")
@click.option(
    "--kind",
    type=click.Choice(retention.KINDS),
    help="List one kind only; memo: results of steps and functions, hub: snapshots.",
)
@click.option(
    "--sort",
    type=click.Choice(list(_ORDERS)),
    default="key",
    help="Sort by key, or largest or latest first.",
)
@click.option("--limit", type=click.IntRange(0), help="List at most that many; 0: all.")
@click.pass_obj
def ls(
    asked: CommandContext, *, names: tuple[str, ...], kind: str | None, sort: str, limit: int | None
) -> Answer:
    """List results, checkpoints, models and snapshots of the Hub.

    NAME is a key, the beginning of a key or id, or consecutive parts of a key: Sweep, Sweep/fit,
    checkpoint/Train; a function is train/embed or train.embed. Without --limit, a terminal shows
    the first 200; files and pipes get all.
    """
    found = listed(asked.store)
    if names:
        chosen = {each.key: each for name in names for each in matching(found, name)}
        found = list(chosen.values())
    if kind is not None:
        found = [each for each in found if each.kind == kind]
    found.sort(key=_ORDERS[sort])
    on_terminal = sys.stdout.isatty()
    if limit is None:
        limit = _SCREENFUL if on_terminal else 0
    shown = found[:limit] if limit else found
    size_bytes = sum(each.ref.size_bytes for each in found)

    def show() -> None:
        if not on_terminal:
            show_table(COLUMNS, (row(each) for each in shown), right="size")
            return
        if shown:
            rows = (short_row(each, asked.store) for each in shown)
            show_table(SHORT_COLUMNS, rows, right="size")
        rest = f", {len(shown)} of them listed; --limit 0 lists all" * (len(shown) < len(found))
        click.echo(f"{count(len(found), 'entry', 'entries')}, {readable(size_bytes)}{rest}")

    def data() -> dict[str, Any]:
        return {
            "entries": [each.to_json() for each in shown],
            "total": len(found),
            "size_bytes": size_bytes,
        }

    return Answer(data, show)
