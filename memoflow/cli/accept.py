"""accept: earlier results of a step, verified by a share of them and bound to the present code."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

import click

from memoflow.cli.removal import on_terminal
from memoflow.cli.table import count
from memoflow.cli.verb import Answer, CommandContext, Verb, is_json, parsed_by
from memoflow.display import printable
from memoflow.errors import MemoflowError, NotFoundError, UsageError
from memoflow.kinds import acceptance, memo
from memoflow.names import Ref
from memoflow.store import Store
from memoflow.units import share

_MOST_SHOWN = 12  # differences of the code


def _share(option: str, value: str) -> float:
    found = share(option, value)
    if not found:
        raise UsageError(f"{option} is above 0: without a task that runs anew nothing is verified")
    return found


@click.command(
    cls=Verb,
    fields={
        "step": "Flow/step",
        "dry_run": "true if nothing was run or bound",
        "id": "of the acceptance, for --undo",
        "results": "number of earlier results that can be used",
        "verified": "tasks that left the same; with dry_run, to run anew",
        "ran": "tasks that ran anew just now",
        "bound": "results bound; with dry_run, to be bound",
        "removed": "with --undo, number of bound results that were removed",
        "run": "Flow/run of the tasks that ran anew; null if none did",
        "changes": "of the code: a list of objects as `differences` of `why`",
    },
    examples=(
        'python flow.py memo accept fit --verify 5% -m "numpy 2.1 -> 2.2"',
        "memoflow accept Sweep/fit --flow flow.py --verify 5% --yes",
        "memoflow accept Sweep/fit --undo",
    ),
)
@click.argument("name", metavar="STEP")
@click.option(
    "--verify",
    metavar="SHARE",
    callback=parsed_by(_share),
    help="The share of the results whose tasks run anew, such as 5%.",
)
@click.option("--reason", "-m", default="", metavar="TEXT", help="Why: kept with each result.")
@click.option("--code", metavar="HEX", help="The earlier code, by the start of its key.")
@click.option("--flow", "file", metavar="FILE", help="The flow's script, to run its tasks by.")
@click.option("--max-workers", type=click.IntRange(1), default=4, show_default=True,
              help="Tasks that run at a time.")  # fmt: skip
@click.option("--undo", "undo_", is_flag=True, help="Remove the results of the last acceptance.")
@click.option("--id", "id_", metavar="ID", help="With --undo: of this acceptance.")
@click.option("--dry-run", is_flag=True, help="Print the changes and numbers; run nothing.")
@click.option("--yes", is_flag=True, help="Do not ask; needed without a terminal.")
@click.pass_obj
def accept(
    asked: CommandContext,
    *,
    name: str,
    verify: float | None,
    reason: str,
    code: str | None,
    file: str | None,
    max_workers: int,
    undo_: bool,
    id_: str | None,
    dry_run: bool,
    yes: bool,
) -> Answer:
    """Keep the results of a step after a harmless change of its code or of a package.

    STEP is fit with `python flow.py memo`, else Flow/step. A share of the tasks whose results were
    stored under the earlier code runs anew with the present code. If each leaves the same, by
    meaning, the other results are bound to the present code, with who, when and why. At the first
    difference nothing is bound, and the exit code is 1. Asks first, unless --yes is given.
    """
    if id_ is not None and not undo_:
        raise click.UsageError("--id names an acceptance for --undo: give that, too")
    if undo_:
        return _undo(asked, _subject(asked, name), id_, dry_run=dry_run, yes=yes)
    if verify is None:
        raise click.UsageError("say how many results to verify: --verify 5%")
    if asked.flow is None:
        return _pass_on(asked, name, file)
    return _accept(
        asked,
        _subject(asked, name).partition("/")[2],
        share=verify,
        reason=" ".join(reason.split()),
        code=code,
        max_workers=max_workers,
        dry_run=dry_run,
        yes=yes,
    )


def _accept(
    asked: CommandContext,
    step: str,
    *,
    share: float,
    reason: str,
    code: str | None,
    max_workers: int,
    dry_run: bool,
    yes: bool,
) -> Answer:
    # Here, since it imports Metaflow, and other verbs do without.
    from memoflow.flow.memo.accept import Accepting

    accepting = Accepting(asked.flow, step)
    plan = accepting.plan(share, code)
    id_ = acceptance.id_of(plan.old, plan.new)
    changes = plan.changes[:_MOST_SHOWN]

    def show_plan() -> None:
        click.echo(printable(f"{plan.subject}: {count(len(plan.refs), 'result')} of other code"))
        for each in changes:
            click.echo(f"  {printable(str(each))}")
        if len(plan.changes) > len(changes):
            click.echo(f"  and {len(plan.changes) - len(changes)} more (all with --json)")
        if plan.outdated:
            click.echo(f"  {plan.outdated} more are of inputs whose classes changed: left out")

    def data(verified: int, bound: int) -> dict[str, Any]:
        return {
            "step": plan.subject,
            "dry_run": dry_run,
            "id": id_,
            "results": len(plan.refs),
            "verified": verified,
            "ran": plan.ran,
            "bound": bound,
            "removed": 0,
            "run": plan.run or None,
            "changes": [each.to_json() for each in plan.changes],
        }

    todo = len(plan.starts)

    def show_todo() -> None:
        show_plan()
        click.echo(f"would run {count(todo, 'task')} anew, and bind {plan.bindable} results")

    if dry_run:
        return Answer(lambda: data(plan.verified + todo, plan.bindable), show_todo)
    if not yes:
        _ask(
            f"Run {count(todo, 'task')} anew, and bind {count(plan.bindable, 'result')}?",
            show_plan,
        )
    with contextlib.redirect_stdout(sys.stderr):  # The logs of tasks are no part of the answer.
        accepting.verify(plan, max_workers=max_workers)
    bound = accepting.bind(plan, reason)

    def show() -> None:
        if yes:
            show_plan()
        click.echo(
            f"{plan.verified} of {count(len(plan.refs), 'result')} verified, all the same "
            f"({plan.ran} ran anew{f' in {printable(plan.run)}' if plan.run else ''})"
        )
        click.echo(
            f"{bound} bound to the present code; undo it with "
            f"`memoflow accept {printable(plan.subject)} --undo --id {id_}`"
        )

    return Answer(lambda: data(plan.verified, bound), show)


def _ask(question: str, show: Any) -> None:
    if is_json(click.get_current_context()) or not on_terminal():
        raise click.UsageError(
            "nothing was run: there is no terminal for the question; say --yes, or --dry-run"
        )
    show()
    if not click.confirm(question, default=False):
        click.echo("Nothing was run or bound.")
        raise click.exceptions.Exit(1)


def _undo(
    asked: CommandContext, subject: str, id_: str | None, *, dry_run: bool, yes: bool
) -> Answer:
    store = asked.store
    flow, _, step = subject.partition("/")
    every = list(acceptance.bound(store, memo.step_key(flow, step)))
    every += list(acceptance.bound(store, memo.step_key("*", step)))
    if id_ is None and every:
        id_ = max(every, key=lambda each: each[1].when)[1].id
    chosen = [(ref, note) for ref, note in every if note.id == id_]
    if not chosen:
        known = sorted({note.id for _, note in every})
        more = f"; its acceptances are {', '.join(known)}" if known else ""
        raise NotFoundError(
            f"{subject} has no acceptance{f' {id_}' if known else ''} to undo{more}"
        )
    note = chosen[0][1]
    said = f"{count(len(chosen), 'result')} of {subject}, accepted {note.details}"
    if not (dry_run or yes):
        _ask(f"Remove {count(len(chosen), 'bound result')}?", lambda: click.echo(printable(said)))
    refs: Sequence[Ref] = [ref for ref, _ in chosen]
    removed = 0 if dry_run else acceptance.undo(store, refs)

    def show() -> None:
        verb = f"would remove {len(chosen)}" if dry_run else f"removed {removed}"
        what = f"{'result' if len(chosen) == 1 else 'results'} of {subject}"
        click.echo(printable(f"{verb} bound {what}, accepted {note.details}; the originals stay"))

    return Answer(
        lambda: {
            "step": subject,
            "dry_run": dry_run,
            "id": id_,
            "results": len(chosen),
            "verified": note.verified,
            "ran": 0,
            "bound": 0,
            "removed": removed,
            "run": None,
            "changes": [],
        },
        show,
    )


def _subject(asked: CommandContext, name: str) -> str:
    """Return the Flow/step of a name; UsageError for a name of anything else."""
    if asked.flow is not None:
        flow = asked.flow.graph.name
        step = name.removeprefix(f"{flow}/")
        if "/" in step:
            raise UsageError(f"{name!r} is no step of {flow}; name it as fit or {flow}/fit")
        return f"{flow}/{step}"
    if name.count("/") != 1 or not all(name.split("/")):
        raise UsageError(f"{name!r} is no step; name it as Flow/step, such as Sweep/fit")
    return name


def _pass_on(asked: CommandContext, name: str, file: str | None) -> Answer:
    """Let the flow's own process do it; UsageError without the flow."""
    _refuse_function(asked, name)
    subject = _subject(asked, name)
    step = subject.partition("/")[2]
    if asked.root is not None:
        raise UsageError("--root: results are accepted in the store of the flow's own datastore")
    if file is None:
        raise UsageError(
            f"to run tasks of {subject} anew takes its flow: `python flow.py memo accept {step}`, "
            "or name its script with --flow flow.py"
        )
    if not os.path.isfile(file):
        raise UsageError(f"--flow {file}: there is no such file")
    ctx = click.get_current_context()
    words = [sys.executable, file, "--no-pylint", "memo", "accept", step, *_given(ctx)]
    done = subprocess.run(words, stdout=None, check=False)
    raise click.exceptions.Exit(done.returncode)


def _given(ctx: click.Context) -> list[str]:
    """Return the options of this command that the flow's process is to get."""
    words = ["--json"] if is_json(ctx) else []
    for param in ctx.command.params:
        value = ctx.params.get(str(param.name))
        if param.name in ("name", "file") or value in (None, False, ""):
            continue
        words += [param.opts[0]] if value is True else [f"{param.opts[0]}={value}"]
    return words


def _refuse_function(asked: CommandContext, name: str) -> None:
    """Raise UsageError for a memoized function: the store has no arguments to call it with."""
    for module, function in _splits(name):
        if _has_calls(asked.store, module, function):
            raise UsageError(
                f"{name} is a function: the store has digests of its arguments and not their "
                "values, so no call can run anew; call it again with those that matter, or keep "
                "the earlier code"
            )


def _splits(name: str) -> list[tuple[str, str]]:
    if "/" in name:
        module, _, function = name.partition("/")
        return [(module, function)]
    parts = name.split(".")
    return [(".".join(parts[:i]), ".".join(parts[i:])) for i in range(len(parts) - 1, 0, -1)]


def _has_calls(store: Store, module: str, function: str) -> bool:
    with contextlib.suppress(MemoflowError):
        refs = memo.recent(store, memo.step_key(module, function), 1)
        return any(memo.is_call(store, ref) for ref in refs)
    return False
