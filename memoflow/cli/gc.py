"""gc: what nobody needs any more."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import click

from memoflow import owned
from memoflow.cli.answer import Answer, Verb
from memoflow.cli.asked import Asked
from memoflow.cli.table import count
from memoflow.errors import RequestError
from memoflow.kinds import upkeep
from memoflow.units import duration, readable, size

_MOST_SCRATCH = 1000  # temporary directories of killed tasks


def _parsed_by(parse: Callable[[str, Any], Any]) -> Callable[..., Any]:
    """Return a callback of an option that makes of its text what a parser of `units` does."""

    def callback(ctx: click.Context, param: click.Parameter, value: str | None) -> Any:
        try:
            return None if value is None else parse(param.opts[0], value)
        except RequestError as error:
            raise click.BadParameter(str(error), ctx, param) from None

    return callback


@click.command(
    cls=Verb,
    fields={
        "dry_run": "whether all is still there",
        "entries": "how many entries were evicted",
        "keys": "their keys",
        "blobs": "how many blobs were deleted",
        "freed_bytes": "of those blobs",
    },
)
@click.option(
    "--older-than",
    metavar="TIME",
    callback=_parsed_by(duration),
    help="Evict what was not used for so long: 30d, 12h.",
)
@click.option(
    "--max-size",
    metavar="SIZE",
    callback=_parsed_by(size),
    help="Evict the least recently used above it: 50GB.",
)
@click.option("--dry-run", is_flag=True, help="Say what would go, remove nothing.")
@click.pass_obj
def gc(
    asked: Asked, *, older_than: timedelta | None, max_size: int | None, dry_run: bool
) -> Answer:
    """Evict expired entries, then delete bytes that nothing refers to.

    The newest checkpoints and what results refer to stay. Temporary directories of tasks that were
    killed on this machine go as well. Past runs keep their artifacts: they are
    files of Metaflow's own.
    """
    evicted, swept = upkeep.tidy(
        asked.store, older_than=older_than, max_size_bytes=max_size, now=True, dry_run=dry_run
    )
    if not dry_run:
        owned.reap(tempfile.gettempdir(), "metaflow_", most=_MOST_SCRATCH)
    keys = [str(ref.key) for ref in evicted.refs if upkeep.is_entry(ref.key)]

    def show() -> None:
        verb = "would evict" if dry_run else "evicted"
        click.echo(
            f"{verb} {count(len(keys), 'entry', 'entries')}; {count(swept.blobs, 'blob')}, "
            f"{readable(swept.size_bytes)} {'would be ' * dry_run}deleted"
        )

    def data() -> dict[str, Any]:
        return {
            "dry_run": dry_run,
            "entries": len(keys),
            "keys": keys,
            "blobs": swept.blobs,
            "freed_bytes": swept.size_bytes,
        }

    return Answer(data, show)
