"""gc: what nobody needs any more."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import click

from memoflow.cli.answer import Answer, Verb
from memoflow.cli.asked import Asked
from memoflow.cli.table import count
from memoflow.errors import RequestError
from memoflow.kinds import upkeep
from memoflow.units import duration, readable, size


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
@click.option(
    "--now",
    is_flag=True,
    help="Wait for nothing: also delete what is in quarantine, and what killed saves left.",
)
@click.option("--dry-run", is_flag=True, help="Say what would go, remove nothing.")
@click.pass_obj
def gc(
    asked: Asked, *, older_than: timedelta | None, max_size: int | None, now: bool, dry_run: bool
) -> Answer:
    """Evict expired entries, then delete bytes that nothing refers to.

    The newest checkpoints and what results refer to stay. Past runs keep their artifacts: they are
    files of Metaflow's own. What a running save may need stays as well. Works on a full disk, too.
    """
    evicted, swept = upkeep.tidy(
        asked.store,
        older_than=older_than,
        max_size_bytes=max_size,
        now=True,
        leftovers=now,
        dry_run=dry_run,
    )
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
