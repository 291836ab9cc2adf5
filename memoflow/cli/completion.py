"""completion: the script for completing verbs, options and keys in a shell."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

_VARIABLE = "_MEMOFLOW_COMPLETE"


@click.command()
@click.argument("shell", type=click.Choice(("bash", "zsh", "fish")))
@click.pass_context
def completion(ctx: click.Context, *, shell: str) -> None:
    """Print the script that completes `memoflow` in a shell.

    For bash, put `eval "$(memoflow completion bash)"` into ~/.bashrc; for zsh, the same with zsh
    into ~/.zshrc; for fish, run
    `memoflow completion fish > ~/.config/fish/completions/memoflow.fish`.
    """
    kind = get_completion_class(shell)
    assert kind is not None
    click.echo(kind(ctx.find_root().command, {}, "memoflow", _VARIABLE).source())
