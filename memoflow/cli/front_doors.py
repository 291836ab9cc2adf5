"""Front doors: the same verbs as `metaflow memoflow` and as `python flow.py memo`.

Metaflow has a click of its own, of 2019. It passes on what follows the name, unread.
"""

from __future__ import annotations

from typing import Any

from memoflow.flow.host.command_line import click

_OPTIONS = {
    "help": "Inspect and clean the store of results, checkpoints and models.",
    "add_help_option": False,
    "context_settings": {"ignore_unknown_options": True, "allow_interspersed_args": False},
}


@click.group()
def of_metaflow() -> None:
    """Group with the command for `metaflow`."""


@of_metaflow.command("memoflow", **_OPTIONS)
@click.argument("words", nargs=-1)
def memoflow(words: tuple[str, ...]) -> None:
    _pass_on(words, "metaflow memoflow", None)


@click.group()
def of_flow() -> None:
    """Group with the command for `python flow.py`."""


@of_flow.command("memo", **_OPTIONS)
@click.argument("words", nargs=-1)
@click.pass_context
def memo(ctx: Any, words: tuple[str, ...]) -> None:
    _pass_on(words, f"{ctx.find_root().info_name} memo", ctx.obj)


def _pass_on(words: tuple[str, ...], name: str, flow: Any) -> None:
    # Here, since Metaflow imports this module for other commands, too.
    from memoflow.cli.main import run_for_flow

    run_for_flow(words, name, flow)
