"""The `memoflow` command."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import click
from metaflow import metaflow_config

from memoflow import __version__, storages
from memoflow.errors import MemoflowError, NotFoundError, RequestError
from memoflow.kinds import upkeep
from memoflow.store import Store, open_store
from memoflow.units import duration, readable, size


class _Parsed(click.ParamType[Any]):
    """A click type made of a parser from `units`."""

    def __init__(self, name: str, parse: Callable[[str, Any], Any]) -> None:
        self.name = name
        self._parse = parse

    def convert(self, value: Any, param: Any, ctx: Any) -> Any:
        try:
            return self._parse(f"--{self.name}", value)
        except RequestError as error:
            self.fail(str(error), param, ctx)


@click.group()
@click.version_option(__version__, prog_name="memoflow")
@click.option(
    "--root",
    help="The store: a directory or s3://bucket/folder; by default that of Metaflow's datastore.",
)
@click.pass_context
def main(ctx: click.Context, root: str | None) -> None:
    """Look after the store of memoized results."""
    ctx.obj = root


@main.command()
@click.option(
    "--older-than",
    type=_Parsed("older-than", duration),
    help="Evict what was not used for so long: 30d, 12h.",
)
@click.option(
    "--max-size",
    type=_Parsed("max-size", size),
    help="Evict the least recently used above it: 50GB.",
)
@click.option("--dry-run", is_flag=True, help="Say what would go, remove nothing.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.pass_obj
def gc(
    root: str | None,
    *,
    older_than: timedelta | None,
    max_size: int | None,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Evict expired entries, then delete bytes that nothing refers to.

    Past runs keep their artifacts: they are files of Metaflow's own.
    """
    try:
        store = _open(root)
        evicted, swept = upkeep.tidy(
            store, older_than=older_than, max_size_bytes=max_size, now=True, dry_run=dry_run
        )
    except MemoflowError as error:
        raise click.ClickException(str(error)) from error
    done = {
        "dry_run": dry_run,
        "entries": sum(upkeep.is_entry(ref.key) for ref in evicted.refs),
        "blobs": swept.blobs,
        "freed_bytes": swept.size_bytes,
    }
    if as_json:
        click.echo(json.dumps(done))
        return
    verb = "would evict" if dry_run else "evicted"
    click.echo(
        f"{verb} {done['entries']} entries; {done['blobs']} blobs, {readable(swept.size_bytes)} "
        f"{'would be ' * dry_run}deleted"
    )


def _open(root: str | None) -> Store:
    kind = "local"
    if root is None:
        root = metaflow_config.MEMOFLOW_ROOT
    if root is None:
        try:
            kind, datastore = storages.configured()
        except NotFoundError as error:
            raise RequestError(f"{error}, or name the store with --root") from error
        root = storages.folder_of(kind, datastore)
    backend = storages.backend_of(kind, root)
    if not backend.exists(["format.json"])[0]:
        raise RequestError(f"{root} is no memoflow store; name one with --root")
    return open_store(backend)


if __name__ == "__main__":
    sys.exit(main())
