"""ls: a list of the entries."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import click

from memoflow.catalog import filters
from memoflow.catalog.filters import Condition, SortOrder
from memoflow.catalog.labels import details
from memoflow.catalog.listed import Listed, listed
from memoflow.catalog.naming import named
from memoflow.cli import screen
from memoflow.cli.completion import complete, complete_field
from memoflow.cli.listing import FIELDS, show_entries, to_json
from memoflow.cli.table import count
from memoflow.cli.verb import Answer, CommandContext, Verb, parsed_by, summarize
from memoflow.errors import UsageError
from memoflow.kinds import retention
from memoflow.store import Store
from memoflow.units import readable

_SCREENFUL = 200


@click.command(
    cls=Verb,
    fields={
        "entries": f"a list of objects: {', '.join(FIELDS)}, run, name; see `show`",
        "total": "number of entries, listed or not",
        "size_bytes": "total size of the entries when loaded",
    },
    examples=(
        "memoflow ls",
        "memoflow ls Sweep/fit",
        "memoflow ls Sweep/17 '*/score'",
        "memoflow ls --kind checkpoint --sort size --limit 10",
        "memoflow ls --filter 'size>1GB' --filter 'used>30d'",
        "memoflow ls --filter 'lr<0.1' --since 7d",
    ),
)
@click.argument("names", shell_complete=complete, nargs=-1, metavar="[NAME]...")
@click.option(
    "--kind",
    type=click.Choice(retention.KINDS),
    help="List one kind only; memo: results of steps and functions, hub: snapshots.",
)
@click.option(
    "--filter",
    "conditions",
    metavar="CONDITION",
    multiple=True,
    callback=parsed_by(filters.condition),
    shell_complete=complete_field,
    help="List entries that meet a condition, such as size>1GB; may be given several times.",
)
@click.option(
    "--since",
    metavar="TIME",
    callback=parsed_by(filters.moment_of),
    help="List entries saved since then: 7d, 12h, 2026-01-31.",
)
@click.option(
    "--sort",
    "by",
    metavar="FIELD",
    callback=parsed_by(filters.order),
    shell_complete=complete_field,
    help="Sort by a field, -FIELD: descending, +FIELD: ascending; sizes and times are descending "
    "without a sign. Default: key; on a terminal kind, step and name.",
)
@click.option("--limit", type=click.IntRange(0), help="List at most that many; 0: all.")
@click.option("--wide", is_flag=True, help="On a terminal, show all columns uncut.")
@click.pass_obj
def ls(
    asked: CommandContext,
    *,
    names: tuple[str, ...],
    kind: str | None,
    conditions: tuple[Condition, ...],
    since: float | None,
    by: SortOrder | None,
    limit: int | None,
    wide: bool,
) -> Answer:
    """List results, checkpoints, models and snapshots of the Hub.

    NAME is a key, the beginning of a key or id, or consecutive parts of a key: Sweep, Sweep/fit,
    checkpoint/Train; a function is train/embed or train.embed; a run or task is Sweep/17 or
    Sweep/17/fit/3: the entries that it made or used; a pattern is '*/fit'; a name in a list is
    'lr=0.01 seed=7'. Results are named by the inputs in which those in the list differ.

    A CONDITION has a field, an operator and a value. Fields are size, new, created, age, used,
    expires, id, key, kind, flow, step, run, name, and the names of inputs and metadata, such as
    loss. Operators are = != > < >= <=, and ~ for a text that contains another. With created, used
    and expires, 7d is an age (used>30d: not for 30 days), and 2026-01-31 a date.

    Without --limit, a terminal shows the first 200; files and pipes get all.
    """
    store = asked.store
    found = listed(store)
    if names:
        chosen = {each.key: each for name in names for each in named(store, found, name)}
        found = list(chosen.values())
    if kind is not None:
        found = [each for each in found if each.kind == kind]
    if since is not None:
        found = [each for each in found if each.ref.created >= since]
    order = by or filters.order("--sort", "key")
    known = details(store, found) if filters.needs_details(conditions, order) else {}
    try:
        found = filters.chosen(found, conditions, known)
    except UsageError as error:  # A field that only the entries could tell.
        raise click.UsageError(str(error)) from None
    found = filters.in_order(found, order, known)
    on_terminal = screen.is_terminal()
    if limit is None:
        limit = _SCREENFUL if on_terminal else 0
    shown = found[:limit] if limit else found
    size_bytes = sum(each.ref.size_bytes for each in found)

    def show() -> None:
        if shown or not on_terminal:
            is_by_name = on_terminal and by is None
            show_entries(store, _by_name(store, shown) if is_by_name else shown, wide=wide)
        if on_terminal:
            rest = f", {len(shown)} of them listed; --limit 0 lists all"
            cut = rest * (len(shown) < len(found))
            summarize(f"{count(len(found), 'entry', 'entries')}, {readable(size_bytes)}{cut}")

    def data() -> dict[str, Any]:
        return {
            "entries": to_json(store, shown),
            "total": len(found),
            "size_bytes": size_bytes,
        }

    return Answer(data, show)


def _by_name(store: Store, shown: Sequence[Listed]) -> list[Listed]:
    """Return entries by kind and step, and those of one step by their names, as people count."""
    by_name = filters.in_order(shown, filters.order("--sort", "name"), details(store, shown))
    return sorted(by_name, key=lambda each: (each.kind, each.where))
