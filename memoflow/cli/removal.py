"""Removal: the tables and the question before entries are removed."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import Any

import click

from memoflow.catalog.listed import of_entries
from memoflow.cli import screen
from memoflow.cli.listing import show_entries
from memoflow.cli.table import count, show_table
from memoflow.cli.verb import is_json
from memoflow.index import IndexEntry
from memoflow.kinds import retention
from memoflow.names import Ref
from memoflow.store import Store
from memoflow.units import readable

_MOST_LINES = 20


def yes_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add `--yes` to a verb."""
    return click.option(
        "--yes", is_flag=True, help="Remove without asking; needed without a terminal."
    )(command)


def in_all(refs: Sequence[Ref]) -> str:
    """Return the number of entries and their total size."""
    size_bytes = sum(ref.size_bytes for ref in refs)
    return f"{count(len(refs), 'entry', 'entries')}, {readable(size_bytes)}"


def show_by_kind(refs: Sequence[Ref]) -> None:
    """Print a table of entries and sizes by kind."""
    rows = []
    for kind in retention.KINDS:
        sizes = [ref.size_bytes for ref in refs if ref.key.kind == kind]
        if sizes:
            rows.append([kind, str(len(sizes)), readable(sum(sizes))])
    show_table(("kind", "entries", "size"), rows, right="entries size")


def show_each(store: Store, refs: Sequence[Ref], reasons: Sequence[str] = ()) -> None:
    """Print entries with the reason for removal, a row each; on a terminal the first ones."""
    most = _MOST_LINES if screen.is_terminal() else len(refs)
    listed = of_entries({str(ref.key): IndexEntry(ref, ref.created) for ref in refs})
    by_key = {each.key: each for each in listed}
    shown = [by_key[str(ref.key)] for ref in refs[:most]]
    show_entries(store, shown, reasons=reasons[:most])
    if len(shown) < len(refs):
        click.echo(f"and {len(refs) - len(shown)} more (all with --json)\n")


def on_terminal() -> bool:
    """Tell whether a question can be asked and answered."""
    # Either may be closed, and is None then.
    return all(each and each.isatty() for each in (sys.stdin, sys.stdout))


def confirm(refs: Sequence[Ref], show: Callable[[], None]) -> bool:
    """Show entries, ask for their removal, return the answer; UsageError without a terminal."""
    as_json = is_json(click.get_current_context())
    if not as_json:
        show()
    if as_json or not on_terminal():
        raise click.UsageError(
            f"nothing was removed: there is no terminal for the question about {in_all(refs)}; "
            "remove them with --yes, or list them with --dry-run"
        )
    if click.confirm(f"Remove {count(len(refs), 'entry', 'entries')}?", default=False):
        return True
    click.echo("Nothing was removed.")
    return False
