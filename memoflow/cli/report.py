"""report: time saved, misses and their cost, growth and expiry, as a page or Markdown."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from pathlib import Path

import click

from memoflow.cli import report_markdown, report_page
from memoflow.cli.report_figures import collect
from memoflow.cli.verb import Answer, CommandContext, Verb, parsed_by, summarize
from memoflow.errors import UsageError
from memoflow.store import Store
from memoflow.units import duration

_STDOUT = "-"


@click.command(
    cls=Verb,
    fields={
        "html": "path of the page; null without `--html`",
        "markdown": "path of the Markdown; null without, and where it is in `text`",
        "text": "the Markdown, where `--markdown` has no file; else null",
    },
    examples=(
        "memoflow report --html report.html",
        "memoflow report --markdown --since 7d",
        'memoflow report --markdown >> "$GITHUB_STEP_SUMMARY"',
    ),
)
@click.option(
    "--html",
    metavar="FILE",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write a page with charts; an existing file is replaced.",
)
@click.option(
    "--markdown",
    metavar="[FILE]",
    is_flag=False,
    flag_value=_STDOUT,
    type=click.Path(dir_okay=False, allow_dash=True),
    help="Write short tables in Markdown, for a pull request or a CI job's summary; without FILE, "
    "or to -, they are printed.",
)
@click.option(
    "--since",
    metavar="TIME",
    callback=parsed_by(duration),
    help="Count the hits, misses and growth of so long: 7d, 12h; otherwise all that are known.",
)
@click.pass_obj
def report(
    asked: CommandContext, *, html: Path | None, markdown: str | None, since: timedelta | None
) -> Answer:
    """Report time saved, misses by reason and their cost, growth and expiry.

    The page is one file and loads nothing from elsewhere. --html and --markdown may be given
    together.
    """
    if html is None and markdown is None:
        raise click.UsageError("nothing to write: give --html FILE, --markdown or both")
    figures = collect(asked.store, since=since, now=datetime.now(timezone.utc))
    paths, text = [], None
    if html is not None:
        paths.append(_write(html, report_page.page(figures)))
    if markdown is not None:
        text = report_markdown.markdown(figures)
        if markdown != _STDOUT:
            paths.append(_write(Path(markdown), text))
            text = None

    def show() -> None:
        for path in paths:  # Not among what is printed to be read by others.
            summarize(f"wrote {path}", err=text is not None)
        if text is not None:
            click.echo(text, nl=False)

    def data() -> dict[str, str | None]:
        is_file = markdown not in (None, _STDOUT)
        page = None if html is None else str(html)
        return {"html": page, "markdown": markdown if is_file else None, "text": text}

    return Answer(data, show)


def write_report(store: Store, path: Path) -> None:
    """Write the report of a store as a page, which is replaced; UsageError if it cannot be."""
    _write(path, report_page.page(collect(store, now=datetime.now(timezone.utc))))


def _write(path: Path, text: str) -> Path:
    try:
        path.write_text(text, encoding="utf-8")
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise UsageError(f"cannot write the report to {path}: {reason}") from error
    return path
