"""Launch: another command in place of a step's, however other decorators rewrite that."""

from __future__ import annotations

import pytest
from metaflow.runtime import CLIArgs

from memoflow.flow.host.command_line import run_instead


class Task:
    """As much of a task of the runtime's as its command line is made of."""

    def __getattr__(self, name: str) -> object:
        return None


def test_the_runtime_runs_the_other_command(monkeypatch: pytest.MonkeyPatch) -> None:
    arguments = object.__new__(CLIArgs)
    run_instead(arguments, ["echo", "hit"])
    arguments.entrypoint = ["python", "flow.py"]
    arguments.commands = ["kubernetes", "step"]
    assert arguments.get_args() == ["echo", "hit"]
