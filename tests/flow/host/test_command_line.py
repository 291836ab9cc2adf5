"""Command line: the command that runs, and a hook on each that a flow loads."""

from __future__ import annotations

from typing import Any

import pytest
from metaflow.cli import start
from metaflow.cli_components.utils import LazyGroup

from memoflow.flow.host import command_line
from memoflow.flow.host.command_line import click


def test_outside_of_a_command_there_is_no_datastore() -> None:
    assert not command_line.is_running_command()
    assert command_line.flow_datastore() is None


def test_a_command_of_a_flow_tells_its_datastore() -> None:
    class State:
        flow_datastore = "the datastore"

    with click.Context(click.Command("run"), obj=State()):
        assert command_line.is_running_command()
        assert command_line.flow_datastore() == "the datastore"


def test_a_command_of_another_tool_has_none() -> None:
    with click.Context(click.Command("status")):
        assert command_line.is_running_command()
        assert command_line.flow_datastore() is None


def test_each_command_that_a_flow_loads_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(LazyGroup, "_lazy_load", LazyGroup._lazy_load)  # So that it is put back.
    told: list[tuple[str, Any]] = []
    command_line.on_command(lambda name, command: told.append((name, command)))
    command = start.get_command(click.Context(start), "run")
    assert told == [("run", command)]
    assert any(param.name == "max_workers" for param in command.params)
