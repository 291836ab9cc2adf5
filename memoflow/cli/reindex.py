"""reindex: a rebuilt index of this machine."""

from __future__ import annotations

import click

from memoflow.cli.answer import Answer, Verb
from memoflow.cli.context import CommandContext


@click.command(
    cls=Verb,
    fields={
        "new": "number of references that were missing from the index",
        "refs": "number of references in it now",
        "index": "its path; null if it is in memory",
    },
    examples=("memoflow reindex",),
)
@click.pass_obj
def reindex(asked: CommandContext) -> Answer:
    """Update this machine's index from the store.

    It is never necessary, since missing references are looked up one by one; all at once is
    quicker.
    """
    store = asked.store
    new = store.reindex()
    refs, path = len(store.index.entries()), store.index.path
    data = {"new": new, "refs": refs, "index": None if path is None else str(path)}
    return Answer(
        lambda: data, lambda: click.echo(f"{refs} references, {new} of them new, in {path}")
    )
