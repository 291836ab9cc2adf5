"""forget: removal of entries by name."""

from __future__ import annotations

from typing import Any

import click

from memoflow.catalog.listed import Listed
from memoflow.catalog.naming import some
from memoflow.cli import removal
from memoflow.cli.completion import complete
from memoflow.cli.table import first
from memoflow.cli.verb import Answer, CommandContext, Verb, summarize
from memoflow.display import printable
from memoflow.errors import UsageError
from memoflow.kinds import card, evicted, memo, retention, task_log
from memoflow.store import Store
from memoflow.units import readable

_NAMED = 10


@click.command(
    cls=Verb,
    fields={
        "dry_run": "true if nothing was removed",
        "forgotten": "a list of objects, as `entries` of `ls`",
        "size_bytes": "total size of the entries when loaded",
        "freeable_bytes": "bytes that `gc` frees after this; null if not counted",
    },
    examples=(
        "memoflow forget memo/Sweep/fit --all --dry-run",
        "memoflow forget 3f9a1c2e --yes",
    ),
)
@click.argument("names", shell_complete=complete, nargs=-1, required=True, metavar="NAME...")
@click.option("--all", "all_of_them", is_flag=True, help="Remove all entries that match a name.")
@click.option("--force", is_flag=True, help="Remove protected entries, too.")
@click.option("--dry-run", is_flag=True, help="Print the entries, remove nothing.")
@removal.yes_option
@click.pass_obj
def forget(
    asked: CommandContext,
    *,
    names: tuple[str, ...],
    all_of_them: bool,
    force: bool,
    dry_run: bool,
    yes: bool,
) -> Answer:
    """Remove entries by name: results are computed again, checkpoints and models are lost.

    NAME is as for ls, and must match one entry unless --all is given. If any of the entries is
    protected, none is removed: the newest checkpoint of a task, and checkpoints and models that
    results refer to. --force removes these, too. Asks first, unless --yes is given. gc frees the
    bytes. Artifacts of past runs belong to Metaflow and stay.
    """
    store = asked.store
    chosen = some(store, names, all_of_them=all_of_them)
    if not force:
        _refuse_protected(store, chosen)
    refs = [each.ref for each in chosen]
    freeable = _freeable(store, chosen) if dry_run or not yes else None
    if not (dry_run or yes) and not removal.confirm(
        refs, lambda: _show_plan(store, chosen, freeable)
    ):
        raise click.exceptions.Exit(1)
    if not dry_run:
        for ref in refs:
            store.forget(ref.key)
        evicted.note(store, (ref.key for ref in refs), "forget")

    def show() -> None:
        verb = "would forget" if dry_run else "forgot"
        tell = click.echo if dry_run else summarize  # A dry run is for these lines.
        for each in chosen if dry_run or yes else ():  # Else they were shown.
            tell(f"{verb} {printable(each.key)}")
        tell(f"{verb} {removal.in_all(refs)}; {_of_gc(freeable)}")

    def data() -> dict[str, Any]:
        return {
            "dry_run": dry_run,
            "forgotten": [each.to_json() for each in chosen],
            "size_bytes": sum(ref.size_bytes for ref in refs),
            "freeable_bytes": freeable,
        }

    return Answer(data, show)


def _show_plan(store: Store, chosen: list[Listed], freeable: int | None) -> None:
    refs = [each.ref for each in chosen]
    removal.show_each(store, refs)
    removal.show_by_kind(refs)
    click.echo(f"After this {_of_gc(freeable)}.")


def _freeable(store: Store, chosen: list[Listed]) -> int | None:
    """Return the number of further bytes for `gc` to free; None where counting reads each ref."""
    if store.backend.takes_round_trips:
        return None
    going = {each.ref.key for each in chosen}
    going |= {of(key) for key in going if memo.is_result(key) for of in (card.key, task_log.key)}
    before = store.sweep(now=True, dry_run=True).size_bytes
    return store.sweep(now=True, dry_run=True, without=going).size_bytes - before


def _of_gc(freeable: int | None) -> str:
    return f"gc frees {'the bytes nothing else needs' if freeable is None else readable(freeable)}"


def _refuse_protected(store: Store, chosen: list[Listed]) -> None:
    if all(memo.is_result(each.ref.key) for each in chosen):
        return  # A result can be computed again.
    kept = retention.protected(store)
    held = [each for each in chosen if each.ref.key in kept]
    if held:
        raise UsageError(
            "nothing was removed, since runs resume from these entries or results refer to them; "
            f"remove them with --force:\n{first([each.key for each in held], _NAMED)}"
        )
