"""Flags of `run` and `resume`: --memo, --memo-refresh and others; for Runner as well.

Imported while Metaflow loads its plugins, so it stays light.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from metaflow import metaflow_config
from metaflow.exception import CommandException

from memoflow.flow import supported
from memoflow.flow.checkpoint import policy
from memoflow.flow.host.command_line import click, on_command
from memoflow.flow.memo import import_reads
from memoflow.flow.task import launch_info
from memoflow.flow.task.process import forget_outer_task
from memoflow.log import WARNING, report

MODES = ("on", "off", "read-only", "only", "shadow")

# What the command line of this process asked for; the worker is told through its environment.
given: dict[str, Any] = {"mode": None, "refresh": (), "lines": None, "replay": False}


def steps_to_refresh(wanted: tuple[str, ...], graph: Any) -> frozenset[str]:
    """Return the steps that `fit`, `fit+` (and all after it) and `all` stand for.

    Raises CommandException for a step that the graph does not have.
    """
    chosen: set[str] = set()
    for text in wanted:
        if text == "all":
            chosen.update(graph.nodes)
            continue
        name = text.removesuffix("+")
        if name not in graph.nodes:
            raise CommandException(
                f"--memo-refresh {text}: there is no step {name!r}; "
                f"the steps are {', '.join(graph.sorted_nodes)} (or: all)"
            )
        chosen.add(name)
        frontier = [name] if text.endswith("+") else []
        while frontier:
            for after in graph[frontier.pop()].out_funcs:
                if after not in chosen:
                    chosen.add(after)
                    frontier.append(after)
    return frozenset(chosen)


def _keep(option: str) -> Callable[[Any, Any, Any], Any]:
    def callback(ctx: Any, param: Any, value: Any) -> Any:
        if option == "mode":
            _tell_beside(ctx.obj)
        if option == "refresh" and value:
            steps_to_refresh(value, ctx.obj.graph)  # An unknown step stops the run here.
        given[option] = value
        if option == "replay":
            return value  # It is for this process alone.
        text = ",".join(value) if isinstance(value, tuple) else value
        launch_info.note_setting(f"MEMOFLOW_{option.upper()}", text or "")
        return value

    return callback


def _tell_beside(state: Any) -> None:
    """Say once a run whose the decorators are that two packages have."""
    steps = [getattr(state.flow, node.name) for node in state.graph]
    line = supported.beside(deco.name for step in steps for deco in step.decorators)
    if line is not None and _has_checkpoints():
        report(line, partial(state.echo, fg="magenta", bold=False), WARNING)


def _has_checkpoints() -> bool:
    return supported.has_checkpoints(getattr(metaflow_config, "MEMOFLOW_CHECKPOINT", None))


def _add_options(command: Any) -> None:
    options = [
        click.Option(
            ("--memo", "memo"),
            type=click.Choice(MODES),
            default=None,
            expose_value=False,
            callback=_keep("mode"),
            help="Memoized steps: use and record results (on), neither (off), use only "
            "(read-only), fail on a miss (only), or run all and compare with what would have been "
            "used (shadow).",
        ),
        click.Option(
            ("--memo-refresh", "memo_refresh"),
            multiple=True,
            default=None,
            metavar="STEP",
            expose_value=False,
            callback=_keep("refresh"),
            help="Run this memoized step anew and record its result: a step, STEP+ for it and "
            "all after it, or all. Can be given several times.",
        ),
        click.Option(
            ("--memo-lines", "memo_lines"),
            type=click.Choice(("step", "all")),
            default=None,
            expose_value=False,
            callback=_keep("lines"),
            help="Hits and misses in a wide foreach: counted in a line for the step (step), or a "
            "line each (all).",
        ),
        click.Option(
            ("--memo-replay", "memo_replay"),
            is_flag=True,
            default=False,
            expose_value=False,
            callback=_keep("replay"),
            help="Print what the tasks printed whose results memoized steps use.",
        ),
        *([policy.option()] if _has_checkpoints() else []),
    ]
    for attribute in ("params", "original_params"):
        params = getattr(command, attribute, None)
        if params is not None and not any(param.name == "memo" for param in params):
            params.extend(options)


def _prepare(name: str, command: Any) -> None:
    if name in ("run", "resume"):
        _add_options(command)
    if name in ("run", "resume", "step", "spin", "spin-step"):
        forget_outer_task()
    if name == "step":
        import_reads.end()  # All that the flow's module imports is there by now.


on_command(_prepare)
