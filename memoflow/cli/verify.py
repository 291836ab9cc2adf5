"""verify: a check of the store for lost and damaged files."""

from __future__ import annotations

from typing import Any

import click

from memoflow.cli.table import count, show_table
from memoflow.cli.verb import DAMAGE, UNREAD, Answer, CommandContext, Verb, is_quiet
from memoflow.errors import IntegrityError, NotFoundError
from memoflow.store.check.verification import Problem
from memoflow.store.open import open_hurt

_YES_OR_NO = {True: "yes", False: "no"}


@click.command(
    cls=Verb,
    fields={
        "problems": "a list of objects: the `name` of the file, `what` is wrong with it, the `key` "
        "of the entry that is lost, null for none, the repair that was `done`, and the flags "
        "`harmless` (no entry is lost) and `unread` (the file may be intact)",
        "read_data": "true if all bytes were read",
        "repaired": "true with `--repair`",
    },
    examples=("memoflow verify", "memoflow verify --read-data --repair"),
)
@click.option(
    "--read-data", is_flag=True, help="Read all bytes; by default only check that files exist."
)
@click.option(
    "--repair",
    is_flag=True,
    help="Restore files from the cache; quarantine the rest and forget its entries.",
)
@click.pass_obj
def verify(asked: CommandContext, *, read_data: bool, repair: bool) -> Answer:
    """Check the store for lost and damaged files.

    Exits with 3 if it finds damage, repaired or not, and with 4 if some files could not be read
    and all others are intact. Changes nothing without --repair. Orphans and an outdated index are
    listed as harmless.
    """
    problems = _problems(asked, read_data=read_data, repair=repair)

    def show() -> None:
        if is_quiet(click.get_current_context()):
            return  # The exit code says it.
        if problems:
            rows = (
                (each.name, each.what, str(each.key or ""), each.done, _YES_OR_NO[each.harmless])
                for each in problems
            )
            show_table(("name", "what", "key", "done", "harmless"), rows)
        how = "every byte was read" if read_data else "to read every byte, use --read-data"
        found = count(len(problems), "problem") if problems else "no problems"
        harmless = sum(each.harmless for each in problems)
        click.echo(f"{found}" + f", {harmless} harmless" * bool(harmless) + f"; {how}")
        if unread := sum(each.unread for each in problems):
            click.echo(
                f"{count(unread, 'file')} could not be read and may be intact: check permissions "
                "and the disk"
            )

    def data() -> dict[str, Any]:
        return {
            "problems": [{**vars(each), "key": each.key and str(each.key)} for each in problems],
            "read_data": read_data,
            "repaired": repair,
        }

    return Answer(data, show, _code(problems))


def _code(problems: list[Problem]) -> int:
    if any(not each.harmless and not each.unread for each in problems):
        return DAMAGE
    return UNREAD if any(each.unread for each in problems) else 0


def _problems(asked: CommandContext, *, read_data: bool, repair: bool) -> list[Problem]:
    try:
        store = asked.store
    except (NotFoundError, IntegrityError):
        # The rest of a store without a readable format may be intact.
        if not any(True for _ in asked.backend.list("refs")):
            raise
        with open_hurt(asked.backend) as store:
            return store.verify(read_data=read_data, repair=repair)
    return store.verify(read_data=read_data, repair=repair)
