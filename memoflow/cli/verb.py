"""Verb: a command with the store that it is about and its answer, for people or as JSON."""

from __future__ import annotations

import json
import logging
import os
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import cached_property
from typing import Any

import click

from memoflow.backends import Backend
from memoflow.catalog.decisions import decisions as decisions
from memoflow.cli import bar
from memoflow.dataclass import dataclass
from memoflow.errors import NotFoundError, UsageError
from memoflow.log import log, logged_to_stderr
from memoflow.storages import folder_of
from memoflow.storages.opening import find_backend, open_store
from memoflow.store import Store

ERROR, USAGE, DAMAGE, UNREAD = 1, 2, 3, 4
_AS_JSON, _QUIET, _VERBOSE = "memoflow.json", "memoflow.quiet", "memoflow.verbose"


@dataclass
class CommandContext:
    """The store of a command; `flow` is Metaflow's context of `python flow.py memo`, or None."""

    root: str | None = None
    flow: Any = None

    @cached_property
    def store(self) -> Store:
        """The store; NotFoundError, with the remedy, if there is none."""
        began = time.perf_counter()
        try:
            store = open_store(self._root)
        except NotFoundError as error:
            raise _with_hint(error) from None
        log.info("opened %s in %.3f s", store.backend, time.perf_counter() - began)
        return store

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
        self.params += volume_options()

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Examples"):
            for example in self.examples:  # As they are: none is to be wrapped.
                formatter.write(f"{'':{formatter.current_indent}}{example}\n")

    def invoke(self, ctx: click.Context) -> None:
        with _log_of(ctx):
            began = time.perf_counter()
            with bar.shown(is_wanted=not (is_json(ctx) or is_quiet(ctx))):
                answer: Answer = super().invoke(ctx)
            found = time.perf_counter()
            if is_json(ctx):
                click.echo(json.dumps(answer.data(), allow_nan=False))
            else:
                answer.show()
            log.info("%s took %.3f s", ctx.info_name, found - began)
            log.info("its output took %.3f s", time.perf_counter() - found)
            _log_traffic(ctx.obj)
        if answer.code:
            ctx.exit(answer.code)


def volume_options() -> list[click.Parameter]:
    """Return `-q` and `-v`, for the group and for each verb."""

    def quiet(ctx: click.Context, param: click.Parameter, value: bool) -> None:
        ctx.meta[_QUIET] = is_quiet(ctx) or value

    def verbose(ctx: click.Context, param: click.Parameter, value: int) -> None:
        ctx.meta[_VERBOSE] = ctx.meta.get(_VERBOSE, 0) + value

    return [
        click.Option(
            ["-q", "--quiet"],
            is_flag=True,
            expose_value=False,
            callback=quiet,
            help="Print errors and the requested output alone: no summary, warning or progress.",
        ),
        click.Option(
            ["-v", "--verbose"],
            count=True,
            expose_value=False,
            callback=verbose,
            help="Print times and the number of requests on the error stream; -vv: each request.",
        ),
    ]


def _log_of(ctx: click.Context) -> AbstractContextManager[None]:
    """Return the log of a command while it runs: on the error stream with `-v`."""
    verbose = ctx.meta.get(_VERBOSE, 0)
    if is_quiet(ctx) and verbose:
        raise click.UsageError("-q and -v exclude each other: give one of them")
    if is_quiet(ctx):
        return logged_to_stderr(logging.ERROR)
    if verbose:
        return logged_to_stderr(logging.INFO if verbose == 1 else logging.DEBUG)
    return nullcontext()


def _log_traffic(asked: CommandContext) -> None:
    store = vars(asked).get("store")
    if store is not None and store.backend.takes_round_trips:
        requests, took_s = store.backend.traffic()
        log.info("%d requests to the server, %.3f s in all", requests, took_s)


def is_json(ctx: click.Context) -> bool:
    """Return whether a command was called with `--json`."""
    return bool(ctx.meta[_AS_JSON])


def is_quiet(ctx: click.Context) -> bool:
    """Return whether a command was called with `-q`."""
    return bool(ctx.meta.get(_QUIET))


def summarize(text: str, *, err: bool = False) -> None:
    """Print a line about an answer, which `-q` leaves out."""
    if not is_quiet(click.get_current_context()):
        click.echo(text, err=err)


def parsed_by(parse: Callable[[str, Any], Any]) -> Callable[..., Any]:
    """Return the callback that converts an option's text with a parser of `units`."""

    def callback(
        ctx: click.Context, param: click.Parameter, value: str | tuple[str, ...] | None
    ) -> Any:
        try:
            if isinstance(value, tuple):
                return tuple(parse(param.opts[0], each) for each in value)
            return None if value is None else parse(param.opts[0], value)
        except UsageError as error:
            raise click.BadParameter(str(error), ctx, param) from None

    return callback
