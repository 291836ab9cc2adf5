"""`why`: the decisions on tasks, past or to come, with all differences."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from memoflow.cli.table import show_table
from memoflow.cli.verb import Answer, CommandContext, Verb, decisions
from memoflow.display import printable
from memoflow.errors import MemoflowError, UsageError
from memoflow.kinds import memo

if TYPE_CHECKING:
    from memoflow.flow.memo.run_decisions import RunDecisions
    from memoflow.flow.memo.why import Why


@click.command(
    cls=Verb,
    fields={
        "answers": "a list of objects: `subject` (the task, or Flow/step before a run), `outcome` "
        "(hit, miss, unknown, none), `line`, `reason` (one word of a closed set, such as "
        "first_run, new_input, input_changed, code_changed, evicted), `detail`, `note`, "
        "`unrecorded`, `key`, `origin` and `recorded` (Unix seconds) of the result that was found "
        "or compared with, `differences` (objects of kind, name, part, change, where, old, new, "
        "diff and line), and before a run `like`, `tasks` and `hits`. Of a run: `subject`, "
        "`outcome`, `line`, `note`, `tasks`, `hits`, `misses`, `clones`, and `steps` (objects of "
        "step, tasks, hits, misses, clones, and of the first miss task, reason and line)",
    },
    examples=(
        "memoflow why Sweep/18/fit/31",
        "memoflow why Sweep/18",
        "python flow.py memo why",
        "python flow.py memo why fit",
    ),
)
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.pass_obj
def why(asked: CommandContext, *, names: tuple[str, ...]) -> Answer:
    """Explain a hit or miss, with the differences from the nearest earlier result.

    NAME is a task: Sweep/18/fit/31, or Sweep/18/fit for a step with one task. Of a run, Sweep/18,
    a table has the hits and misses of each step, the clones that `resume` made, and the reason for
    the first miss. With `python flow.py memo why`, NAME may be a step (default: all memoized
    steps): this predicts the hits and misses of a run, without running anything, from the
    parameters and results of the latest run. A step after a miss is unknown, since its inputs may
    change. For a memoized function call its `why` in Python.
    """
    steps = [name for name in names if "/" not in name]
    if asked.flow is None and (steps or not names):
        raise click.UsageError(
            "name a run as Flow/run or a task as Flow/run/step/task; predict a run with "
            "`python flow.py memo why`"
        )
    of_tasks, of_runs, _ = decisions()
    for name in names:
        _refuse_function(asked, name)
    found: list[RunDecisions | Why] = [
        of_runs.of_run(name)
        if name.count("/") == 1 and all(name.split("/"))
        else of_tasks.of_task(asked.store, name)
        for name in names
        if "/" in name
    ]
    if steps or not names:
        flow = asked.flow
        found += of_tasks.before_run(flow.flow, flow.graph, flow.flow_datastore, steps)

    def show() -> None:
        for each in found:
            if isinstance(each, of_runs.RunDecisions):
                _show_run(each)
            else:
                click.echo("\n".join(map(printable, of_tasks.lines(each))))
        if not found:
            click.echo("no step has @memoize")

    def data() -> dict[str, Any]:
        return {"answers": [each.to_json() for each in found]}

    return Answer(data, show)


def _refuse_function(asked: CommandContext, name: str) -> None:
    """Raise UsageError for the name of a memoized function: its calls are in no run."""
    module, _, function = name.partition("/")
    if not module or not function.partition(".")[0].isidentifier() or "/" in function:
        return  # A run's id, such as 18 or argo-x, for which the store need not be asked.
    try:
        refs = memo.recent(asked.store, memo.step_key(module, function), 1)
        is_function = any(memo.read(asked.store, ref).value for ref in refs)
    except MemoflowError:
        return  # Of runs the store need not know.
    if is_function:
        raise UsageError(
            f"{name} is a function, whose calls are no tasks: ask in Python with "
            f"{function}.why(...), given the arguments of the call"
        )


def _show_run(run: RunDecisions) -> None:
    click.echo(printable(f"{run.subject}: {run.line}"))
    if run.note:
        click.echo(printable(f"note: {run.note}"))
    if run.steps:
        show_table(
            ("step", "hits", "misses", "clones", "first miss", "reason"),
            [
                (
                    each.step,
                    *map(str, (each.hits, each.misses, each.clones)),
                    each.task or "",
                    each.line,
                )
                for each in run.steps
            ],
            right="hits misses clones",
        )
