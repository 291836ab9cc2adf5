"""Reference: docs/cli.md, made of what the verbs say of themselves.

python -m memoflow.cli.reference > docs/cli.md
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator

import click

from memoflow.cli.answer import Verb
from memoflow.cli.main import main

_INTRODUCTION = """\
# Command line

Made by `python -m memoflow.cli.reference`; a test compares it with what the verbs say.

`memoflow VERB`, `metaflow memoflow VERB` and `python flow.py memo VERB` are one program. The first
two look after the store of the datastore that Metaflow is configured to use, the third after that
of the flow's; `--root`, before the verb, names another: a directory or `s3://bucket/folder`. In
scripts use `memoflow` itself: `metaflow` prints its version first, to the same stream.

    memoflow --root s3://bucket/metaflow/memoflow ls Sweep/fit

**Names.** Where a verb wants an entry, give its key; the beginning of its id (four characters or
more), which `ls` shows; the beginning of its key; or parts of its key that follow each other, such
as `Sweep/fit`. The first of these that fits is meant. A name that stands for several entries is
not guessed at: they are listed, and the exit code is 2.

**Output.** On a terminal tables are aligned and shortened; elsewhere columns are separated by tabs,
whole, and without colour. With `--json` a verb prints one JSON object, whose fields are listed
below and do not change their meaning. Errors go to the error stream, and then nothing is printed
as JSON.

| exit code | means |
|---|---|
| 0 | done |
| 1 | an error: no store, nothing of that name, a backend that failed, something protected |
| 2 | not understood: an unknown verb or option, an ambiguous name, no unit, or no `--yes` |
| 3 | damage found, by `verify` or by reading what is damaged |
| 4 | not all could be read, by `verify`; what could be is whole |
| 130, 141 | interrupted; nobody reads the output any more (`\\| head`) |

**Nothing is lost by accident.** What removes anything has `--dry-run`, shows a table by kind, and
asks; where there is no terminal to ask on, nothing goes without `--yes`. By age and size `gc`
evicts results and snapshots, which can be computed or downloaded again, and others only if `--kind`
names them. It keeps the newest checkpoints of each task and what results refer to; `forget` refuses
to forget these without `--force`, and then forgets none of what was named. `get` replaces no file
without `--force`.

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

**Speed.** A verb lists the store once, and takes the rest from this machine's index; what another
machine has saved since is read, in bulk where reading takes a round trip.
"""


def page() -> str:
    """Return the whole page."""
    sections = [_section(name, command) for name, command in main.commands.items()]
    return "\n".join([_INTRODUCTION, *sections])


def _section(name: str, command: click.Command) -> str:
    return "\n".join(_lines(name, command))


def _lines(name: str, command: click.Command) -> Iterator[str]:
    yield f"## memoflow {name}\n"
    arguments = [_argument(each) for each in command.params if isinstance(each, click.Argument)]
    yield f"    memoflow {' '.join([name, *arguments, '[OPTIONS]'])}\n"
    yield f"{inspect.cleandoc(command.help or '')}\n"
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
