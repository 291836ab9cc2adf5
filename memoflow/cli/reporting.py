"""report: the store as a page to look at and to send."""

from __future__ import annotations

from pathlib import Path

import click

from memoflow.cli.answer import Answer, Verb
from memoflow.cli.context import CommandContext


@click.command(
    cls=Verb,
    fields={"html": "the file that was written"},
    examples=("memoflow report --html report.html",),
)
@click.option(
    "--html",
    type=click.Path(dir_okay=False, path_type=Path),
    required=True,
    help="The file to write, over what is there.",
)
@click.pass_obj
def report(asked: CommandContext, *, html: Path) -> Answer:
    """Write a page of charts: time saved by day, size by kind, hits by step.

    It is one file, and needs nothing else to be looked at.
    """
    # Here, since it imports Metaflow.
    from memoflow.cli.report import write_report

    write_report(asked.store, html)
    return Answer(lambda: {"html": str(html)}, lambda: click.echo(f"wrote {html}"))
