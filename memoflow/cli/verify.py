"""verify: whether all is as it was saved."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

import click

from memoflow.cli.answer import DAMAGE, UNREAD, Answer, Verb
from memoflow.cli.context import CommandContext
from memoflow.cli.table import show_table
from memoflow.errors import IntegrityError, NotFoundError
from memoflow.store.check.verification import Problem
from memoflow.store.open import open_hurt


@click.command(
    cls=Verb,
    fields={
        "problems": "a list of objects: the `name` of what is hurt, `what` is wrong with it, the "
        "`key` that it spoils, null if none, what a repair has `done` about it, and whether it is "
        "`harmless`: then nothing that was saved is spoilt; or `unread`: then it may be whole",
        "read_data": "whether all bytes were read",
        "repaired": "whether it was asked to repair",
    },
)
@click.option("--read-data", is_flag=True, help="Read all bytes; else only look what is there.")
@click.option(
    "--repair",
    is_flag=True,
    help="Fetch what another tier has; set the rest aside and forget what needs it.",
)
@click.pass_obj
def verify(asked: CommandContext, *, read_data: bool, repair: bool) -> Answer:
    """Look for what is lost or damaged before it is needed; exit with 3 if anything is.

    With 4 if all that could be read is whole, and some could not: nothing is done about that.

    With 3 also if it was repaired: whoever runs this by the clock wants to know. Without --repair
    nothing is changed. Litter and an index that is out of date are shown, and harmless.
    """
    problems = _problems(asked, read_data=read_data, repair=repair)

    def show() -> None:
        if problems:
            columns = [field.name for field in fields(Problem) if field.name != "unread"]
            rows = (_row(each) for each in problems)
            show_table(columns, ([_text(row[column]) for column in columns] for row in rows))
        how = "every byte was read" if read_data else "--read-data also reads every byte"
        count = "1 problem" if len(problems) == 1 else f"{len(problems) or 'no'} problems"
        harmless = sum(each.harmless for each in problems)
        click.echo(f"{count}" + f", {harmless} harmless" * bool(harmless) + f"; {how}")
        if unread := sum(each.unread for each in problems):
            files = "1 file" if unread == 1 else f"{unread} files"
            click.echo(f"{files} could not be read, and may be whole: see to the disk")

    def data() -> dict[str, Any]:
        return {
            "problems": [_row(each) for each in problems],
            "read_data": read_data,
            "repaired": repair,
        }

    return Answer(data, show, _code(problems))


def _code(problems: list[Problem]) -> int:
    if any(not each.harmless and not each.unread for each in problems):
        return DAMAGE
    return UNREAD if any(each.unread for each in problems) else 0


def _row(problem: Problem) -> Mapping[str, Any]:
    row = {field.name: getattr(problem, field.name) for field in fields(problem)}
    return {
        name: value if isinstance(value, bool | int | None) else str(value)
        for name, value in row.items()
    }


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "" if value is None else str(value)


def _problems(asked: CommandContext, *, read_data: bool, repair: bool) -> list[Problem]:
    try:
        store = asked.store
    except (NotFoundError, IntegrityError):
        # Of a store that cannot say what it is the rest may be whole.
        if not any(True for _ in asked.backend.list("refs")):
            raise
        with open_hurt(asked.backend) as store:
            return store.verify(read_data=read_data, repair=repair)
    return store.verify(read_data=read_data, repair=repair)
