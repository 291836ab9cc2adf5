"""Verb: a command with the store that it is about and its answer, for people or as JSON."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import Any

import click

from memoflow.backends import Backend
from memoflow.catalog.decisions import decisions as decisions
from memoflow.dataclass import dataclass
from memoflow.errors import NotFoundError, UsageError
from memoflow.storages import folder_of
from memoflow.storages.opening import find_backend, open_store
from memoflow.store import Store

ERROR, USAGE, DAMAGE, UNREAD = 1, 2, 3, 4
_AS_JSON = "memoflow.json"


@dataclass
class CommandContext:
    """The store of a command; `flow` is Metaflow's context of `python flow.py memo`, or None."""

    root: str | None = None
    flow: Any = None

    @cached_property
    def store(self) -> Store:
        """The store; NotFoundError, with the remedy, if there is none."""
        try:
            return open_store(self._root)
        except NotFoundError as error:
            raise _with_hint(error) from None

    @property
    def backend(self) -> Backend:
        """The backend of the store, which need not exist."""
        try:
            return find_backend(self._root)[1]
        except NotFoundError as error:
            raise _with_hint(error) from None

    @property
    def _root(self) -> str | None:
        if self.root is not None or self.flow is None:
            return self.root
        kind, root = self.flow.flow_datastore.TYPE, self.flow.flow_datastore.datastore_root
        if kind == "local":
            root = os.path.abspath(os.path.expanduser(root))
        folder = folder_of(kind, root)
        # Roots of Azure have no scheme, and would be taken for directories.
        return folder if "://" in folder or folder.startswith("/") else f"{kind}://{folder}"


def _with_hint(error: NotFoundError) -> NotFoundError:
    return NotFoundError(
        f"{error}; or name another store with --root: a directory or s3://bucket/folder"
    )


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
                callback=lambda ctx, _, value: ctx.meta.update({_AS_JSON: value}),
                help="Print one JSON object.",
            )
        )

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Examples"):
            for example in self.examples:  # As they are: none is to be wrapped.
                formatter.write(f"{'':{formatter.current_indent}}{example}\n")

    def invoke(self, ctx: click.Context) -> None:
        answer: Answer = super().invoke(ctx)
        if is_json(ctx):
            click.echo(json.dumps(answer.data(), allow_nan=False))
        else:
            answer.show()
        if answer.code:
            ctx.exit(answer.code)


def is_json(ctx: click.Context) -> bool:
    """Return whether a command was called with `--json`."""
    return bool(ctx.meta[_AS_JSON])


def parsed_by(parse: Callable[[str, Any], Any]) -> Callable[..., Any]:
    """Return the callback that converts an option's text with a parser of `units`."""

    def callback(ctx: click.Context, param: click.Parameter, value: str | None) -> Any:
        try:
            return None if value is None else parse(param.opts[0], value)
        except UsageError as error:
            raise click.BadParameter(str(error), ctx, param) from None

    return callback
