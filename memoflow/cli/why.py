"""why: whether it was a hit, or would be, and what differs if not."""

from __future__ import annotations

from typing import Any

import click

from memoflow.cli.answer import Answer, Verb
from memoflow.cli.context import CommandContext
from memoflow.display import printable


@click.command(
    cls=Verb,
    fields={
        "answers": "a list of objects: `subject` (the task, or Flow/step before a run), `outcome` "
        "(hit, miss, unknown, none), `line`, `reason` (one word of a closed set, such as "
        "first_run, new_input, input_changed, code_changed, evicted), `detail`, `note`, "
        "`unrecorded`, `key`, `origin` and `recorded` (Unix seconds) of the result that was found "
        "or compared with, `differences` (objects of kind, name, part, change, where, old, new, "
        "diff and line), and for what a run would do `like`, `tasks` and `hits`",
    },
)
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.pass_obj
def why(asked: CommandContext, *, names: tuple[str, ...]) -> Answer:
    """Tell why a task was a hit or a miss, and what differs from the nearest earlier result.

    NAME is a task: Sweep/18/fit/31, or Sweep/18/fit where that is one task. As `python flow.py memo
    why`, NAME may be a step, and without one all memoized steps are meant: then it tells what a
    run would do now, and runs nothing. It goes by what the latest run left, parameters included; a
    step after one that would be a miss is unknown, since its inputs may be others.
    """
    # Here, since it imports Metaflow.
    from memoflow.flow.memo import why as asking

    tasks = [name for name in names if "/" in name]
    steps = [name for name in names if "/" not in name]
    if asked.flow is None and (steps or not names):
        raise click.UsageError(
            "name a task as Flow/run/step/task; what a run would do is told by "
            "`python flow.py memo why`"
        )
    found = [asking.of_task(asked.store, task) for task in tasks]
    if steps or not names:
        flow = asked.flow
        found += asking.before_run(flow.flow, flow.graph, flow.flow_datastore, steps)

    def show() -> None:
        for each in found:
            click.echo("\n".join(map(printable, asking.lines(each))))
        if not found:
            click.echo("no step has @memoize")

    def data() -> dict[str, Any]:
        return {"answers": [each.to_json() for each in found]}

    return Answer(data, show)
