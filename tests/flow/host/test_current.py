"""Current: what is offered to steps, and the run that is asked for unseen."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from metaflow.metaflow_current import Current, current

from memoflow.flow.host.client import add_to_current, current_run


def test_a_step_finds_what_was_added(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Current, "memo_of_test", None, raising=False)  # So that it is put back.
    add_to_current("memo_of_test", 7)
    assert current.memo_of_test == 7


def test_the_run_is_told_without_a_read(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in vars(current):
        monkeypatch.setitem(vars(current), name, vars(current)[name])
    monkeypatch.setattr(Current, "graph", None, raising=False)
    current._set_env(SimpleNamespace(name="Sweep"), run_id="4")
    monkeypatch.setattr(Current, "__getattribute__", underscores_only)
    assert current_run() == ("Sweep", "4")


def underscores_only(self: object, name: str) -> object:
    assert name.startswith("_"), f"{name} would be a read of the step's"
    return object.__getattribute__(self, name)
