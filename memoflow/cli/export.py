"""export: results, their inputs and reads as tables of an SQLite file."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import click

from memoflow.catalog.listed import listed
from memoflow.catalog.naming import named
from memoflow.cli.completion import complete
from memoflow.cli.table import count
from memoflow.cli.verb import Answer, CommandContext, Verb, summarize
from memoflow.display import printable
from memoflow.index.export import ExportedResult
from memoflow.index.export import export as write
from memoflow.kinds import memo
from memoflow.kinds.memo import MemoEntry
from memoflow.kinds.memo_list import input_name, read_results
from memoflow.units import iso


@click.command(
    cls=Verb,
    fields={
        "file": "path of the SQLite file",
        "results": "number of results in it",
        "left_out": "number of damaged results that are not in it",
    },
    examples=(
        "memoflow export results.db",
        "memoflow export results.db train/embed Sweep/fit --replace",
    ),
)
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE.db")
@click.argument("names", shell_complete=complete, nargs=-1, metavar="[NAME]...")
@click.option("--replace", is_flag=True, help="Replace an existing file.")
@click.pass_obj
def export(asked: CommandContext, *, file: Path, names: tuple[str, ...], replace: bool) -> Answer:
    """Write results of steps and functions to an SQLite file, for SQL and datasette.

    NAME is as for ls; without one, all results are written. The table `results` has a row for each,
    with kind (step or function), name, and the flow or module; `inputs` has the values that it was
    computed from, `reads` the files and variables that it read. Their column `result` is the id of
    a row in `results`. Values of functions and artifacts are not in it; get them with `get` and
    Metaflow's Client.
    """
    among = [each for each in listed(asked.store) if memo.is_result(each.ref.key)]
    chosen = {each.key: each for each in among} if not names else {}
    for name in names:
        found = named(asked.store, among, name)
        chosen.update((each.key, each) for each in found)
    entries = read_results(asked.store, (each.ref for each in chosen.values()))
    number = write(file, _rows(entries), replace=replace)
    left_out = len(chosen) - number

    def show() -> None:
        rest = f"; {count(left_out, 'damaged one')} left out" * bool(left_out)
        summarize(printable(f"wrote {count(number, 'result')} to {file}{rest}"))

    return Answer(lambda: {"file": str(file), "results": number, "left_out": left_out}, show)


def _rows(entries: Iterable[MemoEntry]) -> Iterator[ExportedResult]:
    for entry in entries:
        _, home, name, code, *_ = entry.ref.key.parts
        is_function = bool(entry.value)
        yield ExportedResult(
            key=str(entry.ref.key),
            kind="function" if is_function else "step",
            name=name,
            module=home if is_function else None,
            flow=None if is_function else home,
            code=code,
            origin=entry.origin,
            run_time_s=entry.run_time_s,
            size_bytes=entry.ref.size_bytes,
            created=iso(entry.ref.created),
            expires=None if entry.ref.expires is None else iso(entry.ref.expires),
            inputs=tuple((input_name(part), part.digest, part.summary) for part in entry.inputs),
            reads=tuple((part.kind, part.name, part.digest) for part in entry.reads),
        )
