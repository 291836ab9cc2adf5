"""Command line: docs/cli.md, made from the help texts of the verbs.

python docs/cli.py > docs/cli.md
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator

import click

from memoflow.cli.main import main
from memoflow.cli.verb import Verb

_INTRODUCTION = """\
# Command line

Made by `python docs/cli.py`; a test compares it with the verbs' help texts.

`memoflow VERB`, `metaflow memoflow VERB` and `python flow.py memo VERB` are one program. The first
two work on the store of the datastore in Metaflow's configuration, the third on that of the flow's
datastore. `--root`, before the verb, names another store: a directory or `s3://bucket/folder`. In
scripts use `memoflow` itself: `metaflow` prints its version first, to the same stream.

    memoflow --root s3://bucket/metaflow/memoflow ls Sweep/fit

**Names of entries.** An entry is named by its key; by the beginning of its id (four characters or
more, shown by `ls`); by the beginning of its key; by consecutive parts of its key, such as
`Sweep/fit`; or by its task, such as `Sweep/18/fit/31`. They are tried in this order, and the first
kind with a match counts. If a name matches several entries, they are listed and the exit code is 2.

**Output.** On a terminal, tables are aligned and shortened. In pipes and files, columns are
complete, separated by tabs, and without colour. With `--json`, a verb prints one JSON object; its
fields are listed below and keep their meaning. Errors go to the error stream; after an error no
JSON is printed. `-q`, before the verb or after it, leaves out summaries and warnings: `verify -q`
prints nothing, and its exit code says what was found. `-v` prints times and the number of requests
on the error stream, `-vv` each request. `-h` is `--help`.

| exit code | means |
|---|---|
| 0 | done |
| 1 | error: no store, no such entry, a failed backend, a protected entry |
| 2 | usage error: an unknown verb or option, an ambiguous name, a missing unit, a missing `--yes` |
| 3 | damage found, by `verify` or by reading a damaged file |
| 4 | some files could not be read, by `verify`; all others are intact |
| 130, 141 | interrupted; the reader of the output has gone (`\\| head`) |

**Removal is safe.** Verbs that remove entries have `--dry-run`, show a table by kind, and ask;
without a terminal they remove nothing unless `--yes` is given. By age and size, `gc` evicts
results and snapshots, which can be computed or downloaded again; other kinds only if `--kind` names
them. It keeps the newest checkpoints of each task and the entries that results refer to. `forget`
refuses to remove these without `--force`, and then removes none of the named entries. `get`
replaces files only with `--force`.

**Completion.** `eval "$(memoflow completion bash)"` completes verbs, options and keys; see
[completion](#memoflow-completion).

**In a notebook** `memoflow.open_store()` opens the same store, or the one whose directory or
address it is given:

    import memoflow
    from pathlib import Path

    store = memoflow.open_store()
    for key in store.keys(memoflow.Key.of("checkpoint", "Train")):
        print(store.find(key))
    store.load(store.find(key), Path("restored"))

**Speed.** A verb lists the store once and takes the rest from this machine's index. Only entries
that other machines have saved since are read, in bulk where each read takes a round trip.
"""


def page() -> str:
    """Return the page."""
    lines = (line for name, command in main.commands.items() for line in _lines(name, command))
    return "\n".join([_INTRODUCTION, *lines])


def _lines(name: str, command: click.Command) -> Iterator[str]:
    yield f"## memoflow {name}\n"
    arguments = [_argument(each) for each in command.params if isinstance(each, click.Argument)]
    yield f"    memoflow {' '.join([name, *arguments, '[OPTIONS]'])}\n"
    yield f"{inspect.cleandoc(command.help or '')}\n"
    if isinstance(command, Verb):
        yield from (f"    {each}" for each in (*command.examples, ""))
    yield "| option | what it does |\n|---|---|"
    for each in command.params:
        if isinstance(each, click.Option):
            yield f"| `{_option(each)}` | {_cell(each.help or '')} |"
    yield ""
    if isinstance(command, Verb):
        yield "| field of the JSON | what it is |\n|---|---|"
        for field, what in command.fields.items():
            names = ", ".join(f"`{one}`" for one in field.split(", "))
            yield f"| {names} | {_cell(what)} |"
        yield ""


def _argument(argument: click.Argument) -> str:
    if argument.metavar:
        return argument.metavar
    name = (argument.name or "").upper()
    return name if argument.required else f"[{name}]"


def _option(option: click.Option) -> str:
    names = ", ".join(option.opts)
    if option.is_flag:
        return names
    if isinstance(option.type, click.Choice):
        return f"{names} [{'|'.join(map(str, option.type.choices))}]".replace("|", "\\|")
    return f"{names} {option.metavar or re.sub('[^A-Z]', ' ', option.type.name.upper()).split()[0]}"


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


if __name__ == "__main__":
    print(page(), end="")
