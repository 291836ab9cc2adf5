"""forget: entries that a person does not want any more."""

from __future__ import annotations

from typing import Any

import click

from memoflow.cli.answer import Answer, Verb
from memoflow.cli.asked import Asked
from memoflow.cli.listing import Listed, complete, some
from memoflow.cli.table import count
from memoflow.errors import RequestError
from memoflow.kinds import evicted, memo, upkeep
from memoflow.store import Store
from memoflow.units import readable

_NAMED = 10


@click.command(
    cls=Verb,
    fields={
        "dry_run": "whether all is still there",
        "forgotten": "a list of objects, as `entries` of `ls`",
        "size_bytes": "of all of them, as loads would have given them back",
    },
)
@click.argument("names", shell_complete=complete, nargs=-1, required=True, metavar="NAME...")
@click.option("--all", "all_of_them", is_flag=True, help="All that a name stands for.")
@click.option("--force", is_flag=True, help="Also what runs resume from or results refer to.")
@click.option("--dry-run", is_flag=True, help="Say what would go, remove nothing.")
@click.pass_obj
def forget(
    asked: Asked, *, names: tuple[str, ...], all_of_them: bool, force: bool, dry_run: bool
) -> Answer:
    """Forget entries: results are computed anew, checkpoints and models are gone for good.

    NAME is as for ls, and must stand for one entry unless --all is given. Nothing goes if any of
    it is protected: the newest checkpoint of a task, and what a result refers to. With --force
    that goes, too. gc frees the bytes. Artifacts of past runs are Metaflow's, and stay.
    """
    store = asked.store
    chosen = some(store, names, all_of_them=all_of_them)
    if not force:
        _refuse_protected(store, chosen)
    if not dry_run:
        for each in chosen:
            store.forget(each.ref.key)
        evicted.note(store, (each.ref.key for each in chosen), "forget")
    size_bytes = sum(each.ref.size_bytes for each in chosen)

    def show() -> None:
        verb = "would forget" if dry_run else "forgot"
        for each in chosen:
            click.echo(f"{verb} {each.key}")
        number = count(len(chosen), "entry", "entries")
        click.echo(f"{verb} {number}, {readable(size_bytes)}; gc frees what nothing else needs")

    def data() -> dict[str, Any]:
        return {
            "dry_run": dry_run,
            "forgotten": [each.to_json() for each in chosen],
            "size_bytes": size_bytes,
        }

    return Answer(data, show)


def _refuse_protected(store: Store, chosen: list[Listed]) -> None:
    if all(memo.is_result(each.ref.key) for each in chosen):
        return  # A result can be computed again.
    kept = upkeep.protected(store)
    held = [each for each in chosen if each.ref.key in kept]
    if held:
        lines = [f"  {each.key}" for each in held[:_NAMED]]
        if len(held) > _NAMED:
            lines.append(f"  and {len(held) - _NAMED} more")
        raise RequestError(
            "\n".join(
                [
                    "runs resume from these, or results refer to them; nothing was forgotten; "
                    "--force forgets them all the same:",
                    *lines,
                ]
            )
        )
