"""Answer: what a verb has found, for people or as JSON, and the verbs that give one."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

import click

from memoflow.dataclass import dataclass

ERROR, USAGE, DAMAGE, UNREAD = 1, 2, 3, 4


@dataclass(frozen=True)
class Answer:
    """`data` is for `--json`, `show` prints the same for people, `code` is the process's.

    The fields of `data` are a promise: each is declared by its verb.
    """

    data: Callable[[], Mapping[str, Any]]
    show: Callable[[], None]
    code: int = 0


class Verb(click.Command):
    """A command whose callback returns an Answer; `fields` says what its JSON holds."""

    def __init__(self, *args: Any, fields: Mapping[str, str], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields = fields
        self.params.append(
            click.Option(
                ["--json", "as_json"],
                is_flag=True,
                expose_value=False,
                callback=_note,
                help="Print one JSON object.",
            )
        )

    def invoke(self, ctx: click.Context) -> None:
        answer: Answer = super().invoke(ctx)
        if ctx.meta["memoflow.json"]:
            click.echo(json.dumps(answer.data(), allow_nan=False))
        else:
            answer.show()
        if answer.code:
            ctx.exit(answer.code)


def _note(ctx: click.Context, param: click.Parameter, value: bool) -> None:
    ctx.meta["memoflow.json"] = value
