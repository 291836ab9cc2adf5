"""Answer: the findings of a verb, for people or as JSON, and the class of such verbs."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import click

from memoflow.dataclass import dataclass

ERROR, USAGE, DAMAGE, UNREAD = 1, 2, 3, 4


@dataclass(frozen=True)
class Answer:
    """The findings as JSON (`data`), for people (`show`), and the exit code of the process.

    The fields of `data` are a stable interface: each is declared by its verb.
    """

    data: Callable[[], Mapping[str, Any]]
    show: Callable[[], None]
    code: int = 0


class Verb(click.Command):
    """A command that returns an Answer, with the `fields` of its JSON and `examples` of calls."""

    def __init__(
        self, *args: Any, fields: Mapping[str, str], examples: Sequence[str], **kwargs: Any
    ) -> None:
        super().__init__(*args, **kwargs)
        self.fields = fields
        self.examples = examples
        self.params.append(
            click.Option(
                ["--json", "as_json"],
                is_flag=True,
                expose_value=False,
                callback=_note,
                help="Print one JSON object.",
            )
        )

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Examples"):
            for example in self.examples:  # As they are: none is to be wrapped.
                formatter.write(f"{'':{formatter.current_indent}}{example}\n")

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
