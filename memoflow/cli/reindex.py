"""reindex: a rebuilt index of this machine."""

from __future__ import annotations

import click

from memoflow.cli.verb import Answer, CommandContext, Verb, summarize


@click.command(
    cls=Verb,
    fields={
        "new": "number of references that were missing from the index",
        "refs": "number of references in it now",
        "index": "path of the index; null if it is in memory",
    },
    examples=("memoflow reindex",),
)
@click.pass_obj
def reindex(asked: CommandContext) -> Answer:
    """Update this machine's index from the store.

    This is never necessary: missing references are looked up one by one. All at once is quicker.
    """
    store = asked.store
    new = store.reindex()
    refs, path = len(store.index.entries()), store.index.path
    data = {"new": new, "refs": refs, "index": None if path is None else str(path)}
    return Answer(
        lambda: data, lambda: summarize(f"{refs} references, {new} of them new, in {path}")
    )
