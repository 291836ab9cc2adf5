"""get: copies of an entry's files."""

from __future__ import annotations

import os
from pathlib import Path

import click

from memoflow import owned
from memoflow.backends.failures import translated
from memoflow.catalog.listed import Listed
from memoflow.catalog.naming import one
from memoflow.cli.completion import complete
from memoflow.cli.table import count
from memoflow.cli.verb import Answer, CommandContext, Verb, summarize
from memoflow.display import printable
from memoflow.errors import NotFoundError, UsageError
from memoflow.kinds import memo
from memoflow.kinds.memo import MemoEntry
from memoflow.kinds.value_file import value_file
from memoflow.objects import Manifest
from memoflow.store import Store
from memoflow.units import readable


@click.command(
    cls=Verb,
    fields={
        "key": "key of the entry",
        "into": "directory of the copies",
        "files": "paths of the copies in it",
        "size_bytes": "total size of the files",
    },
    examples=(
        "memoflow get checkpoint/Train/fit --into restored",
        "memoflow get 3f9a1c2e model/weights.pt",
    ),
)
@click.argument("name", shell_complete=complete)
@click.argument("path", required=False)
@click.option(
    "--into",
    type=click.Path(file_okay=False, path_type=Path),
    help="The target directory; by default a new one here, named after the entry.",
)
@click.option("--force", is_flag=True, help="Replace existing files.")
@click.pass_obj
def get(
    asked: CommandContext, *, name: str, path: str | None, into: Path | None, force: bool
) -> Answer:
    """Copy an entry's files (or one path in it) to disk.

    NAME is as for ls, and must match one entry; PATH is a file or folder in it. Of a memoized
    function, this is its value: an array of numbers as value.npy, the items of a generator as
    items.pickle, one pickle after the other, all else as value.pickle. Artifacts of a memoized step
    are Metaflow's: `show` lists them and the Client API reads them. Nothing is unpickled here,
    since pickles run code. Existing files are replaced only with --force.
    """
    found = one(asked.store, name)
    manifest = asked.store.manifest(found.ref)
    target = into if into is not None else Path("-".join(filter(None, _words(found))))
    if memo.is_result(found.ref.key) and path is None:
        entry = memo.read(asked.store, found.ref)
        if not entry.value:
            raise UsageError(_no_files(found, entry))
        return _write_value(asked.store, found, entry, target, force=force)
    paths = _chosen(found, manifest, path)
    _refuse_existing(target, paths, force=force)
    wanted = set(paths)
    asked.store.load(found.ref, target, only=None if path is None else lambda each: each in wanted)
    asked.store.note_uses()
    sizes = {file.path: file.size_bytes for file in manifest.files}
    return _answer(found, target, paths, sum(sizes[each] for each in paths))


def _write_value(
    store: Store, found: Listed, entry: MemoEntry, target: Path, *, force: bool
) -> Answer:
    value = value_file(store, entry)
    _refuse_existing(target, [value.name], force=force)
    path = target / value.name
    with translated("write", path):
        target.mkdir(parents=True, exist_ok=True)
        with owned.Directory(".memoflow-", target) as folder:  # A file is whole or not there.
            with open(Path(folder, value.name), "wb") as file:
                value.write(file)
            os.replace(Path(folder, value.name), path)
    store.touch(found.ref)
    store.note_uses()
    return _answer(found, target, [value.name], path.stat().st_size)


def _refuse_existing(target: Path, paths: list[str], *, force: bool) -> None:
    there = [each for each in paths if os.path.lexists(target / each)]
    if there and not force:
        raise UsageError(
            f"{target / there[0]} exists already; choose another directory with --into, or "
            "replace it with --force"
        )


def _answer(found: Listed, target: Path, paths: list[str], size_bytes: int) -> Answer:
    data = {"key": found.key, "into": str(target), "files": paths, "size_bytes": size_bytes}
    done = f"{count(len(paths), 'file')}, {readable(size_bytes)}, in {target}"
    return Answer(lambda: data, lambda: summarize(printable(done)))


def _chosen(found: Listed, manifest: Manifest, path: str | None) -> list[str]:
    paths = [file.path for file in manifest.files]
    if path is None:
        return paths
    path = path.strip("/")
    chosen = [each for each in paths if each == path or each.startswith(f"{path}/")]
    if not chosen:
        raise NotFoundError(
            f"{found.key} has no file {path!r}; list its files with `memoflow show {found.id}`"
        )
    return chosen


def _words(found: Listed) -> tuple[str, ...]:
    name = (found.flow, found.step) if found.flow else (found.ref.key.parts[-3].rpartition("/")[2],)
    # A flow's name cannot leave the directory, a hostile store's can.
    return (*("".join(c if c.isalnum() or c in "-_" else "_" for c in w) for w in name), found.id)


def _no_files(found: Listed, entry: MemoEntry) -> str:
    names = ", ".join(sorted(entry.artifacts)) or "none"
    return (
        f"{found.key} is the result of a step: its artifacts ({names}) are pickles, which run code "
        f"when they are loaded; read them with Task({entry.origin!r})[NAME].data, from metaflow "
        "import Task"
    )
