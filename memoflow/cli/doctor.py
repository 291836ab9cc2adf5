"""doctor: whether a store's surroundings are as they should be."""

from __future__ import annotations

from typing import Any

import click

from memoflow.cli.answer import ERROR, Answer, Verb
from memoflow.cli.context import CommandContext
from memoflow.cli.table import show_table
from memoflow.store.open import cache_folder, settings

_PREFIX = "METAFLOW_MEMOFLOW_"


@click.command(
    cls=Verb,
    fields={
        "checks": "a list of objects: `name` of what was looked at, `verdict` (fine, warning, "
        "trouble), `what` was found and `advice`",
        "worst": "the worst verdict",
    },
)
@click.pass_obj
def doctor(asked: CommandContext) -> Answer:
    """Check settings, versions, permissions, clock, file system and what the server can do.

    Writes a file under a name of its own to the store, and deletes it. Exits with 1 if anything is
    in trouble: then results or saves are lost; a warning costs time or space.
    """
    # Here, since no other verb needs what it imports.
    from memoflow.store.check.doctor import Severity, examine

    checks = examine(asked.backend, settings=_settings(), cache=cache_folder())
    verdicts = {check.verdict for check in checks}
    worst = max(verdicts, key=list(Severity).index, default=Severity.FINE)

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
        rows = [(check.verdict.value, check.name, check.what, check.advice) for check in checks]
        show_table(("verdict", "name", "found", "advice"), rows)

    return Answer(data, show, ERROR if worst is Severity.TROUBLE else 0)


def _settings() -> dict[str, str]:
    """Return what is set for memoflow in Metaflow's configuration and the environment."""
    from metaflow.metaflow_config_funcs import config_values

    return {
        name: value
        for name, value in [*config_values(), *settings().items()]
        if name.startswith(_PREFIX) and value
    }
