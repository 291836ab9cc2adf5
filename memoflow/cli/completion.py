"""completion: what makes a shell complete verbs, options and keys."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

_VARIABLE = "_MEMOFLOW_COMPLETE"


@click.command()
@click.argument("shell", type=click.Choice(("bash", "zsh", "fish")))
@click.pass_context
def completion(ctx: click.Context, *, shell: str) -> None:
    """Print what makes a shell complete `memoflow`.

    For bash `eval "$(memoflow completion bash)"` in ~/.bashrc; for zsh the same with zsh in
    ~/.zshrc; for fish `memoflow completion fish > ~/.config/fish/completions/memoflow.fish`.
    """
    kind = get_completion_class(shell)
    assert kind is not None
    click.echo(kind(ctx.find_root().command, {}, "memoflow", _VARIABLE).source())
