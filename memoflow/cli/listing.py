"""Listing: rows and fields of entries, and the completion of their names."""

from __future__ import annotations

import click

from memoflow.catalog.listed import Listed, inputs_of
from memoflow.cli.verb import CommandContext
from memoflow.errors import MemoflowError
from memoflow.kinds import retention
from memoflow.store import Store
from memoflow.units import moment, readable

COLUMNS = ("id", "kind", "step", "size", "created", "used", "expires", "key")
SHORT_COLUMNS = ("id", "kind", "step", "size", "used", "what")
FIELDS = {
    "id": "beginning of the entry's digest, long enough to name the entry",
    "key": "the entry's full name in the store",
    "kind": "`memo`, `checkpoint`, `model` or `hub`",
    "flow, step": "flow and step of the entry, or module and function; null for entries that all "
    "flows or steps share",
    "size_bytes": "size of the entry when loaded",
    "new_bytes": "bytes of these that were new to the store at the save",
    "created, expires": "ISO 8601 in UTC; null for entries that never expire",
    "used": "last use by this machine",
}


def row(entry: Listed) -> list[str]:
    """Return the full row, for programs."""
    ref = entry.ref
    return [
        entry.id,
        entry.kind,
        entry.where,
        readable(ref.size_bytes),
        moment(ref.created),
        moment(entry.entry.used),
        "" if ref.expires is None else moment(ref.expires),
        entry.key,
    ]


def short_row(entry: Listed, store: Store) -> list[str]:
    """Return the row for a terminal."""
    size, used = readable(entry.ref.size_bytes), moment(entry.entry.used)
    what = inputs_of(store, entry.ref) if entry.kind == "memo" else ""
    return [entry.id, entry.kind, entry.where, size, used, what or entry.what]


def complete(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """Return the keys in this machine's index that begin with a text."""
    try:
        known = CommandContext(ctx.find_root().params.get("root")).store.index.entries()
    except MemoflowError:
        return []  # No place for an error message: a key was pressed.
    return [
        text
        for text, entry in known.items()
        if text.startswith(incomplete) and retention.is_entry(entry.ref.key)
    ]
