"""`why`: the decisions on tasks, past or to come, with all differences."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click

from memoflow.catalog.answers import answers
from memoflow.cli.completion import complete
from memoflow.cli.table import show_table
from memoflow.cli.verb import Answer, CommandContext, Verb, decisions
from memoflow.display import printable

if TYPE_CHECKING:
    from memoflow.flow.memo.run_decisions import RunDecisions, StepDecisions
    from memoflow.flow.memo.why import Why


@click.command(
    cls=Verb,
    fields={
        "answers": "a list of objects: `subject` (the task, or Flow/step before a run), `outcome` "
        "(hit, miss, unknown, none), `line`, `reason` (one word of a closed set, such as "
        "first_run, new_input, input_changed, code_changed, evicted), `detail`, `note`, "
        "`unrecorded`, `key`, `origin` and `recorded` (Unix seconds) of the result that was found "
        "or compared with, `differences` (objects of kind, name, part, change, where, old, new, "
        "diff and line), and before a run `like`, `tasks`, `hits` and `memoized_by` (the run whose "
        "`--with memoize` was assumed, or null). Of a run: `subject`, `outcome`, `line`, `note`, "
        "`tasks`, `hits`, `misses`, `clones`, `run_time_s` of the misses, and `steps` (objects of "
        "step, tasks, hits, misses, clones, of the first miss task, reason and line, and "
        "`reasons`: objects of reason, misses, run_time_s, untimed, task and line)",
    },
    examples=(
        "memoflow why Sweep/18/fit/31",
        "memoflow why Sweep/18",
        "python flow.py memo why",
        "python flow.py memo why fit",
    ),
)
@click.argument("names", shell_complete=complete, nargs=-1, metavar="[NAME]...")
@click.pass_obj
def why(asked: CommandContext, *, names: tuple[str, ...]) -> Answer:
    """Explain a hit or miss, with the differences from the nearest earlier result.

    NAME is a task: Sweep/18/fit/31, or Sweep/18/fit for a step with one task. Of a run, Sweep/18,
    or one of its steps, a table has the hits, the clones that `resume` made, and the misses by
    reason: their number, their run time, and the first of them. Sweep and Sweep/fit stand for the
    latest run, and names of results, as for ls, for the tasks that left them. With `python flow.py
    memo why`, NAME may be a step (default: all memoized steps): this predicts the hits and misses
    of a run, without running anything, from the parameters and results of the latest run. A step
    after a miss is unknown, since its inputs may change. Where no step has @memoize, the steps are
    looked up that the latest run memoized by `--with memoize`. For a memoized function call its
    `why` in Python.
    """
    is_of_flow = asked.flow is not None
    steps = [name for name in names if is_of_flow and "/" not in name]
    if not (is_of_flow or names):
        raise click.UsageError(
            "name a run as Flow/run or a task as Flow/run/step/task; predict a run with "
            "`python flow.py memo why`"
        )
    of_tasks, of_runs, _ = decisions()
    found: list[RunDecisions | Why] = [
        each for name in names if name not in steps for each in answers(lambda: asked.store, name)
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
        by = {each.memoized_by for each in found if isinstance(each, of_tasks.Why)} - {None}
        for run in sorted(map(str, by)):
            click.echo(printable(f"note: looked up as with --with memoize, by which {run} was run"))
        if not found:
            click.echo(printable(of_tasks.not_memoized(asked.flow.graph)))

    def data() -> dict[str, Any]:
        return {"answers": [each.to_json() for each in found]}

    return Answer(data, show)


def _show_run(run: RunDecisions) -> None:
    click.echo(printable(f"{run.subject}: {run.line}"))
    if run.note:
        click.echo(printable(f"note: {run.note}"))
    if run.steps:
        show_table(
            ("step", "hits", "clones", "misses", "ran", "example", "reason"),
            [row for each in run.steps for row in _rows(each)],
            right="hits clones misses ran",
        )
    if run.cost:
        click.echo(printable(run.cost))


def _rows(of: StepDecisions) -> Iterator[tuple[str, ...]]:
    """Yield a row for each reason for misses of a step, the first with its hits and clones."""
    numbers = str(of.hits), str(of.clones)
    if not of.groups:
        yield of.step, *numbers, "0", "", "", of.line
    for group in of.groups:
        yield of.step, *numbers, str(group.misses), group.cost, group.task, group.line
        numbers = "", ""
