"""gc: eviction of entries and deletion of unreferenced bytes."""

from __future__ import annotations

import tempfile
from datetime import timedelta
from typing import Any

import click

from memoflow import owned
from memoflow.cli import removal
from memoflow.cli.verb import Answer, CommandContext, Verb, is_quiet, parsed_by, summarize
from memoflow.kinds import retention
from memoflow.store import Store
from memoflow.store.gc.eviction import Evicted
from memoflow.store.gc.sweeping import Swept
from memoflow.units import duration, readable, size

_MOST_SCRATCH = 1000  # temporary directories of killed tasks


@click.command(
    cls=Verb,
    fields={
        "dry_run": "true if nothing was removed",
        "entries": "number of evicted entries",
        "keys": "keys of the evicted entries",
        "evicted": "a list of objects: `key`, `kind`, `size_bytes`, and the `reason` in words",
        "blobs": "number of deleted blobs",
        "freed_bytes": "size of the deleted blobs",
        "over_bytes": "excess of the store over `--max-size`",
        "spared_bytes": "part of the excess in kinds that go only by `--kind`; 0 without excess",
    },
    examples=(
        "memoflow gc",
        "memoflow gc --older-than 30d --dry-run",
        "memoflow gc --max-size 50GB --yes",
        "memoflow gc --kind checkpoint --older-than 30d",
    ),
)
@click.option(
    "--older-than",
    metavar="TIME",
    callback=parsed_by(duration),
    help="Evict results and snapshots unused for that long: 30d, 12h.",
)
@click.option(
    "--max-size",
    metavar="SIZE",
    callback=parsed_by(size),
    help="Evict the least recently used results and snapshots until the store fits: 50GB.",
)
@click.option(
    "--kind",
    "kinds",
    type=click.Choice(retention.KINDS),
    multiple=True,
    help="Apply age and size to entries of this kind instead; may be given several times.",
)
@click.option(
    "--now",
    is_flag=True,
    help="Do not wait: also delete quarantined files and remains of killed saves.",
)
@click.option(
    "--dry-run",
    is_flag=True,
    help="Print the entries, with reasons, and the bytes; remove nothing.",
)
@removal.yes_option
@click.pass_obj
def gc(
    asked: CommandContext,
    *,
    older_than: timedelta | None,
    max_size: int | None,
    kinds: tuple[str, ...],
    now: bool,
    dry_run: bool,
    yes: bool,
) -> Answer:
    """Evict expired entries and free unreferenced bytes.

    --older-than and --max-size evict entries that can be computed or downloaded again: results and
    snapshots of the Hub. Checkpoints and models are evicted only if --kind names them. The newest
    checkpoints, entries that results refer to, and bytes that a running save may need always stay.
    Asks first, unless --yes is given. Artifacts of past runs belong to Metaflow and stay.
    Temporary directories of killed tasks on this machine are removed as well. Works on a full
    disk, too.
    """
    if kinds and older_than is None and max_size is None:
        raise click.UsageError("--kind needs --older-than or --max-size: give one of them, too")
    store = asked.store
    rules: dict[str, Any] = {
        "older_than": older_than,
        "max_size_bytes": max_size,
        "kinds": kinds or retention.RECOVERABLE,
        "now": True,
        "leftovers": now,
    }
    agreed = None
    if dry_run or not yes:
        plan = retention.tidy(store, **rules, dry_run=True)
        if dry_run:
            return _answer(store, *plan, max_size, dry_run=True)
        going, _ = retention.entries_of(plan[0])
        if going and not removal.confirm(going, lambda: _show_plan(store, *plan)):
            raise click.exceptions.Exit(1)
        agreed = {ref.key for ref in plan[0].refs}
    evicted, swept = retention.tidy(store, **rules, among=agreed)
    owned.reap(tempfile.gettempdir(), "metaflow_", most=_MOST_SCRATCH)
    return _answer(store, evicted, swept, max_size, dry_run=False, was_shown=agreed is not None)


def _show_plan(store: Store, evicted: Evicted, swept: Swept) -> None:
    removal.show_each(store, *retention.entries_of(evicted))
    removal.show_by_kind(retention.entries_of(evicted)[0])
    click.echo(f"This frees {readable(swept.size_bytes)}.")


def _answer(
    store: Store,
    evicted: Evicted,
    swept: Swept,
    max_size: int | None,
    *,
    dry_run: bool,
    was_shown: bool = False,
) -> Answer:
    going, reasons = retention.entries_of(evicted)

    def show() -> None:
        if going and dry_run:
            removal.show_each(store, going, reasons)
        if going and not was_shown and not is_quiet(click.get_current_context()):
            removal.show_by_kind(going)
        summarize(f"{'Would free' if dry_run else 'Freed'} {readable(swept.size_bytes)}.")
        if line := retention.unreached(evicted, max_size):
            summarize(line)

    def data() -> dict[str, Any]:
        return {
            "dry_run": dry_run,
            "entries": len(going),
            "keys": [str(ref.key) for ref in going],
            "evicted": [
                {
                    "key": str(ref.key),
                    "kind": ref.key.kind,
                    "size_bytes": ref.size_bytes,
                    "reason": reason,
                }
                for ref, reason in zip(going, reasons, strict=True)
            ],
            "blobs": swept.blobs,
            "freed_bytes": swept.size_bytes,
            "over_bytes": evicted.over_bytes,
            "spared_bytes": evicted.spared_bytes,
        }

    return Answer(data, show)
