"""Completion: the names of entries that a shell offers, from this machine's index alone."""

from __future__ import annotations

import click
from click.shell_completion import CompletionItem

from memoflow.catalog import filters
from memoflow.catalog.suggestions import names_to_complete
from memoflow.cli.verb import CommandContext
from memoflow.errors import MemoflowError


def complete(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Return flows, steps, runs, ids and keys that begin with a text."""
    root = ctx.find_root()
    given = root.obj if isinstance(root.obj, CommandContext) else CommandContext()
    asked = CommandContext(root.params.get("root") or given.root, given.flow)
    try:
        found = names_to_complete(asked.store, incomplete)
    except (MemoflowError, OSError):
        return []  # No place for an error message: a key was pressed.
    return [CompletionItem(name, help=about) for name, about in found.items()]


def complete_field(
    ctx: click.Context, param: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Return the fields of entries that begin with a text."""
    sign = incomplete[: len(incomplete) - len(incomplete.lstrip("+-"))]
    names = [sign + field for field in filters.FIELDS]
    return [CompletionItem(name) for name in names if name.startswith(incomplete)]
