"""The `memoflow` command: its verbs, and their exit codes."""

from __future__ import annotations

import os
import sys
from io import TextIOWrapper
from typing import Any

import click

from memoflow import __version__, events
from memoflow.catalog.naming import AmbiguousNameError
from memoflow.cli.accept import accept
from memoflow.cli.doctor import doctor
from memoflow.cli.export import export
from memoflow.cli.forget import forget
from memoflow.cli.gc import gc
from memoflow.cli.get import get
from memoflow.cli.ls import ls
from memoflow.cli.reindex import reindex
from memoflow.cli.report import report
from memoflow.cli.show import show
from memoflow.cli.stats import stats
from memoflow.cli.verb import DAMAGE, ERROR, USAGE, CommandContext, volume_options
from memoflow.cli.verify import verify
from memoflow.cli.why import why
from memoflow.display import printable
from memoflow.errors import IntegrityError, MemoflowError, UnsignedError

# As a shell reports a process that a signal ended.
INTERRUPTED, PIPE_CLOSED = 130, 141


class Verbs(click.Group):
    """A group that prints errors as one line, and exits with the code of their kind."""

    def invoke(self, ctx: click.Context) -> Any:
        if sys.stdout is None:  # It was closed before we started: `>&-`.
            sys.stdout = open(os.devnull, "w")  # noqa: SIM115 - until the process ends
        # A key may hold what the terminal's encoding has not.
        if isinstance(sys.stdout, TextIOWrapper):
            sys.stdout.reconfigure(errors="backslashreplace")
        try:
            result = super().invoke(ctx)
            sys.stdout.flush()
            return result
        except KeyboardInterrupt:
            ctx.exit(INTERRUPTED)
        except BrokenPipeError:
            # Discard output that is still buffered: Python writes it at exit, and would fail.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            ctx.exit(PIPE_CLOSED)
        except (MemoflowError, OSError) as error:
            lines = [printable(line) for line in str(error).splitlines()] or [type(error).__name__]
            click.echo("\n".join([f"Error: {lines[0]}", *lines[1:]]), err=True)
            events.emit("error", line=lines[0])
            is_damage = isinstance(error, IntegrityError) and not isinstance(error, UnsignedError)
            is_ambiguous = isinstance(error, AmbiguousNameError)
            ctx.exit(DAMAGE if is_damage else USAGE if is_ambiguous else ERROR)


@click.group(cls=Verbs, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="memoflow")
@click.option(
    "--root",
    help="The store: a directory or s3://bucket/folder; default: that of Metaflow's datastore.",
)
@click.pass_context
def main(ctx: click.Context, root: str | None) -> None:
    """Inspect and clean the store of results, checkpoints, models and snapshots.

    Exit codes: 0 done, 1 error, 2 usage error, 3 damage found, 4 some files unreadable.
    """
    asked = ctx.obj if isinstance(ctx.obj, CommandContext) else CommandContext()
    ctx.obj = asked if root is None else CommandContext(root, asked.flow)


@click.command()
@click.argument("shell", type=click.Choice(("bash", "zsh", "fish")))
@click.pass_context
def completion(ctx: click.Context, *, shell: str) -> None:
    """Print the script that completes `memoflow` in a shell.

    For bash, put `eval "$(memoflow completion bash)"` into ~/.bashrc; for zsh, the same with zsh
    into ~/.zshrc; for fish, run
    `memoflow completion fish > ~/.config/fish/completions/memoflow.fish`.
    """
    # Here, since no other verb needs it.
    from click.shell_completion import get_completion_class

    kind = get_completion_class(shell)
    assert kind is not None
    click.echo(kind(ctx.find_root().command, {}, "memoflow", "_MEMOFLOW_COMPLETE").source())


for verb in (
    *(ls, show, why, get, forget, gc, verify, stats, report, export, reindex, accept, doctor),
    completion,
):
    main.add_command(verb)
main.params += volume_options()
completion.params += volume_options()


if __name__ == "__main__":
    main()


def run_for_flow(words: tuple[str, ...], name: str, flow: Any) -> None:
    """Run the command on the store of a flow, or of the configuration without one."""
    main(list(words), prog_name=name, obj=CommandContext(flow=flow))
