"""ls: what is in the store."""

from __future__ import annotations

import sys
from typing import Any

import click

from memoflow.cli.answer import Answer, Verb
from memoflow.cli.context import CommandContext
from memoflow.cli.listing import COLUMNS, FIELDS, SHORT_COLUMNS, Listed, complete, listed, matching
from memoflow.cli.table import count, show_table
from memoflow.store import Store
from memoflow.units import readable

_KINDS = ("memo", "checkpoint", "model", "hub")
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
        "total": "how many entries there are, listed or not",
        "size_bytes": "of all of them, as loads would give them back",
    },
)
@click.argument("names", shell_complete=complete, nargs=-1, metavar="[NAME]...")
@click.option("--kind", type=click.Choice(_KINDS), help="Only memos, checkpoints, models or hub.")
@click.option(
    "--sort", type=click.Choice(list(_ORDERS)), default="key", help="By key, or the most first."
)
@click.option("--limit", type=click.IntRange(0), help="List no more than that; 0: all.")
@click.pass_obj
def ls(
    asked: CommandContext, *, names: tuple[str, ...], kind: str | None, sort: str, limit: int | None
) -> Answer:
    """List what is in the store: results, checkpoints, models and snapshots of the Hub.

    NAME is a key, the beginning of one, of an id, or some parts of a key that follow each other:
    Sweep, Sweep/fit, checkpoint/Train. On a terminal the first 200 are listed unless --limit says
    otherwise, elsewhere all.
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
        if shown or not on_terminal:
            _show(shown, asked.store if on_terminal else None)
        if on_terminal:
            rest = f", {len(shown)} of them listed; --limit 0 lists all" * (len(shown) < len(found))
            click.echo(f"{count(len(found), 'entry', 'entries')}, {readable(size_bytes)}{rest}")

    def data() -> dict[str, Any]:
        return {
            "entries": [each.to_json() for each in shown],
            "total": len(found),
            "size_bytes": size_bytes,
        }

    return Answer(data, show)


def _show(shown: list[Listed], short: Store | None) -> None:
    """Print a table: in short with what is read of the store for that, if there is one."""
    if short is not None:
        show_table(SHORT_COLUMNS, (each.short_row(short) for each in shown), right="size")
    else:
        show_table(COLUMNS, (each.row() for each in shown), right="size")
