"""Which checkpoint a step begins from: the run's word goes before the step's."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from metaflow import metaflow_config

from memoflow.errors import UsageError
from memoflow.flow.checkpoint import policy
from memoflow.flow.host.command_line import click


@pytest.fixture(autouse=True)
def nothing_asked(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(metaflow_config, "MEMOFLOW_CHECKPOINT_LOAD", None, raising=False)
    yield
    ask()


def ask(*words: str) -> None:
    """Have the command line ask for a policy, or for none."""
    click.Command("run", params=[policy.option()]).make_context("run", list(words))


def test_where_nobody_asks_the_step_says_and_else_nothing_is_loaded() -> None:
    assert policy.of_run("fresh") == "fresh"
    assert policy.of_run(None) == "none"


def test_the_setting_goes_before_the_step(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metaflow_config, "MEMOFLOW_CHECKPOINT_LOAD", "eager")
    assert policy.of_run("fresh") == "eager"


def test_the_command_line_goes_before_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metaflow_config, "MEMOFLOW_CHECKPOINT_LOAD", "eager")
    ask("--checkpoint-load", "none")
    assert policy.given() == "none"
    assert policy.of_run("fresh") == "none"


def test_a_setting_that_is_none_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metaflow_config, "MEMOFLOW_CHECKPOINT_LOAD", "lazy")
    with pytest.raises(UsageError, match="METAFLOW_MEMOFLOW_CHECKPOINT_LOAD is one of eager"):
        policy.of_run(None)


def test_the_command_line_takes_no_other_word() -> None:
    with pytest.raises(click.BadParameter):
        ask("--checkpoint-load", "lazy")
