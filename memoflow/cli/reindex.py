"""reindex: this machine's memory of the store."""

from __future__ import annotations

import click

from memoflow.cli.answer import Answer, Verb
from memoflow.cli.context import CommandContext


@click.command(
    cls=Verb,
    fields={
        "new": "how many refs the index had not known",
        "refs": "how many it knows now",
        "index": "where it is; null if it is in memory",
    },
)
@click.pass_obj
def reindex(asked: CommandContext) -> Answer:
    """Bring this machine's index in line with the store.

    Nobody needs to: what the index does not know is looked up. But all at once is quicker.
    """
    store = asked.store
    new = store.reindex()
    refs, path = len(store.index.entries()), store.index.path
    data = {"new": new, "refs": refs, "index": None if path is None else str(path)}
    return Answer(lambda: data, lambda: click.echo(f"{refs} refs, {new} of them new to {path}"))
