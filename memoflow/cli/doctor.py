"""doctor: checks of settings, versions, permissions, clock and file system."""

from __future__ import annotations

import sys
from typing import Any

import click

from memoflow.cli.table import show_table
from memoflow.cli.verb import ERROR, Answer, CommandContext, Verb, is_quiet
from memoflow.store.open import cache_folder, settings

_PREFIX = "METAFLOW_MEMOFLOW_"


@click.command(
    cls=Verb,
    examples=("memoflow doctor", "memoflow --root s3://bucket/folder doctor"),
    fields={
        "checks": "a list of objects: `name` of the subject, `verdict` (ok, warn, fail), `what` "
        "was found and `advice`",
        "worst": "the worst verdict",
    },
)
@click.pass_obj
def doctor(asked: CommandContext) -> Answer:
    """Check settings, versions, permissions, clock, file system and the server of a store.

    Each line is ok, warn (costs time or space) or fail (loses results or saves), with a remedy.
    Exits with 1 if anything fails. The check writes one file to the store and deletes it; it
    creates no store.
    """
    # Here, since no other verb needs its imports.
    from memoflow.store.check.doctor import Severity, examine

    checks = examine(asked.backend, settings=_settings(), cache=cache_folder())
    verdicts = {check.verdict for check in checks}
    worst = max(verdicts, key=list(Severity).index, default=Severity.OK)

    def data() -> dict[str, Any]:
        rows = [
            {
                "name": check.name,
                "verdict": check.verdict.value,
                "what": check.what,
                "advice": check.advice,
            }
            for check in checks
        ]
        return {"checks": rows, "worst": worst.value}

    def show() -> None:
        columns = ["verdict", "name", "found", "advice"]
        shown = checks
        if is_quiet(click.get_current_context()):
            shown = [check for check in checks if check.verdict is not Severity.OK]
            if not shown:
                return
        rows = [[check.verdict.value, check.name, check.what, check.advice] for check in shown]
        if sys.stdout.isatty():  # A fourth column would leave no room for the first ones.
            columns = columns[:3]
            rows = [[*row[:2], "; ".join(filter(None, row[2:]))] for row in rows]
        show_table(columns, rows)

    return Answer(data, show, ERROR if worst is Severity.FAIL else 0)


def _settings() -> dict[str, str]:
    """Return memoflow's settings from Metaflow's configuration and the environment."""
    from metaflow.metaflow_config_funcs import config_values

    return {
        name: value
        for name, value in [*config_values(), *settings().items()]
        if name.startswith(_PREFIX) and value
    }
